# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that run while a module goes on, or have long been running.

For those that a module starts and waits for there is AnsibleModule.run_command.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Mapping

from ansible_collections.wheelhouse.devpi.plugins.module_utils._programs import system_environment


class Beside:
    """A program that runs beside its caller until that waits for it.

    :param command: the program and its arguments.
    :param environment: variables that are added to what the caller's leave to the system's programs.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - wait closes it
        self._process = subprocess.Popen(
            command,
            env={**system_environment(), "LC_ALL": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
        )

    def wait(self) -> tuple[int, str]:
        """Return the exit status and what was printed, on both streams, once the program has ended."""
        code = self._process.wait()
        with self._said:
            self._said.seek(0)
            return code, self._said.read().decode("utf-8", "replace")


def started_at(pid: int) -> float:
    """Return when a process was started, in seconds since 1970."""
    # The kernel rounds down to a tick; one more, so that what was written just before the start does not look newer.
    ticks = 1 + int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age
