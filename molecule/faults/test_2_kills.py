"""Nothing is lost: killed runs are mended by the next, and a server that is killed or rebooted serves again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from molecule.conftest import Target

WHEEL = """
import zipfile
with zipfile.ZipFile("/opt/kept-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("kept.py", "")
    wheel.writestr("kept-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: kept\\nVersion: 1\\n")
    wheel.writestr("kept-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("kept-1.dist-info/RECORD", "")
"""
ANSWERS = """
import urllib.request
request = urllib.request.Request("http://127.0.0.1:3141/{}", headers={{"Accept": "application/json"}})
print(urllib.request.urlopen(request).read().decode())
"""
# The beginnings of the names of tasks, in the order in which they come, and the seconds to wait in each. Each run gets
# further than the one before.
POINTS = (
    ("wheelhouse.devpi.common : Install ", 0.8),
    ("wheelhouse.devpi.common : Install ", 4),
    ("wheelhouse.devpi.venv : Copy the collection's plugins for devpi-server", 0.3),
    ("wheelhouse.devpi.venv : Install devpi into a new environment", 0.8),
    ("wheelhouse.devpi.venv : Install devpi into a new environment", 2.5),
    ("wheelhouse.devpi.venv : Install devpi into a new environment", 4.5),
    ("wheelhouse.devpi.venv : Point devpi_venv_path", 0.1),
    ("wheelhouse.devpi.venv : Delete environments", 0.1),
    ("wheelhouse.devpi.server : Make the account", 0.2),
    ("wheelhouse.devpi.server : Keep the server directory", 0.2),
    ("wheelhouse.devpi.server : Make the secret", 0.2),
    ("wheelhouse.devpi.server : Keep the configuration", 0.8),
    ("wheelhouse.devpi.server : Make the database, with", 0.5),
    ("wheelhouse.devpi.server : Make the database, with", 1.3),
    ("wheelhouse.devpi.supervisor : Keep the programs' files", 0.8),
    ("wheelhouse.devpi.supervisor : Keep the programs started", 0.3),
    ("wheelhouse.devpi.supervisor : Keep the programs started", 0.8),
    ("wheelhouse.devpi.users : Converge", 0.5),
    ("wheelhouse.devpi.pypirc : Merge", 0.3),
)


def page(target: Target, path: str, seconds: int) -> str:
    """Return what the server says at `path`, once it answers."""
    end = time.monotonic() + seconds
    while True:
        said = target.host.run("python3 -c %s", ANSWERS.format(path))
        if said.rc == 0:
            return str(said.stdout)
        assert time.monotonic() < end, said.stderr
        time.sleep(0.3)


@pytest.fixture(scope="module")
def kept(deployed: Target) -> str:
    """Publish a package, and return the path of its page."""
    deployed.host.check_output("python3 -c %s", WHEEL)
    said = deployed.host.run(
        "TWINE_PASSWORD=Canary7f3-first /opt/devpi/venv/bin/twine upload --non-interactive -r canary-dev "
        "/opt/kept-1-py3-none-any.whl"
    )
    assert said.rc == 0, said.stdout + said.stderr
    return "canary/dev/+simple/kept/"


def test_killed_server_comes_back_with_what_was_uploaded(deployed: Target, kept: str) -> None:
    pid = deployed.host.check_output("supervisorctl pid devpi")
    deployed.host.check_output(f"kill -9 {pid}")
    assert "kept-1-py3-none-any.whl" in page(deployed, kept, 30)
    assert deployed.host.check_output("supervisorctl pid devpi") not in {pid, "0"}


def test_rebooted_host_serves_again(deployed: Target, kept: str) -> None:
    subprocess.run(["docker", "restart", "--time", "10", deployed.name], check=True, capture_output=True)
    assert "kept-1-py3-none-any.whl" in page(deployed, kept, 60)


def with_descendants(pid: int) -> set[int]:
    """Return the process and all that it has started, and that these have, as far as they are there."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (process / "stat").read_text("utf-8", "replace").rsplit(")", 1)[1].split()
            parents[int(process.name)] = int(fields[1])
    found, new = set(), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new} - found
    return found


def kill_all_of(run: subprocess.Popen[str]) -> None:
    """Kill a run at once with all that it has started, and wait for their end.

    Each worker of Ansible's leads a session of its own, so the process group of the run is not all of it.
    """
    held: set[int] = set()
    while run.poll() is None and with_descendants(run.pid) - held:
        # What is stopped starts nothing more, and what it has started keeps it as its parent.
        for pid in with_descendants(run.pid) - held:
            held.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
    for pid in held:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run.wait()
    end = time.monotonic() + 30
    while any(lives(pid) for pid in held):
        assert time.monotonic() < end, held
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Whether the process is there and not merely waits for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def kill_at(target: Target, task: str, seconds: float) -> None:
    """Start a deployment, and cut both it and its host off some seconds into the task."""
    with subprocess.Popen(
        target.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as run:
        try:
            assert run.stdout
            said = ""
            for line in run.stdout:
                said += line
                if line.startswith(f"TASK [{task}"):
                    break
            else:
                pytest.fail(f"no task {task}:\n{said}")
            time.sleep(seconds)
        finally:
            kill_all_of(run)
    # what the module had started on the host would otherwise go on to its end
    subprocess.run(["docker", "restart", "--time", "0", target.name], check=True, capture_output=True)
    target.host.run("systemctl is-system-running --wait")


def state(target: Target) -> list[str]:
    """Return path, mode and owner of all that a deployment makes, but for what the server writes as it runs."""
    found: str = target.host.check_output(
        "find /etc/devpi /etc/supervisor /etc/xdg/devpi-server /opt/devpi /root/.pypirc /var/lib/devpi "
        "\\( -name __pycache__ -o -name '+files' -o -name '.sqlite*' -o -name '.event_serial' \\) -prune "
        "-o -printf '%p %M %u:%g\\n' | sort"
    )
    return found.splitlines()


def test_killed_runs_are_mended_by_the_next(deployed: Target, target: Callable[[str], Target]) -> None:
    killed = target("devpi-faults-killed")
    for task, seconds in POINTS:
        kill_at(killed, task, seconds)
    last = killed.deploy()
    assert last.code == 0, last.said
    again = killed.deploy()
    assert "changed=0 " in again.said, again.said
    assert state(killed) == state(deployed)
    indexes = [json.loads(page(each, "canary/dev?no_projects=", 5))["result"] for each in (killed, deployed)]
    assert indexes[0] == indexes[1]


MODES = "stat --format='%n %a %U:%G' /var/lib/devpi /var/lib/devpi/.sqlite /var/lib/devpi/.nodeinfo " + (
    "/etc/xdg/devpi-server/devpi-server.yml /etc/supervisor/conf.d/devpi.conf"
)


def test_files_that_were_opened_are_closed_again_and_nothing_restarts(deployed: Target) -> None:
    before = deployed.host.check_output(MODES)
    pid = deployed.host.check_output("supervisorctl pid devpi")
    deployed.host.check_output("chmod o+rx /var/lib/devpi && chmod o+r /var/lib/devpi/.sqlite /var/lib/devpi/.nodeinfo")
    deployed.host.check_output("chmod o+r /etc/xdg/devpi-server/devpi-server.yml /etc/supervisor/conf.d/devpi.conf")
    opened = deployed.host.check_output(MODES)
    check = deployed.deploy(None, "--check")
    assert check.code == 0, check.said
    assert "changed=0 " not in check.said
    assert deployed.host.check_output(MODES) == opened
    run = deployed.deploy()
    assert run.code == 0, run.said
    assert deployed.host.check_output(MODES) == before
    assert "changed=0 " in deployed.deploy().said
    assert deployed.host.check_output("supervisorctl pid devpi") == pid


def test_configuration_that_was_changed_by_hand_is_read_no_longer(deployed: Target) -> None:
    config = "/etc/xdg/devpi-server/devpi-server.yml"
    before = deployed.host.file(config).content_string
    deployed.host.check_output(f"sed -i 's/threads: .*/threads: 3/' {config} && supervisorctl restart devpi")
    page(deployed, "canary/dev?no_projects=", 60)
    pid = deployed.host.check_output("supervisorctl pid devpi")
    run = deployed.deploy()
    assert run.code == 0, run.said
    assert deployed.host.file(config).content_string == before
    assert deployed.host.check_output("supervisorctl pid devpi") != pid
    assert "changed=0 " in deployed.deploy().said


def test_what_a_killed_run_has_not_restarted_is_restarted_by_the_next(deployed: Target) -> None:
    """As if a run was killed after it had written the program's file, and before supervisor heard of it."""
    path = "/etc/supervisor/conf.d/devpi.conf"
    pid = deployed.host.check_output("supervisorctl pid devpi")
    deployed.host.check_output(f"sed -i 's/^startsecs=.*/startsecs=6/' {path}")
    deployed.host.check_output("supervisorctl update")
    between = deployed.host.check_output("supervisorctl pid devpi")
    assert between != pid
    deployed.host.check_output(f"sed -i 's/^startsecs=.*/startsecs=5/' {path}")
    run = deployed.deploy()
    assert run.code == 0, run.said
    assert deployed.host.check_output("supervisorctl pid devpi") != between
    assert "changed=0 " in deployed.deploy().said
