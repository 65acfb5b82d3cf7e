# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a file that another account may have put there: it may be a pipe, a device, or without an end."""

from __future__ import annotations

import os
import stat

# The files that people keep there are a thousand times smaller.
LIMIT = 1 << 20

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class UnfitFile(ValueError):  # noqa: N818 - named for what it is about
    """The path leads to no regular file of reasonable size. The message is the end of the sentence "PATH is …"."""


def read_file(path: str, *, follow: bool = True, directory: int | None = None) -> bytes:
    """Return a file's content, without waiting for a pipe or a device in its place.

    Call it with the rights of the account that could have put something there; see ``_account.acting_as``.

    :param path: of the file.
    :param follow: whether a link in its place is followed.
    :param directory: an open directory that `path` is relative to.
    :raises UnfitFile: it is not a regular file, or has more than `LIMIT` bytes.
    :raises OSError: there is none, or it cannot be read.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        opened = os.open(path, flags if follow else flags | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        if not follow and stat.S_ISLNK(_kind(path, directory)):
            raise UnfitFile("a link") from None
        if stat.S_ISSOCK(_kind(path, directory)):
            raise UnfitFile("a socket") from None
        raise
    try:
        return read_open(opened)
    finally:
        os.close(opened)


def read_open(opened: int) -> bytes:
    """Return the content of a file that is open, from its beginning.

    :param opened: a descriptor, opened with ``O_NONBLOCK``.
    :raises UnfitFile: it is not a regular file, or has more than `LIMIT` bytes.
    """
    mode = os.fstat(opened).st_mode
    if not stat.S_ISREG(mode):
        raise UnfitFile(next((name for is_kind, name in _KINDS if is_kind(mode)), "no file"))
    content = b""
    while len(content) <= LIMIT:
        part = os.pread(opened, LIMIT + 1 - len(content), len(content))
        if not part:
            return content
        content += part
    raise UnfitFile(f"larger than {LIMIT} bytes")


def _kind(path: str, directory: int | None) -> int:
    try:
        return os.stat(path, dir_fd=directory, follow_symlinks=False).st_mode
    except OSError:
        return 0
