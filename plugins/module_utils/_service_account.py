# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which accounts a devpi-server may run as."""

from __future__ import annotations

import grp
import os
import pwd
import re

# What useradd takes on every supported system
NEW_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
NOBODY = 65534
WAY_OUT = "name an account of the server's own, like devpi"


def find(name: str) -> pwd.struct_passwd | None:
    """Return the account, None where there is none."""
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None


def unfit_account(name: str) -> str:
    """Return why a devpi-server may not run as this account, with the way out; nothing where it may.

    :param name: of an account that is there or is to be made.
    """
    account = find(name)
    if account is None:
        if not NEW_NAME.fullmatch(name):
            return (
                f"{name[:40]!r} is not an account on {os.uname().nodename}, and cannot be made: a name has at most 32 "
                f"of a-z, 0-9, _ and -, with a letter or _ first; {WAY_OUT}"
            )
        try:
            grp.getgrnam(name)
        except KeyError:
            return ""
        return (
            f"{name} is not an account on {os.uname().nodename} but a group, whose members the account would share its "
            f"files with; name another, or make the account yourself: useradd --system --gid {name} {name}"
        )
    if account.pw_uid == 0:
        return f"{name} has the rights of root, so whoever breaks into the server would be root; {WAY_OUT}"
    if account.pw_uid == NOBODY:
        return f"{name} is shared with other programs, which could then read the secret; {WAY_OUT}"
    return ""
