# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which requirements may be installed: each of one version and with its hash, and of devpi-server only 6."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.wheelhouse.devpi.plugins.module_utils._arguments import shown

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_HASH = r"--hash=(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})"
# The marker has no option in it: for pip those begin with a dash after a space.
_MARKER = r"(?: *;(?:(?! -)[A-Za-z0-9_.'\"<>=!~() ,+-])+)?"
PINNED = re.compile(rf"({_NAME})(?:\[[A-Za-z0-9._, -]*\])? *== *([A-Za-z0-9.!+_-]+){_MARKER}(?: +{_HASH})+ *")


# What a lock names, one line each; the hashes are in the lines after it.
LOCKED = re.compile(r"^[A-Za-z0-9._-]+==[^\s;]+", re.MULTILINE)


def pin_problem(package: str, place: str) -> str:
    """Return what is wrong with a requirement beside the lock's; nothing where it may be installed.

    :param package: an element of devpi_venv_extra_packages.
    :param place: how the message calls it, ``devpi_venv_extra_packages[1]``.
    """
    found = PINNED.fullmatch(package)
    if not found:
        return (
            f"{place} {shown(package)} is not one requirement with its version and its hashes; write it as "
            "name==version --hash=sha256:…, as uv pip compile --generate-hashes does, on one line"
        )
    if re.sub(r"[-_.]+", "-", found.group(1)).lower() == "devpi-server":
        return f"{place} {shown(package)} is in the lock already; change devpi_venv_lock for another devpi-server"
    return ""


def locked_in(path: str) -> list[str]:
    """Return what a lock names, as ``name==version``; nothing where it is not a file, or none that can be read.

    :param path: on the controller; a relative one is looked for where Ansible was started.
    """
    lock = Path(path).expanduser()
    try:
        return LOCKED.findall(lock.read_text(encoding="utf-8")) if lock.is_file() else []
    except (OSError, ValueError):
        return []


def lock_problem(lock: str, locked: list[str]) -> str:
    """Return what is wrong with a lock; nothing where it may be installed.

    :param lock: its path, as devpi_venv_lock has it.
    :param locked: what it names, as ``name==version``.
    """
    where = f"devpi_venv_lock {lock if re.fullmatch('/[^@]*', lock) and lock.isprintable() else shown(lock)}"
    versions = dict.fromkeys(each.partition("==")[2] for each in locked if each.startswith("devpi-server=="))
    if not locked:
        return f"{where} is not a file with name==version lines where Ansible runs; name one that is"
    if not versions:
        return f"{where} names no devpi-server==VERSION; add devpi-server to the lock's requirements"
    if not any(each.startswith("uv==") for each in locked):
        return f"{where} names no uv==VERSION, which installs the rest; add uv to the lock's requirements"
    for version in versions:
        major = re.match(r"[0-9]+", version)
        if not major or int(major.group()) != 6:
            return (
                f"{where} names devpi-server {version}, but the roles support only devpi-server 6; name a lock "
                "with 'devpi-server<7'"
            )
    return ""
