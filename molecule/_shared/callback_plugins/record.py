"""Records for the tests which tasks of each converge run changed something."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ansible import context
from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.playbook import Playbook

DOCUMENTATION = """
name: record
type: notification
short_description: Record which tasks changed something
description:
  - At the end of every run of the scenario's converge playbook, appends one line of JSON to C(runs.jsonl) in the
    scenario's ephemeral directory - whether it was check mode, and for each host the names of the tasks that changed.
"""


class CallbackModule(CallbackBase):
    """One line for one run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._changed: dict[str, list[str]] = {}
        self._playbook = ""
        self._runs = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "runs.jsonl"

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Remember which playbook this is, for molecule runs its own as well; a new host begins a new record."""
        self._playbook = Path(playbook._file_name).name
        if self._playbook == "create.yml":
            self._runs.unlink(missing_ok=True)

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Note a task that changed something."""
        changed = self._changed.setdefault(result.host.name, [])
        if result.is_changed():
            changed.append(result.task.get_name())

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Write the line."""
        if self._playbook != "converge.yml":
            return
        with self._runs.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"check": context.CLIARGS["check"], "changed": self._changed}) + "\n")
