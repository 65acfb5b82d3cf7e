# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages, installed by apt-get.

Not by the module apt, for that would first install python3-apt where it is missing, in a transaction of its own.
"""

from __future__ import annotations

import os
import subprocess
import tempfile

# An installation that was killed keeps apt-get from another until dpkg has configured what lies about unpacked.
INSTALL = """
install() { apt-get --yes --quiet --no-install-recommends --option=DPkg::Lock::Timeout=120 install "$@"; }
install "$@" || { dpkg --configure -a && install "$@"; }
"""


class Installation:
    """One transaction, which runs beside its caller until that waits for it.

    :param packages: names of Debian packages.
    """

    def __init__(self, packages: list[str]) -> None:
        self._packages = packages
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - wait closes it
        self._process = subprocess.Popen(
            ["sh", "-c", INSTALL, "install", *packages],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            close_fds=True,
        )

    def wait(self) -> str:
        """Return nothing when the packages are installed, and what is to be told when they could not be."""
        code = self._process.wait()
        with self._said:
            self._said.seek(0)
            last = self._said.read().decode("utf-8", "replace").strip().splitlines()[-8:]
        if code == 0:
            return ""
        return f"apt-get could not install {' '.join(self._packages)} (exit status {code}):\n" + "\n".join(last)
