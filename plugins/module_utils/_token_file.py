# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that holds a token, and its drafts, which let a later run find the token that a killed run began."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import stat
import time
from pathlib import Path
from typing import Iterator

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as, attributes
from ansible_collections.wheelhouse.devpi.plugins.module_utils._draft import (
    SUFFIX,
    Draft,
    draft_of,
    leftovers,
    remove_leftovers,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import exposed, unfit
from ansible_collections.wheelhouse.devpi.plugins.module_utils._reading import UnfitFile, read_file, read_open
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tokens import TokenError

MODE = 0o600
LOCK = "lock"
# The ends of what a killed run leaves beside the file, the last by an earlier release
LEFT = (SUFFIX, LOCK, "unfinished")


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
                f"path: {path} lies in {place}, where other accounts than {account.pw_name} can replace it; name "
                f"another owner, or a path that only {account.pw_name} can change"
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
            rights = os.R_OK | os.W_OK | os.X_OK
            fit = self.has_directory and os.access(self.target.parent, rights, effective_ids=True)
        if self.has_directory and not fit:
            raise TokenError(
                f"path: {account.pw_name} may not read and write in {self.target.parent}; "
                f"{f'remove the link {path}, or ' if linked else ''}name a path in a directory of {account.pw_name}'s"
            )

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
                status = self.target.stat()
        except FileNotFoundError:
            return None
        return attributes(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)

    def wanted_state(self) -> dict[str, str]:
        """Return mode, owner and group as they should be."""
        return attributes(MODE, self.account.pw_uid, self.account.pw_gid)

    @contextlib.contextmanager
    def draft(self, text: str) -> Iterator[Draft]:
        """Make a draft that only the owner can read. The next run reads its text unless the block writes or removes it.

        :param text: what it tells before it has the secret.
        """
        with contextlib.ExitStack() as stack:
            with acting_as(self.account):
                draft = stack.enter_context(draft_of(self.target, stays=True))
                os.fchown(draft.descriptor, self.account.pw_uid, self.account.pw_gid)
                os.fchmod(draft.descriptor, MODE)
            self._fill(draft, text)
            yield draft

    def write(self, draft: Draft, secret: str) -> None:
        """Replace the file in one step by the draft with the secret."""
        # The secret has the user and the mark in it, so it is longer than a text of both.
        self._fill(draft, f"{secret}\n")
        with acting_as(self.account):
            draft.path.replace(self.target)

    def remove_draft(self, draft: Draft) -> None:
        """Remove a draft that tells nothing to the next run."""
        with acting_as(self.account):
            draft.path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the file."""
        with acting_as(self.account):
            self.target.unlink(missing_ok=True)

    def read_leftovers(self) -> list[str]:
        """Return what stands in each file that a killed run left beside this one."""
        texts = []
        with acting_as(self.account):
            for suffix in LEFT:
                for leftover in leftovers(self.target, suffix):
                    try:
                        texts.append(read_open(leftover.descriptor).decode("utf-8", "replace").strip())
                    except UnfitFile:
                        texts.append("")
        return texts

    def remove_leftovers(self) -> None:
        """Remove what killed runs left beside the file."""
        with acting_as(self.account):
            for suffix in LEFT:
                remove_leftovers(self.target, suffix)

    @contextlib.contextmanager
    def locked(self, patience: int) -> Iterator[None]:
        """Keep other runs off the file until the block ends.

        :param patience: how many seconds to wait for another run.
        """
        # A file of its own that nobody else can open: by a lock on the directory another account could stop every run.
        path = self.target.with_name(f".{self.target.name}.{LOCK}")
        deadline = time.monotonic() + patience
        while (descriptor := self._lock(path)) is None:
            if time.monotonic() > deadline:
                raise TokenError(f"path: another run keeps {self.target} just now; run again when it has ended")
            time.sleep(0.1)
        try:
            yield
        finally:
            with acting_as(self.account):
                path.unlink(missing_ok=True)
            os.close(descriptor)

    def _lock(self, path: Path) -> int | None:
        try:
            with acting_as(self.account):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, MODE)
        except OSError as error:
            raise TokenError(f"path: {path} cannot be opened ({error.strerror}); remove it") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that kept it may have removed it meanwhile.
            with acting_as(self.account):
                if os.path.samestat(path.lstat(), os.fstat(descriptor)):
                    return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None

    @staticmethod
    def _fill(draft: Draft, text: str) -> None:
        os.pwrite(draft.descriptor, text.encode(), 0)
        os.fsync(draft.descriptor)
