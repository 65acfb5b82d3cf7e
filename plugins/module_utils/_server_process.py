# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes are devpi-servers of an account, and who started them."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from pathlib import Path
from typing import Iterator

from ansible_collections.wheelhouse.devpi.plugins.module_utils._listeners import (
    Listener,
    Process,
    is_held_by,
    open_files,
    process,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._supervisord import Supervisord, SupervisordError

PROGRAM = "devpi-server"
# Those of all environments and Debian's own: a server that runs may have been started from any of them.
INTERPRETERS = ("opt/devpi/venvs/*/bin/python", "usr/bin/python3*", "usr/local/bin/python3*")
SUPERVISORD = "supervisord"


def is_server(listener: Listener, account: pwd.struct_passwd | None, venv_path: str) -> bool:
    """Whether a devpi-server of the account holds the socket.

    Account and executable prove it, because no other account can have both. The command distinguishes devpi-server from
    other programs of the account.

    :param account: the server's; None where it does not exist, and so has no server.
    :param venv_path: the environment that it is started from.
    """
    if account is None:
        return False
    interpreters = [f"{venv_path}/bin/python", *map(str, _known_interpreters())]
    is_devpi_server = any(_is_devpi_server(each) for each in listener.processes)
    return is_devpi_server and is_held_by(listener, account.pw_uid, *interpreters)


def _known_interpreters() -> Iterator[Path]:
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
    # Where the kernel does not show who holds the port, each devpi-server of the account may be it.
    pids = {holder.pid for each in listeners for holder in each.processes if each.certain or _is_devpi_server(holder)}
    pids |= _servers_with_open(os.path.realpath(f"{server_dir}/.sqlite"), account.pw_uid)
    names = _supervised() if pids else {}
    found = []
    for pid in sorted(pids):
        line = [pid, *_ancestors(pid)]
        if len(line) == 1 and process(pid) is None:
            # It ended meanwhile.
            continue
        if any(ancestor in pids for ancestor in line[1:]):
            # A worker is not a server of its own.
            continue
        name = next((names[each] for each in line if each in names), "")
        if name != program and not re.fullmatch(re.escape(program) + r"-worker-\d+", name):
            if not name and names == {} and any(_is_supervisord(each) for each in line[1:]):
                # Supervisor started this one, although it does not answer now.
                continue
            found.append((pid, name))
    return found


def _is_devpi_server(each: Process) -> bool:
    return any(Path(word).name == PROGRAM for word in each.command)


def _servers_with_open(path: str, uid: int) -> set[int]:
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        server = process(int(directory.name))
        if server is None or server.uid != uid or not _is_devpi_server(server):
            continue
        # In some containers even root cannot inspect a process.
        with contextlib.suppress(PermissionError):
            if path in open_files(server.pid):
                found.add(server.pid)
    return found


def _supervised() -> dict[int, str]:
    """Return the names of supervisor's programs by process id; nothing where it does not answer."""
    try:
        return Supervisord().running()
    except SupervisordError:
        return {}


def _ancestors(pid: int) -> list[int]:
    """Return the process that started this one, the one that started that, and so on."""
    found: list[int] = []
    current = process(pid)
    while current is not None and current.parent > 0 and current.parent not in found:
        found.append(current.parent)
        current = process(current.parent)
    return found


def _is_supervisord(pid: int) -> bool:
    found = process(pid)
    # Any process can take this name, so only one of root's counts.
    return found is not None and found.name == SUPERVISORD and found.uid == 0
