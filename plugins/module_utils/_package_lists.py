# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of the packages that apt can install."""

from __future__ import annotations

import time
from typing import Any

# For how long, in seconds, another program may keep apt's locks, as apt-daily does after a boot
PATIENCE = 120


def refresh(module: Any, options: list[str]) -> str:
    """Refresh apt's package lists, as soon as no other program is at it.

    :param module: the running AnsibleModule.
    :param options: of apt-get, such as where the lists are.
    :returns: the problem where that failed; nothing where it did not.
    """
    end = time.monotonic() + PATIENCE
    while True:
        command = ["apt-get", *options, "--option", "APT::Update::Error-Mode=any", "update"]
        rc, out, err = module.run_command(command, environ_update={"LC_ALL": "C.UTF-8"})
        locked = "Could not get lock" in err or "Unable to lock" in err
        if rc == 0 or not locked or time.monotonic() > end:
            break
        time.sleep(1)
    if rc == 0:
        return ""
    if locked:
        holder = next((line for line in err.splitlines() if "Could not get lock" in line), err.strip())
        return (
            f"apt's package lists were in use by another program for {PATIENCE} s ({holder.strip()}); wait until it "
            "has ended, and run this again"
        )
    last = (err.strip() or out.strip()).splitlines()[-1:]
    return f"apt-get update failed: {''.join(last)}; a package is missing, so the sources in /etc/apt must be reachable"
