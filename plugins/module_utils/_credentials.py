# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated passwords on the managed host: one directory, one file a user, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path


class CredentialsError(Exception):
    """A directory or file of passwords cannot be used; the message names it and the way out."""


class Credentials:
    """The directory that holds generated passwords.

    :param directory: made with mode 0700 when the first password is written.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    def path(self, user: str) -> Path:
        """Return the file that holds, or would hold, the user's password."""
        return self.directory / user

    def read(self, user: str) -> str | None:
        """Return the user's password, None where there is no file.

        :raises CredentialsError: the file cannot be read, or is empty.
        """
        path = self.path(user)
        try:
            password = path.read_text(encoding="utf-8").rstrip("\r\n")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise CredentialsError(f"{path}: {reason}; it should hold the password of {user} and a newline") from error
        if not password:
            raise CredentialsError(f"{path} is empty; write the password of {user} into it, or remove it")
        return password

    def obtain(self, user: str) -> str:
        """Return the password in the user's file, which is made with a new password where it is missing.

        The file appears whole or not at all and is never readable by others. One that another run made meanwhile wins.

        :raises CredentialsError: the file cannot be read or written.
        """
        there = self.read(user)
        if there is not None:
            return there
        password = secrets.token_urlsafe(24)
        draft = self.directory / f".{secrets.token_hex(8)}"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.directory.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise CredentialsError(f"{self.directory} can be written by others; chmod 0700 it")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(password + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                # A link, unlike a rename, refuses to replace what is there.
                os.link(draft, self.path(user))
            except FileExistsError:
                return self.obtain(user)
            finally:
                draft.unlink()
        except OSError as error:
            raise CredentialsError(
                f"{error.filename}: {error.strerror}; the password of {user} is kept there"
            ) from error
        return password
