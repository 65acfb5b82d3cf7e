# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that holds a token, and the note beside it that lets a later run finish what an earlier one began."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import stat
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Iterator

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as, attributes
from ansible_collections.wheelhouse.devpi.plugins.module_utils._draft import draft_of
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import exposed, unfit
from ansible_collections.wheelhouse.devpi.plugins.module_utils._reading import UnfitFile, read_file, read_open
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tokens import TokenError

MODE = 0o600


@dataclass(frozen=True)
class Unfinished:
    """What tells the tokens that a run may leave behind: revoked are those that have a mark and that no file holds.

    :param user: whose tokens they are.
    :param marks: of a new token its restriction ``not_before``, of the one that it replaces the id.
    """

    user: str
    marks: tuple[str, ...]


class TokenFile:
    """The file at a path, kept with the rights of one account.

    :param path: absolute; a symbolic link is followed.
    :param account: the owner.
    :raises TokenError: nothing can be kept there, or another account could put something else in its place.
    """

    def __init__(self, path: str, account: pwd.struct_passwd) -> None:
        self.path = path
        self.account = account
        problem = unfit(path)
        if problem:
            raise TokenError(f"path: {path if path.isprintable() else repr(path)} {problem}")
        place = exposed(path, account.pw_uid)
        if place is not None:
            raise TokenError(
                f"path: {path} lies in {place}, where others than {account.pw_name} can put something else in its "
                f"place; name another owner, or a path that only {account.pw_name} can change"
            )
        with acting_as(account):
            self.target = Path(os.path.realpath(path))
            # What another than the owner is told to do must not be done to what a link leads to.
            linked = Path(path).is_symlink()
            self._way_out = f"remove the link {path}" if linked else "move it away"
            try:
                self.has_directory = self.target.parent.is_dir()
            except PermissionError:
                # There may be one, where the account may not look.
                self.has_directory = True
            writable = self.has_directory and os.access(self.target.parent, os.W_OK | os.X_OK, effective_ids=True)
        if self.has_directory and not writable:
            raise TokenError(
                f"path: {account.pw_name} may not write in {self.target.parent}; "
                f"{f'remove the link {path}, or ' if linked else ''}name a path in a directory of {account.pw_name}'s"
            )
        self.note = self.target.with_name(f".{self.target.name}.unfinished")
        self._handle = -1

    def read(self) -> str | None:
        """Return the secret; None where there is no file, or an empty one.

        :raises TokenError: something else is in the file, which may be dear to somebody.
        """
        try:
            with acting_as(self.account):
                text = read_file(str(self.target)).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        except UnfitFile as unfit_file:
            raise TokenError(
                f"path: {self.target} is {unfit_file} and no file with a token; move it away, or name another path"
            ) from None
        except PermissionError as error:
            raise TokenError(
                f"path: {self.account.pw_name} cannot read {self.target} ({error.strerror}); {self._way_out}, or name "
                "another path"
            ) from None
        if text and not re.fullmatch(r"devpi-[A-Za-z0-9_=-]*", text):
            raise TokenError(f"path: {self.target} holds no devpi token; move the file away, or name another path")
        return text or None

    def state(self) -> dict[str, str] | None:
        """Return mode, owner and group; None where there is no file."""
        try:
            with acting_as(self.account):
                seen = self.target.stat()
        except FileNotFoundError:
            return None
        return attributes(stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid)

    def wanted_state(self) -> dict[str, str]:
        """Return mode, owner and group as they should be."""
        return attributes(MODE, self.account.pw_uid, self.account.pw_gid)

    def write(self, secret: str) -> None:
        """Replace the file in one step; nobody but the owner can read it at any moment."""
        with acting_as(self.account), draft_of(self.target) as draft:
            os.fchown(draft.descriptor, self.account.pw_uid, self.account.pw_gid)
            os.fchmod(draft.descriptor, MODE)
            os.pwrite(draft.descriptor, f"{secret}\n".encode(), 0)
            os.fsync(draft.descriptor)
            draft.path.replace(self.target)

    def remove(self) -> None:
        """Have no file."""
        with acting_as(self.account), contextlib.suppress(FileNotFoundError):
            self.target.unlink()

    def unfinished(self) -> Unfinished | None:
        """Return what an earlier run left, or one at work just now is about."""
        try:
            with acting_as(self.account):
                handle = self._open(os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            left = json.loads(read_open(handle))
            return Unfinished(left["user"], tuple(left["marks"]))
        except (ValueError, KeyError, TypeError):
            # One that is empty, or was cut off, was not followed by a request.
            return None
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def held(self, patience: int) -> Iterator[None]:
        """Keep other runs off the file meanwhile. The note goes in the end unless it says that something is left to do.

        :param patience: how many seconds to wait for another run.
        """
        self._hold(time.monotonic() + patience)
        try:
            yield
        finally:
            if os.fstat(self._handle).st_size == 0:
                with acting_as(self.account):
                    self.note.unlink()
            os.close(self._handle)

    def begin(self, unfinished: Unfinished) -> None:
        """Write down what is about to be done."""
        self.end()
        os.pwrite(self._handle, json.dumps(asdict(unfinished)).encode(), 0)
        os.fsync(self._handle)

    def end(self) -> None:
        """Write down that nothing is left to do."""
        os.ftruncate(self._handle, 0)

    def _hold(self, deadline: float) -> None:
        while True:
            with acting_as(self.account):
                handle = self._open(os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The run that held it may have removed it meanwhile.
                with contextlib.suppress(FileNotFoundError), acting_as(self.account):
                    if os.path.samestat(os.fstat(handle), self.note.lstat()):
                        self._handle = handle
                        return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(handle)
                    raise TokenError(
                        f"path: another run keeps {self.target} just now; run again when it has ended"
                    ) from None
                time.sleep(0.1)
            os.close(handle)

    def _open(self, flags: int) -> int:
        try:
            handle = os.open(self.note, flags | os.O_NOFOLLOW | os.O_NONBLOCK, MODE)
        except FileNotFoundError:
            raise
        except OSError as error:
            problem = f"cannot be opened ({error.strerror}); remove it"
        else:
            seen = os.fstat(handle)
            if stat.S_ISREG(seen.st_mode) and seen.st_uid == self.account.pw_uid:
                return handle
            os.close(handle)
            problem = "is no file; remove it"
            if stat.S_ISREG(seen.st_mode):
                problem = (
                    "belongs to somebody else, who could have written anything there; remove it, or name a path in a "
                    "directory where others cannot write"
                )
        raise TokenError(f"path: {self.note}, where a run notes what it is about, {problem}")
