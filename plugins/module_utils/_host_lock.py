# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps two deployments from changing the same host at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Iterator

# Only root can open a file in /run; in /run/lock and /tmp any account could, and hold the lock for ever.
LOCK = "/run/wheelhouse.devpi.lock"
PATIENCE = 120.0


class HostBusyError(Exception):
    """Another run is at work for longer than this one waits; the message names it and the way out."""


@contextlib.contextmanager
def one_at_a_time(patience: float = PATIENCE) -> Iterator[None]:
    """Keep other runs out while the block runs. It does nothing without root's rights, which every deployment has.

    The lock ends with the process that took it, however that ends.

    :param patience: how many seconds to wait for another run.
    :raises HostBusyError: it went on for longer.
    """
    if os.geteuid() != 0:
        yield
        return
    handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        _acquire(handle, time.monotonic() + patience, patience)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, end: float, patience: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < end:
                time.sleep(0.1)
                continue
            holder = os.pread(handle, 20, 0).decode("ascii", "replace") or "unknown"
            raise HostBusyError(
                f"another deployment is running on {os.uname().nodename} (process {holder} holds {LOCK}) and did not "
                f"end within {patience:.0f} s; wait until it has ended, and run this again"
            ) from None
        return
