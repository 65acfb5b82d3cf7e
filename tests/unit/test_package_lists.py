"""Other programs that keep apt's locks are waited for. What apt-get says then was taken from the real one."""

from __future__ import annotations

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _package_lists

LOCKED = (
    "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 387 (python3)\n"
    "E: Unable to lock directory /var/lib/apt/lists/\n"
)


class Module:
    """Runs apt-get in the place of an AnsibleModule, and is told each time what it says."""

    def __init__(self, *answers: str) -> None:
        self.answers = [*answers]
        self.commands: list[list[str]] = []

    def run_command(self, command: list[str], **_options: object) -> tuple[int, str, str]:
        self.commands.append(command)
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return (100 if said else 0), "", said


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait as long as a person does."""
    monkeypatch.setattr(_package_lists.time, "sleep", lambda _seconds: None)


def test_lists_that_another_program_refreshes_are_waited_for() -> None:
    module = Module(LOCKED, LOCKED, "")
    assert _package_lists.refresh(module, ["-o", "X=1"]) == ""
    assert len(module.commands) == 3
    assert module.commands[0][:3] == ["apt-get", "-o", "X=1"]


def test_program_that_keeps_them_for_ever_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_package_lists, "PATIENCE", 0)
    problem = _package_lists.refresh(Module(LOCKED), [])
    assert "process 387 (python3)" in problem
    assert "sources" not in problem


def test_sources_that_do_not_answer_are_told_at_once() -> None:
    module = Module("W: one\nE: Some index files failed to download.\n")
    assert "Some index files failed to download.; a package is missing" in _package_lists.refresh(module, [])
    assert len(module.commands) == 1
