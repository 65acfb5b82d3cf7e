"""The page typed in by hand, and inventory/howto over it in one go: root is closed, and what people had stays."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import testinfra

if TYPE_CHECKING:
    from testinfra.host import Host

NAME = "devpi-howto-hand"
CREDENTIALS = "/etc/devpi/credentials"
SERVER_DIR = "/home/ubuntu/.devpi/server"
# Runs on the host: logs in and prints the status. A password that is kept is read there.
LOGIN = """
import json, sys, urllib.error, urllib.request
user, password, kept = json.loads(sys.argv[1])
if kept:
    with open(kept) as file:
        password = file.read().strip()
body = json.dumps({"user": user, "password": password}).encode()
headers = {"Accept": "application/json", "Content-Type": "application/json"}
try:
    print(urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:3141/+login", body, headers)).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
ASK = """
import sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:3141" + sys.argv[1], headers={"Accept": sys.argv[2]})
print(urllib.request.urlopen(request).read().decode())
"""


@pytest.fixture(scope="module")
def hand() -> Host:
    """Return the host that somebody had set up by hand."""
    return testinfra.get_host(f"docker://{NAME}")


def login(host: Host, user: str, password: str = "", kept: str = "") -> int:
    return int(host.check_output("python3 -c %s %s", LOGIN, json.dumps([user, password, kept])))


def ask(host: Host, path: str, accept: str = "application/json") -> Any:
    return json.loads(host.check_output("python3 -c %s %s %s", ASK, path, accept))


def test_nobody_is_root_without_a_password(hand: Host) -> None:
    assert login(hand, "root") == 401


def test_roots_new_password_is_kept_for_root_alone_and_taken(hand: Host) -> None:
    file = hand.file(f"{CREDENTIALS}/root")
    assert (file.user, file.mode, len(file.content_string.strip()) >= 24) == ("root", 0o600, True)
    assert login(hand, "root", kept=f"{CREDENTIALS}/root") == 200


def test_password_that_somebody_gave_stays_and_is_not_ours(hand: Host) -> None:
    assert login(hand, "pbernatchez", "somepassword") == 200
    assert hand.file(CREDENTIALS).listdir() == ["root"]


def test_users_and_indexes_stay(hand: Host) -> None:
    users = ask(hand, "/")["result"]
    assert sorted(users) == ["pbernatchez", "root"]
    assert users["pbernatchez"]["indexes"]["dev"]["bases"] == ["root/pypi"]
    assert users["pbernatchez"]["indexes"]["dev"]["volatile"] is True
    assert users["root"]["indexes"]["pypi"]["mirror_no_project_list"] is True


def test_package_that_was_published_stays(hand: Host) -> None:
    page = ask(hand, "/pbernatchez/dev/+simple/kept/", "application/vnd.pypi.simple.v1+json")
    assert [file["filename"] for file in page["files"]] == ["kept-1-py3-none-any.whl"]
    url = page["files"][0]["url"].split("+f/")[1].split("#")[0]
    fetched = hand.run(f"python3 -c %s http://127.0.0.1:3141/pbernatchez/dev/+f/{url}", FETCH)
    assert (fetched.rc, fetched.stdout.strip()) == (0, "kept.py"), fetched.stderr


FETCH = """
import io, sys, urllib.request, zipfile
print(zipfile.ZipFile(io.BytesIO(urllib.request.urlopen(sys.argv[1]).read())).namelist()[0])
"""


def test_server_is_ours_now(hand: Host) -> None:
    assert hand.check_output("supervisorctl status").split()[:2] == ["ubuntu_devpi_server", "RUNNING"]
    everyone = hand.check_output("ps -eo user:32,args")
    servers = [line for line in everyone.splitlines() if "bin/devpi-server" in line]
    assert len(servers) == 1
    assert servers[0].startswith("ubuntu ")


def test_data_are_closed_to_others(hand: Host) -> None:
    directory = hand.file(SERVER_DIR)
    assert (directory.user, directory.mode) == ("ubuntu", 0o700)
    for name in (".sqlite", ".nodeinfo", ".secret"):
        file = hand.file(f"{SERVER_DIR}/{name}")
        assert (name, file.user, file.mode) == (name, "ubuntu", 0o600)


def test_environment_that_was_made_by_hand_is_kept(hand: Host) -> None:
    kept = hand.run("find / -xdev -path '*devpi_venv*/bin/twine' -not -path '/opt/devpi/venvs/*' -print -quit")
    assert kept.stdout.strip(), "no environment has the twine that the page installs"


OPEN = """
import base64, json, sys, urllib.request
with open(sys.argv[1]) as file:
    pair = base64.b64encode(b"root:" + file.read().strip().encode()).decode()
headers = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": "Basic " + pair}
request = urllib.request.Request("http://127.0.0.1:3141/root", b'{"password": ""}', headers, method="PATCH")
print(urllib.request.urlopen(request).status)
"""


@pytest.fixture(scope="module")
def mended(hand: Host) -> str:
    """Make the host one whose run was killed before the server had heard of root's password; return what the next says.

    The server does not run then, as after a reboot: the page's program does not start by itself.
    """
    assert hand.check_output("python3 -c %s %s", OPEN, f"{CREDENTIALS}/root") == "200"
    assert login(hand, "root") == 200
    hand.check_output("supervisorctl stop ubuntu_devpi_server")
    inventory, project = os.environ["MOLECULE_INVENTORY_FILE"], os.environ["MOLECULE_PROJECT_DIRECTORY"]
    command = ["ansible-playbook", "-i", inventory, "-i", f"{project}/inventory/howto", "--limit", NAME]
    command += ["-e", '{"devpi_supervisor_autostart": false}', f"{project}/molecule/_shared/converge.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_run_that_was_killed_is_mended_by_the_next(hand: Host, mended: str) -> None:
    assert "failed=0" in mended
    assert login(hand, "root") == 401
    assert login(hand, "root", kept=f"{CREDENTIALS}/root") == 200
    assert login(hand, "pbernatchez", "somepassword") == 200


def test_run_says_where_roots_password_is_and_claims_no_other(hand: Host, mended: str) -> None:
    assert "of devpi had no password, and has one now: sudo cat /etc/devpi/credentials/root" in mended
    assert "Password  of user pbernatchez: the one that you gave it" in mended
    assert "/etc/devpi/credentials/pbernatchez" not in mended
    assert hand.file(f"{CREDENTIALS}/root").content_string.strip() not in mended
