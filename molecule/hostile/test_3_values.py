"""Values that would become syntax, supervisor's files, strangers on the port, and places that cannot be written."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from molecule.conftest import Target

PROGRAM = "/etc/supervisor/conf.d/devpi.conf"
VALUES = {
    "NO_PROXY": "a, b ;c",
    "Q": 'say "hi" #x',
    "P": "100%",
    "HERE": "%(here)s %(ENV_HOME)s",
    "SINGLE": "it's",
    "BACK": "ends in \\",
    "UNICODE": "grün ✓",
}
ACCOUNT = "mallory"


def files(target: Target) -> list[str]:
    """Return what lies on the host, but for what a server that runs writes by itself."""
    return [line for line in target.files().splitlines() if not line.startswith(("/var/log/", "/var/lib/devpi/"))]


def refused(target: Target, variables: dict[str, Any], *words: str, arguments: tuple[str, ...] = ()) -> str:
    """Assert that a run with these variables is refused before it changes anything, in these words."""
    before = files(target)
    run = target.deploy(variables, "-vvv", "--diff", *arguments)
    assert run.code != 0, run.said
    for word in words:
        assert word in run.said, run.said
    assert "Traceback" not in run.said
    assert run.leaks() == []
    assert files(target) == before
    return run.said


def test_problems_of_variables_and_of_the_host_come_in_one_message(deployed: Target) -> None:
    variables = {"devpi_username": "a/b", "devpi_state": "running", "devpi_ca_bundle": "/srv/no/bundle.pem"}
    said = refused(deployed, variables, "devpi_ca_bundle /srv/no/bundle.pem is not a file")
    message = said[said.rindex("Before devpi can be deployed here:") :]
    for word in ("'a/b' is not allowed", "devpi_state", "/srv/no/bundle.pem is not a file"):
        assert message.count(word) == 1, said


def pid(target: Target) -> int:
    return int(target.host.check_output("supervisorctl pid devpi"))


def environment(target: Target) -> dict[str, str]:
    pairs = target.host.check_output(f"tr '\\0' '\\n' </proc/{pid(target)}/environ")
    return dict(pair.split("=", 1) for pair in pairs.splitlines() if "=" in pair)


@pytest.fixture
def stranger(deployed: Target) -> str:
    """Return an account that is neither root nor the service."""
    deployed.host.check_output(f"id -u {ACCOUNT} || useradd --create-home {ACCOUNT}")
    return ACCOUNT


def test_values_arrive_in_the_process_as_they_were_given(deployed: Target) -> None:
    variables = {"devpi_environment": VALUES}
    run = deployed.deploy(variables)
    assert run.code == 0, run.said
    assert {name: environment(deployed).get(name) for name in VALUES} == VALUES
    again = deployed.deploy(variables)
    assert "changed=0" in again.said, again.said
    assert deployed.deploy().code == 0
    assert not set(VALUES) & set(environment(deployed))


def test_what_cannot_arrive_is_refused_before_anything_changes(bare: Target) -> None:
    values = {
        "A": "x\ncommand=/bin/sh",
        "B": "x\x1b",
        "C": "'\"",
        "D D": "x",
        "1E": "x",
        "F=F": "x",
        "": "x",
        "G\nG": "x",
    }
    said = refused(bare, {"devpi_environment": values}, "devpi_environment")
    problems = [line for line in said.splitlines() if "devpi_environment" in line]
    assert len(problems) >= len(values), said


@pytest.mark.parametrize("name", ["../x", "a]"])
def test_what_is_no_name_of_a_program_is_refused(bare: Target, name: str) -> None:
    refused(bare, {"devpi_supervisor_program": name}, "devpi_supervisor_program")


def test_a_broken_program_file_never_stays(deployed: Target) -> None:
    """What only supervisor itself can see, a file of somebody else's that it cannot read, keeps ours as it was."""
    before = deployed.host.file(PROGRAM).content_string
    number = pid(deployed)
    deployed.host.check_output("printf '[program:x]\\ncommand=x\\nuser=nobody-here\\n' >/etc/supervisor/conf.d/x.conf")
    try:
        run = deployed.deploy({"devpi_supervisor_startsecs": 7})
        assert run.code != 0, run.said
        assert "nobody-here" in run.said
        assert deployed.host.file(PROGRAM).content_string == before
        assert pid(deployed) == number
    finally:
        deployed.host.check_output("rm /etc/supervisor/conf.d/x.conf")
    drafts = deployed.host.check_output("find /etc/supervisor -name '*.draft'")
    assert drafts == ""
    assert deployed.deploy().code == 0


def test_a_broken_program_file_that_is_there_is_mended(deployed: Target) -> None:
    before = deployed.host.file(PROGRAM).content_string
    deployed.host.check_output("systemctl stop supervisor")
    deployed.host.check_output(f"printf 'environment=A=\"\\n' >>{PROGRAM}")
    run = deployed.deploy()
    assert run.code == 0, run.said
    assert deployed.host.file(PROGRAM).content_string == before
    assert pid(deployed) > 0


@pytest.mark.parametrize("file", ["devpi.conf", "web.conf"])
def test_somebody_elses_program_of_that_name_is_refused(bare: Target, file: str) -> None:
    text = "[program:devpi]\ncommand=/usr/bin/other\n"
    path = f"/etc/supervisor/conf.d/{file}"
    main = "[supervisord]\n[include]\nfiles = /etc/supervisor/conf.d/*.conf\n"
    bare.host.check_output("mkdir -p /etc/supervisor/conf.d")
    bare.host.check_output("printf %s >/etc/supervisor/supervisord.conf", main)
    bare.host.check_output(f"printf %s >{path}", text)
    try:
        refused(bare, {}, "devpi_supervisor_program", path)
        assert bare.host.file(path).content_string == text.rstrip("\n") or bare.host.file(path).content_string == text
    finally:
        bare.host.check_output("rm -r /etc/supervisor")


def test_a_log_file_of_somebody_elses_is_refused(deployed: Target, stranger: str) -> None:
    home = f"/home/{stranger}"
    refused(deployed, {"devpi_supervisor_log_file": f"{home}/log"}, "devpi_supervisor_log_file", home)
    deployed.host.check_output("mkdir -p /srv/logs && echo precious >/srv/logs/log")
    refused(deployed, {"devpi_supervisor_log_file": "/srv/logs/log"}, "devpi_supervisor_log_file", "somebody else")
    assert deployed.host.file("/srv/logs/log").content_string == "precious\n"


def test_another_account_that_grabs_the_port_is_named_and_sent_no_password(deployed: Target, stranger: str) -> None:
    heard = f"/home/{stranger}/heard"
    server = (
        "import http.server, sys\n"
        "class Heard(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        f"        open({heard!r}, 'a').write(str(self.headers))\n"
        "        length = int(self.headers.get('Content-Length', 0))\n"
        f"        open({heard!r}, 'ab').write(self.rfile.read(length))\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'{}')\n"
        "    do_POST = do_PUT = do_PATCH = do_GET\n"
        "http.server.HTTPServer(('127.0.0.1', 3141), Heard).serve_forever()\n"
    )
    # It takes the port as soon as the server lets it go.
    loop = f'while ! python3 -c "$0" /opt/devpi/venv/bin/devpi-server 2>>/home/{stranger}/log; do sleep 0.01; done'
    started = deployed.host.check_output(
        "cd /; nohup runuser -u %s -- sh -c %s %s >/dev/null 2>&1 & echo $!", stranger, loop, server
    )
    try:
        time.sleep(1)
        run = deployed.deploy({"devpi_environment": {"CHANGED": "x"}})
        assert run.code != 0, run.said
        assert f"of {stranger}" in run.said
        assert "port 3141 is held by process" in run.said
        assert "stop that process" in run.said
        assert run.leaks() == []
        heard_text = deployed.host.run(f"cat {heard}").stdout
        assert "Canary7f3" not in heard_text
        assert "authorization" not in heard_text.lower()
    finally:
        deployed.host.run(f"kill {started}; pkill -u {stranger}")
    run = deployed.deploy()
    assert run.code == 0, run.said


READ_ONLY = {"/etc": (), "/etc/supervisor/conf.d": ("--check",), "/opt": ("--check",), "/var/lib": ()}


@pytest.fixture(params=READ_ONLY)
def read_only(deployed: Target, request: pytest.FixtureRequest) -> Iterator[str]:
    """Mount a place read-only for as long as the test goes on, and return it."""
    place: str = request.param
    deployed.host.check_output(f"mount --bind {place} {place} && mount -o remount,ro,bind {place}")
    yield place
    deployed.host.check_output(f"umount {place}")


def test_a_place_that_is_read_only_is_found_out_before_anything_changes(deployed: Target, read_only: str) -> None:
    words = ("Nothing was changed", "read-only; mount it for writing")
    said = refused(deployed, {"devpi_server_threads": 5}, *words, arguments=READ_ONLY[read_only])
    assert f"goes to {read_only}" in said


def test_what_people_are_told_to_type_is_quoted(deployed: Target) -> None:
    run = deployed.deploy({"devpi_credentials_dir": "/etc/devpi/credentials"})
    assert run.code == 0, run.said
    told = [line.strip() for line in run.said.splitlines() if "flit publish" in line]
    assert told, json.dumps(run.said[-2000:])
    for line in told:
        shell = line.partition("Publish")[2].strip()
        assert deployed.host.run("sh -n -c %s", shell).rc == 0, line
