"""What the runs of the converge playbook changed, as the callback plugin record noted it."""

from __future__ import annotations

import json
import os
from pathlib import Path


def roles(tasks: list[str]) -> set[str]:
    return {task.split(" : ")[0] for task in tasks}


def test_first_check_predicts_and_later_runs_change_nothing() -> None:
    lines = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "runs.jsonl").read_text("utf-8").splitlines()
    checked, converged, again, checked_again = (json.loads(line) for line in lines[:4])
    assert [run["check"] for run in (checked, converged, again, checked_again)] == [True, False, False, True]
    for host, changed in converged["changed"].items():
        assert changed, host
        # role by role: where check mode has one task that stands for several, their number differs
        assert roles(checked["changed"][host]) == roles(changed), host
    for run in (again, checked_again):
        assert run["changed"] == {host: [] for host in converged["changed"]}
