"""The plugins that role venv lays beside devpi-server: a real one starts with them, and they do what they are for."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import re
import time
import zipfile
from contextlib import closing
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
    options = ("--offline-mode", "--keep-docs-packed")
    with serve(tmp_path_factory.mktemp("plugged"), *options, plugins=plugins) as devpi:
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


def ask(
    devpi: Devpi, path: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes | None = None
) -> Said:
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(devpi.url).port, timeout=60)) as connection:
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


def test_password_that_begins_as_tokens_do_is_a_guess_too(plugged: Devpi) -> None:
    where = {"X-Real-IP": "192.0.2.4"}
    said = until_it_has_to_wait(lambda guess: ask(plugged, "/+api", {**basic("root", f"devpi-{guess}"), **where}))
    assert int(said[-1].headers["Retry-After"]) > 0


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
