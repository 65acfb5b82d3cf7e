"""The module devpi_info through a proxy that closes some of what the server would tell."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.wheelhouse.devpi.plugins.modules import devpi_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEVPI = {"X-Devpi-Server-Version": "6.20.3", "Content-Type": "application/json"}
# Shaped as the tokens of devpi-tokens are
TOKEN = "devpi-" + "AgEAAgtjaS1KcFc4RHhNNQ" * 4
NGINX = {"Server": "nginx", "Content-Type": "text/plain"}
OPEN = {
    "/+api": {"authstatus": ["noauth", "", []]},
    "/+status": {"versioninfo": {"devpi-server": "6.20.3"}, "role": "MASTER"},
    "/": {"team": {"username": "team", "indexes": {"dev": {"type": "stage", "bases": []}}}},
    "/team/dev?no_projects=": {"type": "stage", "bases": []},
}


class Front(ThreadingHTTPServer):
    """nginx with a server behind it.

    `closed` has the status for each path that nginx closes, `forbidden` the paths that the server itself refuses, and
    `users` who may log in.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.closed: dict[str, int] = {}
        self.forbidden: set[str] = set()
        self.users: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        login = base64.b64decode(self.headers.get("X-Devpi-Auth", "")).decode().partition(":")
        known = self.server.users.get(login[0]) == login[2] != ""
        closed = self.server.closed.get(self.path, 0)
        if closed and not (closed == 401 and known):
            return self.say(closed, NGINX, b"closed\n")
        if self.path in self.server.forbidden:
            return self.say(403, DEVPI, json.dumps({"message": "not with this token"}).encode())
        return self.say(200, DEVPI, json.dumps({"result": OPEN[self.path]}).encode())

    def say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def front() -> Iterator[Front]:
    front = Front()
    threading.Thread(target=front.serve_forever, daemon=True).start()
    yield front
    front.shutdown()
    front.server_close()


@pytest.fixture
def info(
    front: Front, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Return what runs the module; the result has its warnings, where there are any, as texts."""

    def run(**arguments: object) -> dict[str, Any]:
        url = f"http://127.0.0.1:{front.server_port}"
        warnings: list[str] = []
        monkeypatch.setattr(devpi_info.AnsibleModule, "warn", lambda _module, warning: warnings.append(warning))
        with patch_module_args({"url": url, **arguments}), pytest.raises(SystemExit):
            devpi_info.main()
        said = json.loads(capsys.readouterr().out)
        return {**said, "warnings": warnings} if warnings else said

    return run


def test_open_server_tells_everything(info: Callable[..., dict[str, Any]]) -> None:
    said = info()
    assert "warnings" not in said
    assert {"versions", "status", "users", "indexes"} <= set(said)


def test_closed_status_is_left_out_and_said(front: Front, info: Callable[..., dict[str, Any]]) -> None:
    front.closed = {"/+status": 403}
    said = info()
    assert "msg" not in said
    assert (said["version"], set(said["users"]), set(said["indexes"])) == ("6.20.3", {"team"}, {"team/dev"})
    assert not {"versions", "status"} & set(said)
    [warning] = said["warnings"]
    assert "versions and status are left out" in warning
    assert "nginx answered 403" in warning
    assert "devpi_proxy_networks" in warning
    assert "devpi_proxy_public_status: true" in warning


@pytest.mark.parametrize("name", ["versions", "status"])
def test_closed_status_that_is_asked_for_is_refused(
    front: Front, info: Callable[..., dict[str, Any]], name: str
) -> None:
    front.closed = {"/+status": 403}
    said = info(gather=[name])
    assert said["failed"]
    assert "devpi_proxy_networks" in said["msg"]
    assert "warnings" not in said


def test_private_server_asks_for_a_login(front: Front, info: Callable[..., dict[str, Any]]) -> None:
    front.closed = {"/+status": 401, "/": 401, "/team/dev?no_projects=": 401}
    front.users = {"ci": TOKEN}
    said = info()
    assert "msg" not in said
    assert said["version"] == "6.20.3"
    assert [warning.split(":")[0] for warning in said["warnings"]] == [
        "versions and status are left out",
        "users and indexes are left out",
    ]
    assert all("give username and password, or a token" in warning for warning in said["warnings"])
    assert "give username and password" in info(index="team/dev", gather=["indexes"])["msg"]
    with_login = info(username="ci", password=front.users["ci"])
    assert "warnings" not in with_login
    assert set(with_login["users"]) == {"team"}


def test_token_that_is_bound_reads_its_index(front: Front, info: Callable[..., dict[str, Any]]) -> None:
    front.closed = {"/+status": 403}
    front.forbidden = {"/"}
    said = info(username="ci", password=TOKEN)
    assert "msg" not in said
    assert "a token that is bound to indexes reads them alone, so name one as index" in said["warnings"][1]
    assert set(info(index="team/dev", gather=["indexes"])["indexes"]) == {"team/dev"}


def test_user_of_another_registrys_tokens_is_explained(front: Front, info: Callable[..., dict[str, Any]]) -> None:
    front.closed = {"/": 401}
    said = info(username="__token__", password=TOKEN, gather=["users"])
    assert (
        "devpi has no user __token__; give as username the name of the user whom the token was made for" in said["msg"]
    )
    front.closed, front.forbidden = {}, {"/"}
    said = info(username="__token__", password=TOKEN, gather=["users"])
    assert "devpi has no user __token__; give as username" in said["msg"]
    assert TOKEN not in json.dumps(said)
