# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages, installed by apt-get.

Not by the module apt, for that would first install python3-apt where it is missing, in a transaction of its own.
"""

from __future__ import annotations

from ansible_collections.wheelhouse.devpi.plugins.module_utils._process import Beside

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
        self._apt_get = Beside(["sh", "-c", INSTALL, "install", *packages], {"DEBIAN_FRONTEND": "noninteractive"})

    def wait(self) -> str:
        """Return nothing when the packages are installed, and what is to be told when they could not be."""
        code, said = self._apt_get.wait()
        if code == 0:
            return ""
        last = "\n".join(said.strip().splitlines()[-8:])
        return f"apt-get could not install {' '.join(self._packages)} (exit status {code}):\n{last}"
