# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root runs the distribution's own programs, whatever PATH and the other variables of a shell say."""

from __future__ import annotations

import os
import re
from typing import Any

# PATH of a root who has pyenv, conda or asdf begins with their programs, openssl and python3 among them.
SYSTEM_PROGRAMS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
# Variables by which a program loads other code, or reads another configuration, than the system's. Proxies, locales and
# CA bundles are not among them.
UNSAFE_VARIABLES = re.compile(
    r"(LD_|GCONV_|GETCONF_|GLIBC_|MALLOC_|PYTHON|PERL|RUBY|OPENSSL_|APT_|DPKG_|DEBCONF_|NGINX|SUPERVISOR_|SYSTEMD_|BASH_)\w*"
    r"|ENV|IFS|CDPATH|SHELLOPTS|BASHOPTS|PS4|VIRTUAL_ENV|LOCPATH|NLSPATH|HOSTALIASES|RES_OPTIONS|LOCALDOMAIN"
)


def system_environment() -> dict[str, str]:
    """Return this process's environment as a program of the system gets it."""
    return {
        **{name: value for name, value in os.environ.items() if not UNSAFE_VARIABLES.fullmatch(name)},
        **SYSTEM_PROGRAMS,
    }


def use_system_programs(module: Any) -> None:
    """Have the module run only the system's own programs from now on.

    :param module: the running AnsibleModule, whose ``run_command`` passes on the environment of this process.
    """
    for name in [name for name in os.environ if UNSAFE_VARIABLES.fullmatch(name)]:
        del os.environ[name]
    module.run_command_environ_update = SYSTEM_PROGRAMS
