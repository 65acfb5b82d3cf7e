# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory where a devpi-server listens for nginx: the server's account writes to it, and nginx's group passes."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from pathlib import Path

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import user_name
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import command_for, exposed

# What is made in it has its group, and whoever is of the group sees no names.
MODE = 0o2710


class SocketDirectoryError(ValueError):
    """Something else is at the path; the message names it and the way out."""


class SocketDirectory:
    """The directory, at a path that only root can change.

    :param path: of it.
    :param account: the server's; None where it is still to be made.
    :param gid: of the group that may pass.
    """

    def __init__(self, path: str, account: pwd.struct_passwd | None, gid: int) -> None:
        self._path = path
        self._account = account
        self._gid = gid

    def problems(self) -> list[str]:
        """Return why the path cannot be used, with the way out; nothing where it can."""
        place = exposed(self._path) if os.geteuid() == 0 else None
        if place is not None:
            close = command_for("chmod go-w", place)
            return [f"{self._path} lies in {place}, where another account can put something else; {close}"]
        try:
            found = Path(self._path).lstat()
        except FileNotFoundError:
            return []
        ours = {0, self._account.pw_uid} if self._account else {0}
        if stat.S_ISDIR(found.st_mode) and found.st_uid in ours | {os.geteuid()}:
            return []
        # The link itself where it is one, so not by command_for. Nobody else can replace what leads there.
        move = f"mv --no-target-directory {shlex.quote(self._path)} {shlex.quote(f'{self._path}.old')}"
        return [
            f"{self._path} is no directory of this server's sockets, but {user_name(found.st_uid)}'s; move it away: "
            f"{move}"
        ]

    def keep(self, *, check_mode: bool) -> list[str]:
        """Make the directory, or mend its owner, group and mode.

        :returns: its path where it was, or in check mode would be, made or changed.
        :raises SocketDirectoryError: it cannot be used.
        """
        for problem in self.problems():
            raise SocketDirectoryError(problem)
        if self._account is None:
            return [self._path]
        wanted = (MODE, self._account.pw_uid, self._gid)
        try:
            found = Path(self._path).lstat()
            if (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == wanted:
                return []
        except FileNotFoundError:
            if not check_mode:
                Path(self._path).mkdir(0o700)
        if not check_mode:
            directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                os.fchown(directory, self._account.pw_uid, self._gid)
                os.fchmod(directory, MODE)
            finally:
                os.close(directory)
        return [self._path]
