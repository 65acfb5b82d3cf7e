"""The script that has supervisor's own parser read a program's file before it takes its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "roles" / "supervisor" / "files" / "read_program.py"
PROGRAM = "[program:devpi]\ncommand=/opt/devpi/venv/bin/devpi-server\n"


class Supervisor:
    """Its files, as Debian lays them."""

    def __init__(self, directory: Path) -> None:
        self.programs = directory / "conf.d"
        self.programs.mkdir()
        self.main = directory / "supervisord.conf"
        self.main.write_text("[supervisord]\n[include]\nfiles = conf.d/*.conf\n")
        self.draft = directory / "draft"

    def refuses(self, text: str) -> str:
        """Return what is said against a text for devpi.conf, nothing where supervisor takes it."""
        self.draft.write_text(text)
        before = {path: path.read_text() for path in self.programs.iterdir()}
        command = [sys.executable, "-I", "-c", SCRIPT.read_text(), str(self.main), str(self.programs / "devpi.conf")]
        done = subprocess.run([*command, str(self.draft)], capture_output=True, text=True, check=False)
        assert {path: path.read_text() for path in self.programs.iterdir()} == before
        assert done.returncode == (1 if done.stderr else 0), done.stderr
        assert done.stdout == ""
        return done.stderr


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(tmp_path)


@pytest.mark.parametrize("there", ["", PROGRAM, "[program:devpi]\n"])
def test_a_good_file_is_taken_whatever_is_in_its_place(supervisor: Supervisor, there: str) -> None:
    (supervisor.programs / "other.conf").write_text("[program:other]\ncommand=x\n")
    if there:
        (supervisor.programs / "devpi.conf").write_text(there)
    assert supervisor.refuses(PROGRAM) == ""


@pytest.mark.parametrize(
    "line",
    [
        'environment=PASSWORD="canary',
        "command=%(canary)s",
        "canary",
        "user=nobody-here",
        "numprocs=%(canary)s",
    ],
)
def test_what_supervisor_cannot_read_is_refused_without_its_value(supervisor: Supervisor, line: str) -> None:
    said = supervisor.refuses(f"{PROGRAM}{line}\n")
    assert f"supervisor would not start with the new {supervisor.programs}/devpi.conf" in said
    assert "canary" not in said


def test_somebody_elses_broken_file_gets_the_blame(supervisor: Supervisor) -> None:
    (supervisor.programs / "other.conf").write_text("[program:other]\ncommand=x\nuser=nobody-here\n")
    said = supervisor.refuses(PROGRAM)
    assert "with or without" in said
    assert "Invalid user name nobody-here" in said
