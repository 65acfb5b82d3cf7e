# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The AnsibleModule of the modules that take declared users."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import secrets_in


class UsersModule(AnsibleModule):  # type: ignore[misc]  # ansible-core is not typed
    """An AnsibleModule that shows no password, however wrong its parameters are.

    Ansible hides what the argument spec calls ``no_log`` only where the parameters have the structure of the spec;
    where ``indexes`` is a text, it shows even the password of the connection.
    """

    params: dict[str, Any]

    def _log_invocation(self) -> None:
        given, self.params = self.params, self._shown()
        # The log gets lists and dictionaries as Python writes them, where a newline is a backslash and an n.
        self.no_log_values.update(repr(secret)[1:-1] for secret in secrets_in(self.params))
        super()._log_invocation()
        self.params = given

    def exit_json(self, **result: object) -> None:
        """End the module."""
        super().exit_json(invocation={"module_args": self._shown()}, **result)

    def fail_json(self, msg: str, **result: object) -> None:
        """End the module as failed."""
        self.no_log_values.update(secrets_in(self.params))
        super().fail_json(msg, invocation={"module_args": self._shown()}, **result)

    def _shown(self) -> dict[str, Any]:
        """Return the parameters without the declared users.

        Ansible copies a result several times over, which takes longer for a thousand users than all that is done here.
        """
        return {**self.params, "users": "(not shown)"} if "users" in self.params else self.params
