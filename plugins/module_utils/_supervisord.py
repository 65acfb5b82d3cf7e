# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""supervisord's own XML-RPC interface over its unix socket (supervisord.org/api.html)."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from typing import Any

SOCKET = "/run/supervisor.sock"


class SupervisordError(Exception):
    """supervisord could not be asked, or refused; the message says what was asked."""


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

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._proxy.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            message = error.faultString if isinstance(error, xmlrpc.client.Fault) else str(error)
            if message.startswith("CANT_REREAD"):
                # This message quotes values, which may be passwords.
                message = "it cannot read its configuration; supervisorctl reread says why"
            raise SupervisordError(
                f"supervisord at {self._path}, asked for {method} {' '.join(map(str, arguments))}: {message}"
            ) from None

    def answers(self) -> bool:
        """Whether it runs and takes requests."""
        try:
            self._call("getState")
        except SupervisordError:
            return False
        return True

    def pending(self) -> dict[str, str]:
        """Reread the configuration files and return what ``update`` would do.

        :returns: by the program's name, ``added``, ``changed`` or ``removed``, for those that do not stay as they are.
        """
        added, changed, removed = self._call("reloadConfig")[0]
        kinds = {"added": added, "changed": changed, "removed": removed}
        return {str(name): kind for kind, names in kinds.items() for name in names}

    def update(self, program: str, pending: str) -> None:
        """Carry out what :meth:`pending` returned; a program with autostart is started by this."""
        if pending in ("changed", "removed"):
            self._call("stopProcessGroup", program)
            self._call("removeProcessGroup", program)
        if pending in ("added", "changed"):
            self._call("addProcessGroup", program)

    def programs(self) -> set[str]:
        """Return the names of all programs, running or not."""
        return {str(each["group"]) for each in self._call("getAllProcessInfo")}

    def running(self) -> dict[int, str]:
        """Return the names of the programs that run, by process id."""
        return {int(each["pid"]): str(each["name"]) for each in self._call("getAllProcessInfo") if each["pid"]}

    def info(self, program: str) -> dict[str, Any]:
        """Return the state: ``statename``, ``pid``, ``spawnerr``, ``description``, ``stdout_logfile`` and others."""
        info: dict[str, Any] = self._call("getProcessInfo", program)
        return info

    def start(self, program: str) -> None:
        """Start the program without waiting for its startsecs."""
        self._call("startProcess", program, False)

    def stop(self, program: str) -> None:
        """Stop the program and wait until it has ended."""
        self._call("stopProcess", program)
