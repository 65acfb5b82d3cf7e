"""The client against a small HTTP server that answers what each test tells it to."""

from __future__ import annotations

import base64
import json
import os
import pwd
import socket
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _client
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import (
    BadOption,
    Client,
    ForeignListener,
    NoPassword,
    NotDevpi,
    RequestFailed,
    Unreachable,
    UnsupportedServer,
    WriteInCheckMode,
    WrongPassword,
    is_loopback,
)

DEVPI = {"X-Devpi-Server-Version": "6.20.3", "Content-Type": "application/json"}


class Server(ThreadingHTTPServer):
    """Answers from a list, the last of it again and again, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        self.answers.append((status, DEVPI if headers is None else headers, body))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def handle_any(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {key.lower(): value for key, value in self.headers.items()}
        form = headers.get("content-type", "").startswith("multipart/")
        body = content if form else json.loads(content) if content else None
        self.server.asked.append((self.command, self.path, headers, body))
        answers = self.server.answers
        status, answered, body = answers.pop(0) if len(answers) > 1 else answers[0]
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in answered.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the names that http.server calls

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "RETRY_AFTER", (0.0, 0.0))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as each:
        threading.Thread(target=each.serve_forever, args=(0.01,), daemon=True).start()
        yield each
        each.shutdown()


def test_a_read_asks_for_json_without_a_login(server: Server) -> None:
    server.answer(200, {"result": {"root": {}}})
    client = Client(server.url + "/", "root", "CANARY")
    assert client.get_json("/") == {"root": {}}
    assert client.version == (6, 20, 3)
    [(method, path, headers, _dummy)] = server.asked
    assert (method, path, headers["accept"]) == ("GET", "/", "application/json")
    assert not {"x-devpi-auth", "authorization"} & set(headers)


def test_one_login_serves_all_writes(server: Server) -> None:
    server.answer(200, {"result": {"password": "token", "expiration": 36000}})
    server.answer(201, {"result": {}})
    client = Client(server.url, "root", "CANARY")
    client.put("/ü", {"password": "x"})
    client.patch("/alice/dev", {"volatile": True})
    client.delete("/alice/dev")
    assert [asked[:2] for asked in server.asked] == [
        ("POST", "/+login"),
        ("PUT", "/%C3%BC"),
        ("PATCH", "/alice/dev"),
        ("DELETE", "/alice/dev"),
    ]
    assert server.asked[0][3] == {"user": "root", "password": "CANARY"}
    for _method, _path, headers, body in server.asked[1:]:
        assert base64.b64decode(headers["x-devpi-auth"]) == b"root:token"
        assert "CANARY" not in json.dumps([headers, body])


def form_sent(server: Server) -> list[tuple[str | None, str | None, bytes]]:
    """Return of the last request the name, the name of the file if it was one, and the content of each part."""
    _method, _path, headers, body = server.asked[-1]
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body
    )
    return [
        (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
        for part in message.iter_parts()
    ]


def test_an_upload_is_a_form_whose_fields_may_be_repeated(server: Server) -> None:
    server.answer(200, {"result": {"password": "token"}})
    server.answer(200, "")  # as devpi-server answers
    content = b"\x00\r\n--\xff"
    fields = [(":action", "file_upload"), ("classifiers", "A :: b"), ("classifiers", "C :: ü"), ("summary", "a\nb")]
    Client(server.url, "ann", "x").upload("/ann/dev/", fields, "demo-1.0+a.tar.gz", content)
    assert server.asked[-1][:2] == ("POST", "/ann/dev/")
    assert form_sent(server) == [
        ("content", "demo-1.0+a.tar.gz", content),
        *((name, None, text.encode()) for name, text in fields),
    ]


def test_why_an_upload_was_refused_is_in_the_title(server: Server) -> None:
    server.answer(200, {"result": {"password": "token"}})
    server.answer(409, {"message": "\n\n\n", "title": "demo-1.0.tar.gz already exists in non-volatile index"})
    with pytest.raises(RequestFailed, match=r"answered 409: demo-1\.0\.tar\.gz already exists"):
        Client(server.url, "ann", "x").upload("/ann/dev/", [], "demo-1.0.tar.gz", b"")


def test_a_token_of_devpi_tokens_is_sent_as_it_is(server: Server) -> None:
    server.answer(200, {"result": {}})
    token = "devpi-" + "MDAxN2xvY2F0aW9uIGh0dHA6Ly8xMjcuMC4wLjEKMDAxMmlkZW50aWZpZXIgY2k"
    Client(server.url, "ci", token).patch("/ci/dev", {})
    [(method, _path, headers, _body)] = server.asked
    assert method == "PATCH"
    assert base64.b64decode(headers["x-devpi-auth"]).decode() == f"ci:{token}"


def test_a_simple_page_is_asked_for_and_taken_as_it_is(server: Server) -> None:
    page = {"meta": {"api-version": "1.0"}, "name": "tool", "files": []}
    headers = {**DEVPI, "Content-Type": "application/vnd.pypi.simple.v1+json"}
    server.answer(503, "<html>", {"Server": "nginx"})
    server.answer(200, page, headers)
    assert Client(server.url, "root").get_simple("/a/dev/+simple/tool/") == page
    [_first, (method, path, asked, _dummy)] = server.asked
    assert (method, path) == ("GET", "/a/dev/+simple/tool/")
    assert asked["accept"] == "application/vnd.pypi.simple.v1+json"
    for body in ({"message": "no files"}, "<html>"):
        server.answers[:] = [(200, headers, body)]
        with pytest.raises(NotDevpi, match="is not devpi's JSON"):
            Client(server.url, "root").get_simple("/a/dev/+simple/tool/")


@pytest.mark.parametrize("write", ["put", "patch"])
def test_check_mode_writes_nothing(server: Server, write: str) -> None:
    client = Client(server.url, "root", "x", check_mode=True)
    with pytest.raises(WriteInCheckMode):
        getattr(client, write)("/alice", {})
    with pytest.raises(WriteInCheckMode):
        client.delete("/alice")
    with pytest.raises(WriteInCheckMode):
        client.upload("/alice/dev/", [], "demo-1.0.tar.gz", b"")
    assert server.asked == []


def test_a_wrong_password_is_told_from_other_refusals(server: Server) -> None:
    server.answer(401, {"message": "user 'root' could not be authenticated"})
    client = Client(server.url, "root", "CANARY")
    with pytest.raises(WrongPassword, match="does not accept the password given for root") as error:
        client.login()
    assert "CANARY" not in str(error.value)
    assert client.is_password("alice", "CANARY") is False


def test_nothing_is_sent_to_a_process_of_another_account(server: Server) -> None:
    server.answer(200, {"result": {"password": "token"}})
    here = pwd.getpwuid(os.geteuid()).pw_name
    for other in ("daemon", "nobody-at-all"):
        client = Client(server.url, "root", "CANARY", server_user=other)
        for ask in (
            client.login,
            lambda client=client: client.get_json("/"),
            lambda client=client: client.put("/x", {}),
        ):
            with pytest.raises(
                ForeignListener, match=rf"\({os.getpid()}\) of {here}, .*and not by a server of {other}"
            ) as error:
                ask()
            assert "CANARY" not in str(error.value)
    assert server.asked == []
    Client(server.url, "root", "CANARY", server_user=here).login()
    assert [path for _method, path, *_rest in server.asked] == ["/+login"]


def test_where_nobody_listens_the_account_is_no_matter() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{probe.getsockname()[1]}", "root", "CANARY", server_user="nobody-at-all")
        with pytest.raises(Unreachable, match="nothing listens there") as error:
            client.login()
    assert error.value.refused


def test_a_login_is_tried_again_as_a_read_is(server: Server) -> None:
    server.answer(503, "<html>", {"Server": "nginx"})
    server.answer(502, "<html>", {"Server": "nginx"})
    server.answer(200, {"result": {"password": "token"}})
    Client(server.url, "root", "CANARY").login()
    assert [path for _method, path, *_rest in server.asked] == ["/+login"] * 3


def test_without_a_password_the_ways_out_are_named(server: Server) -> None:
    with pytest.raises(NoPassword, match="give password, or set DEVPI_PASSWORD, or name the credentials_dir"):
        Client(server.url, "root").login()
    assert server.asked == []


def test_reads_are_tried_again_and_writes_are_not(server: Server) -> None:
    server.answer(502, "<html>", {"Server": "nginx"})
    server.answer(503, "<html>", {"Server": "nginx"})
    server.answer(200, {"result": {"password": "token"}})
    client = Client(server.url, "root", "x")
    assert client.get_json("/") == {"password": "token"}
    client.login()
    server.answers[:] = [(502, {"Server": "nginx"}, "")]
    with pytest.raises(RequestFailed, match="answered 502 in place of devpi-server"):
        client.put("/alice", {})
    assert [method for method, *dummy in server.asked] == ["GET", "GET", "GET", "POST", "PUT"]


def test_the_error_says_what_was_asked_and_what_was_answered(server: Server) -> None:
    server.answer(200, {"result": {"password": "token"}})
    server.answer(400, {"message": "base index 'x/y' does not exist"})
    client = Client(server.url, "root", "CANARY")
    with pytest.raises(RequestFailed) as error:
        client.put("/alice/dev", {"bases": ["x/y"]})
    assert error.value.status == 400
    assert str(error.value).startswith(
        f"PUT {server.url}/alice/dev: devpi-server 6.20.3 answered 400: base index 'x/y' does not exist; "
    )


def test_a_redirect_is_not_followed(server: Server) -> None:
    with Server() as other:
        server.answer(302, "", {**DEVPI, "Location": other.url})
        with pytest.raises(NotDevpi, match=f"redirect to {other.url}, which is not followed"):
            Client(server.url, "root", "x").login()
        assert other.asked == []


@pytest.mark.parametrize(
    ("headers", "body", "error"),
    [
        ({"Server": "nginx"}, "<html>", NotDevpi),
        (DEVPI, "<html>", NotDevpi),
        ({"X-Devpi-Server-Version": "5.5.1"}, {"result": {}}, UnsupportedServer),
        ({"X-Devpi-Server-Version": "8.0.0"}, {"result": {}}, UnsupportedServer),
    ],
)
def test_who_answers_is_looked_at(
    server: Server, headers: dict[str, str], body: object, error: type[Exception]
) -> None:
    server.answer(200, body, headers)
    with pytest.raises(error):
        Client(server.url, "root").get_json("/")


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(Unreachable, match=f"GET {url}/: nothing listens there") as error:
            Client(url, "root").get_json("/")
    assert error.value.refused


def test_a_server_that_hangs_is_given_up_without_a_second_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(Unreachable, match="no answer in 1 s") as error:
            Client(url, "root", timeout=1).get_json("/")
    assert not error.value.refused


@pytest.mark.parametrize("url", ["127.0.0.1:3141", "ftp://x", "http://", "http://x:port", "http://x/?a=b"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadOption, match="write it as http"):
        Client(url, "root")


def test_credentials_in_the_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(BadOption, match="use username and password") as error:
        Client("http://root:CANARY@127.0.0.1:3141", "root")
    assert "CANARY" not in str(error.value)


def test_neither_netrc_nor_a_proxy_sees_a_loopback_request(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login root password CANARY\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    server.answer(200, {"result": {}})
    Client(server.url, "root").get_json("/")
    assert "authorization" not in server.asked[0][2]


def test_a_certificate_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"absent\.pem"):
        Client("https://127.0.0.1", "root", ca_path=str(tmp_path / "absent.pem"))


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("192.0.2.1", False)]
)
def test_which_addresses_are_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
