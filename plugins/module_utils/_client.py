# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of devpi-server's JSON API, made of ansible.module_utils.urls alone."""
# ruff: noqa: N818 - these exceptions are named for what happened

from __future__ import annotations

import base64
import copy
import errno
import http.client
import ipaddress
import json
import os
import re
import secrets
import socket
import ssl
import time
import urllib.error
from dataclasses import dataclass
from email.message import Message
from typing import Any, Iterable, Mapping
from urllib.parse import quote, urlsplit

from ansible.module_utils.basic import env_fallback
from ansible.module_utils.urls import Request, make_context
from ansible_collections.wheelhouse.devpi.plugins.module_utils._listeners import (
    accounts_on,
    grouped_by_process,
    listeners_on,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._service_account import find

RETRY_AFTER = (0.2, 0.6)  # seconds before the second and the third attempt of a read
# A token of the plugin devpi-tokens. What the server returns for a login is shorter and begins otherwise.
TOKEN = re.compile(r"devpi-[A-Za-z0-9_=-]{60,}")
BUSY = (502, 503, 504)  # what a proxy answers while devpi-server restarts
SIMPLE_PAGE = "application/vnd.pypi.simple.v1+json"  # PEP 691


def connection_options() -> dict[str, Any]:
    """Return the argument spec of the documentation fragment ``wheelhouse.devpi.connection``."""
    return {
        "url": {"type": "str", "required": True, "fallback": (env_fallback, ["DEVPI_URL"])},
        "username": {"type": "str", "default": "root", "fallback": (env_fallback, ["DEVPI_USERNAME"])},
        "password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["DEVPI_PASSWORD"])},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "use_proxy": {"type": "bool", "default": True},
        "server_user": {"type": "str"},
        "timeout": {"type": "int", "default": 30},
    }


# The user name with which PyPI takes a token
NO_USER = "__token__"


class ClientError(Exception):
    """A request failed; the message names the request with its URL, the reason and the way out."""


class BadOption(ClientError):
    """A connection option cannot be used."""


class Unreachable(ClientError):
    """No answer came.

    :param refused: nothing listens at the address.
    :param passing: a second attempt may well succeed.
    """

    def __init__(self, message: str, *, refused: bool = False, passing: bool = False) -> None:
        super().__init__(message)
        self.refused = refused
        self.passing = passing


class ForeignListener(ClientError):
    """A process of another account than the server's listens at the address."""


class NotDevpi(ClientError):
    """Something answered that is not devpi-server."""


class UnsupportedServer(ClientError):
    """The devpi-server that answered speaks a dialect that this client does not know."""


class WrongPassword(ClientError):
    """The server refused the login."""


class NoPassword(ClientError):
    """A login is needed and no password was given."""


class WriteInCheckMode(ClientError):
    """A write was tried in check mode, which is an error of the caller."""


class RequestFailed(ClientError):
    """The server refused the request.

    :param status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class AccessDenied(RequestFailed):
    """A proxy in front of the server refused the request: 401 where it wants a login, 403 where no login helps."""


@dataclass(frozen=True)
class Answer:
    """An answer of the server: the HTTP status, and of its JSON the ``result`` and the ``message``."""

    status: int
    result: Any
    message: str


class Client:
    """One devpi-server, asked by one user.

    :param url: of the server, with the path where it lives behind a proxy; without credentials.
    :param username: who logs in, when a login is needed.
    :param password: a password, or a token of devpi-tokens, which needs no login; None where neither is known.
    :param check_mode: refuse every request that could change something.
    :param validate_certs: verify the server's TLS certificate.
    :param ca_path: a bundle of CA certificates to trust in place of the system's.
    :param client_cert: a certificate to show, in PEM; its key may be in the same file.
    :param client_key: the key of ``client_cert``, in PEM.
    :param proxy: use the proxy that the environment names; never done for loopback addresses.
    :param timeout: in seconds, for connecting and for each read.
    :param server_user: the account of this host that the server runs as; nothing is sent to a process of another
        account. With None, as for a server on another host, requests are sent to whoever listens.
    :raises BadOption: the URL, a certificate or a key cannot be used, or no devpi user can have the username.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str | None = None,
        *,
        check_mode: bool = False,
        validate_certs: bool = True,
        ca_path: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        proxy: bool = True,
        timeout: int = 30,
        server_user: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._server_user = server_user
        self.username = username
        self.password = password
        self.check_mode = check_mode
        self.version: tuple[int, ...] | None = None
        self.release = ""
        self._token: str | None = None
        try:
            parts = urlsplit(self.url)
            self.host = parts.hostname or ""
            # A port that is not a number raises ValueError here.
            self._port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise BadOption(f"url {url!r} is not an address ({error}); write it as http://127.0.0.1:3141") from error
        if parts.username or parts.password:
            raise BadOption(f"url has credentials in front of {self.host}; take them out and use username and password")
        if parts.scheme not in ("http", "https") or not self.host or parts.query or parts.fragment:
            raise BadOption(f"url {url!r} is not an address of a server; write it as http://127.0.0.1:3141")
        if username == NO_USER and password is not None:
            raise BadOption(
                f"devpi has no user {NO_USER}; give as username the name of the user whom the token was made for"
            )
        self.plain = parts.scheme == "http"
        try:
            # Made once: otherwise each request would read all CA certificates again, over plain http too.
            context = (
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                if self.plain
                else make_context(
                    cafile=ca_path, validate_certs=validate_certs, client_cert=client_cert, client_key=client_key
                )
            )
        except (OSError, ValueError) as error:
            files = ", ".join(each for each in (ca_path, client_cert, client_key) if each)
            raise BadOption(f"ca_path, client_cert or client_key cannot be used ({files}): {error}") from error
        self._request = Request(
            http_agent="wheelhouse.devpi",
            # Credentials must not follow to another host, and a write must not arrive there as a read.
            follow_redirects="none",
            use_netrc=False,
            use_proxy=proxy and not is_loopback(self.host),
            timeout=timeout,
            context=context,
        )

    def get_json(self, path: str) -> Any:
        """Return the ``result`` of a GET, tried up to three times.

        :param path: below the server's URL, ``/alice/dev``.
        """
        return self._read(path, "application/json")

    def get_simple(self, path: str) -> dict[str, Any]:
        """Return a project's simple page, as installers see it; tried up to three times.

        :param path: of the page, ``/alice/dev/+simple/project/``.
        """
        return dict(self._read(path, SIMPLE_PAGE))

    def _read(self, path: str, accept: str) -> Any:
        return self._send_with_retries("GET", path, accept=accept).result

    def _send_with_retries(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **options: str
    ) -> Answer:
        """Send a request that changes nothing, up to three times."""
        for pause in RETRY_AFTER:
            try:
                return self._send(method, path, body, **options)
            except Unreachable as error:
                if not error.passing:
                    raise
            except RequestFailed as error:
                if error.status not in BUSY:
                    raise
            time.sleep(pause)
        return self._send(method, path, body, **options)

    def login(self) -> None:
        """Log in as ``username`` once; the token that the server gives for it (for 10 hours) is sent from then on.

        :raises NoPassword: there is none to log in with.
        :raises WrongPassword: the server does not take it.
        """
        if self._token is not None:
            return
        if self.password is None:
            raise NoPassword(
                f"the password of {self.username} on {self.url} is needed and was not given; "
                "give password, or set DEVPI_PASSWORD, or name the credentials_dir that holds it"
            )
        if TOKEN.fullmatch(self.password):
            self._token = self.password
            return
        self._token = self._login(self.username, self.password)

    def is_password(self, username: str, password: str) -> bool:
        """Whether a login with the password succeeds. The client's own login stays as it is."""
        try:
            self._login(username, password)
        except WrongPassword:
            return False
        return True

    def with_token(self, username: str, token: str) -> Client:
        """Return a client of the same server that acts as the user by a token of devpi-tokens, without a login."""
        other = copy.copy(self)
        other.username, other.password, other._token = username, None, token
        return other

    def _login(self, username: str, password: str) -> str:
        try:
            result = self._send_with_retries("POST", "/+login", {"user": username, "password": password}).result
        except RequestFailed as error:
            if error.status != 401 or isinstance(error, AccessDenied):
                raise
            raise WrongPassword(
                f"POST {self.url}/+login: the server does not accept the password given for {username}; correct it, "
                f"or reset it on the server's host with devpi-passwd {username} --serverdir DIRECTORY"
            ) from error
        return str(result["password"])

    def put(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Create the object at the path."""
        return self._write("PUT", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Change the keys of ``body`` and no others."""
        return self._write("PATCH", path, body)

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Ask for something that is neither a creation nor a change of the object at the path, such as a push."""
        return self._write("POST", path, body)

    def upload(self, path: str, fields: Iterable[tuple[str, str]], filename: str, content: bytes) -> Answer:
        """Upload a release file to an index, as twine does.

        :param path: of the index, ``/alice/dev/``.
        :param fields: of the form, ``:action`` among them; a field with several values is repeated.
        """
        parts = [("content", filename, content), *((name, None, text.encode()) for name, text in fields)]
        boundary = secrets.token_hex(16)
        return self._write("POST", path, _multipart(parts, boundary), f"multipart/form-data; boundary={boundary}")

    def delete(self, path: str) -> Answer:
        """Delete the object at the path."""
        return self._write("DELETE", path, None)

    def _write(
        self, method: str, path: str, body: Mapping[str, Any] | bytes | None, content_type: str = "application/json"
    ) -> Answer:
        if self.check_mode:
            raise WriteInCheckMode(f"{method} {self.url}{path} was not sent, because this is check mode")
        self.login()
        return self._send(method, path, body, content_type)

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        url = self.url + quote(path, safe="/+@?=")
        request_line = f"{method} {url}"
        headers = {"Accept": accept}
        if is_loopback(self.host):
            # The server may be configured with another address for its clients, and would redirect each request for /
            # to the path in it. With this header it takes the address that is asked here for its own.
            headers["X-Outside-URL"] = self.url
        if self._token is not None:
            headers["X-Devpi-Auth"] = base64.b64encode(f"{self.username}:{self._token}".encode()).decode()
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._verify_listener(request_line)
        try:
            with self._request.open(method, url, data=data, headers=headers) as response:
                return self._answer(request_line, response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                answer = self._answer(request_line, error.code, error.headers, error.read())
            raise RequestFailed(
                f"{request_line}: devpi-server {self.release} answered {answer.status}"
                f"{': ' + answer.message if answer.message else ''}; {self._way_out(answer.status)}",
                answer.status,
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(request_line, error) from error

    def _verify_listener(self, request_line: str) -> None:
        """Refuse to send to another account's process: while the server does not run, any account can take its port."""
        if self._server_user is None:
            return
        account = find(self._server_user)
        accounts = accounts_on(self.host, self._port)
        if not accounts:
            raise self._unreachable(
                request_line, ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            )
        if account is None or accounts != {account.pw_uid}:
            strangers = [
                each
                for each in listeners_on(self.host, self._port)
                if account is None or each.accounts != {account.pw_uid}
            ]
            others = [f"process {described}" for described, _addresses in grouped_by_process(strangers)]
            raise ForeignListener(
                f"{request_line} was not sent, because port {self._port} on {os.uname().nodename} is held by "
                f"{' and '.join(others) or 'another account'}, and not by a server of {self._server_user} "
                "(server_user); stop that process, start devpi-server, and run again"
            )

    def _answer(self, request_line: str, status: int, headers: Message, content: bytes) -> Answer:
        if status >= 500 and not headers.get("X-Devpi-Server-Version"):
            # A proxy whose server does not answer, or waitress after devpi-server failed.
            raise RequestFailed(
                f"{request_line}: {headers.get('Server', 'a proxy')} answered {status} in place of devpi-server; "
                "check whether devpi-server runs behind it, and check its log",
                status,
            )
        if status in (401, 403) and not headers.get("X-Devpi-Server-Version"):
            raise AccessDenied(
                f"{request_line}: {headers.get('Server', 'a proxy')} answered {status} in place of devpi-server; "
                f"{self._way_in(status)}, or correct url if no devpi-server is behind it",
                status,
            )
        if 300 <= status < 400 and status != 304:
            raise NotDevpi(
                f"{request_line}: the answer is a redirect to {headers.get('Location', 'nowhere')}, which is not "
                "followed; set url to the address of devpi-server itself"
            )
        version = headers.get("X-Devpi-Server-Version")
        if not version:
            raise NotDevpi(
                f"{request_line}: {headers.get('Server', 'something')} answered {status} without the header "
                "X-Devpi-Server-Version; it is not a devpi-server, or a proxy drops its headers: check url"
            )
        self.release = version
        self.version = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
        if self.version[:1] not in ((6,), (7,)):
            raise UnsupportedServer(
                f"{request_line}: devpi-server {version} answered; this collection supports only 6.x and 7.x"
            )
        try:
            parsed = json.loads(content or b"{}")
        except ValueError:
            parsed = {}
        if not isinstance(parsed, dict):
            parsed = {}
        page = headers.get_content_type() == SIMPLE_PAGE
        # An upload is answered with an empty page.
        if status < 400 and content and not ({"files"} if page else {"result", "message"}) & set(parsed):
            raise NotDevpi(
                f"{request_line}: the answer {status} is not devpi's JSON; check whether a proxy on the way changes it"
            )
        # For a refused upload the message is blank and the title gives the reason.
        message = " ".join(str(parsed.get("message", "")).split()) or str(parsed.get("title", ""))
        return Answer(status, parsed if page else parsed.get("result"), message)

    def _way_in(self, status: int) -> str:
        if status == 401 and self._token is not None:
            return f"it does not accept the login of {self.username}: correct username and password"
        if status == 401:
            return "it needs a login: give username and password, or a token in place of the password"
        return "it lets nobody read this from this machine: have it opened to this machine"

    def _way_out(self, status: int) -> str:
        if status in (401, 403):
            return f"{self.username} may not do that; log in as a user whom the server's restrict-modify names"
        if status >= 500:
            return "the server's log says why"
        return "correct what is named, or check the server's log"

    def _unreachable(self, request_line: str, error: Exception) -> Unreachable:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return Unreachable(
                f"{request_line}: the certificate of {self.host} is not trusted ({reason.verify_message}); "
                "name the bundle with its CA as ca_path"
            )
        if isinstance(reason, ssl.SSLError):
            return Unreachable(f"{request_line}: no TLS connection ({reason}); check url, client_cert and client_key")
        if isinstance(reason, socket.timeout):
            return Unreachable(
                f"{request_line}: no answer in {self._request.timeout} s; check the server's log, or raise timeout"
            )
        if isinstance(reason, socket.gaierror):
            return Unreachable(f"{request_line}: the name {self.host} is not known; check url")
        if isinstance(reason, OSError) and reason.errno == errno.ECONNREFUSED:
            return Unreachable(
                f"{request_line}: nothing listens there (connection refused); start devpi-server, or check url",
                refused=True,
                passing=True,
            )
        return Unreachable(
            f"{request_line}: no answer ({reason}); check url and whether devpi-server runs", passing=True
        )


def is_loopback(host: str) -> bool:
    """Whether what is sent to the host stays on this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _multipart(parts: list[tuple[str, str | None, bytes]], boundary: str) -> bytes:
    """Return a form of RFC 7578: for each part its name, the name of its file if it is one, and its content."""
    pieces = []
    for name, filename, content in parts:
        kind = f'; filename="{filename}"\r\nContent-Type: application/octet-stream' if filename else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{kind}\r\n\r\n'.encode()
        pieces += [head, content, b"\r\n"]
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()])
