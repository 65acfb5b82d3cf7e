# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what runs where, and what to type next, as the last lines of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: next_steps
type: notification
short_description: Print what runs where, and what to type next
version_added: 0.1.0
description:
  - Prints, below the recap, the lines that the playbook C(wheelhouse.devpi.site) has for each host. The playbook passes
    them on with M(ansible.builtin.set_stats) as RV(ignore:devpi_next_steps), a dictionary of lists of lines.
  - Without this callback the playbook prints the same lines in a task.
requirements:
  - Enable it with C(callbacks_enabled = wheelhouse.devpi.next_steps) in C(ansible.cfg).
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

from ansible.executor.stats import AggregateStats
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible-core has no type information
    """What ansible-core loads; it only reacts to the end of the run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "wheelhouse.devpi.next_steps"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Print the lines of every host that finished the playbook."""
        for host, lines in stats.custom.get("_run", {}).get("devpi_next_steps", {}).items():
            self._display.display(f"devpi on {host}", color="green")
            for line in lines:
                self._display.display(f"  {line}")
            self._display.display("")
