"""Lets a group read the release files of a devpi-server: by descriptors, because the server's account can swap paths.

release_files.py [--check] SERVER_DIR USER GROUP

Makes SERVER_DIR/+files where it is missing, and prints its path where it was, or with --check would be, made or opened.
The top is opened last, so where it is open, all below it is.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import sys
from typing import Iterator

NAME = "+files"
# O_NONBLOCK, for a named pipe would wait for its other end for ever.
SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# devpi-server itself goes ten deep.
DEEPEST = 64


@contextlib.contextmanager
def opened(path: str, uid: int, flags: int = SAFELY, within: int | None = None) -> Iterator[int]:
    """Open a directory of the account's; of what belongs to others nothing is changed."""
    try:
        directory = os.open(path, flags | os.O_DIRECTORY, dir_fd=within)
    except FileNotFoundError:
        raise
    except OSError:
        sys.exit(f"{path} is a link or no directory, and root follows no link of the server's; move it away")
    try:
        owner = os.fstat(directory).st_uid
        if owner != uid:
            sys.exit(f"{path} belongs to uid {owner} and not to the server's account; name another directory")
        yield directory
    finally:
        os.close(directory)


def open_below(directory: int, account: pwd.struct_passwd, gid: int, depth: int = 0) -> None:
    """Let the group read a directory and all of the account's that is in it, and what is made there from now on."""
    os.fchown(directory, -1, gid)
    os.fchmod(directory, 0o2750 if depth else 0o2700)
    for name in os.listdir(directory) if depth < DEEPEST else ():
        try:
            handle = os.open(name, SAFELY, dir_fd=directory)
        except OSError:
            # a link, or gone meanwhile
            continue
        try:
            found = os.fstat(handle)
            if found.st_uid != account.pw_uid:
                continue
            if stat.S_ISDIR(found.st_mode):
                open_below(handle, account, gid, depth + 1)
            elif stat.S_ISREG(found.st_mode):
                os.fchown(handle, -1, gid)
                os.fchmod(handle, 0o640)
        finally:
            os.close(handle)


def make(server: int, account: pwd.struct_passwd) -> None:
    """Make the directory with the account's rights, so that nobody else's is ever given to it."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(NAME, 0o700, dir_fd=server)
    finally:
        os.seteuid(os.getuid())
        os.setegid(os.getgid())
        os.setgroups(groups)


def main(*arguments: str) -> None:
    """Do it."""
    check = arguments[0] == "--check"
    server_dir, user, group = arguments[-3:]
    path = f"{server_dir}/{NAME}"
    try:
        account = pwd.getpwnam(user)
        gid = grp.getgrnam(group).gr_gid
        # A link of root's to another disk may lead here.
        with opened(server_dir, account.pw_uid, SAFELY & ~os.O_NOFOLLOW) as server:
            try:
                with opened(NAME, account.pw_uid, within=server) as top:
                    found = os.fstat(top)
                    if (stat.S_IMODE(found.st_mode), found.st_gid) == (0o2750, gid):
                        return
            except FileNotFoundError:
                if not check:
                    make(server, account)
            if not check:
                with opened(NAME, account.pw_uid, within=server) as top:
                    open_below(top, account, gid)
                    os.fchmod(top, 0o2750)
    except (KeyError, FileNotFoundError):
        # An earlier role makes the account and its directory, and with --check did not.
        if not check:
            raise
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
