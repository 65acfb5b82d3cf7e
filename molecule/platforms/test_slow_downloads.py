"""While large files come slowly from a mirror's upstream, others are answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

DOWNLOADS = 12
# Runs on the host: an upstream that takes its time, a mirror of it, and those who download and who ask meanwhile.
MEANWHILE = r"""
import base64, json, sys, threading, time, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
COUNT, PIECES, PIECE = int(sys.argv[1]), 60, b"x" * 50_000
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

class Upstream(BaseHTTPRequestHandler):
    def do_GET(self):
        project = self.path.strip("/").split("/")[-1]
        page = f'<a href="/files/{project}-1.0-py3-none-any.whl">{project}</a>'.encode()
        whole = self.path.startswith("/simple/")
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if whole else "application/zip")
        self.send_header("Content-Length", str(len(page) if whole else PIECES * len(PIECE)))
        self.end_headers()
        for _ in range(1 if whole else PIECES):
            self.wfile.write(page if whole else PIECE)
            time.sleep(0 if whole else 0.25)

    def log_message(self, *arguments):
        pass

upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
upstream.daemon_threads = True
threading.Thread(target=upstream.serve_forever, daemon=True).start()
pair = base64.b64encode(b"root:" + open("/etc/devpi/credentials/root", "rb").read().strip()).decode()

def ask(path, method="GET", body=None, accept="application/json"):
    headers = {"Accept": accept, "Content-Type": "application/json", "Authorization": "Basic " + pair}
    data = None if body is None else json.dumps(body).encode()
    start = time.monotonic()
    request = urllib.request.Request("http://127.0.0.1:3141" + path, data, headers, method=method)
    with opener.open(request, timeout=60) as answer:
        return answer.read(), time.monotonic() - start

def stranger(path):
    start = time.monotonic()
    opener.open("http://127.0.0.1:3141" + path, timeout=60).read()
    return time.monotonic() - start

mirror = {"type": "mirror", "volatile": True, "mirror_no_project_list": True,
          "mirror_url": f"http://127.0.0.1:{upstream.server_port}/simple/"}
ask("/team/slow", "PUT", mirror)
try:
    addresses = []
    for number in range(COUNT):
        page = f"/team/slow/+simple/slow{number}/"
        files = json.loads(ask(page, accept="application/vnd.pypi.simple.v1+json")[0])["files"]
        addresses.append("/team/slow/" + files[0]["url"].split("#")[0].replace("../", ""))
    sizes = []
    fetch = lambda path: sizes.append(len(ask(path, accept="*/*")[0]))
    people = [threading.Thread(target=fetch, args=(address,)) for address in addresses]
    for person in people:
        person.start()
    time.sleep(2)
    waited = {path: [stranger(path) for _ in range(10)] for path in ("/+api", "/team/slow/+simple/slow0/")}
    still = len([person for person in people if person.is_alive()])
    for person in people:
        person.join()
finally:
    ask("/team/slow", "DELETE")
print(json.dumps({"waited": waited, "still": still, "sizes": sizes}))
"""


@pytest.fixture(scope="module")
def meanwhile(host: Host) -> dict[str, Any]:
    said = host.run("python3 -c %s %s", MEANWHILE, str(DOWNLOADS))
    assert said.rc == 0, said.stderr
    return dict(json.loads(said.stdout))


def test_others_do_not_wait_for_the_downloads(meanwhile: dict[str, Any]) -> None:
    assert meanwhile["still"] == DOWNLOADS, "the downloads had ended before the others asked"
    # whoever waits for a thread waits until a download ends; a busy machine takes a second or two
    assert {path: max(waits) < 5 for path, waits in meanwhile["waited"].items()} == dict.fromkeys(
        meanwhile["waited"], True
    ), meanwhile["waited"]


def test_the_downloads_come_whole(meanwhile: dict[str, Any]) -> None:
    assert meanwhile["sizes"] == [3_000_000] * DOWNLOADS
