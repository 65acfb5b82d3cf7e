"""nginx in front of the server: TLS, who may see what, files from disk, pages from the cache, clients that trust it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from molecule.proxy.conftest import NAME, answer, basic

if TYPE_CHECKING:
    from testinfra.host import Host

    from molecule.conftest import Api, Layout, Shell
    from molecule.proxy.conftest import Outside

LOG = "/var/log/nginx/devpi.access.log"
JSON = "Accept: application/json"
SIMPLE = "Accept: application/vnd.pypi.simple.v1+json"
KINDS = {"front-1.0-py3-none-any.whl": "application/octet-stream", "front-1.0.tar.gz": "application/gzip"}


@pytest.fixture(scope="module")
def download(host: Host, layout: Layout) -> str:
    """Return the beginning of a command line of pip's, which fetches the package."""
    host.check_output("python3 -m venv /opt/fresh")
    options = f"--retries 0 --no-deps --no-cache-dir --index-url {layout.index}/+simple/"
    return f"/opt/fresh/bin/pip download {options} front"


def handshake(outside: Outside, *options: str) -> subprocess.CompletedProcess[str]:
    """Shake hands with openssl, which knows the CA and insists on it."""
    command = ["openssl", "s_client", "-connect", f"{outside.address}:443", "-servername", NAME]
    command += ["-verify_hostname", NAME, "-verify_return_error", "-CAfile", str(outside.ca), *options]
    return subprocess.run(command, input="", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_modern_protocols_are_spoken(outside: Outside, version: str) -> None:
    said = handshake(outside, f"-{version}")
    assert said.returncode == 0, said.stderr
    assert "Verify return code: 0 (ok)" in said.stdout


@pytest.mark.parametrize("version", ["tls1", "tls1_1"])
def test_old_protocols_are_refused(outside: Outside, version: str) -> None:
    said = handshake(outside, f"-{version}", "-cipher", "ALL:@SECLEVEL=0")
    assert said.returncode != 0
    assert "alert protocol version" in said.stderr


@pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA"])
def test_old_ciphers_are_refused(outside: Outside, cipher: str) -> None:
    said = handshake(outside, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
    assert said.returncode != 0
    assert "handshake failure" in said.stderr


def test_plain_http_leads_to_https_and_nowhere_else(outside: Outside) -> None:
    assert outside.redirect("/team/dev/?x=1") == (301, f"https://{NAME}/team/dev/?x=1")
    assert outside.redirect("//evil.example.com/") == (301, f"https://{NAME}//evil.example.com/")


@pytest.mark.usefixtures("published")
def test_every_answer_asks_for_https(outside: Outside, published: dict[str, str]) -> None:
    for path in ("/+api", "/team/dev/+simple/front/", published["front-1.0-py3-none-any.whl"], "/nowhere", "/+status"):
        said = outside.send(path)
        assert said.headers["Strict-Transport-Security"] == "max-age=31536000", path
        assert said.headers.get_all("X-Content-Type-Options") == ["nosniff"], path


def test_only_nginx_listens_outside_loopback(host: Host) -> None:
    listeners = host.check_output("ss --no-header --listening --tcp --numeric --processes").splitlines()
    own = [(line.split()[3].rsplit(":", 1), line) for line in listeners]
    outer = {(port, "nginx" in line) for (local, port), line in own if local not in {"127.0.0.1", "[::1]"}}
    others = {("8080", True)} if host.file("/etc/nginx/sites-enabled/other").exists else set()
    assert outer == {("80", True), ("443", True)} | others


def test_server_is_not_reached_past_nginx(outside: Outside) -> None:
    for port in (3141, 3142):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((outside.address, port), timeout=5)


# Every one of them leads to the closed page, for devpi or for nginx.
CLOSED = ["/{}", "//{}", "/%2B{}", "/x/../{}", "/x/%2e%2e/{}", "/./{}", "/{}/", "/{}?x=1", "/x%2F..%2F{}"]


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("page", ["+status", "+changelog/0", "+changelog/0-"])
def test_status_and_changelog_are_closed(outside: Outside, api: Api, path: str, page: str) -> None:
    for accept in (JSON, "Accept: text/html"):
        said = outside.send(path.format(page.lstrip("+") if "%2B" in path else page), accept)
        # one that could be read in two ways is not even looked at
        unclear = re.search(r"//|/\.|%2[eF]", path)
        assert said.status == (400 if unclear else 403), (path, said.status, said.text)
        assert "serverdir" not in said.text
    assert api("GET", "/+status").status == 403


@pytest.mark.parametrize("path", ["/+authcheck", "/+authcheck/", "//+authcheck", "/%2Bauthcheck"])
def test_question_of_permission_is_nginxs_alone(outside: Outside, path: str) -> None:
    assert outside.send(path, "X-Original-URI: /team/dev").status == (400 if "//" in path else 404)


def test_links_are_right_and_cannot_be_forged(outside: Outside) -> None:
    forged = ["X-Outside-URL: https://evil.example.com", "X-Forwarded-Host: evil.example.com"]
    forged += ["X-Forwarded-Proto: http", "Forwarded: host=evil.example.com;proto=http", "X-Real-IP: 127.0.0.1"]
    for name in (NAME, "index.example.com", "evil.example.com"):
        said = outside.send("/+api", JSON, *forged, host=name)
        assert json.loads(said.text)["result"]["login"] == f"https://{NAME}/+login", name
        page = outside.send("/team/dev/+simple/front/", *forged, "X-Devpi-Absolute-Urls: 1", host=name)
        assert "evil.example.com" not in page.text + str(page.headers)
        redirect = outside.send("/team/dev/+simple/front", *forged, "User-Agent: Mozilla", host=name)
        assert "evil.example.com" not in redirect.text + str(redirect.headers)


@pytest.mark.usefixtures("published")
def test_cache_tells_askers_apart(outside: Outside) -> None:
    path = "/team/dev/+simple/front/"
    # nobody's answer is another's, even where a request has what nginx and the server might read differently
    poison = [
        outside.send(path, "Accept: text/html", SIMPLE, "User-Agent: shared"),
        outside.send(path, "Accept: text/html", "User-Agent: shared", "X-Devpi-Absolute-Urls: 1"),
        outside.send(path, SIMPLE, "User-Agent: shared"),
    ]
    said = outside.send(path, "Accept: text/html", "User-Agent: shared")
    assert [each.status for each in (*poison, said)] == [200] * 4
    assert said.headers["Content-Type"].startswith("text/html")
    assert f"https://{NAME}" not in said.text
    assert poison[2].headers["Content-Type"] == SIMPLE.split()[1]
    # a person's page has more in it than an installer's
    person = outside.send(path, "Accept: text/html", "User-Agent: Mozilla/5.0")
    installer = outside.send(path, "Accept: text/html", "User-Agent: pip/25.0")
    assert (person.status, installer.status) == (200, 200)
    assert person.text != installer.text


@pytest.mark.usefixtures("published")
def test_authorised_answers_are_never_kept(host: Host, outside: Outside) -> None:
    path = "/team/dev/+simple/front/"
    caches = "/var/cache/devpi-pages /var/cache/devpi-pages-kept"
    for secret in ("Authorization: Basic dGVhbTp4", "X-Devpi-Auth: dGVhbTp4", "Cookie: auth_tkt=x"):
        outside.send(f"{path}?authorised-asker", secret)
    outside.send(f"{path}?anonymous-asker")
    assert host.run(f"grep -rl anonymous-asker {caches}").stdout.count("\n") == 2
    assert host.run(f"grep -rl authorised-asker {caches}").stdout == ""


@pytest.mark.usefixtures("published")
def test_text_is_compressed_and_files_are_not(outside: Outside, published: dict[str, str]) -> None:
    for path, accept in (
        ("/", JSON),
        ("/team/dev/front/1.0", "Accept: text/html"),
        ("/team/dev/+simple/front/", SIMPLE),
    ):
        plain = outside.send(path, accept)
        packed = outside.send(path, accept, "Accept-Encoding: gzip")
        assert packed.status == 200, (path, packed.text)
        assert packed.headers["Content-Encoding"] == "gzip", path
        assert len(packed.body) < len(plain.body)
        assert len(gzip.decompress(packed.body)) == len(plain.body)
        # what is kept for those who take it is not for those who do not
        for encoding in ("identity", "gzip;q=0", "br, gzip; q=0.0, *;q=0.1"):
            other = outside.send(path, accept, f"Accept-Encoding: {encoding}")
            assert "Content-Encoding" not in other.headers, (path, encoding)
            assert len(other.body) == len(plain.body), (path, encoding)
        assert "Accept-Encoding" in ", ".join(packed.headers.get_all("Vary")), path
    wheel = outside.send(published["front-1.0-py3-none-any.whl"], "Accept-Encoding: gzip")
    assert "Content-Encoding" not in wheel.headers


@pytest.mark.parametrize("name", KINDS)
def test_files_come_from_disk(
    host: Host, layout: Layout, outside: Outside, published: dict[str, str], name: str
) -> None:
    path = published[name]
    log = f"/var/log/supervisor/{layout.program}.log"
    wanted = host.check_output(f"sha256sum /root/made/{name}").split()[0]
    seen = host.file(log).content_string.count(path)
    for method in ("GET", "HEAD"):
        said = outside.send(path, method=method)
        assert (said.status, said.headers["Content-Type"]) == (200, KINDS[name])
        assert "immutable" in said.headers["Cache-Control"]
        if method == "GET":
            assert hashlib.sha256(said.body).hexdigest() == wanted
    assert outside.send(path, "Range: bytes=0-3").status == 206
    assert host.file(log).content_string.count(path) == seen
    # what the server knows of the file is the server's to tell
    assert json.loads(outside.send(path, JSON).text)["type"] == "releasefilemeta"
    assert host.file(log).content_string.count(path) > seen


def test_nothing_but_release_files_is_on_offer(host: Host, outside: Outside, published: dict[str, str]) -> None:
    deep = published["front-1.0.tar.gz"].rsplit("/", 1)[0]
    for path in (
        "/.secret",
        "/+files/.secret",
        f"{deep}/../../../../../../.secret",
        f"{deep}/..%2f..%2f..%2f..%2f..%2f..%2f.secret",
        f"{deep}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/.sqlite",
        "/team/dev/+f/000/..%2f..%2f.sqlite",
        f"{deep}/",
        deep,
    ):
        # not even a list of what is there; devpi leads from a trailing slash to the same path without it
        said = outside.send(path)
        assert said.status in {302, 400, 404}, path
        assert "SQLite" not in said.text
    for path in (".secret", ".sqlite", ".event_serial", ""):
        assert host.run(f"runuser -u www-data -- cp -r /var/lib/devpi/{path} /dev/null").rc != 0, path
    inner = "/var/lib/devpi/+files" + published["front-1.0.tar.gz"]
    assert host.run(f"runuser -u www-data -- cat {inner}").rc == 0
    assert host.run(f"runuser -u nobody -- cat {inner}").rc != 0
    assert host.run(f"runuser -u www-data -- sh -c 'echo >>{inner}'").rc != 0
    modes = host.check_output("find /var/lib/devpi/+files -printf '%y %m %u:%g\\n' | sort -u").splitlines()
    assert modes == ["d 2750 devpi:www-data", "f 640 devpi:www-data"]


UPLOAD = """
import base64, json, os, sys, time, urllib.request, uuid, zipfile
index = sys.argv[1]
pair = base64.b64encode(f"team:{os.environ['FLIT_PASSWORD']}".encode()).decode()
def page():
    request = urllib.request.Request(index + "/+simple/fresh/", headers={"User-Agent": "pip/25.0"})
    try:
        return urllib.request.urlopen(request).read().decode()
    except urllib.error.HTTPError as error:
        return str(error)
worst = 0
first = int(time.time())
for number in range(first, first + 8):
    name = f"fresh-{number}-py3-none-any.whl"
    with zipfile.ZipFile(name, "w") as wheel:
        text = f"Metadata-Version: 2.1\\nName: fresh\\nVersion: {number}\\n"
        wheel.writestr(f"fresh-{number}.dist-info/METADATA", text)
        wheel.writestr(f"fresh-{number}.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"fresh-{number}.dist-info/RECORD", "")
    mark = uuid.uuid4().hex
    fields = {":action": "file_upload", "name": "fresh", "version": str(number), "metadata_version": "2.1"}
    body = b"".join(
        f'--{mark}\\r\\nContent-Disposition: form-data; name="{key}"\\r\\n\\r\\n{value}\\r\\n'.encode()
        for key, value in fields.items()
    )
    body += f'--{mark}\\r\\nContent-Disposition: form-data; name="content"; filename="{name}"\\r\\n\\r\\n'.encode()
    body += open(name, "rb").read() + f"\\r\\n--{mark}--\\r\\n".encode()
    headers = {"Authorization": "Basic " + pair, "Content-Type": "multipart/form-data; boundary=" + mark}
    # the page without it is in the cache, whenever in its second the upload comes
    time.sleep(0.13 * (number - first))
    page()
    urllib.request.urlopen(urllib.request.Request(index + "/", body, headers)).close()
    accepted = asked = time.monotonic()
    # How old a page is, is told from when it was asked for: a busy machine takes its time to answer.
    while name not in page():
        worst = max(worst, asked - accepted)
        time.sleep(0.01)
        asked = time.monotonic()
print(worst)
"""


def test_upload_is_seen_within_a_second(host: Host, shell: Shell, layout: Layout) -> None:
    said = shell(f"mkdir -p fresh && cd fresh && python3 - {layout.index} <<'END'\n{UPLOAD}\nEND")
    assert said.rc == 0, said.stderr
    assert float(said.stdout) <= 1.0
    time.sleep(1.2)
    log = host.check_output(f"grep -F +simple/fresh/ {LOG}")
    # and it was not because nothing was kept
    assert " HIT " in log


def test_service_goes_on_while_the_server_does_not(
    host: Host, layout: Layout, outside: Outside, published: dict[str, str], download: str
) -> None:
    assert host.run(f"PIP_CERT={layout.ca} {download} --dest /tmp/before").rc == 0
    page = "/team/dev/+simple/front/"
    before = outside.send(page, "User-Agent: pip/25.0")
    assert before.status == 200
    host.check_output(f"supervisorctl stop {layout.program}")
    try:
        time.sleep(2.5)
        for _dummy in range(3):
            said = outside.send(page, "User-Agent: pip/25.0")
            assert (said.status, said.body) == (200, before.body)
        assert outside.send(published["front-1.0.tar.gz"]).status == 200
        assert host.run(f"PIP_CERT={layout.ca} {download} --dest /opt/meanwhile").rc == 0
        assert host.file("/opt/meanwhile/front-1.0-py3-none-any.whl").exists
        lost = outside.send("/team/dev/", "Authorization: Basic dGVhbTp4", "Content-Length: 0", method="POST")
        assert lost.status == 503
        # what is kept is nobody's who says who he is
        assert outside.send(page, "User-Agent: pip/25.0", "Authorization: Basic dGVhbTp4").status == 503
    finally:
        host.check_output(f"supervisorctl start {layout.program}")
    for _dummy in range(300):
        if outside.send("/+api", JSON).status == 200:
            break
        time.sleep(0.1)
    assert outside.send("/+api", JSON).status == 200


def test_log_has_no_credentials_and_is_rotated(host: Host, outside: Outside) -> None:
    secret = "Canary7f3"
    pair = "Y2FuYXJ5OkNhbmFyeTdmMw=="
    outside.send(f"/logged?token={secret}", f"Authorization: Basic {pair}", f"Referer: https://x/?{secret}")
    outside.send("/logged", f"X-Devpi-Auth: {pair}", f"Cookie: auth_tkt={secret}")
    time.sleep(1.2)
    assert host.check_output(f"grep -c 'GET /logged HTTP/1.1' {LOG}") == "2"
    assert host.run(f"grep -rlE '{secret}|{pair}' /var/log/nginx").stdout == ""
    host.check_output("logrotate --force /etc/logrotate.d/nginx")
    assert "/logged" in host.file(f"{LOG}.1").content_string
    for _dummy in range(30):
        outside.send("/again")
        time.sleep(0.1)
        if "/again" in host.file(LOG).content_string:
            break
    assert "/again" in host.file(LOG).content_string
    assert "/again" not in host.file(f"{LOG}.1").content_string[-100:]


def test_body_may_be_as_large_as_the_server_takes_it(host: Host, outside: Outside) -> None:
    login = basic("team", host.check_output("cat /etc/devpi/credentials/team"))
    with outside.connect() as connection:
        head = f"POST /team/dev/ HTTP/1.1\r\nHost: {NAME}\r\n{login}\r\nContent-Length: 1073741825\r\n\r\n"
        connection.sendall(head.encode())
        assert answer(connection).status == 413
    with outside.connect() as connection:
        head = f"POST /team/dev/ HTTP/1.1\r\nHost: {NAME}\r\n{login}\r\nContent-Length: 1073741823\r\n\r\n"
        connection.sendall(head.encode())
        connection.settimeout(2)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.usefixtures("published")
def test_tools_need_the_ca_and_nothing_else(host: Host, layout: Layout, download: str) -> None:
    refused = host.run(f"{download} --dest /tmp/refused")
    assert refused.rc != 0
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stdout + refused.stderr
    assert host.run(f"PIP_CERT={layout.ca} {download} --dest /tmp/got").rc == 0
    configuration = host.run("cat /root/.pip/pip.conf /root/.config/pip/pip.conf /etc/pip.conf /root/.pypirc")
    assert "trusted" not in configuration.stdout


def test_other_sites_are_as_they_were(host: Host, outside: Outside) -> None:
    if not host.file("/etc/nginx/sites-enabled/other").exists:
        assert not host.file("/etc/nginx/sites-enabled/default").exists
        return
    assert host.check_output(
        "python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:8080\").read())'"
    )
    assert host.file("/etc/nginx/sites-enabled/default").linked_to == "/etc/nginx/sites-available/default"
    assert host.check_output("dpkg --verify nginx nginx-common") == ""
    assert outside.redirect("/")[0] == 301


def test_keys_are_roots_alone(host: Host, layout: Layout) -> None:
    directory = layout.ca.rsplit("/", 1)[0]
    for path in host.check_output(f"find {directory} -name '*.key'").splitlines():
        assert (host.file(path).user, host.file(path).mode) == ("root", 0o600)
    keys = host.run(f"grep -rl 'PRIVATE KEY' {directory} | xargs stat -c '%a %U'").stdout.split("\n")
    assert {line for line in keys if line} == {"600 root"}
    assert host.file(layout.ca).mode == 0o644
