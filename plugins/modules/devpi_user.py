#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep one user of a devpi-server as declared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_user
short_description: Keep a user of a devpi-server as declared
version_added: 0.1.0
description:
  - Creates, changes and deletes one user. What is not declared of a user stays as it is, indexes included.
  - The user's own password is O(user_password), for O(password) is that of the login, here as in every module.
  - For several users, or a user with indexes, M(wheelhouse.devpi.devpi_users) takes one request to look and one login.
  - Needs nothing but Python on the managed host, and speaks to devpi-server 6.15 and newer releases of 6, and to 7.
extends_documentation_fragment:
  - wheelhouse.devpi.connection
  - wheelhouse.devpi.users.user_keys
  - wheelhouse.devpi.attributes
  - wheelhouse.devpi.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the keys concerned. Of a password it shows only that it is set.
options:
  credentials_dir:
    description:
      - A directory on the managed host where generated passwords are kept, as M(wheelhouse.devpi.devpi_users) keeps
        them. A user without a password of its own gets one there, and O(username) may have its own there.
    type: path
author:
  - The wheelhouse.devpi authors (@wheelhouse)
seealso:
  - module: wheelhouse.devpi.devpi_users
  - module: wheelhouse.devpi.devpi_index
"""

EXAMPLES = r"""
- name: Make a user whose password is generated
  wheelhouse.devpi.devpi_user:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    name: ci
    email: ci@example.com

- name: Keep a password as the vault has it
  wheelhouse.devpi.devpi_user:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    name: alice
    user_password: "{{ vault_alice_password }}"
    update_password: always

- name: Delete a user with all indexes and packages
  wheelhouse.devpi.devpi_user:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    name: alice
    state: absent
    force: true
"""

RETURN = r"""
changes:
  description: What was changed, or in check mode would be. After a failure, what was changed before it.
  returned: always
  type: list
  elements: dict
  contains:
    user:
      description: The user.
      type: str
    action:
      description: V(create), V(update) or V(delete).
      type: str
    settings:
      description: The names of the settings that are written, V(password) among them.
      type: list
      elements: str
  sample:
    - user: ci
      action: create
      settings: [email, password]
generated:
  description: The file of the password that this run generated, or in check mode would generate, by user.
  returned: success
  type: dict
  sample:
    ci: /etc/devpi/credentials/ci
version:
  description: The version of the devpi-server that answered.
  returned: success
  type: str
  sample: 6.20.3
"""

from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import connection_options
from ansible_collections.wheelhouse.devpi.plugins.module_utils._converge import converge
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import USER_OPTIONS, parse_user
from ansible_collections.wheelhouse.devpi.plugins.module_utils._module import UsersModule


def main() -> None:
    """Run the module."""
    module = UsersModule(
        argument_spec={
            **connection_options(),
            "credentials_dir": {"type": "path"},
            **{name: option for name, option in USER_OPTIONS.items() if name not in ("indexes", "password")},
            "user_password": USER_OPTIONS["password"],
        },
        supports_check_mode=True,
    )
    user = parse_user(module.params, f"user {module.params['name']}", credential_option="user_password")
    converge(module, [user])


if __name__ == "__main__":
    main()
