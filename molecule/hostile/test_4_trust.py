"""Root's password goes to nobody but the server, whatever happens on the host while a run is at work."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from molecule.conftest import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from molecule.conftest import Target

STRANGER = Path(__file__).with_name("stranger.py").read_text()
# Takes the server's place, as another account could when the server has ended for some reason.
SWAP = """
supervisorctl stop devpi
runuser -u trudy -- sh -c 'exec setsid python3 /home/trudy/stranger.py >/dev/null 2>&1 </dev/null & \
  echo $! >/home/trudy/pid'
for attempt in 1 2 3 4 5 6 7 8 9 10; do ss -Hltn 'sport = :3141' | grep -q . && exit 0; sleep 0.5; done; exit 1
"""
USERS = "- {hosts: devpi, gather_facts: false, become: true, roles: [%s]}\n"


@pytest.fixture
def swap(deployed: Target) -> Iterator[Callable[[], None]]:
    """Have another account on the host, which can take the server's place; give it back afterwards."""
    host = deployed.host
    host.check_output("useradd --create-home trudy")
    host.check_output("printf %%s %s >/home/trudy/stranger.py", STRANGER)
    host.check_output("printf %%s %s >/home/trudy/swap", SWAP)
    yield lambda: host.check_output("bash /home/trudy/swap") and None
    host.run("kill $(cat /home/trudy/pid); sleep 0.5; userdel --force --remove trudy")
    host.check_output("supervisorctl start devpi")
    for _attempt in range(100):
        if host.check_output("ss -Hltn 'sport = :3141'"):
            break
        time.sleep(0.1)


@pytest.fixture
def play(deployed: Target, tmp_path: Path) -> Callable[..., Run]:
    """Return what runs these roles, of which the role swap puts another process in the server's place."""
    tasks = tmp_path / "roles" / "swap" / "tasks" / "main.yml"
    tasks.parent.mkdir(parents=True)
    tasks.write_text("- ansible.builtin.command: bash /home/trudy/swap\n")
    playbook = tmp_path / "play.yml"

    def run(roles: str, *arguments: str) -> Run:
        playbook.write_text(USERS % roles)
        command = [*deployed.command(None, *arguments)[:-1], str(playbook)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return Run(done.returncode, done.stdout + done.stderr)

    return run


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_stranger_in_the_place_of_a_stopped_server_is_told_nothing(
    deployed: Target, swap: Callable[[], None], play: Callable[..., Run], arguments: list[str]
) -> None:
    swap()
    run = play("wheelhouse.devpi.users", *arguments)
    assert run.code != 0
    assert "devpi_port 3141 on " in run.said
    assert not deployed.host.file("/home/trudy/heard").exists


@pytest.mark.usefixtures("swap")
def test_stranger_that_comes_after_the_look_at_the_host_is_told_nothing(
    deployed: Target, play: Callable[..., Run]
) -> None:
    run = play("wheelhouse.devpi.pypirc, swap, wheelhouse.devpi.users")
    assert run.code != 0
    assert "is held by process" in run.said, run.said
    assert "of trudy, which runs /usr/bin/python3" in run.said
    assert "and not by a server of devpi" in run.said
    assert not deployed.host.file("/home/trudy/heard").exists
    assert run.leaks() == []


def test_users_are_kept_where_nothing_else_is_in_the_play(play: Callable[..., Run]) -> None:
    run = play("wheelhouse.devpi.users")
    assert run.code == 0, run.said
    assert "changed=0 " in run.said
