# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""supervisord's own XML-RPC interface over its unix socket (supervisord.org/api.html)."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import xmlrpc.client
from pathlib import Path
from typing import Any

SOCKET = "/run/supervisor.sock"
# Run by the Python that supervisord runs by. It reads the whole configuration as supervisord does at its start, with
# the draft in the place of the file that it is to become.
READ = """
import fnmatch, glob, os, sys
from supervisor import options
main, path, draft = sys.argv[1:]
found = glob.glob
def with_draft(pattern, *arguments, **named):
    names = [name for name in found(pattern, *arguments, **named) if os.path.realpath(name) != os.path.realpath(path)]
    return names + [draft] if draft and fnmatch.fnmatch(path, pattern) else names
glob.glob = with_draft
options.ServerOptions().realize(["-c", main])
"""


class SupervisordError(Exception):
    """supervisord could not be asked, or refused; the message says what was asked."""


def refusal(main_file: Path, path: Path, draft: str, program: Path, environment: dict[str, str]) -> str:
    """Return why supervisord would not start with a draft in the place of one of its files, nothing where it would.

    Values are not shown, for they may be passwords.

    :param main_file: its configuration.
    :param path: the file that the draft is to become.
    :param draft: the path of the draft; empty for the configuration without that file.
    :param program: supervisord, whose first line names its Python.
    :param environment: of supervisord, whose variables its files may use.
    """
    with program.open("rb") as file:
        first = file.readline().decode("utf-8", "replace")
    python = first[2:].split()[0] if first.startswith("#!/") and "python" in first else "/usr/bin/python3"
    done = subprocess.run(
        [python, "-I", "-c", READ, str(main_file), str(path), draft],
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return "" if done.returncode == 0 else without_values((done.stderr or done.stdout).strip())


def without_values(said: str) -> str:
    """Return what supervisor said of its configuration without the values that it quotes."""
    said = re.sub(r"\n?For help, use .*", "", said)
    if "Traceback" in said:
        return said.splitlines()[-1][:300]
    where = re.search(r" in section '[^']*' \(file: '[^']*'\)\s*$", said)
    quoted = re.search(r"in value |Format string |\[line +\d+\]: ", said)
    return f"{said[: quoted.end()]}********{where.group() if where else ''}" if quoted else said[:500]


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _Connection(self._path)


class Supervisord:
    """One supervisord.

    :param path: its unix socket; the default is Debian's.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_Transport(path))

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._proxy.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            said = without_values(error.faultString) if isinstance(error, xmlrpc.client.Fault) else str(error)
            raise SupervisordError(
                f"supervisord at {self._path}, asked for {method} {' '.join(map(str, arguments))}: {said}"
            ) from None

    def environment(self) -> dict[str, str]:
        """Return the environment that it was started with, or one like systemd's where it cannot be looked into."""
        try:
            pairs = Path(f"/proc/{self._ask('getPID')}/environ").read_bytes().split(b"\0")
        except (SupervisordError, OSError):
            return {"PATH": os.defpath, "LANG": "C.UTF-8"}
        return dict(os.fsdecode(pair).split("=", 1) for pair in pairs if b"=" in pair)

    def answers(self) -> bool:
        """Whether it runs and takes requests."""
        try:
            self._ask("getState")
        except SupervisordError:
            return False
        return True

    def pending(self, program: str) -> str:
        """Reread the configuration files and return what ``update`` would do.

        :returns: ``added``, ``changed``, ``removed``, or nothing where supervisord has the program as it stands.
        """
        added, changed, removed = self._ask("reloadConfig")[0]
        for name, programs in (("added", added), ("changed", changed), ("removed", removed)):
            if program in programs:
                return name
        return ""

    def removed(self) -> set[str]:
        """Reread the configuration files and return the programs that run and have none any more."""
        return set(self._ask("reloadConfig")[0][2])

    def update(self, program: str, pending: str) -> None:
        """Carry out what :meth:`pending` returned; a program with autostart is started by this."""
        if pending in ("changed", "removed"):
            self._ask("stopProcessGroup", program)
            self._ask("removeProcessGroup", program)
        if pending in ("added", "changed"):
            self._ask("addProcessGroup", program)

    def knows(self, program: str) -> bool:
        """Whether it has a program of this name."""
        return program in self.programs()

    def programs(self) -> set[str]:
        """Return the names of all that it has, running or not."""
        return {str(each["group"]) for each in self._ask("getAllProcessInfo")}

    def running(self) -> dict[int, str]:
        """Return the names of the programs that run, by process id."""
        return {int(each["pid"]): str(each["name"]) for each in self._ask("getAllProcessInfo") if each["pid"]}

    def info(self, program: str) -> dict[str, Any]:
        """Return the state of the program: ``statename``, ``pid``, ``spawnerr``, ``description`` and others."""
        info: dict[str, Any] = self._ask("getProcessInfo", program)
        return info

    def start(self, program: str) -> None:
        """Start the program without waiting for its startsecs."""
        self._ask("startProcess", program, False)

    def stop(self, program: str) -> None:
        """Stop the program and wait until it has ended."""
        self._ask("stopProcess", program)
