# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that run while a module goes on.

For those that a module starts and waits for there is AnsibleModule.run_command.
"""

from __future__ import annotations

import subprocess
import tempfile
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


def detach(command: list[str]) -> None:
    """Start a program that outlives the module, and whose end and output nobody looks at."""
    subprocess.Popen(
        command,
        env=system_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Python takes modules from where it starts, which may be a directory that others can write to.
        cwd="/",
        start_new_session=True,
    )
