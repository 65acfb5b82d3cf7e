# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a TCP port of this host, read from /proc (proc(5)): nothing needs to be installed for it.

A process is known by its account and its executable. Its arguments prove nothing, for whoever starts it chooses them.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Iterator, NamedTuple

LISTEN = "0A"
DELETED = " (deleted)"


class Listener(NamedTuple):
    """One listening socket.

    :param address: the local address, ``127.0.0.1`` or ``::``.
    :param holder: the process for a person to read, ``nginx (812)``.
    :param commands: the command lines of the processes that may hold it, one item a word. It is one process, except
        where a container keeps even root from looking into other accounts' processes: then it is all of one account.
    :param uid: the account that opened it. The kernel tells this of every socket.
    :param executables: the files that the processes which hold it run, links resolved. None of a process that cannot be
        looked into is among them.
    """

    address: str
    holder: str
    commands: list[list[str]]
    uid: int
    executables: list[str]


class _Socket(NamedTuple):
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    uid: int
    inode: str


def listeners_on(host: str, port: int) -> list[Listener]:
    """Return the sockets that keep ``host:port`` from being bound.

    :param host: an address or a name; a wildcard collides with every address.
    :param port: the TCP port.
    """
    found = []
    for each in _sockets(host, port):
        holders = _holders(each)
        commands = [_text(process / "cmdline").split("\0") for process in holders]
        holder = " or ".join(f"{_text(process / 'comm').strip()} ({process.name})" for process in holders)
        found.append(
            Listener(
                str(each.address),
                holder or "that cannot be seen from here",
                commands,
                each.uid,
                [executable for process in holders for executable in executable_of(process.name)],
            )
        )
    return found


def accounts_on(host: str, port: int) -> set[int]:
    """Return the accounts whose sockets keep ``host:port`` from being bound; none where nobody listens.

    It reads two tables of the kernel and no process, so that it can be asked before each request.

    :param host: an address or a name; a wildcard collides with every address.
    :param port: the TCP port.
    """
    return {each.uid for each in _sockets(host, port)}


def held_by(listener: Listener, uid: int, *executables: str) -> bool:
    """Whether the listener is held by a process of that account which runs one of these executables.

    Where none of the processes that hold it can be looked into, as in a container that keeps even root from it, the
    account decides alone.

    :param listener: one that :func:`listeners_on` returned.
    :param uid: the account's number.
    :param executables: paths; links are followed, so that an environment's ``bin/python`` stands for the interpreter
        behind it. Give those of each environment that the process may have been started from.
    """
    if listener.uid != uid:
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
    for row in _text(Path(table)).splitlines()[1:]:
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
    """Return the one file that the process runs, nothing where it cannot be looked into."""
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return []
    # An upgrade of its package has put another file into that place.
    return [path[: -len(DELETED)] if path.endswith(DELETED) else path]


def _holders(held: _Socket) -> list[Path]:
    """Return the directory below /proc of the process that holds the socket, or of all that may."""
    may = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) == f"socket:[{held.inode}]" for fd in (process / "fd").iterdir()):
                return [process]
        except PermissionError:
            if process.stat().st_uid == held.uid:
                may.append(process)
        except OSError:
            # It ended while it was looked at.
            continue
    return may


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
