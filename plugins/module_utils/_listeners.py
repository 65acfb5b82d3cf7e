# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a TCP port of this host, read from /proc (proc(5)): nothing needs to be installed for it.

A process is identified by its account and its executable. Its arguments prove nothing: whoever starts it chooses them.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Iterator, NamedTuple

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import user_name

LISTEN = "0A"
DELETED = " (deleted)"


class Process(NamedTuple):
    """One process.

    :param pid: its process id.
    :param parent: that of the process that started it.
    :param name: as it calls itself, without characters that do not print.
    :param uid: the account whose rights it has; None where the kernel does not show it.
    :param command: its command line, one item a word.
    :param executable: the file that it runs, links resolved; empty where the kernel does not show it.
    """

    pid: int
    parent: int
    name: str
    uid: int | None
    command: list[str]
    executable: str

    @property
    def holder(self) -> str:
        """The process for a person to read, ``nginx (812)``."""
        return f"{self.name} ({self.pid})"


class Listener(NamedTuple):
    """One listening socket.

    :param address: the local address, ``127.0.0.1`` or ``::``.
    :param uid: the account that opened it, which the kernel shows for every socket.
    :param processes: the processes that hold it. A server stands for the workers that it started. In a container where
        even root cannot inspect other accounts' processes, these are all processes of that account.
    :param certain: whether the processes are known to hold it. Otherwise one of them may.
    """

    address: str
    uid: int
    processes: list[Process]
    certain: bool = True

    @property
    def holder(self) -> str:
        """The processes for a person to read."""
        joint = " and " if self.certain else " or "
        return joint.join(each.holder for each in self.processes) or "that cannot be seen from here"

    @property
    def described(self) -> str:
        """The processes with their accounts, and with their executable where its name is another than theirs."""
        descriptions = []
        for each in self.processes:
            of = user_name(self.uid if each.uid is None else each.uid)
            runs = "" if Path(each.executable).name.startswith(each.name) or not each.executable else each.executable
            runs = f", which runs {runs if runs.isprintable() else repr(runs)}" if runs else ""
            descriptions.append(f"{each.holder} of {of}{runs}")
        joint = " and " if self.certain else " or "
        return joint.join(descriptions) or f"of {user_name(self.uid)} that cannot be seen from here"

    @property
    def commands(self) -> list[list[str]]:
        """The command lines of the processes."""
        return [each.command for each in self.processes]

    @property
    def executables(self) -> list[str]:
        """The files that the processes run, as far as the kernel shows them."""
        return [each.executable for each in self.processes if each.executable]

    @property
    def accounts(self) -> set[int]:
        """The account that opened the socket, and those that hold it now."""
        return {self.uid, *(each.uid for each in self.processes if self.certain and each.uid is not None)}


class _Socket(NamedTuple):
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    uid: int
    inode: str


def listeners_on(host: str, port: int) -> list[Listener]:
    """Return the sockets that keep ``host:port`` from being bound.

    :param host: an address or a name; a wildcard collides with every address.
    :param port: the TCP port.
    """
    sockets = list(_sockets(host, port))
    if not sockets:
        return []
    holders, unreadable = _holders({each.inode for each in sockets})
    found = []
    unowned = False
    for each in sockets:
        owners = holders.get(each.inode, [])
        possible = [] if owners else [process for process in unreadable if process.uid == each.uid]
        unowned = unowned or not (owners or possible)
        found.append((each, Listener(str(each.address), each.uid, _without_children(owners or possible), bool(owners))))
    # A socket without a process may have been closed while its process was searched for.
    still_open = {each.inode for each in _sockets(host, port)} if unowned else set()
    return [listener for each, listener in found if listener.processes or each.inode in still_open]


def accounts_on(host: str, port: int) -> set[int]:
    """Return the accounts whose sockets keep ``host:port`` from being bound; none where nobody listens.

    It reads two tables of the kernel and no process, so it is fast enough to be called before each request.

    :param host: an address or a name; a wildcard collides with every address.
    :param port: the TCP port.
    """
    return {each.uid for each in _sockets(host, port)}


def grouped_by_process(listeners: list[Listener]) -> list[tuple[str, str]]:
    """Return each process that holds a socket once: as :attr:`Listener.described` has it, and with its addresses."""
    found: dict[str, list[str]] = {}
    for each in listeners:
        found.setdefault(each.described, []).append(each.address)
    return [(described, " and ".join(sorted(set(addresses)))) for described, addresses in found.items()]


def is_held_by(listener: Listener, uid: int, *executables: str) -> bool:
    """Whether the listener is held by a process of that account which runs one of these executables.

    Where none of the processes that hold it can be inspected, as by root in some containers, the account alone decides.

    :param listener: one that :func:`listeners_on` returned.
    :param uid: the account's number.
    :param executables: paths; links are followed, so that an environment's ``bin/python`` stands for the interpreter
        behind it. Give those of each environment that the process may have been started from.
    """
    if listener.accounts != {uid}:
        return False
    wanted = {os.path.realpath(executable) for executable in executables}
    return not listener.executables or any(each in wanted for each in listener.executables)


def _addresses(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        return {ipaddress.ip_address(info[4][0]) for info in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)}
    except OSError:
        return set()


def _sockets(host: str, port: int) -> Iterator[_Socket]:
    wanted = _addresses(host)
    everywhere = any(each.is_unspecified for each in wanted)
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for each in _listening(table, port):
            if everywhere or each.address.is_unspecified or each.address in wanted:
                yield each


def _listening(table: str, port: int) -> list[_Socket]:
    found = []
    for row in _read_text(Path(table)).splitlines()[1:]:
        fields = row.split()
        packed, number = fields[1].split(":")
        if fields[3] == LISTEN and int(number, 16) == port:
            # The kernel prints each 32-bit word of the address in the machine's own, little-endian order.
            words = [bytes.fromhex(packed[at : at + 8])[::-1] for at in range(0, len(packed), 8)]
            address = ipaddress.ip_address(b"".join(words))
            mapped = getattr(address, "ipv4_mapped", None)
            found.append(_Socket(mapped or address, int(fields[7]), fields[9]))
    return found


def executable_of(pid: int | str) -> list[str]:
    """Return the one file that the process runs, nothing where the kernel does not show it."""
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return []
    # An upgrade of its package has replaced the file since.
    return [path[: -len(DELETED)] if path.endswith(DELETED) else path]


def process(pid: int) -> Process | None:
    """Return the process with this id; None where there is none."""
    status = _read_text(Path(f"/proc/{pid}/status"))
    if not status:
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    name = _read_text(Path(f"/proc/{pid}/comm")).rstrip("\n")
    executables = executable_of(pid)
    return Process(
        pid,
        int(fields.get("PPid", "0")),
        "".join(each if each.isprintable() else "?" for each in name) or "a process",
        # The fields are the real, the effective and two more; the effective account is whose rights it has.
        int(fields["Uid"].split()[1]) if "Uid" in fields else None,
        _read_text(Path(f"/proc/{pid}/cmdline")).split("\0"),
        executables[0] if executables else "",
    )


def _holders(inodes: set[str]) -> tuple[dict[str, list[Process]], list[Process]]:
    """Return the processes that hold each of the sockets, and those that cannot be inspected."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    pids: dict[str, list[int]] = {}
    unreadable = []
    for directory in Path("/proc").glob("[0-9]*"):
        pid = int(directory.name)
        try:
            sockets = {target for target in open_files(pid) if target in wanted}
        except PermissionError:
            unreadable.append(pid)
            continue
        for target in sockets:
            pids.setdefault(wanted[target], []).append(pid)
    found = {inode: [each for each in map(process, sorted(some)) if each] for inode, some in pids.items()}
    return found, [each for each in map(process, sorted(unreadable)) if each]


def open_files(pid: int) -> Iterator[str]:
    """Yield what a process has open; what it closes meanwhile is left out.

    :raises PermissionError: it cannot be inspected.
    """
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)  # noqa: PTH208 - numbers are all that is wanted
    except PermissionError:
        raise
    except OSError:
        # It ended.
        return
    for name in names:
        try:
            yield os.readlink(f"{directory}/{name}")
        except PermissionError:
            raise
        except OSError:
            # It closed this one.
            continue


def _without_children(processes: list[Process]) -> list[Process]:
    """Return the processes that none of the others started, without the init system, which opens sockets for them."""
    pids = {each.pid for each in processes} - {1}
    return [each for each in processes if each.parent not in pids and each.pid != 1] or processes


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
