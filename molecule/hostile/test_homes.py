"""What a person puts in the way of root's run: links, pipes, files without an end. It ends soon, and names each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

    from molecule.conftest import Run, Target

HOME = "/home/alex"
# How many seconds a run may take that is refused, and one in which devpi use is cut off after a minute
SOON, CUT_OFF = 90, 200


@pytest.fixture
def alex(deployed: Target) -> Iterator[Host]:
    """Have a person on the host."""
    host = deployed.host
    host.check_output("useradd --create-home --shell /bin/sh alex")
    yield host
    host.check_output("userdel --remove --force alex 2>&1 || true")


def as_alex(host: Host, script: str) -> str:
    return str(host.check_output("runuser -u alex -- sh -euc %s", f"cd {HOME}; {script}"))


def deploy(deployed: Target, *arguments: str, owner: str = "alex") -> tuple[Run, float]:
    begun = time.monotonic()
    run = deployed.deploy({"devpi_pypirc_owner": owner}, *arguments)
    return run, time.monotonic() - begun


def assert_refused(
    deployed: Target, words: list[str], *arguments: str, owner: str = "alex", without: list[str] | None = None
) -> None:
    before = deployed.host.check_output(f"ls -lAR {HOME} 2>/dev/null || true")
    run, took = deploy(deployed, *arguments, owner=owner)
    assert run.code != 0, run.said
    said = " ".join(run.said.split())
    assert "Nothing was changed." in said
    for word in words:
        assert word in said, run.said
    assert [word for word in without or () if word in said] == []
    assert took < SOON
    assert deployed.host.check_output(f"ls -lAR {HOME} 2>/dev/null || true") == before
    assert run.leaks() == []


@pytest.mark.parametrize(
    ("file", "script", "words"),
    [
        (".pypirc", "mkdir .pypirc", "is a directory"),
        (".pypirc", "printf '\\377' >.pypirc", "is not UTF-8"),
        (".pypirc", "ln -s /etc/new .pypirc", ": alex may not write in /etc"),
        (".devpi", "ln -s /etc .devpi", ", where the devpi client keeps its files"),
        (".devpi/client/current.json", "mkdir -p .devpi/client/current.json", "is a directory"),
        (".devpi/client/current.json", "mkdir -p .devpi/client; echo x >.devpi/client/current.json", "is not JSON"),
        (
            ".devpi/client/auth.json",
            "mkdir -p .devpi/client; ln -s /etc/shadow .devpi/client/auth.json",
            "cannot be read by alex",
        ),
        (
            ".devpi/client/current.json",
            "mkdir -p .devpi/client; printf '\\377' >.devpi/client/current.json",
            "is not UTF-8",
        ),
        (".pypirc", "mkfifo .pypirc", "is a named pipe"),
        (".pypirc", "ln -s /dev/zero .pypirc", "is a device"),
        (".pypirc", "truncate -s 10G .pypirc", "is larger than"),
        (".pypirc", "ln -s /etc/shadow .pypirc", "cannot be read by alex"),
        (".devpi/client/current.json", "mkdir -p .devpi/client; mkfifo .devpi/client/current.json", "is a named pipe"),
        (
            ".devpi/client/current.json",
            "mkdir -p .devpi/client; ln -s /dev/zero .devpi/client/current.json",
            "is a device",
        ),
        (".devpi", "touch .devpi", "is not a directory"),
        (".devpi", "ln -s nowhere .devpi", "is not a directory"),
    ],
)
def test_what_is_in_the_way_is_named(deployed: Target, alex: Host, file: str, script: str, words: str) -> None:
    as_alex(alex, script)
    linked = "ln -s /etc" in script
    way_out = "remove the link" if linked else "move it away"
    assert_refused(
        deployed, [f"{HOME}/{file}{'' if words[0] in ':,' else ' '}{words}", way_out], without=["chown", "chmod"]
    )


def test_check_mode_ends_too(deployed: Target, alex: Host) -> None:
    as_alex(alex, "mkfifo .pypirc")
    assert_refused(deployed, [f"{HOME}/.pypirc is a named pipe"], "--check")


def test_owner_without_a_home_is_refused(deployed: Target) -> None:
    assert_refused(
        deployed,
        ["devpi_pypirc_owner 'nobody' has the home directory /nonexistent, which does not exist"],
        owner="nobody",
    )


def test_client_that_hangs_is_cut_off(deployed: Target, alex: Host) -> None:
    as_alex(alex, "mkdir -p .config/pip; mkfifo .config/pip/pip.conf")
    run, took = deploy(deployed)
    assert run.code != 0, run.said
    assert "as alex did not end within 60 s" in " ".join(run.said.split())
    assert took < CUT_OFF
    assert alex.run("pgrep -u alex").stdout == ""
    as_alex(alex, "rm .config/pip/pip.conf")
    run, _took = deploy(deployed)
    assert run.code == 0, run.said
    assert as_alex(alex, "stat -c '%U %a' .pypirc") == "alex 600"
    assert '"index": "http://127.0.0.1:3141/canary/dev"' in as_alex(alex, "cat .devpi/client/current.json")
