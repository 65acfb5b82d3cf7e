# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which requirements may be installed: each of one version and with its hash, and of devpi-server only 6."""

from __future__ import annotations

import re

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_HASH = r"--hash=(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})"
# The marker has no option in it: for pip those begin with a dash after a space.
_MARKER = r"(?: *;(?:(?! -)[A-Za-z0-9_.'\"<>=!~() ,+-])+)?"
PINNED = re.compile(rf"({_NAME})(?:\[[A-Za-z0-9._, -]*\])? *== *([A-Za-z0-9.!+_-]+){_MARKER}(?: +{_HASH})+ *")


def pin_problem(package: str) -> str:
    """Return what is wrong with a requirement beside the lock's; nothing where it may be installed.

    :param package: an element of devpi_venv_extra_packages.
    """
    found = PINNED.fullmatch(package)
    if not found:
        return (
            f"devpi_venv_extra_packages has {package!r}, which is not one requirement with its version and its hashes; "
            "write it as name==version --hash=sha256:…, as uv pip compile --generate-hashes does, on one line"
        )
    if re.sub(r"[-_.]+", "-", found.group(1)).lower() == "devpi-server":
        return f"devpi_venv_extra_packages has {package!r}, and the lock names devpi-server; change devpi_venv_lock"
    return ""


def lock_problem(lock: str, locked: list[str]) -> str:
    """Return what is wrong with a lock; nothing where it may be installed.

    :param lock: its path, as devpi_venv_lock has it.
    :param locked: what it names, as ``name==version``.
    """
    versions = dict.fromkeys(each.partition("==")[2] for each in locked if each.startswith("devpi-server=="))
    if not locked:
        return f"devpi_venv_lock {lock} is no file with name==version lines where Ansible runs; name one that is"
    if not versions:
        return f"devpi_venv_lock {lock} names no devpi-server==VERSION; add devpi-server to what it is made of"
    if not any(each.startswith("uv==") for each in locked):
        return f"devpi_venv_lock {lock} names no uv==VERSION, which installs the rest; add uv to what it is made of"
    for version in versions:
        major = re.match(r"[0-9]+", version)
        if not major or int(major.group()) != 6:
            return (
                f"devpi_venv_lock {lock} names devpi-server {version}, and the roles know how to set up 6; name a lock "
                "of 'devpi-server<7'"
            )
    return ""
