# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where something may be made, and with whose rights: root follows nothing that another account can change."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
import stat
from pathlib import Path
from typing import ContextManager, Iterator

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as, nobody

_SYSTEM = """
/ /bin /boot /dev /etc /home /lib /lib32 /lib64 /libx32 /lost+found /media /mnt /opt /proc /root /run /sbin /snap /srv
/sys /tmp /usr /usr/bin /usr/games /usr/include /usr/lib /usr/libexec /usr/local /usr/local/bin /usr/local/etc
/usr/local/lib /usr/local/sbin /usr/local/share /usr/local/src /usr/sbin /usr/share /usr/src /var /var/backups
/var/cache /var/lib /var/local /var/lock /var/log /var/mail /var/opt /var/run /var/spool /var/tmp /var/www
/etc/cron.d /etc/default /etc/init.d /etc/logrotate.d /etc/nginx /etc/nginx/conf.d /etc/ssl /etc/ssl/certs
/etc/ssl/private /etc/supervisor /etc/supervisor/conf.d /etc/systemd /etc/systemd/system /etc/xdg /run/lock
/var/log/nginx /var/log/supervisor
"""
# Directories that every system has (hier(7)). What lies in one of them may be ours; the directory itself never is.
SYSTEM_DIRECTORIES = frozenset(_SYSTEM.split())
# The longest name in a directory, without what a draft adds to it; and the longest path that a system call takes
LONGEST_NAME = 200
LONGEST_PATH = 1000
# Nothing that is made below these is a file that lasts.
NO_PLACE = ("/proc", "/sys", "/dev", "/boot")

# Programs would take a log in these for configuration, for a command, for a list of accounts or for a job to run.
_NO_LOGS = """
/bin /etc /lib /lib32 /lib64 /libx32 /root /run /sbin /usr /var/lib/dpkg /var/lib/systemd /var/run /var/spool
"""
NO_LOGS = tuple(f"{place}/" for place in _NO_LOGS.split())


class PathError(ValueError):
    """Nothing can be made at a path; the message names it, says why, and ends with the way out."""


def unfit(path: str) -> str:
    """Return why a variable may not name this path for something that is made, changed or removed.

    Looks at the text alone. Nothing is returned where it may.

    :param path: as it was given.
    """
    why = unclear(path)
    if why:
        return why
    if path in SYSTEM_DIRECTORIES:
        return "is a directory of the system; name one of its own for this, like /srv/devpi"
    if path.startswith(tuple(f"{place}/" for place in NO_PLACE)):
        return "is not a place for files that last; name another, like /srv/devpi"
    return ""


def unfit_log(path: str) -> str:
    """Return why a log may not be written at this path, by its text alone. Nothing is returned where it may.

    :param path: as it was given.
    """
    why = unfit(path)
    if not why and path.startswith(NO_LOGS):
        place = next(place for place in NO_LOGS if path.startswith(place))
        return f"lies below {place}, where programs would read what is logged; name a file below /var/log"
    return why


def unclear(path: str) -> str:
    """Return why this path is none that a variable can name at all, not even for something that is only read.

    Looks at the text alone. Nothing is returned where it can.

    :param path: as it was given.
    """
    if not path.startswith("/"):
        return "is not absolute; write it from the root, like /srv/devpi"
    if not path.isprintable():
        return "has a newline or another character in it that cannot be printed; take it out"
    if len(os.fsencode(path)) > LONGEST_PATH or any(len(os.fsencode(part)) > LONGEST_NAME for part in path.split("/")):
        return f"is too long; use at most {LONGEST_PATH} bytes, and {LONGEST_NAME} between two slashes"
    if path != os.path.normpath(path) or path.startswith("//"):
        return f"is not in its plain form; write it as {os.path.normpath('/' + path.lstrip('/'))}"
    return ""


def exposed(path: str, uid: int = 0) -> Path | None:
    """Return the first directory on the way to `path` in which another account can replace what leads there.

    Links on the way are followed if root or the account made them. None where only these two can replace anything on
    the way, or `path` itself.

    :param path: absolute; it need not exist.
    :param uid: of the account that may; root always may.
    """
    return next(_exposed(Path(path), {0, uid}, depth=0), None)


def _exposed(path: Path, trusted: set[int], depth: int) -> Iterator[Path]:
    if depth > 40:
        yield path
        return
    here = Path("/")
    for number, part in enumerate(path.parts[1:], 2):
        below = here / part
        try:
            entry = below.lstat()
        except (FileNotFoundError, NotADirectoryError):
            entry = None
        if _others_can_replace(here, entry, trusted):
            yield here
            return
        if entry is None:
            return
        if stat.S_ISLNK(entry.st_mode):
            target = Path(os.path.normpath(here / os.readlink(below)))
            yield from _exposed(target.joinpath(*path.parts[number:]), trusted, depth + 1)
            return
        here = below


def _others_can_replace(directory: Path, entry: os.stat_result | None, trusted: set[int]) -> bool:
    """Whether an account that is not trusted can put something else in the place of an entry of the directory."""
    try:
        info = directory.stat()
    except OSError:
        return True
    sticky = bool(info.st_mode & stat.S_ISVTX) and entry is not None and entry.st_uid in trusted
    if info.st_uid not in trusted:
        return True
    if info.st_mode & stat.S_IWOTH:
        return not sticky
    if str(directory) in SYSTEM_DIRECTORIES:
        # The distribution has set its mode: on Ubuntu, syslog may write in /var/log.
        return False
    return bool(info.st_mode & stat.S_IWGRP) and not sticky and _has_members(info.st_gid, trusted)


def _has_members(gid: int, trusted: set[int]) -> bool:
    if gid == 0:
        return False
    try:
        named = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        named = set()
    accounts = pwd.getpwall()
    known = {entry.pw_name for entry in accounts if entry.pw_uid in trusted} | {"root"}
    return bool(named - known) or any(entry.pw_gid == gid and entry.pw_uid not in trusted for entry in accounts)


def keeper_of(path: str) -> pwd.struct_passwd | None:
    """Return the account with whose rights things are made at `path`, None where root makes them itself.

    :param path: absolute; it need not exist.
    :raises PathError: several accounts could replace it, so that nobody's rights are safe there.
    """
    place = exposed(path)
    if place is None:
        return None
    info = place.stat()
    if info.st_uid == 0 or info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and _group_is_shared(info)):
        close = "" if str(place) in SYSTEM_DIRECTORIES else command_for("chmod go-w", place)
        raise PathError(
            f"{path} lies in {place}, where others can put something else in its place; name a directory in which "
            f"only its owner can write{f', or {close}' if close else ''}"
        )
    try:
        return pwd.getpwuid(info.st_uid)
    except KeyError:
        give = command_for("chown root:", place)
        raise PathError(
            f"{path} lies in {place}, whose owner {info.st_uid} is not an account here; name another place"
            f"{f', or give that one to root: {give}' if give else ''}"
        ) from None


def rights_at(path: str) -> ContextManager[None]:
    """Return a block in which root looks at what is at `path` with no more rights than whoever could have put it there.

    Where that is root alone, these are root's own; where it may be several accounts, nobody's.

    :param path: absolute; it need not exist.
    """
    if os.geteuid() != 0:
        return contextlib.nullcontext()
    try:
        keeper = keeper_of(path)
    except PathError:
        keeper = nobody()
    return contextlib.nullcontext() if keeper is None else acting_as(keeper)


def command_for(command: str, path: str | Path) -> str:
    """Return a command line that root may be told to run on what is at `path`.

    Nothing is returned where another account could put a link on the way, so that it would be run on something else.

    :param command: as it stands before the path.
    :param path: absolute. Links of root's are resolved.
    """
    return "" if exposed(str(path)) is not None else f"{command} {shlex.quote(os.path.realpath(path))}"


def command_as(account: pwd.struct_passwd, command: str, path: str | Path) -> str:
    """Return a command line that does with an account's rights what the account may do itself, wherever links lead.

    :param account: the one that owns what is at `path`.
    :param command: as it stands before the path.
    :param path: absolute.
    """
    rights = "" if account.pw_uid == 0 else f"runuser -u {account.pw_name} -- "
    return f"{rights}{command} {shlex.quote(str(path))}"


def link_at(path: str | Path) -> str:
    """Return where a symbolic link in the place leads, as messages show it; nothing where there is none."""
    try:
        target = os.readlink(path)
    except OSError:
        return ""
    return target if target.isprintable() else repr(target)


def _group_is_shared(info: os.stat_result) -> bool:
    """Whether the directory's group has more members than its owner."""
    try:
        group = grp.getgrgid(info.st_gid)
    except KeyError:
        return False
    members = {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == info.st_gid}
    owner = {entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == info.st_uid}
    return bool(members - {info.st_uid, 0}) or bool(set(group.gr_mem) - owner - {"root"})
