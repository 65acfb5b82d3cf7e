# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords that were generated and are kept on the managed host, each in a file named after its user."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from ansible_collections.wheelhouse.devpi.plugins.module_utils._draft import draft_of, remove_leftovers
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import exposed, unfit

LONGEST = 65536
# Drafts of all passwords have one name, so that each run finds what a killed one left. No devpi user's name has a +.
DRAFT_OF, DRAFT = "password", "+draft"


class CredentialsError(Exception):
    """A directory or file of passwords cannot be used; the message names it and the way out."""


class Credentials:
    """The directory that holds generated passwords.

    It is absent, empty, or ours: it holds only files of one line that no other account can read.

    :param directory: made with mode 0700 when the first password is written.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)
        self._given = directory
        self._examined = False
        # Whether its own mode keeps others from the files in it
        self._closed = False

    def path(self, user: str) -> Path:
        """Return the file that holds, or would hold, the user's password.

        :raises CredentialsError: no file in the directory can have that name.
        """
        if not user or user in (".", "..") or "/" in user or not user.isprintable():
            raise CredentialsError(
                f"{user!r} names no file in {self.directory}, where the passwords of devpi users are kept; give the "
                "name of a devpi user"
            )
        return self.directory / user

    def examine(self, apart: str = "") -> None:
        """Make sure that the directory can be used for passwords; it need not exist.

        :param apart: the name of a file that the caller checks.
        :raises CredentialsError: it is not fit, others can change it, or it holds what is not ours.
        """
        if self._examined:
            return
        why = unfit(self._given)
        if why:
            raise CredentialsError(f"credentials_dir {self._given} {why}")
        place = exposed(self._given) if os.geteuid() == 0 else None
        if place is not None:
            raise CredentialsError(
                f"credentials_dir {self._given} lies in {place}, where other accounts than root can replace it; "
                "name a directory below one that only root can change, like /etc/devpi/credentials"
            )
        try:
            handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CredentialsError(
                f"credentials_dir {self._given}: {error.strerror}; name a directory, or one that does not exist"
            ) from error
        try:
            self._examine(handle, apart)
        finally:
            os.close(handle)
        self._examined = True

    def _examine(self, handle: int, apart: str) -> None:
        info = os.fstat(handle)
        if info.st_uid not in (0, os.geteuid()):
            raise CredentialsError(
                f"credentials_dir {self._given} belongs to another account ({info.st_uid}) than the one that runs "
                "this; name a directory of that one"
            )
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CredentialsError(f"{self.directory} can be written by others; chmod 0700 it")
        with os.scandir(handle) as entries:
            names = [entry.name for entry in entries]
        self._closed = not info.st_mode & 0o077
        for name in names:
            if name != apart and not _is_password_file(name, handle, self._closed):
                raise CredentialsError(
                    f"credentials_dir {self._given} holds {name}, which is not a password file that only its owner "
                    "can read; name a directory that is empty or does not exist, or move that file away"
                )

    def read(self, user: str) -> str | None:
        """Return the user's password, None where there is no file.

        :raises CredentialsError: the file cannot be read, is empty, or is not one as we make it.
        """
        path = self.path(user)
        self.examine(apart=user)
        try:
            # A pipe that nobody writes to is not waited for.
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            what = "is a link" if path.is_symlink() else error.strerror
            raise CredentialsError(f"{path}: {what}; it should hold the password of {user} and a newline") from error
        try:
            password = _read_password(handle, path, user, self._closed)
        finally:
            os.close(handle)
        return password

    def remove_leftovers(self) -> None:
        """Remove the drafts that runs which were killed left; nothing where the directory is not fit for passwords."""
        with contextlib.suppress(CredentialsError):
            self.examine()
            remove_leftovers(self.directory / DRAFT_OF, DRAFT)

    def obtain(self, user: str) -> str:
        """Return the password in the user's file, which is made with a new password where it is missing.

        The file appears whole or not at all and is never readable by others. A file that another run made meanwhile
        wins, and the draft of a run that is at work stays.

        :raises CredentialsError: the file cannot be read or written.
        """
        existing = self.read(user)
        if existing is not None:
            return existing
        password = secrets.token_urlsafe(24)
        try:
            for above in reversed([each for each in self.directory.parents if not each.exists()]):
                above.mkdir(0o755, exist_ok=True)
            self.directory.mkdir(0o700, exist_ok=True)
            self.examine()
            with draft_of(self.directory / DRAFT_OF, suffix=DRAFT) as draft:
                os.write(draft.descriptor, f"{password}\n".encode())
                os.fsync(draft.descriptor)
                # A link, unlike a rename, refuses to replace what is there.
                os.link(draft.path, self.path(user))
        except FileExistsError:
            return self.obtain(user)
        except OSError as error:
            raise CredentialsError(
                f"{error.filename}: {error.strerror}; the password of {user} is kept there"
            ) from error
        return password


def _read_password(handle: int, path: Path, user: str, closed: bool) -> str:
    """Return what the file of a password holds, without the newline at its end."""
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode):
        raise CredentialsError(f"{path} is not a file; it should hold the password of {user} and a newline")
    if info.st_uid not in (0, os.geteuid()):
        raise CredentialsError(
            f"{path} belongs to another account ({info.st_uid}), which knows and can change what is in it; write the "
            f"password of {user} into a file of the account that runs this"
        )
    if info.st_mode & 0o077 and not closed:
        raise CredentialsError(f"{path} can be read by others; chmod 0600 it, and give {user} another password")
    try:
        password = os.read(handle, LONGEST).decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise CredentialsError(f"{path}: not UTF-8; it should hold the password of {user} and a newline") from error
    if not password:
        raise CredentialsError(f"{path} is empty; write the password of {user} into it, or remove it")
    if "\n" in password:
        raise CredentialsError(f"{path} has several lines; it should hold the password of {user} and a newline")
    return password


def _is_password_file(name: str, directory: int, closed: bool) -> bool:
    """Whether a file is as we make those of passwords and tokens."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        info = os.fstat(handle)
        return (
            stat.S_ISREG(info.st_mode)
            and (closed or not info.st_mode & 0o077)
            and b"\n" not in os.read(handle, LONGEST).rstrip(b"\r\n")
        )
    finally:
        os.close(handle)
