# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages, installed by apt-get.

Not by the module apt, for that would first install python3-apt where it is missing, in a transaction of its own.
"""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.wheelhouse.devpi.plugins.module_utils._process import Beside

# For how long, in seconds, another program may keep apt's locks, as apt-daily does after a boot
PATIENCE = 120
# apt-get itself waits for dpkg's lock alone, not for those of its lists and of its archives. An installation that was
# killed keeps it from another until dpkg has configured what lies about unpacked.
INSTALL = """
patience=$0
end=$(($(date +%s) + patience))
# A file, for a service that a package starts would keep a pipe open.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
  while :; do
    apt-get --yes --quiet --no-install-recommends --option=DPkg::Lock::Timeout="$patience" install "$@" >"$log" 2>&1
    code=$?
    if [ $code = 0 ] || [ "$(date +%s)" -ge "$end" ] || ! grep -Eq 'Could not get lock|Unable to lock' "$log"; then
      cat "$log"
      return $code
    fi
    sleep 1
  done
}
install "$@" || { dpkg --configure -a && install "$@"; }
"""


class Installation:
    """One transaction, which runs beside its caller until that waits for it.

    :param packages: names of Debian packages.
    """

    def __init__(self, packages: list[str]) -> None:
        self._packages = packages
        command = ["sh", "-c", INSTALL, str(PATIENCE), *packages]
        self._apt_get = Beside(command, {"DEBIAN_FRONTEND": "noninteractive"})

    def wait(self) -> str:
        """Return nothing when the packages are installed, and what is to be told when they could not be."""
        code, said = self._apt_get.wait()
        if code == 0:
            return ""
        last = "\n".join(said.strip().splitlines()[-8:])
        return f"apt-get could not install {' '.join(self._packages)} (exit status {code}):\n{last}"


def refresh(module: Any, options: list[str]) -> str:
    """Refresh apt's package lists, as soon as no other program is at it.

    :param module: the running AnsibleModule.
    :param options: of apt-get, such as where the lists are.
    :returns: what is to be told where that failed; nothing where it did not.
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
