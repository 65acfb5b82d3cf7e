"""What strangers and hostile users of devpi try at nginx, where reading is open and where it is private."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import pytest

from molecule.proxy.conftest import NAME, answer, basic, form, logged_in, packed, release, send
from molecule.proxy.test_private import JSON, PRIVATE, WHEEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

    from molecule.conftest import Layout
    from molecule.proxy.conftest import Outside, Runs

ONLY_ON = "devpi-proxy-12"
INDEX = "/team/anybody"
GUESS = basic("team", "guess").removeprefix("Authorization: ")
LONG = {
    "user": "ci",
    "path": "/root/long.token",
    "allowed": ["pkg_read"],
    "indexes": ["team/dev"],
    "projects": ["front", *(f"a-project-with-quite-a-long-name-{number}" for number in range(300))],
}
# Runs on the host itself, with a loopback address of its own for each who asks.
ASK = """
import http.client, json, socket, ssl, sys, time
source, path, header, times = sys.argv[1:]
context = ssl._create_unverified_context()
seen = []
for number in range(int(times)):
    begun = time.monotonic()
    plain = socket.create_connection(("127.0.0.1", 443), timeout=30, source_address=(source, 0))
    connection = http.client.HTTPConnection("packages.example.com")
    connection.sock = context.wrap_socket(plain, server_hostname="packages.example.com")
    headers = {"Accept": "application/json"}
    if header:
        headers["Authorization"] = header.replace("NUMBER", str(number))
    body = None
    if path == "/+login":
        import base64
        user, password = base64.b64decode(headers.pop("Authorization").split()[1]).decode().split(":")
        body = json.dumps({"user": user, "password": password + (str(number) if int(times) > 1 else "")})
        headers["Content-Type"] = "application/json"
    elif int(times) > 1 and header:
        import base64
        words = base64.b64decode(header.split()[1]).decode() + str(number)
        headers["Authorization"] = "Basic " + base64.b64encode(words.encode()).decode()
    connection.request("POST" if body else "GET", path, body, headers)
    said = connection.getresponse()
    said.read()
    seen.append([said.status, said.headers["Retry-After"], time.monotonic() - begun])
print(json.dumps(seen))
"""


def ask(host: Host, source: str, path: str, header: str = "", times: int = 1) -> list[tuple[int, str | None, float]]:
    """Return status, Retry-After and seconds of each request; with several, each has a password of its own."""
    said = host.run("python3 -c %s %s %s %s %s", ASK, source, path, header, str(times))
    assert said.rc == 0, said.stderr
    return list(map(tuple, json.loads(said.stdout)))


@pytest.fixture(scope="module", params=["open", "private"])
def mode(request: pytest.FixtureRequest, deploy: Runs, published: dict[str, str]) -> Iterator[str]:
    assert published
    private = request.param == "private"
    variables = {**PRIVATE, "devpi_tokens": [*PRIVATE["devpi_tokens"], LONG]}
    if private:
        code, _changed, said = deploy(**variables)
        assert code == 0, said
    yield request.param
    if private:
        code, _changed, said = deploy()
        assert code == 0, said


@pytest.fixture(scope="module")
def root(host: Host, outside: Outside, mode: str) -> str:
    assert mode
    return logged_in(host, outside, "root")


@pytest.fixture(scope="module")
def team(host: Host, outside: Outside, mode: str) -> str:
    assert mode
    return logged_in(host, outside, "team")


@pytest.fixture
def anybodys(outside: Outside, root: str) -> Iterator[str]:
    """Make an index to which the server itself lets everybody upload."""
    settings = {"type": "stage", "bases": [], "volatile": True}
    settings.update(acl_upload=[":ANONYMOUS:"], acl_toxresult_upload=[":ANONYMOUS:"])
    kind = "Content-Type: application/json"
    outside.send(INDEX, root, method="DELETE")
    made = send(outside, INDEX, root, kind, method="PUT", body=json.dumps(settings).encode())
    assert made.status == 200, made.text
    yield INDEX
    assert outside.send(INDEX, root, method="DELETE").status == 201


UNCLEAR = [
    "/team//dev",
    "//team/dev",
    "/team/dev//",
    "/team/./dev",
    "/team/other/../dev",
    "/team/dev/..",
    "/team/dev/.",
    "/team%2fdev",
    "/team/dev%2F..%2f..%2f",
    "/team/dev/%2e%2e/dev",
    "/team/dev/front/1.0/+doc/..%5c..%5c.secret",
    "/team\\dev",
    "/team/dev%00",
    "/team/dev%0a",
]


@pytest.mark.parametrize("path", UNCLEAR)
def test_path_that_can_be_read_in_two_ways_is_refused(outside: Outside, mode: str, team: str, path: str) -> None:
    for headers in ((), (team,)):
        for method in ("GET", "HEAD", "POST", "DELETE"):
            said = outside.send(path, *headers, method=method)
            assert said.status == 400, (mode, method)
            # a NUL is not even a request for nginx
            assert "%00" in path or said.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert method == "HEAD" or "%00" in path or "Write the path without empty parts" in said.text


@pytest.mark.parametrize(
    "path", ["/team/dev/x/1.0+local", "/team/dev/x/1.0%2Blocal", "/team/dev/x/1%211.0", "/team/dev/"]
)
def test_path_of_a_version_is_not(outside: Outside, team: str, path: str) -> None:
    assert outside.send(path, team, JSON).status in {200, 302, 404}
    assert outside.send(f"{path}?goto=//x/../%2e", team, JSON).status in {200, 302, 404}


WRITES = ["POST", "PUT", "PATCH", "DELETE", "PUSH", "OPTIONS", "PROPFIND", "LOCK", "get", "X"]


@pytest.mark.usefixtures("anybodys")
@pytest.mark.parametrize(
    "path", ["/", "/new", INDEX, f"{INDEX}/", f"{INDEX}/x", "/+api", "/+status", "/+search", "{wheel}"]
)
def test_no_writing_method_passes_without_a_login(
    host: Host, layout: Layout, outside: Outside, published: dict[str, str], path: str
) -> None:
    log = f"/var/log/supervisor/{layout.program}.log"
    path = path.format(wheel=published[WHEEL])
    before = len(host.file(log).content_string)
    for method in WRITES:
        for header in ("Accept: */*", "Cookie: auth_tkt=team%3Ax", "Authorization: Basic !", "X-Devpi-Auth: dGVhbTo="):
            said = send(outside, path, header, method=method)
            assert said.status in {400, 401, 403, 405, 429}, (method, header)
            assert said.status != 401 or said.headers["WWW-Authenticate"].startswith("Basic realm=")
    time.sleep(0.2)
    told = host.file(log).content_string[before:]
    assert not [each for each in WRITES if f"] {each} " in told]


def test_stranger_stores_nothing_whatever_the_index_says(
    outside: Outside, published: dict[str, str], anybodys: str, team: str
) -> None:
    kind, body = release("stranger")
    for headers in ((), (basic("team", "wrong-for-upload"),), (basic("nobody", "x"),)):
        said = send(outside, f"{anybodys}/", kind, *headers, body=body)
        assert said.status == 401, said.text
        assert said.headers["Content-Type"] == "text/plain; charset=utf-8"
        tox = send(outside, published[WHEEL], "Content-Type: application/json", *headers, body=b"{}")
        assert tox.status == 401
    assert outside.send(f"{anybodys}/stranger", team, JSON).status == 404
    # and who has a login does
    assert send(outside, f"{anybodys}/", kind, team, body=body).status == 200
    assert outside.send(f"{anybodys}/stranger", team, JSON).status == 200


def test_right_to_read_is_no_right_to_write(host: Host, outside: Outside, mode: str, anybodys: str) -> None:
    if mode == "open":
        # there are no tokens: a login that may read and not write is any user's
        reader = basic("root", host.check_output("cat /etc/devpi/credentials/root"))
    else:
        reader = basic("ci", host.check_output("cat /root/dev.token"))
        for _dummy in range(3):
            assert outside.send("/team/dev/+simple/front/", reader).status == 200
    kind, body = release("onlyreads7f3")
    said = send(outside, "/team/dev/", kind, reader, body=body)
    assert said.status == 403, said.text
    if mode == "private":
        assert "this token may read and nothing else" in said.text
    assert outside.send("/team/dev/onlyreads7f3", reader, JSON).status in {403, 404}


def test_user_of_pypi_is_told_what_to_give(outside: Outside, mode: str) -> None:
    assert mode
    token = basic("__token__", "pypi-AgEI")
    kind, body = release("pypis")
    header = "X-Devpi-Auth: " + token.split()[-1]
    for said in (
        outside.send("/team/dev/+simple/front/", token),
        outside.send("/team/dev/+simple/front/", header),
        send(outside, "/team/dev/", kind, token, body=body),
        send(outside, "/team/dev/", kind, token, body=body + b"x" * 2_000_000),
    ):
        assert said.status == 401
        assert said.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert "give the name of the devpi user as the user and the token as the password" in said.text
        assert said.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_tools_show_what_to_give(host: Host, layout: Layout, mode: str) -> None:
    assert mode
    host.run("test -e /opt/strange || python3 -m venv /opt/strange")
    url = layout.index.replace("https://", "https://__token__:pypi-AgEI@")
    pip = host.run(
        f"{layout.trust} /opt/strange/bin/pip --retries 0 download --no-deps --index-url {url}/+simple/ "
        "--dest /tmp/x front"
    )
    assert pip.rc != 0
    assert "401 Error, Credentials not correct" in pip.stdout + pip.stderr
    twine = host.run(
        f"cd /root/made && {layout.trust} TWINE_USERNAME=__token__ TWINE_PASSWORD=pypi-AgEI {layout.venv}/bin/twine "
        f"upload --non-interactive --repository-url {layout.index}/ front-1.0.tar.gz"
    )
    assert twine.rc != 0
    uv = host.run(
        f"cd /root/made && {layout.trust} {layout.venv}/bin/uv publish --username __token__ --password pypi-AgEI "
        f"--publish-url {layout.index}/ front-1.0.tar.gz"
    )
    assert uv.rc != 0
    assert "give the name of the devpi user" in " ".join((uv.stdout + uv.stderr).split())
    assert "give the name of the devpi user" in " ".join((twine.stdout + twine.stderr).split())


SLOW = {
    "upload": "POST /team/dev/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\nab",
    "login": "POST /+login HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nab",
    "page": "GET /team/dev/+simple/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nab",
    "nowhere": "PUT /x/y HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "api": "POST /+api HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nab",
    "a user's": "POST /team/dev/ HTTP/1.1\r\nHost: {host}\r\n{login}\r\nContent-Length: 1000000\r\n\r\nab",
    "of the user of pypi": "POST /team/dev/ HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic X190b2tlbl9fOng=\r\n"
    "Content-Length: 1000\r\n\r\nab",
    "headers": "GET /+api HTTP/1.1\r\nHost: {host}\r\nX-Slow: ",
}


@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_keep_nobody_waiting(host: Host, outside: Outside, mode: str, team: str, kind: str) -> None:
    assert mode
    held: list[socket.socket] = []
    try:
        for number in range(200):
            connection = outside.connect()
            held.append(connection)
            connection.sendall(SLOW[kind].format(host=NAME, login=team).encode())
            if number % 50 == 49:
                for each in held:
                    try:
                        each.sendall(b"c")
                    except OSError:
                        # nginx is done with it
                        continue
        asked = ask(host, "127.0.0.1", "/+api", times=5)
    finally:
        for connection in held:
            connection.close()
    assert [status for status, _wait, _seconds in asked] == [200] * 5
    assert max(seconds for _status, _wait, seconds in asked) < 1


@pytest.mark.parametrize("path", ["/+login", "/+api", "/team/dev/+simple/front/", "/team/dev"])
def test_guesses_are_slowed_for_who_guesses(host: Host, outside: Outside, mode: str, team: str, path: str) -> None:
    if mode == "open" and path.startswith("/team"):
        # a password is not looked at where all may read
        assert {status for status, _wait, _seconds in ask(host, "127.0.8.8", path, GUESS, times=40)} == {200}
        return
    source = f"127.0.{len(mode)}.{len(path)}"
    guesses = ask(host, source, path, GUESS, times=40)
    refused = [wait for status, wait, _seconds in guesses if status == 429]
    assert len(refused) >= 25, guesses
    assert all(wait and 0 < int(wait) <= 60 for wait in refused)
    # somebody elsewhere does not notice
    assert outside.send("/team/dev", team, JSON).status == 200
    # and who waits is let in with the right password
    time.sleep(max(int(wait) for wait in refused if wait) + 1)
    right = basic("team", host.check_output("cat /etc/devpi/credentials/team"))
    said = ask(host, source, "/+login", right.removeprefix("Authorization: "))
    assert said[0][0] == 200, said


def test_token_is_never_slowed(host: Host, mode: str, team: str) -> None:
    if mode == "open":
        login = team
        path = "/+api"
    else:
        login = basic("ci", host.check_output("cat /root/dev.token"))
        path = "/team/dev/+simple/front/"
    source = f"127.0.9.{len(mode)}"
    # others at the same address guess
    ask(host, source, "/+login", GUESS, times=15)
    if mode == "private":
        header = login.removeprefix("Authorization: ")
        assert {ask(host, source, path, header)[0][0] for _dummy in range(30)} == {200}


def test_upload_without_tls_fails_where_it_can_be_seen(host: Host, layout: Layout, outside: Outside, mode: str) -> None:
    assert mode
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        with socket.create_connection((outside.address, 80), timeout=30) as connection:
            lines = [f"{method} /team/dev/ HTTP/1.1", f"Host: {NAME}", "Content-Length: 4", "Connection: close"]
            connection.sendall(("\r\n".join(lines) + "\r\n\r\nabcd").encode())
            said = answer(connection, method)
        assert said.status == 403
        assert said.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert "Nothing was stored" in said.text
        assert said.headers["Server"] == "nginx"
    twine = host.run(
        f"cd /root/made && TWINE_USERNAME=team TWINE_PASSWORD=x {layout.venv}/bin/twine upload --non-interactive "
        f"--repository-url http://{NAME}/team/dev/ front-1.0.tar.gz"
    )
    assert twine.rc != 0
    flit = host.run(
        "rm -rf /tmp/plain && mkdir /tmp/plain && cd /tmp/plain && printf 'x = 1\\n' >plainly.py && printf "
        '\'[build-system]\\nrequires = ["flit_core"]\\nbuild-backend = "flit_core.buildapi"\\n[project]\\n'
        'name = "plainly"\\nversion = "1.0"\\ndescription = "x"\\n\' >pyproject.toml && '
        f"FLIT_INDEX_URL=http://{NAME}/team/dev/ FLIT_USERNAME=team FLIT_PASSWORD=x {layout.venv}/bin/flit publish"
    )
    if "No such file" not in flit.stderr:
        assert flit.rc != 0, flit.stdout + flit.stderr


def test_bound_token_reads_nothing_else(host: Host, outside: Outside, mode: str) -> None:
    if mode == "open":
        assert outside.send("/", JSON).status == 200
        return
    token = basic("ci", host.check_output("cat /root/dev.token"))
    for path in (
        "/",
        "/team",
        "/team/",
        "/root",
        "/ci/+tokens",
        "/+search?query=x",
        "/+status",
        "/+searchhelp",
        "/team/other",
    ):
        for accept in (JSON, "Accept: text/html", "Accept: */*"):
            said = outside.send(path, token, accept)
            assert said.status == 403, (path, accept, said.text)
            assert "acl_upload" not in said.text
    said = outside.send("/", token)
    assert "bound to indexes" in said.text
    for path in ("/team/dev", "/team/dev/+api", "/team/dev/+simple/front/", "/team/dev/front"):
        assert outside.send(path, token, JSON).status == 200, path


def test_long_token_passes(host: Host, outside: Outside, mode: str, published: dict[str, str]) -> None:
    if mode == "open":
        said = outside.send("/+api", "Authorization: Basic " + "QUFB" * 4000)
        assert said.status == 200, said.text
        return
    token = host.check_output("cat /root/long.token")
    assert len(token) > 11_000
    for _dummy in range(2):
        for path in ("/team/dev/+simple/front/", published[WHEEL], "/team/dev/front"):
            assert outside.send(path, basic("ci", token)).status == 200, path
    said = outside.send("/+api", basic("ci", token), JSON)
    assert json.loads(said.text)["result"]["authstatus"][1] == "ci"
    # it is held to its projects
    other = published[WHEEL].replace("front-1.0", "back-1.0")
    assert outside.send(other, basic("ci", token)).status in {403, 404}


def test_links_below_the_release_files_lead_nowhere(
    host: Host, outside: Outside, mode: str, team: str, published: dict[str, str]
) -> None:
    assert mode
    deep = "/var/lib/devpi/+files" + published[WHEEL].rsplit("/", 1)[0]
    host.check_output(
        f"echo CANARY >/srv/for-nginx && chmod 0644 /srv/for-nginx && ln -sfn /srv/for-nginx {deep}/link-1.0.zip && "
        f"ln -sfn /srv {deep}/../00000000000ff && mkfifo {deep}/pipe-1.0.zip"
    )
    above = published[WHEEL].rsplit("/", 2)[0]
    try:
        for path in (f"{deep.removeprefix('/var/lib/devpi/+files')}/link-1.0.zip", f"{above}/00000000000ff/for-nginx"):
            said = outside.send(path, team)
            assert said.status in {403, 404}, path
            assert "CANARY" not in said.text
        pipe = outside.send(f"{deep.removeprefix('/var/lib/devpi/+files')}/pipe-1.0.zip", team)
        assert pipe.status in {403, 404}
    finally:
        host.check_output(f"rm {deep}/link-1.0.zip {deep}/../00000000000ff {deep}/pipe-1.0.zip")


def test_error_log_holds_no_query(host: Host, layout: Layout, outside: Outside, mode: str) -> None:
    assert mode
    secret = "Canary7f3-query"
    host.check_output(f"supervisorctl stop {layout.program}")
    try:
        for method in ("GET", "POST"):
            for path in ("/+api", "/team/dev/+simple/front/", "/team/dev/", "/+status"):
                said = outside.send(
                    f"{path}?token={secret}", "Authorization: Basic dGVhbTp4", "Referer: x", method=method
                )
                assert said.status >= 400 or path.endswith("front/")
    finally:
        host.check_output(f"supervisorctl start {layout.program}")
    for _dummy in range(300):
        if outside.send("/+api", JSON).status == 200:
            break
        time.sleep(0.1)
    time.sleep(1.2)
    assert host.run(f"grep -rl {secret} /var/log/nginx").stdout == ""


def test_uploaded_documentation_is_in_a_sandbox(outside: Outside, mode: str, team: str) -> None:
    assert mode
    kind, body = release("documented")
    assert send(outside, "/team/dev/", kind, team, body=body).status == 200
    page = "<html><body>documented<script>document.title='x'</script></body></html>"
    files = packed({"index.html": page, "x.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>"})
    kind, body = form(
        {":action": "doc_upload", "name": "documented", "version": "1.0"}, "documented-1.0.doc.zip", files
    )
    said = send(outside, "/team/dev/", kind, team, body=body)
    assert said.status == 200, said.text
    for version in ("1.0", "latest"):
        for name in ("index.html", "x.svg"):
            said = outside.send(f"/team/dev/documented/{version}/+doc/{name}", team)
            assert said.status == 200, said.text
            policy = said.headers["Content-Security-Policy"]
            assert policy.startswith("sandbox ")
            assert "allow-scripts" not in policy
            assert said.headers.get_all("Content-Security-Policy") == [policy]
    for path in ("/", "/team/dev", "/team/dev/documented/1.0", "/team/dev/documented/1.0/+d/index.html"):
        said = outside.send(path, team, "Accept: text/html")
        policy = said.headers["Content-Security-Policy"]
        scripts = next(part for part in policy.split("; ") if part.startswith("script-src "))
        assert "unsafe" not in scripts
        assert "'self'" not in scripts


def test_upload_that_nginx_has_no_room_for_is_refused_whole(
    host: Host, outside: Outside, mode: str, anybodys: str, team: str
) -> None:
    assert mode
    place = "/var/lib/nginx/body"
    host.check_output(f"mount -t tmpfs -o size=1m,mode=700,uid=$(id -u www-data) none {place}")
    try:
        kind, body = release("roomless")
        said = send(outside, f"{anybodys}/", kind, team, body=body.replace(b"--mark--", b"x" * 3_000_000 + b"--mark--"))
        assert said.status == 507, said.text
        assert "nothing of it was stored" in said.text
    finally:
        host.check_output(f"umount --lazy {place}")
    assert outside.send(f"{anybodys}/roomless", team, JSON).status == 404
    assert send(outside, f"{anybodys}/", kind, team, body=body).status == 200


FLEET = ["pip/25.0 {}", "pip/23.0.1", "uv/0.13.9", "Python/3.12 pip/24.0", "setuptools/70"]


def test_fleet_shares_one_page(host: Host, layout: Layout, outside: Outside, mode: str) -> None:
    if mode == "private":
        # there nothing is kept
        assert host.run("ls /var/cache/devpi-pages-kept").stdout == "" or mode
        return
    page = "/team/dev/+simple/front/?fleet"
    accepts = [
        "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
        "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01",
        "application/vnd.pypi.simple.v1+json",
    ]
    said = outside.send(page, f"User-Agent: {FLEET[0]}", f"Accept: {accepts[0]}")
    assert said.status == 200
    for accept in accepts:
        for number, agent in enumerate(FLEET):
            same = outside.send(page, f"User-Agent: {agent.format(number)}", f"Accept: {accept}")
            assert same.body == said.body
    kept = host.check_output("grep -rlaF '/front/?fleet' /var/cache/devpi-pages-kept | wc -l")
    assert kept == "1"
    host.check_output(f"supervisorctl stop {layout.program}")
    try:
        time.sleep(1.1)
        for accept in accepts:
            for agent in FLEET:
                assert outside.send(page, f"User-Agent: {agent}", f"Accept: {accept}").body == said.body
        # who is no installer gets another page, which was not asked for
        assert outside.send(page, "User-Agent: Mozilla/5.0", "Accept: text/html").status == 503
    finally:
        host.check_output(f"supervisorctl start {layout.program}")
    for _dummy in range(300):
        if outside.send("/+api", JSON).status == 200:
            break
        time.sleep(0.1)
