"""A hash of the filter devpi_password_hash as the password of a user of a real devpi-server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from ansible_collections.wheelhouse.devpi.plugins.filter import devpi_password_hash

if TYPE_CHECKING:
    from conftest import Devpi

PASSWORD = "CANARY-pässword $1 %"


def example(devpi: Devpi, directory: Path) -> str:
    """Return the hash that the first example of the documentation makes of a password from a vault."""
    playbook = directory / "play.yml"
    if not playbook.exists():
        (directory / "vault-password").write_text("secret\n")
        (directory / "vault.yml").write_text(json.dumps({"vault_team_password": PASSWORD}))
        arguments = ["encrypt", "--vault-password-file", "vault-password", "vault.yml"]
        program = [sys.executable, "-c", "from ansible.cli.vault import main; main()"]
        subprocess.run([*program, *arguments], cwd=directory, env=devpi.environment(), check=True, capture_output=True)
    tasks = yaml.safe_load(devpi_password_hash.EXAMPLES)[:1]
    tasks.append({"ansible.builtin.copy": {"content": "{{ team_hash }}", "dest": f"{directory}/hash", "mode": "0600"}})
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    process = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible-playbook")), "play.yml", "-i", "localhost,", "-c", "local"),
            *("--vault-password-file", "vault-password", "-e", "@vault.yml", "-vvv"),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
        ],
        env=devpi.environment(),
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "CANARY" not in process.stdout + process.stderr
    return (directory / "hash").read_text()


@pytest.mark.once
def test_the_hash_is_a_password_that_stays(devpi: Devpi, tmp_path: Path) -> None:
    devpi.make("team/dev")
    assert not devpi.takes("team", PASSWORD)
    made = example(devpi, tmp_path)
    devpi.ask("PATCH", "/team", {"pwhash": made}, devpi.token())
    serial = devpi.ask("GET", "/+status")["serial"]
    assert devpi.takes("team", PASSWORD)
    assert not devpi.takes("team", PASSWORD + "x")
    # The login has not made the server store a hash of its own, and the next run makes the same one.
    assert devpi.ask("GET", "/+status")["serial"] == serial
    assert example(devpi, tmp_path) == made


def test_a_hash_of_other_parameters_does_not_stay(devpi: Devpi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show what the filter's parameters are for: with others the server stores a hash of its own at a login."""
    devpi.make("team/dev")
    monkeypatch.setattr(devpi_password_hash, "MEMORY_COST", 1024)
    made = devpi_password_hash.devpi_password_hash(PASSWORD, salt="a salt of the team")
    devpi.ask("PATCH", "/team", {"pwhash": made}, devpi.token())
    serial = devpi.ask("GET", "/+status")["serial"]
    assert devpi.takes("team", PASSWORD)
    assert devpi.ask("GET", "/+status")["serial"] == serial + 1
