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
  - Creates, changes and deletes one user. Everything about the user that you do not declare stays as it is, indexes
    included.
  - O(user_password) is the password of the user O(name). O(password) is the password of O(username), who logs in, as in
    every module of this collection.
  - For several users, or a user with indexes, use M(wheelhouse.devpi.devpi_users). It needs one request to compare them
    all and one login.
  - Needs only Python on the managed host. Works with devpi-server 6.15 or a newer 6, and with 7.
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
    details: Shows the keys concerned. For a password it shows only that it is set.
options:
  credentials_dir:
    description:
      - A directory on the managed host that keeps generated passwords, as in M(wheelhouse.devpi.devpi_users). If
        O(user_password) is not set, the module generates the new user's password there.
      - If O(password) is not set, the module reads it there, from the file named after O(username).
    type: path
author:
  - The wheelhouse.devpi authors (@wheelhouse)
seealso:
  - module: wheelhouse.devpi.devpi_users
  - module: wheelhouse.devpi.devpi_index
"""

EXAMPLES = r"""
- name: Create a user with a generated password
  wheelhouse.devpi.devpi_user:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    name: ci
    email: ci@example.com

- name: Set a password from a vault whenever it differs
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
  description: What was changed, or would be changed in check mode. After a failure, what was changed before it.
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
  description: The file of the password that this run generated, or would generate in check mode, by user.
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
