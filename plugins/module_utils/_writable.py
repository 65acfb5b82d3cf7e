# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks whether a run can write where it will have to, without leaving anything behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Mapping

from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import exposed, rights_at

# Some file systems cannot make a file without a name; that says nothing about files with one.
UNSUPPORTED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
FULL_OR_FIXED = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)
WAYS_OUT = {
    errno.EROFS: "its file system is mounted read-only; mount it for writing, as with mount -o remount,rw",
    errno.ENOSPC: "no space is left there; free some",
    errno.EDQUOT: "the quota there is used up; free some space or raise the quota",
    errno.EACCES: "writing is not allowed there; check its owner and mode, and what AppArmor or SELinux report",
    errno.EPERM: "writing is not allowed there; check with lsattr for an immutable file or directory, and its owner",
    errno.ENOTDIR: "something on the way there is not a directory; move that away",
    errno.EISDIR: "it is a directory; move it away",
}


def problems(places: Mapping[str, str]) -> list[str]:
    """Return the places that cannot be written now, each with the reason and the way out.

    :param places: by path, absolute, what is to be written there, such as ``the configuration of devpi-server``. A path
        need not exist; then it is about the nearest directory above it that does.
    """
    found = []
    for path, what in places.items():
        number = _obstacle(Path(path))
        if number:
            problem = f"{what} goes to {path}, and {way_out(number)}"
            found += [] if problem in found else [problem]
    return found


def sentence(error: OSError) -> str:
    """Return what to tell a person of an error: the path, the reason and the way out."""
    path = error.filename2 or error.filename or "a file"
    return f"{path} could not be written or read ({error.strerror or error}): {way_out(error.errno or 0)}"


def way_out(number: int) -> str:
    """Return the reason and the way out of an error of the operating system.

    :param number: as in :mod:`errno`.
    """
    return WAYS_OUT.get(number, f"{os.strerror(number)}; fix that, then run again")


def _obstacle(path: Path) -> int:
    """Return the errno that writing at the path would end in, 0 where there is none."""
    place = exposed(str(path)) if os.geteuid() == 0 else None
    if place is None:
        return _try_to_write(path)
    # Another account can replace what lies there, so root does not follow it. Only a file system that is full or
    # read-only is a problem for whoever writes; what writes there reports all others.
    try:
        fixed = os.statvfs(place).f_flag & os.ST_RDONLY
    except OSError:
        return 0
    with rights_at(str(path)):
        number = _try_to_write(path)
    return errno.EROFS if fixed else number if number in FULL_OR_FIXED else 0


def _try_to_write(path: Path) -> int:
    try:
        nearest = path
        while not nearest.exists():
            nearest = nearest.parent
        if os.statvfs(nearest).f_flag & os.ST_RDONLY:
            return errno.EROFS
        if not nearest.is_dir():
            if nearest != path:
                return errno.ENOTDIR
            # A file is replaced by a rename, which writes to its directory.
            nearest = nearest.parent
            if os.statvfs(nearest).f_flag & os.ST_RDONLY:
                return errno.EROFS
        os.close(os.open(nearest, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return 0 if error.errno in UNSUPPORTED else error.errno or 0
    return 0
