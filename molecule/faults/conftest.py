"""Runs of the playbook against one container, with the passwords that must not leak."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import testinfra

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
PLAYBOOK = PROJECT / "molecule" / "_shared" / "converge.yml"
# What every password has in it, so that the tests need to look for one word only
MARK = "Canary7f3"
# The same as in molecule.yml
PASSWORDS = {"devpi_password": "Canary7f3-first", "devpi_root_password": "Canary7f3-root"}


class Run(NamedTuple):
    """A run of ansible-playbook that has ended."""

    code: int
    said: str

    def leaks(self) -> list[str]:
        """Return the places where a password shows, short enough to be read in a failure."""
        return [self.said[max(0, match.start() - 200) : match.end() + 40] for match in re.finditer(MARK, self.said)]


class Target:
    """One container that the tests deploy to."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.host: Host = testinfra.get_host(f"docker://{name}")
        self._inventory = directory / f"{name}.json"

    def command(self, variables: dict[str, Any] | None = None, *arguments: str) -> list[str]:
        """Return the command line of a run with these variables beside the passwords."""
        known = {
            "ansible_connection": "community.docker.docker",
            "ansible_user": "root",
            "devpi_username": "canary",
            "devpi_ca_bundle": "/opt/test-ca/bundle.pem" if (PROJECT / ".cache/ca/bundle.pem").exists() else "",
            **PASSWORDS,
            **(variables or {}),
        }
        self._inventory.touch(0o600)
        self._inventory.write_text(json.dumps({"devpi": {"hosts": {self.name: known}}}))
        return ["ansible-playbook", "-i", str(self._inventory), *arguments, str(PLAYBOOK)]

    def deploy(self, variables: dict[str, Any] | None = None, *arguments: str) -> Run:
        """Run the playbook to its end."""
        done = subprocess.run(self.command(variables, *arguments), capture_output=True, text=True, check=False)
        return Run(done.returncode, done.stdout + done.stderr)

    def files(self) -> str:
        """Return every file's path, mode, owner, size and time of change where a deployment could leave something.

        Left out is what changes by itself: apt's package lists, systemd's own state, Ansible's directory for scratch.
        """
        left_out = " -o ".join(f"-path {path}" for path in ("/var/lib/apt", "/var/lib/systemd", "/root/.ansible"))
        found = self.host.check_output(
            f"find /etc /home /opt /root /srv /usr/local /var/lib /var/log/supervisor -xdev \\( {left_out} \\) -prune "
            "-o -printf '%p %M %u:%g %s %T@\\n' 2>/dev/null | sort || true"
        )
        accounts = self.host.check_output("getent passwd")
        packages = self.host.check_output("dpkg --get-selections")
        return f"{found}\n{accounts}\n{packages}"


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Target]:
    directory = tmp_path_factory.mktemp("inventories")
    return lambda name: Target(name, directory)


@pytest.fixture(scope="session")
def deployed(target: Callable[[str], Target]) -> Target:
    """The host that the scenario's converge has deployed."""
    return target("devpi-faults")


@pytest.fixture(scope="session")
def bare(target: Callable[[str], Target]) -> Target:
    """The host on which nothing was ever done."""
    return target("devpi-faults-bare")
