"""Between nginx and the server stands nobody: while that restarts, an account of the host is sent nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from molecule.proxy.conftest import basic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

    from molecule.proxy.conftest import Outside

SOCKETS = "/var/lib/devpi-nginx"
ONLY_ON = "devpi-proxy-13"
SECRET = "dGVhbTpDYW5hcnk3ZjMtcGFzc3dvcmQ="
# Who takes a port writes down all that comes there.
LISTENER = """
import socketserver, sys

class Taker(socketserver.BaseRequestHandler):
    def handle(self):
        print(self.request.recv(65536), flush=True)
        self.request.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")

socketserver.ThreadingTCPServer.allow_reuse_address = True
with socketserver.ThreadingTCPServer(("127.0.0.1", 3141), Taker) as server:
    print("listening", flush=True)
    server.serve_forever()
"""

ASK = """
import http.client, socket, sys
from urllib.parse import urlsplit

where, *asked = sys.argv[1:]
for headers in asked:
    url = urlsplit(where)
    connection = http.client.HTTPConnection(url.hostname or "x", url.port, timeout=30)
    try:
        if not url.scheme:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(where)
        connection.request("GET", url.path if url.scheme else "/+api", headers=dict(
            line.split(": ") for line in headers.splitlines()))
        print(connection.getresponse().status)
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.fixture
def taker(host: Host) -> Iterator[str]:
    """Stop the server, and have an account of the host listen in its place; return the file of what it was sent."""
    programs = "$(supervisorctl status | cut -d' ' -f1 | grep devpi)"
    host.run_expect([0], "id -u paula || useradd --create-home paula")
    host.run_expect([0, 3], f"supervisorctl stop {programs}")
    host.run_expect([0], f"cat >/home/paula/take.py <<'end'\n{LISTENER}\nend")
    start = "runuser -u paula -- sh -c 'python3 /home/paula/take.py >/home/paula/taken 2>&1 & echo $!'"
    number = host.check_output(start)
    for _attempt in range(50):
        if "listening" in host.check_output("cat /home/paula/taken"):
            break
        time.sleep(0.1)
    yield "/home/paula/taken"
    host.run_expect([0], f"kill {number}")
    host.run_expect([0, 3], f"supervisorctl start {programs}")
    for _attempt in range(300):
        if host.run("curl --silent --fail http://127.0.0.1:3141/+api").rc == 0:
            return
        time.sleep(0.1)


def asks(host: Host, account: str, url: str, *headers: str) -> list[str]:
    """Have an account ask, once for each of the headers, and return the statuses or, for want of one, the error."""
    said = host.run(f"runuser -u {account} -- python3 - {url} '%s' <<'end'\n{ASK}\nend" % "' '".join(headers))
    assert said.rc == 0, said.stderr
    return list(said.stdout.split())


def test_directory_is_the_servers_and_only_nginxs_group_passes(host: Host) -> None:
    assert host.check_output(f"stat --format '%A %U %G' {SOCKETS}") == "drwx--s--- devpi www-data"
    sockets = host.check_output(f"ls {SOCKETS}").split()
    assert "3141.sock" in sockets
    for socket in sockets:
        assert host.check_output(f"stat --format '%A %U %G' {SOCKETS}/{socket}") == "srw-rw---- devpi www-data"
    assert host.run(f"runuser -u nobody -- ls {SOCKETS}").rc != 0
    assert asks(host, "nobody", f"{SOCKETS}/3141.sock", "Accept: */*") == ["PermissionError"]
    assert asks(host, "www-data", f"{SOCKETS}/3141.sock", "Accept: */*") == ["200"]


def test_who_takes_the_port_while_the_server_restarts_hears_nothing(host: Host, outside: Outside, taker: str) -> None:
    for path in ("/+login", "/", "/team/dev/+simple/x/", "/team/dev/", "/+api"):
        answered = outside.send(path, f"Authorization: Basic {SECRET}")
        assert answered.status == 503, path
        assert int(answered.headers["retry-after"]) > 0
    assert outside.send("/team/dev/", f"Authorization: Basic {SECRET}", method="POST").status == 503
    assert host.check_output(f"cat {taker}") == "listening"


@pytest.mark.parametrize("path", ["/", "/+authcheck", "/team/dev/+simple/", "/+api"])
def test_inner_address_answers_nginx_alone(host: Host, path: str) -> None:
    guesses = ("Accept: */*", "X-Devpi-Inner: ", "X-Devpi-Inner: guess")
    assert asks(host, "nobody", f"http://127.0.31.41{path}", *guesses) == ["404"] * 3
    assert host.run("runuser -u nobody -- cat /etc/nginx/devpi-inner.conf").rc != 0


def test_address_that_an_account_of_the_host_claims_is_not_believed(host: Host) -> None:
    url = "http://127.0.0.1:3141/+api"
    guesses = [f"X-Real-IP: 192.0.2.{each}\n{basic('root', f'guess-{each}')}" for each in range(25)]
    said = asks(host, "nobody", url, *guesses)
    assert said[0] == "200"
    assert "429" in said
    # and the guesses of one account keep no other waiting
    assert asks(host, "daemon", url, basic("root", "wrong")) == ["200"]
