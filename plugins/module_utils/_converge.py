# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a server to the declared users, with the modules session, checks, plan and apply in this order."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._apply import apply
from ansible_collections.wheelhouse.devpi.plugins.module_utils._checks import (
    listed,
    problems,
    purge_problems,
    unknown_passwords,
    with_purged,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import ClientError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import User, mirror_passwords
from ansible_collections.wheelhouse.devpi.plugins.module_utils._plan import Change, diff, plan
from ansible_collections.wheelhouse.devpi.plugins.module_utils._session import connect, existing_users, kept_passwords


def converge(module: AnsibleModule, users: list[User], purge: str = "none", purge_force: bool = False) -> None:
    """Bring the server to the declared state and end the module.

    :param module: with the options of the connection and ``credentials_dir``.
    :param users: the declared users; what they do not mention stays as it is, unless it is purged.
    :param purge: ``none``, ``indexes`` or ``users``.
    :param purge_force: purge what has packages too.
    """
    for user in users:
        for index in user.indexes:
            module.no_log_values.update(mirror_passwords(index.keys))
    done: list[Change] = []
    try:
        credentials = kept_passwords(module)
        client = connect(module, credentials)
        existing = existing_users(module, client)
        users = with_purged(users, existing, purge, purge_force)
        wrong = [
            *problems(users, existing, client.version),
            *unknown_passwords(users, existing, credentials),
            *purge_problems(users, existing, client),
        ]
        if wrong:
            module.fail_json(msg="Nothing was changed." + listed(wrong))
        # A server that does not run yet has no other password for anybody.
        fresh = client.version is None
        steps = plan(users, existing, credentials, (lambda user, password: True) if fresh else client.is_password)
        purged = [user.name for user in users if user.purged]
        purged += [index.path for user in users for index in user.indexes if index.purged]
        if purged:
            module.warn(f"purge deletes {', '.join(purged)}")
        if steps and not fresh:
            client.login()
        if not module.check_mode:
            for step in steps:
                apply(step, client, credentials)
                done.append(step)
    except (ClientError, CredentialsError) as error:
        module.fail_json(msg=str(error), changed=bool(done), changes=[step.summary() for step in done])
    result: dict[str, Any] = {
        "changed": bool(steps),
        "changes": [step.summary() for step in steps],
        "version": client.release,
    }
    if not any(user.known for user in users):
        result["generated"] = {
            step.user: str(credentials.path(step.user)) for step in steps if credentials is not None and step.generates
        }
    if "purge" in module.params:
        result["purged"] = purged
    if module._diff:
        result["diff"] = diff(steps)
    module.exit_json(**result)
