"""One deployment with one ansible-core, of the collection as it is installed, to a container."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
AUTHORITIES = ROOT / ".cache" / "ca"
NAME = f"devpi-matrix-{os.environ['DEVPI_TEST_CORE']}"
# systemd is its first process
OPTIONS = """
--cap-add SYS_ADMIN --security-opt seccomp=unconfined --cgroupns private
--tmpfs /run --tmpfs /run/lock --tmpfs /tmp
"""
ASK = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:3141/+api', timeout=30).read().decode())"


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start the container, and return an inventory with it."""
    subprocess.run(["docker", "rm", "--force", NAME], capture_output=True, check=False)
    docker(
        "run",
        "--detach",
        "--name",
        NAME,
        *OPTIONS.split(),
        "--volume",
        f"{AUTHORITIES}:/opt/test-ca:ro",
        "devpi-test:bookworm-systemd",
        "/lib/systemd/systemd",
    )
    host = {
        "ansible_connection": "community.docker.docker",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_user": "root",
        # empty, the default, where the test machine's network needs no certificate authority of its own
        "devpi_ca_bundle": "/opt/test-ca/bundle.pem" if (AUTHORITIES / "bundle.pem").exists() else "",
    }
    path = tmp_path_factory.mktemp("deployment") / "inventory.json"
    path.write_text(json.dumps({"devpi": {"hosts": {NAME: host}}}))
    try:
        wait_until_booted()
        yield path
    finally:
        docker("rm", "--force", NAME)


def wait_until_booted() -> None:
    # At first there is no systemd yet that could be waited for.
    ask = ["docker", "exec", NAME, "systemctl", "is-system-running", "--wait"]
    for _dummy in range(60):
        state = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
        if state == "running":
            return
        time.sleep(0.5)
    pytest.fail(f"The container {NAME} has not booted: {state}")


def deploy(inventory: Path) -> dict[str, int]:
    """Deploy, which must have nothing to warn of, and return the counts of the recap."""
    said = subprocess.run(
        ["ansible-playbook", "--inventory", str(inventory), "wheelhouse.devpi.site"],
        cwd=inventory.parent,
        env={**os.environ, "ANSIBLE_PIPELINING": "1", "ANSIBLE_CALLBACKS_ENABLED": "wheelhouse.devpi.next_steps"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "WARNING" not in said.stdout + said.stderr
    [recap] = re.findall(rf"^{re.escape(NAME)} +: (.*)$", said.stdout, re.MULTILINE)
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", recap)}


def test_first_run_deploys(inventory: Path) -> None:
    assert deploy(inventory)["changed"] > 0


def test_server_answers(inventory: Path) -> None:
    assert json.loads(docker("exec", NAME, "python3", "-c", ASK))["type"] == "apiconfig"


def test_second_run_changes_nothing(inventory: Path) -> None:
    counts = deploy(inventory)
    assert counts["ok"] > 10
    assert counts["changed"] == 0
