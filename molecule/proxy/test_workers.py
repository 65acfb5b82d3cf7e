"""More processes that answer reads: each its own program, writes where they belong, and gone again when not wanted."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from molecule.proxy.conftest import MAKE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

    from molecule.conftest import Layout, Shell
    from molecule.proxy.conftest import Outside, Runs

ONLY_ON = "devpi-proxy-13"
LOG = "/var/log/supervisor"


def states(host: Host) -> dict[str, str]:
    lines = host.run("supervisorctl status").stdout.splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def log(host: Host, program: str) -> str:
    return str(host.file(f"{LOG}/{program}.log").content_string)


@pytest.fixture(scope="module")
def workers(host: Host, layout: Layout, deploy: Runs) -> Iterator[list[str]]:
    code, changed, said = deploy(devpi_server_workers=2)
    # the programs' files, the programs, the site, and that nginx takes it up
    assert (code, changed) == (0, 4), said
    try:
        yield [f"{layout.program}-worker-1", f"{layout.program}-worker-2"]
    finally:
        code, _changed, said = deploy()
        assert code == 0, said
    assert set(states(host)) == {layout.program}
    assert host.file("/etc/supervisor/conf.d").listdir() == [f"{layout.program}.conf"]
    assert host.run("pgrep -f [r]equests-only").stdout == ""


def test_each_is_a_program_on_loopback(host: Host, workers: list[str], layout: Layout, deploy: Runs) -> None:
    assert deploy(devpi_server_workers=2)[:2] == (0, 0)
    assert {name for name, state in states(host).items() if state in ("RUNNING", "STARTING")} == {
        layout.program,
        *workers,
    }
    sockets = host.check_output("ss --no-header --listening --tcp --numeric").splitlines()
    listening = {line.split()[3] for line in sockets}
    assert {"127.0.0.1:3143", "127.0.0.1:3144"} <= listening
    assert not [each for each in listening if re.search(r":314\d$", each) and not each.startswith("127.0.0.1:")]
    assert host.check_output("ps -eo user=,args= | awk '/[b]in\\/devpi-server/ {print $1}' | sort -u") == "devpi"


def test_all_answer_reads_and_one_takes_writes(
    host: Host, workers: list[str], layout: Layout, shell: Shell, outside: Outside
) -> None:
    before = {program: len(log(host, program)) for program in (layout.program, *workers)}
    for _dummy in range(30):
        assert outside.send("/team/dev").status == 200
    time.sleep(0.2)
    for program, length in before.items():
        assert log(host, program)[length:].count("GET /team/dev\n") >= 3, program
    for version in range(1, 6):
        said = shell(
            f"mkdir -p works && cd works && python3 -c '{MAKE}' works {version}.0 && "
            f"TWINE_PASSWORD=$FLIT_PASSWORD {layout.venv}/bin/twine upload --non-interactive "
            f"-r {layout.section} works-{version}.0*"
        )
        assert said.rc == 0, said.stdout + said.stderr
        time.sleep(1)
        # whoever answers knows it
        for number in range(6):
            assert f"works-{version}.0.tar.gz" in outside.send(f"/team/dev/+simple/works/?n={number}").text
    assert "POST /team/dev" in log(host, layout.program)
    for program in workers:
        assert not re.search(r"\] (POST|PUT|PATCH|DELETE) ", log(host, program)), program


def test_reads_go_on_while_a_process_is_down(
    host: Host, workers: list[str], layout: Layout, outside: Outside, deploy: Runs
) -> None:
    for program in (layout.program, workers[0]):
        host.check_output(f"supervisorctl stop {program}")
        assert {outside.send(f"/team/dev?down={number}").status for number in range(20)} == {200}
        # what was stopped by hand is started again by the next run
        code, changed, said = deploy(devpi_server_workers=2)
        assert (code, changed) == (0, 1), said
        assert states(host)[program] in ("RUNNING", "STARTING")


def test_new_configuration_reaches_all(host: Host, workers: list[str], layout: Layout, deploy: Runs) -> None:
    def pids() -> dict[str, str]:
        return {name: host.check_output(f"supervisorctl pid {name}") for name in (layout.program, *workers)}

    before = pids()
    code, changed, said = deploy(devpi_server_workers=2, devpi_server_threads=5)
    # the configuration, the programs' files, and the programs
    assert (code, changed) == (0, 3), said
    after = pids()
    assert all(before[name] != after[name] for name in before)
    assert deploy(devpi_server_workers=2)[0] == 0
