# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes are devpi-servers of an account, and who started them."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path
from typing import Iterator

from ansible_collections.wheelhouse.devpi.plugins.module_utils._listeners import Listener, held_by
from ansible_collections.wheelhouse.devpi.plugins.module_utils._supervisord import Supervisord, SupervisordError

PROGRAM = "devpi-server"
# Of environments that are there or were, and Debian's own: what runs may have been started before a change of any.
INTERPRETERS = ("opt/devpi/venvs/*/bin/python", "usr/bin/python3*", "usr/local/bin/python3*")
SUPERVISORD = "supervisord"


def is_server(listener: Listener, account: pwd.struct_passwd | None, venv_path: str) -> bool:
    """Whether a devpi-server of the account holds the socket.

    Account and executable prove it, and no other account can have both. That the command is devpi-server's tells it
    from the account's other programs.

    :param account: the server's; None where there is none, and so no server of it.
    :param venv_path: the environment that it is started from.
    """
    if account is None:
        return False
    interpreters = [f"{venv_path}/bin/python", *map(str, _debians_and_ours())]
    called = any(Path(word).name == PROGRAM for command in listener.commands for word in command)
    return called and held_by(listener, account.pw_uid, *interpreters)


def _debians_and_ours() -> Iterator[Path]:
    for each in INTERPRETERS:
        yield from Path("/").glob(each)


def started_by_hand(
    listeners: list[Listener], account: pwd.struct_passwd, server_dir: str, program: str
) -> list[tuple[int, str]]:
    """Return the devpi-servers that hold the port or the database and that supervisor does not run as our program.

    :param listeners: of the port, held by devpi-servers of the account.
    :param server_dir: the directory of the data.
    :param program: the name of supervisor's program; its workers are that name and ``-worker-`` and a number.
    :returns: the process id of each, and supervisor's name for it, which is empty where no supervisor runs it.
    """
    pids = {int(number) for each in listeners for number in re.findall(r"\((\d+)\)", each.holder)}
    pids |= _users_of(os.path.realpath(f"{server_dir}/.sqlite"), account.pw_uid)
    names = _supervised() if pids else {}
    found = []
    for pid in sorted(pids):
        name = names.get(pid, "")
        if name != program and not re.fullmatch(re.escape(program) + r"-worker-\d+", name):
            if not name and names == {} and _comm(_parent(pid)) == SUPERVISORD:
                # It does not answer now, and is all the same who started it.
                continue
            found.append((pid, name))
    return found


def _users_of(path: str, uid: int) -> set[int]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if process.stat().st_uid != uid or not any(Path(word).name == PROGRAM for word in words):
                continue
            if any(os.readlink(each) == path for each in (process / "fd").iterdir()):
                found.add(int(process.name))
        except OSError:
            # It ended meanwhile, or a container keeps even root from looking.
            continue
    return found


def _supervised() -> dict[int, str]:
    """Return the names of supervisor's programs by process id; nothing where it does not answer."""
    try:
        return Supervisord().running()
    except SupervisordError:
        return {}


def _parent(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(status.rsplit(")", 1)[1].split()[1])


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
