# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The release files of a devpi-server, which a group may read: by descriptors, for the account can swap paths."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from typing import Iterator

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import rights_at

NAME = "+files"
# O_NONBLOCK, for a named pipe would wait for its other end for ever.
_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# devpi-server itself goes ten deep.
DEEPEST = 64


class ReleaseFilesError(ValueError):
    """What is at the place is no directory of the account's; the message names it and the way out."""


class ReleaseFiles:
    """The directory ``+files`` in the server's.

    :param server_dir: of devpi-server.
    :param account: that the server runs as. Of what belongs to others nothing is changed.
    :param gid: of the group that may read.
    """

    def __init__(self, server_dir: str, account: pwd.struct_passwd, gid: int) -> None:
        self._server_dir = server_dir
        self._account = account
        self._gid = gid

    @property
    def differ(self) -> bool:
        """Whether the group cannot read them yet. The top is opened last, so where it is open, all below it is.

        :raises ReleaseFilesError: something else is at the place.
        """
        try:
            with self._top() as top:
                seen = os.fstat(top)
        except FileNotFoundError:
            return True
        return (stat.S_IMODE(seen.st_mode), seen.st_gid) != (0o2750, self._gid)

    def open_to_group(self) -> None:
        """Let the group read what is there, and what the server makes from now on.

        :raises ReleaseFilesError: something else is at the place.
        """
        with self._server() as server, contextlib.suppress(FileExistsError), acting_as(self._account):
            os.mkdir(NAME, 0o700, dir_fd=server)
        with self._top() as top:
            self._open_below(top, depth=0)
            os.fchmod(top, 0o2750)

    @contextlib.contextmanager
    def _server(self) -> Iterator[int]:
        try:
            # A link to another disk may lead here. What matters is whose it is, and nobody else's is changed.
            with rights_at(self._server_dir):
                server = os.open(self._server_dir, (_SAFELY | os.O_DIRECTORY) & ~os.O_NOFOLLOW)
        except NotADirectoryError:
            raise ReleaseFilesError(f"{self._server_dir} is no directory; name the one of devpi-server") from None
        try:
            self._is_own(server, self._server_dir)
            yield server
        finally:
            os.close(server)

    @contextlib.contextmanager
    def _top(self) -> Iterator[int]:
        path = f"{self._server_dir}/{NAME}"
        with self._server() as server:
            try:
                top = os.open(NAME, _SAFELY | os.O_DIRECTORY, dir_fd=server)
            except FileNotFoundError:
                raise
            except OSError:
                raise ReleaseFilesError(
                    f"{path} is a link or no directory, and root follows no link of {self._account.pw_name}'s; put the "
                    "directory itself there"
                ) from None
        try:
            self._is_own(top, path)
            yield top
        finally:
            os.close(top)

    def _is_own(self, handle: int, path: str) -> None:
        owner = os.fstat(handle).st_uid
        if owner != self._account.pw_uid:
            raise ReleaseFilesError(
                f"{path} belongs to uid {owner} and not to {self._account.pw_name}; move it away, or name another "
                "directory"
            )

    def _open_below(self, directory: int, depth: int) -> None:
        os.fchown(directory, -1, self._gid)
        os.fchmod(directory, 0o2750 if depth else 0o2700)
        for name in os.listdir(directory) if depth < DEEPEST else ():
            try:
                handle = os.open(name, _SAFELY, dir_fd=directory)
            except OSError:
                # a link, or gone meanwhile
                continue
            try:
                seen = os.fstat(handle)
                if seen.st_uid != self._account.pw_uid:
                    continue
                if stat.S_ISDIR(seen.st_mode):
                    self._open_below(handle, depth + 1)
                elif stat.S_ISREG(seen.st_mode):
                    os.fchown(handle, -1, self._gid)
                    os.fchmod(handle, 0o640)
            finally:
                os.close(handle)
