"""The table "Who may do what" of the guide to security, each cell of it tried on a host without nginx."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

# What each is answered: a stranger, a devpi user whom no index names, the one who may upload, devpi's root
WHO = ("stranger", "visitor", "team", "root")
CELLS = {
    "install": (200, 200, 200, 200),
    "list users": (200, 200, 200, 200),
    "read the status": (200, 200, 200, 200),
    "upload": (401, 403, 200, 403),
    "upload documentation": (401, 403, 200, 403),
    "upload test results": (403, 403, 200, 403),
    "change the own password": (404, 200, 200, 200),
    "change another's password": (403, 403, 403, 200),
    "make a user": (403, 403, 403, 201),
    "make an index": (403, 403, 403, 200),
    "change an index": (403, 403, 403, 200),
    "delete a release of an index that keeps them": (403, 403, 403, 403),
    "delete a release of a volatile index": (403, 403, 200, 200),
    "delete an index": (403, 403, 403, 201),
    "delete a user": (403, 403, 403, 200),
}
# What accounts of the system may; a command succeeds or fails
ACCOUNTS = ("devpi", "daemon", "root")
DATA, CONFIG = "/var/lib/devpi", "/etc/xdg/devpi-server/devpi-server.yml"
LOCAL = {
    "read the data": (f"ls {DATA} && cat {DATA}/.sqlite", (True, False, True)),
    "write the data": (f"touch {DATA}/canary && rm {DATA}/canary", (True, False, True)),
    "read the secret": (f"cat {DATA}/.secret", (True, False, True)),
    "read the configuration": (f"cat {CONFIG}", (True, False, True)),
    "change the configuration": (f"test -w {CONFIG} || test -w {CONFIG}/..", (False, False, True)),
    "read the passwords": ("cat /etc/devpi/credentials/root", (False, False, True)),
    "change the program": ("test -w $(readlink -f /opt/devpi/venv)/bin/devpi-server", (False, False, True)),
    "replace the program": ("test -w /opt/devpi || test -w $(readlink -f /opt/devpi/venv)/bin", (False, False, True)),
    "change what starts it": ("test -w /etc/supervisor/conf.d/devpi.conf", (False, False, True)),
}
# Runs on the host, where the passwords are kept; prints what was answered to each try of each person.
TRIES = r"""
import base64, io, json, urllib.error, urllib.request, zipfile
URL, KIND = "http://127.0.0.1:3141", "application/json"
password = {user: open(f"/etc/devpi/credentials/{user}").read().strip() for user in ("root", "team")}
password["visitor"] = password["spare"] = "Canary7f3"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def ask(who, method, path, body=None, kind=KIND, accept=KIND):
    headers = {"Accept": accept, "Content-Type": kind}
    if who in password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{who}:{password[who]}".encode()).decode()
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        answer = opener.open(urllib.request.Request(URL + path, data, headers, method=method), timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.getcode(), answer.read()

def release(index, who, action="file_upload"):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("index.html"), "<html></html>")
    name = "cell-1.0-py3-none-any.whl" if action == "file_upload" else "cell-1.0.doc.zip"
    fields = {":action": action, "name": "cell", "version": "1.0"}
    head = '--7f3\r\nContent-Disposition: form-data; name="'
    body = "".join(f'{head}{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
    body += f'{head}content"; filename="{name}"\r\n\r\n'
    body = body.encode() + content.getvalue() + b"\r\n--7f3--\r\n"
    return ask(who, "POST", f"/{index}/", body, "multipart/form-data; boundary=7f3")[0]

def prepare():
    for path in ("/made", "/spare", "/team/cells", *(f"/{who}/made" for who in ("visitor", "team", "root"))):
        ask("root", "DELETE", path)
    ask("root", "PUT", "/spare", {"password": password["spare"]})
    settings = {"volatile": True, "acl_upload": ["team"], "acl_toxresult_upload": ["team"]}
    ask("root", "PUT", "/team/cells", settings)
    release("team/cells", "team")

def clean():
    ask("root", "DELETE", "/team/dev/cell?force")
    for path in ("/made", "/spare", "/team/cells", "/team/made", "/root/made", "/visitor"):
        ask("root", "DELETE", path)

def file():
    links = json.loads(ask("root", "GET", "/team/dev/cell")[1])["result"]["1.0"]["+links"]
    return "/" + next(link["href"] for link in links if link["rel"] == "releasefile").split("/", 3)[3].split("#")[0]

# on the index that the role has made; the rest is done to one that may be deleted
def tries(who):
    other = "visitor" if who == "team" else "team"
    return {
        "install": lambda: ask(who, "GET", "/team/dev/+simple/cell/", accept="text/html")[0],
        "list users": lambda: ask(who, "GET", "/")[0],
        "read the status": lambda: ask(who, "GET", "/+status")[0],
        "upload": lambda: release("team/dev", who),
        "upload documentation": lambda: release("team/dev", who, "doc_upload"),
        "upload test results": lambda: ask(who, "POST", file(), {"testenvs": {}})[0],
        "change the own password": lambda: ask(who, "PATCH", f"/{who}", {"password": password.get(who, "x")})[0],
        "change another's password": lambda: ask(who, "PATCH", f"/{other}", {"password": password[other]})[0],
        "make a user": lambda: ask(who, "PUT", "/made", {"password": "Canary7f3"})[0],
        "make an index": lambda: ask(who, "PUT", f"/{who if who in password else 'team'}/made", {})[0],
        "change an index": lambda: ask(who, "PATCH", "/team/cells", {"title": "x"})[0],
        "delete a release of an index that keeps them": lambda: ask(who, "DELETE", "/team/dev/cell/1.0")[0],
        "delete a release of a volatile index": lambda: ask(who, "DELETE", "/team/cells/cell/1.0")[0],
        "delete an index": lambda: ask(who, "DELETE", "/team/cells")[0],
        "delete a user": lambda: ask(who, "DELETE", "/spare")[0],
    }

ask("root", "PUT", "/visitor", {"password": password["visitor"]})
release("team/dev", "team")
answered = {}
for who in ("stranger", "visitor", "team", "root"):
    prepare()
    for does, attempt in tries(who).items():
        answered.setdefault(does, []).append(attempt())
clean()
print(json.dumps(answered))
"""


@pytest.fixture(scope="module")
def answered(host: Host) -> dict[str, list[int]]:
    said = host.run("python3 -c %s", TRIES)
    assert said.rc == 0, said.stderr
    return dict(json.loads(said.stdout))


@pytest.mark.parametrize("does", CELLS)
def test_over_the_network(answered: dict[str, list[int]], does: str) -> None:
    assert dict(zip(WHO, answered[does])) == dict(zip(WHO, CELLS[does]))


@pytest.mark.parametrize("does", LOCAL)
def test_on_the_host(host: Host, does: str) -> None:
    command, expected = LOCAL[does]
    found = {account: host.run("runuser -u %s -- sh -c %s", account, command).rc == 0 for account in ACCOUNTS}
    assert found == dict(zip(ACCOUNTS, expected))
