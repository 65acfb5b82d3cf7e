"""The plugins that role venv lays beside devpi-server: a real one starts with them, and they do what they are for."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import re
import socket
import stat
import subprocess
import time
import zipfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest
from conftest import Devpi, lay_server_plugins, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Pages of each kind that devpi-web has; those of a project have scripts of their own.
PAGES = ("/", "/team", "/team/dev", "/team/dev/shown", "/team/dev/shown/1.0", "/team/dev/shown/1.0/+d/index.html", "/x")
INLINE = re.compile(r"<script(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL)


class Said(NamedTuple):
    """An answer, with its status line's words."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    text: str


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devpi]:
    """Run a server with the plugins, with one stage that anybody may upload to, and with documentation of a project."""
    plugins = lay_server_plugins(tmp_path_factory.mktemp("plugins"))
    directory = tmp_path_factory.mktemp("plugged")
    options = ("--offline-mode", "--keep-docs-packed", "--nginx-socket", str(directory))
    with serve(directory, *options, plugins=plugins) as devpi:
        devpi.make("team/dev", acl_upload=[":ANONYMOUS:"])
        devpi.upload("team/dev", "shown", "1.0", "shown-1.0.tar.gz")
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("index.html", "<script>alert(1)</script>")
        assert upload_documentation(devpi, content.getvalue()) == 200
        yield devpi


def upload_documentation(devpi: Devpi, archive: bytes) -> int:
    head = '--7f3\r\nContent-Disposition: form-data; name="'
    fields = {":action": "doc_upload", "name": "shown", "version": "1.0"}
    body = "".join(f'{head}{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    body += f'{head}content"; filename="shown-1.0.doc.zip"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=7f3"}
    return ask(devpi, "/team/dev/", headers, "POST", body.encode() + archive + b"\r\n--7f3--\r\n").status


class SocketConnection(http.client.HTTPConnection):
    """A connection as nginx makes it."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def socket_of(devpi: Devpi) -> Path:
    return devpi.log.with_name(f"{urlsplit(devpi.url).port}.sock")


def ask(
    devpi: Devpi, path: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes | None = None
) -> Said:
    """Ask as nginx does."""
    return answer(SocketConnection(socket_of(devpi)), path, headers, method, body)


def ask_at_port(
    devpi: Devpi, path: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes | None = None
) -> Said:
    """Ask as any account of the host can."""
    port = urlsplit(devpi.url).port
    return answer(http.client.HTTPConnection("127.0.0.1", port, timeout=60), path, headers, method, body)


def answer(
    to: http.client.HTTPConnection, path: str, headers: dict[str, str] | None, method: str, body: bytes | None
) -> Said:
    with closing(to) as connection:
        connection.request(method, path, body, headers or {})
        said = connection.getresponse()
        return Said(said.status, said.reason, said.headers, said.read().decode("utf-8", "replace"))


def basic(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}", "Accept": "application/json"}


def log_in(devpi: Devpi, address: str, password: str) -> Said:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "X-Real-IP": address}
    return ask(devpi, "/+login", headers, "POST", json.dumps({"user": "root", "password": password}).encode())


def until_it_has_to_wait(attempt: Callable[[str], Said]) -> list[Said]:
    """Return the answers to one guess after the other, the last of which says 429."""
    begun = time.monotonic()
    said: list[Said] = []
    while not said or said[-1].status != 429:
        # ten, and one more for each six seconds that it took
        assert len(said) <= 11 + (time.monotonic() - begun) / 6
        said.append(attempt(f"guess-{len(said)}"))
    assert len(said) > 10
    return said


def test_logins_with_wrong_passwords_have_to_wait_and_hear_how_long(plugged: Devpi) -> None:
    said = until_it_has_to_wait(lambda guess: log_in(plugged, "192.0.2.1", guess))
    assert {each.status for each in said[:-1]} == {401}
    assert 0 < int(said[-1].headers["Retry-After"]) <= 60
    assert "too many wrong passwords came from 192.0.2.1" in said[-1].reason
    # neither does the right one, or a guess could be told from it
    assert log_in(plugged, "192.0.2.1", plugged.root_password).status == 429
    assert log_in(plugged, "192.0.2.2", plugged.root_password).status == 200


def test_wrong_passwords_of_any_request_have_to_wait(plugged: Devpi) -> None:
    where = {"X-Real-IP": "192.0.2.3"}
    said = until_it_has_to_wait(lambda guess: ask(plugged, "/+api", {**basic("root", guess), **where}))
    assert {each.status for each in said[:-1]} == {200}
    assert int(said[-1].headers["Retry-After"]) > 0
    # who sends no password, or the login of before, goes on
    assert ask(plugged, "/+api", where).status == 200
    assert ask(plugged, "/+api", {**basic("root", plugged.token()), **where}).status == 200


@pytest.mark.parametrize("length", [10, 200, 3000])
def test_password_that_begins_as_tokens_do_is_a_guess_too(plugged: Devpi, length: int) -> None:
    where = {"X-Real-IP": f"198.51.{length >> 8}.{length % 256}"}
    rest = "x" * length
    said = until_it_has_to_wait(lambda guess: ask(plugged, "/+api", {**basic("root", f"devpi-{guess}{rest}"), **where}))
    assert int(said[-1].headers["Retry-After"]) > 0


@pytest.mark.parametrize("beginning", ["", "devpi-"])
def test_password_that_is_too_long_is_a_wrong_one(plugged: Devpi, beginning: str) -> None:
    where = {"X-Real-IP": "192.0.2.6"}
    long = beginning + "x" * 5000
    about = {"X-Original-URI": f"{plugged.url}/team/dev/", **basic("root", long), **where}
    said = ask(plugged, "/+authcheck", about)
    assert (said.status, said.reason) == (401, "a password has 4096 characters at the most")
    said = log_in(plugged, "192.0.2.6", long)
    assert (said.status, said.reason) == (401, "a password has 4096 characters at the most")


def test_address_is_nginxs_word_at_its_socket_alone(plugged: Devpi) -> None:
    account = f"account {os.getuid()} of this host"
    for number in range(11):
        headers = {
            **basic("root", f"guess-{number}"),
            "X-Real-IP": f"203.0.113.{number}",
            "X-Forwarded-For": "192.0.2.9",
        }
        said = ask_at_port(plugged, "/+api", headers)
    assert said.status == 429
    assert f"came from {account}, wait" in said.reason
    # of another address, and at the socket, the right password is looked at
    assert log_in(plugged, "192.0.2.7", plugged.root_password).status == 200


def test_proxy_of_ones_own_is_believed_where_it_is_named(tmp_path: Path) -> None:
    plugins = lay_server_plugins(tmp_path / "plugins")
    options = ("--offline-mode", "--trusted-proxy=127.0.0.1", "--trusted-proxy-headers=x-forwarded-for")
    with serve(tmp_path, *options, plugins=plugins) as devpi:
        attempt = until_it_has_to_wait(
            lambda guess: ask_at_port(devpi, "/+api", {**basic("root", guess), "X-Forwarded-For": "192.0.2.1"})
        )
        assert "came from 192.0.2.1, wait" in attempt[-1].reason
        other = {**basic("root", "wrong"), "X-Forwarded-For": "192.0.2.2"}
        assert ask_at_port(devpi, "/+api", other).status == 200
        assert not list(tmp_path.glob("*.sock"))


def test_socket_is_for_its_directorys_group_and_taken_over_from_one_that_ended(plugged: Devpi, tmp_path: Path) -> None:
    path = socket_of(plugged)
    assert stat.filemode(path.stat().st_mode) == "srw-rw----"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "left.sock"))
    left.close()
    python = Path(os.environ["DEVPI_TEST_VENV"], "bin", "python")
    files = Path(__file__).parents[2] / "server_plugins"
    take = "import sys, devpi_nginx_socket; devpi_nginx_socket.opened(sys.argv[1])"
    for there, failed in ((tmp_path / "left.sock", ""), (path, "another server answers"), (tmp_path, "cannot be made")):
        ran = subprocess.run([python, "-c", take, there], cwd=files, capture_output=True, text=True, check=False)
        assert failed in ran.stderr, ran.stderr
        assert bool(failed) == bool(ran.returncode)
    assert ask(plugged, "/+api").status == 200


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/", "http://localhost/x", "http://[::1]:1/", "http://[::ffff:127.0.0.1]/", "http://0/",
     "http://169.254.169.254/", "http://2130706433/"],
)  # fmt: skip
def test_release_is_pushed_to_no_address_of_the_servers_host(plugged: Devpi, url: str) -> None:
    asked = {"posturl": url, "username": "x", "password": "y", "name": "shown", "version": "1.0"}
    headers = {**basic("root", plugged.token()), "Content-Type": "application/json"}
    said = ask(plugged, "/team/dev", headers, "PUSH", json.dumps(asked).encode())
    assert (said.status, said.reason) == (403, "a release is not pushed to an address of the server's own host")


def test_release_is_pushed_to_another_index_and_to_other_hosts(plugged: Devpi) -> None:
    headers = {**basic("root", plugged.token()), "Content-Type": "application/json"}
    plugged.make("team/stable")
    asked = {"targetindex": "team/stable", "name": "shown", "version": "1.0"}
    assert ask(plugged, "/team/dev", headers, "PUSH", json.dumps(asked).encode()).status == 200
    # that nobody answers there is no refusal
    asked = {"posturl": "http://192.0.2.1:1/", "username": "x", "password": "y", "name": "shown", "version": "1.0"}
    assert ask(plugged, "/team/dev", headers, "PUSH", json.dumps(asked).encode()).status in (500, 502)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "PROPFIND"])
def test_a_login_is_taken_with_post_alone(plugged: Devpi, method: str) -> None:
    form = f"username=root&password={plugged.root_password}&submit=Login".encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Real-IP": "192.0.2.5"}
    said = ask(plugged, "/+login", headers, method, form)
    assert (said.status, said.headers["Set-Cookie"]) == (405, None)
    assert "POST" in said.headers["Allow"]
    assert log_in(plugged, "192.0.2.5", plugged.root_password).status == 200


def test_user_of_other_indexes_tokens_is_told_what_to_give(plugged: Devpi) -> None:
    said = ask(plugged, "/team/dev/", basic("__token__", "devpi-AgEB"))
    assert (said.status, said.headers["WWW-Authenticate"]) == (401, 'Basic realm="devpi"')
    assert "give the name of the devpi user" in said.reason


def test_nginx_hears_that_nobody_writes_without_a_login(plugged: Devpi) -> None:
    about = {"X-Original-URI": f"{plugged.url}/team/dev/", "Accept": "application/json"}
    reading = ask(plugged, "/+authcheck", about)
    assert (reading.status, reading.headers["X-Devpi-Access-Known"]) == (200, "yes")
    assert ask(plugged, "/+authcheck", {**about, "X-Devpi-Access": "write"}).status == 401
    login = basic("root", plugged.token())
    assert ask(plugged, "/+authcheck", {**about, **login, "X-Devpi-Access": "write"}).status == 200


def test_uploaded_documentation_runs_no_script(plugged: Devpi) -> None:
    said = ask(plugged, "/team/dev/shown/1.0/+doc/index.html", {"Accept": "text/html"})
    assert said.text == "<script>alert(1)</script>"
    policy = said.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "script-src 'none'" in policy
    assert said.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
def test_pages_run_their_own_scripts_and_no_others(plugged: Devpi, path: str) -> None:
    said = ask(plugged, path, {"Accept": "text/html"})
    policy = dict(each.strip().split(" ", 1) for each in said.headers["Content-Security-Policy"].split(";"))
    allowed = policy["script-src"].split()
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "'self'"} & set(allowed)
    # a browser runs nothing of one that is data
    scripts = [each for each in INLINE.finditer(said.text) if "application/json" not in each["attributes"]]
    assert scripts, said.text
    for script in scripts:
        source = re.search(r'src="([^"]+)"', script["attributes"])
        if source:
            assert any(source[1].startswith(each) for each in allowed), source[1]
            assert ask(plugged, urlsplit(source[1]).path).status == 200
        else:
            digest = base64.b64encode(hashlib.sha256(script["text"].encode()).digest()).decode()
            assert f"'sha256-{digest}'" in allowed, script["text"]


def test_answers_to_tools_have_no_policy(plugged: Devpi) -> None:
    assert "Content-Security-Policy" not in ask(plugged, "/team/dev", {"Accept": "application/json"}).headers
