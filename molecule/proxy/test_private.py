"""All reading behind a login: who gets in with what, and every way past it that the tests can think of."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from molecule.conftest import guide
from molecule.proxy.conftest import NAME, answer, basic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

    from molecule.conftest import Layout, Shell
    from molecule.proxy.conftest import Outside, Runs

ONLY_ON = "devpi-proxy-13"
WHEEL = "front-1.0-py3-none-any.whl"
PAGE = "/team/dev/+simple/front/"
JSON = "Accept: application/json"
BROWSER = ("User-Agent: Mozilla/5.0", "Accept: text/html,*/*;q=0.8")
# For how long nginx goes by what it was told, in seconds
KNOWN_FOR = 10
[NETRC] = re.findall(r"^ +(machine .+)$", guide("private_reading"), re.MULTILINE)
PRIVATE = {
    "devpi_private": True,
    "devpi_users": [
        {"name": "root", "indexes": [{"name": "pypi", "type": "mirror", "mirror_no_project_list": True}]},
        {"name": "team", "indexes": [{"name": "dev", "bases": ["root/pypi"]}, {"name": "other"}]},
        {"name": "ci"},
    ],
    "devpi_tokens": [
        {"user": "ci", "path": "/root/dev.token", "allowed": ["pkg_read"], "indexes": ["team/dev"]},
        {"user": "ci", "path": "/root/other.token", "allowed": ["pkg_read"], "indexes": ["team/other"]},
        {"user": "ci", "path": "/root/upload.token", "allowed": ["upload"], "indexes": ["team/dev"]},
    ],
}


@dataclass
class Private:
    """A private server, with the passwords and tokens that it takes."""

    outside: Outside
    wheel: str
    team: str
    ci: str
    dev: str
    other: str
    upload: str

    def status(self, path: str, *headers: str, method: str = "GET") -> int:
        return self.outside.send(path, *headers, method=method).status


@pytest.fixture(scope="module")
def private(host: Host, outside: Outside, published: dict[str, str], deploy: Runs) -> Iterator[Private]:
    _code, predicted, foretold = deploy("--check", **PRIVATE)
    code, changed, said = deploy(**PRIVATE)
    assert code == 0, said
    # a server without the plugin cannot be asked for tokens
    assert changed - 1 <= predicted <= changed, foretold + said
    assert predicted > 0
    try:
        code, changed, said = deploy(**PRIVATE)
        assert (code, changed) == (0, 0), said
        paths = ["/etc/devpi/credentials/team", "/etc/devpi/credentials/ci"]
        paths += [f"/root/{name}.token" for name in ("dev", "other", "upload")]
        team, ci, dev, other, upload = (host.check_output(f"cat {path}") for path in paths)
        yield Private(outside, published[WHEEL], team, ci, dev, other, upload)
    finally:
        code, _changed, said = deploy()
        assert code == 0, said


@pytest.fixture(scope="module")
def tools(host: Host, private: Private, layout: Layout) -> str:
    """Return the beginning of a command line whose tools know the CA, and, from ~/.netrc alone, the login of CI."""
    line = NETRC.replace("devpi1.example.com", NAME).replace("TOKEN", private.dev)
    host.check_output(f"mkdir -p /root/ci && umask 077 && printf '{line}' >/root/ci/.netrc")
    host.check_output("python3 -m venv /opt/reader")
    return f"cd /root/ci && env HOME=/root/ci {layout.trust}"


READS = [
    "/",
    "/team",
    "/team/dev",
    "/team/dev/",
    "/team/dev/+api",
    "/team/+api",
    "/nobody/nothing/+api",
    PAGE,
    "/team/dev/+simple/",
    "/team/dev/+simple/front",
    "/team/dev/front",
    "/team/dev/front/1.0",
    "/team/dev/front/1.0/+d/index.html",
    "/team/dev/front/1.0/+doc/",
    "/team/dev/front/latest/+doc/index.html",
    "/team/dev/front/1.0/+toxresults/x",
    "/root/pypi/+simple/pip/",
    "/+search?query=front",
    "/+changelog/0",
    "/+status",
    "/+authcheck",
    "/nowhere",
    "{wheel}",
    "{wheel}?x=1",
    "{wheel}-tmp",
]
METHODS = ["GET", "HEAD", "OPTIONS", "PROPFIND"]


@pytest.mark.parametrize("path", READS)
def test_strangers_read_nothing(private: Private, path: str) -> None:
    path = path.format(wheel=private.wheel)
    for method in METHODS:
        for headers in ((), (JSON,), BROWSER, ("Accept: application/vnd.pypi.simple.v1+json",)):
            said = private.outside.send(path, *headers, method=method)
            if said.status == 302:
                assert headers == BROWSER
                assert said.headers["Location"] == f"https://{NAME}/+login?goto_url={path}"
            else:
                # nginx's question is nobody's page, and a page for named networks alone is theirs
                assert said.status in ({403, 404} if "+authcheck" in path else {401, 403, 405}), (method, headers)
                assert said.status != 401 or said.headers["WWW-Authenticate"].startswith("Basic realm=")
            assert "front-1.0" not in said.text
            assert "acl_upload" not in said.text


# What leads past a lock that looks at a path in another way than the server does
DETOURS = [
    "/{path}",
    "//{path}",
    "/./{path}",
    "/+api/../{path}",
    "/+api/..%2f{path}",
    "/+api%2f..%2f{path}",
    "/+api/%2e%2e/{path}",
    "/+login/../{path}",
    "/+login/..%2f{path}",
    "/+static/../{path}",
    "/+static/..%2f{path}",
    "/+static/%2e%2e/{path}",
    "/+static%2f../{path}",
    "/+theme-static/..%2f..%2f{path}",
    "/{path}/..%2f..%2f..%2f..%2f..%2f..%2f..%2f+api",
    "/{path}%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f+login",
    "/{path}/../../../../../../../../+api",
    "/{path}#/+api",
    "/{path}?/+api",
    "/{path}?x=/+static",
    "/{path}%3f/+api",
    "/{path};/+api",
    "/{path}%00",
    "/{path}%0a",
    "/x%0d%0aX-Original-URI:%20/+api/..%2f..%2f{path}",
    "\\{path}",
    "/+api\\..\\{path}",
    "/+api%5c..%5c{path}",
    "https://packages.example.com/{path}",
    "https://evil.example.com/{path}",
    "/+authcheck/../{path}",
    "/.devpi-reader/../{path}",
    "/.devpi-reader",
    "/.devpi-file-reader",
]
FORGED = [
    "X-Original-URI: /+api",
    "X-Original-URL: /+api",
    "X-Rewrite-URL: /+api",
    "X-Real-IP: 127.0.0.1",
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-User: team",
    "REMOTE_USER: team",
    "X-Outside-URL: http://127.0.0.1:3141",
    "X-Devpi-Auth: dGVhbTo=",
    "X-Devpi-Auth: !",
    "Authorization: Basic dGVhbTo=",
    "Authorization: Basic !",
    "Authorization: Bearer team",
    "Cookie: auth_tkt=team%3A",
    "Cookie: auth_tkt=x; auth_tkt=team%3Ax",
]


@pytest.mark.parametrize("detour", DETOURS)
def test_no_detour_leads_in(private: Private, detour: str) -> None:
    for path in (private.wheel[1:], PAGE[1:], "team/dev/front/1.0", "+status"):
        for plain in (path, path.replace("/", "%2f"), path.replace("/", "//"), path.replace("+", "%2B")):
            with private.outside.connect() as connection:
                # another name than TLS was told is a detour, too
                for host in (NAME, "evil.example.com"):
                    request = f"GET {detour.format(path=plain)} HTTP/1.1\r\nHost: {host}\r\n\r\n"
                    connection.sendall(request.encode())
                    said = answer(connection)
                    assert said.status in {400, 401, 403, 404, 421}, (request, said.text)
                    assert "front" not in said.text, request
                    assert "serverdir" not in said.text, request
                    if said.headers["Connection"] == "close":
                        break


@pytest.mark.parametrize("header", FORGED)
def test_no_header_leads_in(private: Private, header: str) -> None:
    for path in (private.wheel, PAGE, "/team/dev", "/team/dev/front/1.0"):
        for method in ("GET", "HEAD", "POST"):
            said = private.outside.send(path, header, "Content-Length: 0", method=method)
            assert said.status in {400, 401, 403}, (path, said.status)
            assert "front" not in said.text


def test_request_without_a_host_is_a_strangers_too(private: Private) -> None:
    for path in (private.wheel, PAGE):
        with private.outside.connect() as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert answer(connection).status == 401


def test_what_a_login_needs_is_open(private: Private) -> None:
    api = private.outside.send("/+api", JSON)
    assert api.status == 200
    assert json.loads(api.text)["result"]["authstatus"] == ["noauth", "", []]
    form = private.outside.send("/+login", *BROWSER)
    assert form.status == 200
    style = next(part for part in form.text.split('"') if part.endswith("/style.css"))
    assert private.status(style.removeprefix(f"https://{NAME}")) == 200


def test_login_opens_everything(private: Private) -> None:
    for path in ("/team/dev", "/team/dev/+api", PAGE, "/team/dev/front/1.0", private.wheel):
        assert private.status(path, basic("team", private.team), JSON) == 200, path
    pair = base64.b64encode(f"team:{private.team}".encode()).decode()
    assert private.status(private.wheel, f"X-Devpi-Auth: {pair}") == 200
    for _dummy in range(2):
        assert private.status(private.wheel, basic("team", private.team + "x")) == 401
        assert private.status(PAGE, basic("nobody", private.team)) == 401


def test_files_still_come_from_disk(host: Host, layout: Layout, private: Private) -> None:
    log = f"/var/log/supervisor/{layout.program}.log"
    login = basic("ci", private.ci)
    logged = len(host.file(log).content_string)

    def asked() -> int:
        time.sleep(0.2)
        text = host.file(log).content_string[logged:]
        assert f"GET {private.wheel}" not in text
        return text.count(private.wheel) + text.count("/+authcheck")

    first = asked()
    assert private.status(private.wheel, login) == 200
    second = asked()
    assert second > first
    for _dummy in range(5):
        said = private.outside.send(private.wheel, login)
        assert said.status == 200
        assert "private" in said.headers["Cache-Control"]
    assert asked() == second
    time.sleep(KNOWN_FOR + 0.5)
    assert private.status(private.wheel, login) == 200
    assert asked() > second


def test_token_reads_what_it_is_for(private: Private) -> None:
    for user in ("ci", ""):
        mine, other, upload = (basic(user, token) for token in (private.dev, private.other, private.upload))
        assert private.status(private.wheel, mine) == 200
        assert private.status(PAGE, mine) == 200
        for path in (private.wheel, PAGE, "/team/dev/front/1.0", "/team/dev", "/team//dev", "/%74eam/dev/"):
            assert private.status(path, other) in {400, 403}, path
        assert private.status("/team/other", other, JSON) == 200
        assert private.status(private.wheel, upload) == 403
    assert private.status(private.wheel, basic("team", private.dev)) == 403


def test_revoked_login_is_shut_out_within_seconds(host: Host, private: Private, layout: Layout) -> None:
    said = host.check_output(f"{layout.trust} python3 -c '{CHANGE}' {layout.url} /etc/devpi/credentials/root CANARY")
    assert said == "200"
    old, new = basic("ci", private.ci), basic("ci", "CANARY")
    time.sleep(KNOWN_FOR + 0.5)
    assert private.status(private.wheel, old) == 401
    assert private.status(private.wheel, new) == 200
    host.check_output(f"{layout.trust} python3 -c '{CHANGE}' {layout.url} /etc/devpi/credentials/root {private.ci}")


CHANGE = """
import base64, json, sys, urllib.request
url, file, password = sys.argv[1:]
pair = base64.b64encode(f"root:{open(file).read().strip()}".encode()).decode()
headers = {"Authorization": "Basic " + pair, "Content-Type": "application/json", "Accept": "application/json"}
body = json.dumps({"password": password}).encode()
print(urllib.request.urlopen(urllib.request.Request(url + "/ci", body, headers, method="PATCH")).status)
"""


def test_browser_logs_in_and_out(private: Private) -> None:
    stranger = private.outside.send("/team/dev", *BROWSER)
    assert (stranger.status, stranger.headers["Location"]) == (302, f"https://{NAME}/+login?goto_url=/team/dev")
    kind = "Content-Type: application/x-www-form-urlencoded"

    def submit(password: str) -> tuple[int, http.client.HTTPMessage]:
        body = urlencode({"username": "team", "password": password, "submit": ""})
        length = f"Content-Length: {len(body)}"
        said = private.outside.send("/+login?goto_url=/team/dev", *BROWSER, kind, length, method="POST", body=body)
        return said.status, said.headers

    assert submit("wrong")[0] == 401
    status, headers = submit(private.team)
    assert (status, headers["Location"]) == (302, f"https://{NAME}/team/dev")
    cookie = next(each for each in headers.get_all("Set-Cookie") if each.startswith("auth_tkt="))
    assert {"httponly", "secure"} <= set(cookie.lower().split("; "))
    ticket = "Cookie: " + cookie.split(";")[0]
    assert "front" in private.outside.send("/team/dev", *BROWSER, ticket).text
    assert private.status(private.wheel, ticket) == 200
    # Another site can make the browser send this, and must not change anything with it.
    for method, path, body in (("PATCH", "/team/dev", '{"title": "x"}'), ("DELETE", "/team/dev/front", "")):
        length = f"Content-Length: {len(body)}"
        said = private.outside.send(path, ticket, JSON, length, method=method, body=body)
        assert said.status in {401, 403}, method
    out = private.outside.send("/+logout", *BROWSER, ticket, "Content-Length: 0", method="POST")
    assert out.status == 302
    assert any(each.startswith("auth_tkt=;") for each in out.headers.get_all("Set-Cookie"))


def test_tools_log_in(host: Host, tools: str, layout: Layout) -> None:
    index = f"{layout.index}/+simple/"
    options = f"download --no-deps --no-cache-dir --index-url {index} front"
    said = host.run(f"{tools} /opt/reader/bin/pip {options} --dest got")
    assert said.rc == 0, said.stdout + said.stderr
    assert host.file(f"/root/ci/got/{WHEEL}").exists
    strange = host.run(f"{tools} HOME=/nowhere /opt/reader/bin/pip --no-input {options} --dest strange")
    assert strange.rc != 0
    assert not host.file(f"/root/ci/strange/{WHEEL}").exists
    uv = f"{layout.venv}/bin/uv pip install --no-cache --index-url {index} --python /opt/reader/bin/python front"
    said = host.run(f"{tools} {uv}")
    assert said.rc == 0, said.stderr
    assert host.run("/opt/reader/bin/python -c 'import front'").rc == 0


def test_devpi_client_logs_in(shell: Shell, private: Private, layout: Layout) -> None:
    assert private.team
    devpi = f"{layout.venv}/bin/devpi"
    use = "--clientdir /tmp/private-client"
    said = shell(
        f"{devpi} use {use} {layout.url} && {devpi} login {use} --password=$FLIT_PASSWORD {layout.user} && "
        f"{devpi} use {use} {layout.user}/dev && {devpi} list {use} front"
    )
    assert said.rc == 0, said.stdout + said.stderr
    assert WHEEL in said.stdout


def test_known_login_goes_on_reading_files_without_the_server(host: Host, layout: Layout, private: Private) -> None:
    login = basic("team", private.team)
    assert private.status(private.wheel, login) == 200
    host.check_output(f"supervisorctl stop {layout.program}")
    try:
        time.sleep(KNOWN_FOR + 0.5)
        assert private.status(private.wheel, login) == 200
        assert private.status(private.wheel) >= 401
        assert private.status(private.wheel, basic("team", "wrong")) >= 401
        assert private.status(PAGE, login) >= 500
    finally:
        host.check_output(f"supervisorctl start {layout.program}")
    for _dummy in range(300):
        if private.status("/+api", JSON) == 200:
            break
        time.sleep(0.1)
    assert private.status(PAGE, login) == 200


def test_nothing_of_a_login_lies_on_a_disk(host: Host, private: Private) -> None:
    pair = basic("team", private.team).split()[-1]
    private.status(private.wheel, basic("team", private.team))
    cache = host.file("/run/devpi-readers")
    assert (cache.user, cache.mode) == ("www-data", 0o700)
    assert host.check_output("stat --file-system --format %T /run/devpi-readers") == "tmpfs"
    assert host.run(f"grep -rlE '{pair}|{private.team}' /run/devpi-readers").rc == 0
    assert host.run(f"grep -rlE '{pair}|{private.team}|{private.dev}' /var/log /var/cache /var/lib/nginx").stdout == ""
