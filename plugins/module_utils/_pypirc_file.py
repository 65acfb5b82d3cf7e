# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a person's ~/.pypirc with the person's rights; its text is merged by :mod:`._pypirc`."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from pathlib import Path
from typing import NamedTuple

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as, attributes, user_name
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import command_as, command_for, link_at
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pypirc import PypircError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._reading import UnfitFile, read_open


class FileState(NamedTuple):
    """The text of the file, and its mode, owner and group as people write them; both empty without a file."""

    text: str
    attributes: dict[str, str]


def find(path: str, account: pwd.struct_passwd) -> tuple[Path, FileState]:
    """Return the file that a path leads to, and what is in it.

    :param path: absolute; a link in its place is followed with the owner's rights.
    :param account: the owner.
    :raises PypircError: it is not a file, or one of another user that the owner may have linked to, or no UTF-8.
    :raises OSError: it cannot be looked at.
    """
    with acting_as(account):
        target = Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for links that lead to each other
    return target, _read(path, target, account)


def refuse_closed(path: str, target: Path, account: pwd.struct_passwd) -> None:
    """Refuse a file that its owner cannot replace.

    :param path: as it was given.
    :param target: where it leads.
    :raises PypircError: the owner may not write in its directory.
    """
    with acting_as(account):
        writable = os.access(target.parent, os.W_OK | os.X_OK, effective_ids=True)
    if not writable:
        raise PypircError(
            f"{path}: {account.pw_name} may not write in {target.parent}. {_way_out(path, account)}. "
            "Nothing was changed."
        )


def _way_out(path: str, account: pwd.struct_passwd, otherwise: str = "Name another path") -> str:
    """Return what to do about a file that the owner may have replaced by a link; nothing is done to a link's target."""
    with acting_as(account):
        link = link_at(path)
    return f"{path} is a symbolic link to {link}: remove the link, or name another path" if link else otherwise


def _read(path: str, target: Path, account: pwd.struct_passwd) -> FileState:
    try:
        with acting_as(account):
            directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        raise PypircError(
            f"{path}: {account.pw_name} may not look into {target.parent}. {_way_out(path, account)}. "
            "Nothing was changed."
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        way_out = _way_out(path, account, "Make it, or name another path")
        raise PypircError(f"{path}: there is no directory {target.parent}. {way_out}.") from None
    try:
        return _read_in(directory, path, target, account)
    except PermissionError:
        with acting_as(account):
            own = os.stat(target.name, dir_fd=directory, follow_symlinks=False).st_uid == account.pw_uid
        opening = f"Open it: {command_as(account, 'chmod 600', target)}"
        way_out = _way_out(path, account, opening if own else "Move it away, or name another path")
        raise PypircError(f"{path}: {account.pw_name} may not read {target}. {way_out}. Nothing was changed.") from None
    finally:
        os.close(directory)


def _read_in(directory: int, path: str, target: Path, account: pwd.struct_passwd) -> FileState:
    with acting_as(account):
        link = Path(path).is_symlink()
        try:
            found = os.stat(target.name or ".", dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return FileState("", {})
    if not stat.S_ISREG(found.st_mode):
        raise PypircError(f"{path} is not a file. Move it away, or name another path. Nothing was changed.")
    owned = found.st_uid == account.pw_uid
    linked = link or found.st_nlink > 1 or os.fstat(directory).st_uid != account.pw_uid
    if not owned and linked:
        # The owner may have chosen somebody else's file, so nobody is told to give it away.
        give = "" if found.st_nlink > 1 else command_for(f"chown --no-dereference {account.pw_name}:", path)
        otherwise = f"Give it to {account.pw_name}: {give}, or name another path" if give else "Name another path"
        raise PypircError(
            f"{path}: {target} belongs to {user_name(found.st_uid)}, not to {account.pw_name}, and may be meant for "
            f"something else. {_way_out(path, account, otherwise)}. Nothing was changed."
        )
    # A file that root put into a person's own directory can be read by root alone. It is opened within the
    # directory that the person's rights led to, and not through a link, so it is the one that was looked at.
    with acting_as(account) if owned else contextlib.nullcontext():
        opened = os.open(target.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    try:
        if not os.path.samestat(found, os.fstat(opened)):
            raise PypircError(f"{path} was replaced while it was read. Run again. Nothing was changed.")
        data = read_open(opened)
    except UnfitFile as unfit_file:
        raise PypircError(f"{path} is {unfit_file}. Move it away, or name another path. Nothing was changed.") from None
    finally:
        os.close(opened)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PypircError(
            f"{path}, line {line}: this is not UTF-8. Save the file as UTF-8, then run again. Nothing was changed."
        ) from None
    return FileState(text, attributes(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid))
