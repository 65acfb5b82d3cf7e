# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drafts: what is made beside a path, under a name of its own, until it is whole and takes that place by a rename.

Two deployments may be at work on one host. Each keeps its draft locked (flock(2)), and the kernel takes the lock off
when its process ends, however it ends. So what is not locked was left by a run that was killed, and the next run may
read it, and removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Iterator, NamedTuple

SUFFIX = ".draft"


class Draft(NamedTuple):
    """A draft while its writer is at work.

    :param path: where it lies, beside what it is to become.
    :param descriptor: open on it, for writing where it is a file. It keeps the lock; a program that works on after this
        process was killed keeps the lock too if it inherits the descriptor.
    """

    path: Path
    descriptor: int


@contextlib.contextmanager
def draft_of(path: Path, *, directory: bool = False, suffix: str = SUFFIX, stays: bool = False) -> Iterator[Draft]:
    """Make an empty draft of `path` that only its owner can read, and keep it locked until the block ends.

    The block renames it when it is whole; otherwise it is removed. Leftovers of runs that were killed go first.
    Everything is done with the rights that the caller has, which should be those of the account whose directory it is.

    :param path: what it is to become.
    :param directory: whether that is a directory, not a file.
    :param suffix: the end of the draft's name, after ``.NAME.`` and some letters.
    :param stays: a draft that the block neither renames nor removes is left for the next run to read.
    :raises OSError: it cannot be made there.
    """
    remove_leftovers(path, suffix)
    draft = _locked_draft(path, directory, suffix)
    try:
        yield draft
    finally:
        if not stays and _is_at(draft.path, draft.descriptor):
            _remove(draft.path)
        os.close(draft.descriptor)


def remove_leftovers(path: Path, suffix: str = SUFFIX) -> None:
    """Remove the drafts of `path` that no live run holds."""
    for leftover in leftovers(path, suffix):
        with contextlib.suppress(OSError):
            _remove(leftover.path)


def leftovers(path: Path, suffix: str = SUFFIX) -> Iterator[Draft]:
    """Yield the drafts of `path` that no live run holds, each open for reading until the next is yielded.

    A link, a pipe, and what belongs to another account is not a draft.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{suffix}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                # Other runs may read it at the same time; a writer's lock keeps all of them off.
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                status = os.fstat(descriptor)
                is_draft = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
                if is_draft and status.st_uid == os.geteuid() and _is_at(leftover, descriptor):
                    yield Draft(leftover, descriptor)
            finally:
                os.close(descriptor)


def _locked_draft(path: Path, directory: bool, suffix: str) -> Draft:
    while True:
        if directory:
            made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=suffix, dir=path.parent))
            descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        else:
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=suffix, dir=path.parent)
            made = Path(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Another run takes it for a leftover, because it was not locked yet.
            with contextlib.suppress(OSError):
                _remove(made)
            os.close(descriptor)
            continue
        except OSError:
            # This file system has no locks, so no other run can lock and remove it either.
            pass
        if _is_at(made, descriptor):
            return Draft(made, descriptor)
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the path still leads to what is open."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    elif stat.S_ISREG(mode):
        path.unlink()
