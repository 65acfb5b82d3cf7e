#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the users and indexes of a devpi-server as declared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_users
short_description: Keep the users and indexes of a devpi-server as declared
version_added: 0.1.0
description:
  - Takes all users with their indexes in one call, and creates, changes and deletes what differs. Bases come before the
    indexes that build on them.
  - Users, indexes and keys that you do not declare stay as they are, unless you set O(purge). A list that you declare
    replaces the whole list on the server.
  - The module deletes only objects with O(users[].state=absent) or O(users[].indexes[].state=absent), and what O(purge)
    selects. B(An index is deleted with all its packages.)
  - Before anything is changed, the module refuses what the server would not accept or what is unsafe, and lists all
    problems in one message.
  - The module asks once for the whole tree. It logs in only if there is something to change, or if
    O(users[].update_password=always) requires it to compare passwords. If a run is killed, the next run completes it.
  - A server that does not answer is an error. In check mode O(new_server) makes an exception.
  - Needs only Python on the managed host. Works with devpi-server 6.15 or a newer 6, and with 7, and uses the names of
    the version that answers.
extends_documentation_fragment:
  - wheelhouse.devpi.connection
  - wheelhouse.devpi.users
  - wheelhouse.devpi.attributes
  - wheelhouse.devpi.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the users, indexes and keys concerned. For a password it shows only that it is set.
options:
  new_server:
    description:
      - In check mode, if nothing listens at O(url), predict the changes to a new devpi-server with root and no index,
        as C(devpi-init --no-root-pypi) makes it. This is for playbooks that deploy the server first and know that none
        exists yet.
    type: bool
    default: false
  purge:
    description:
      - V(none) deletes nothing that is merely undeclared.
      - V(indexes) B(deletes all indexes of declared users) that you do not declare.
      - V(users) also B(deletes all users that you do not declare, with their indexes).
      - root and its indexes are never purged.
      - If an index to purge holds packages of its own, or is a base of an index that stays, the module deletes nothing
        and fails, unless O(purge_force) is set. Before it deletes, it lists in a warning what it will delete.
    type: str
    choices: [none, indexes, users]
    default: none
  purge_force:
    description: Let O(purge) delete indexes that hold packages, B(with all these packages), and indexes that are a
      base.
    type: bool
    default: false
  credentials_dir:
    description:
      - A directory on the managed host that keeps generated passwords, each in a file named after its user. Only the
        account that runs the module can read it (modes V(0700) and V(0600)). The module creates it if it is missing.
      - A user to be created without O(users[].password) gets the password in that file. If there is no file, the module
        first generates a password and writes it there. Without this option such a user is refused.
      - If O(password) is not set, the module reads it from the file named after O(username).
      - The file stays when its user is deleted, and a user of the same name created later gets the same password.
    type: path
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Give a team its indexes
  wheelhouse.devpi.devpi_users:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    users:
      - name: root
        indexes:
          - name: pypi
            mirror_no_project_list: true
      - name: ci
      - name: team
        email: team@example.com
        indexes:
          - name: dev
            bases: [team/production, root/pypi]
            acl_upload: [team, ci]
          - name: production
            volatile: false

- name: Change a password that comes from a vault
  wheelhouse.devpi.devpi_users:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    users:
      - name: team
        password: "{{ vault_team_password }}"
        update_password: always

- name: Delete a user with all indexes and packages
  wheelhouse.devpi.devpi_users:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    users:
      - name: team
        state: absent
        force: true
"""

RETURN = r"""
changes:
  description: What was changed, or would be changed in check mode, in order. After a failure, what was changed before
    it.
  returned: always
  type: list
  elements: dict
  contains:
    user:
      description: The user.
      type: str
    index:
      description: The index, if the step concerns one.
      type: str
    action:
      description: V(create), V(update) or V(delete).
      type: str
    settings:
      description: The names of the settings that are written, V(password) among them.
      type: list
      elements: str
  sample:
    - user: team
      index: dev
      action: create
      settings: [acl_upload, bases, type]
generated:
  description: The file of each password that this run generated, or would generate in check mode, by user.
  returned: success
  type: dict
  sample:
    team: /etc/devpi/credentials/team
purged:
  description: The users and the paths of the indexes that O(purge) deleted, or would delete in check mode.
  returned: success
  type: list
  elements: str
  sample: [bob, team/old]
version:
  description: The version of the devpi-server that answered. It is empty if check mode predicted for a new server.
  returned: success
  type: str
  sample: 6.20.3
"""

from ansible_collections.wheelhouse.devpi.plugins.module_utils._checks import PURGE
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import connection_options
from ansible_collections.wheelhouse.devpi.plugins.module_utils._converge import converge
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import USER_OPTIONS, parse
from ansible_collections.wheelhouse.devpi.plugins.module_utils._module import UsersModule


def main() -> None:
    """Run the module."""
    module = UsersModule(
        argument_spec={
            **connection_options(),
            "new_server": {"type": "bool", "default": False},
            "purge": {"type": "str", "choices": list(PURGE), "default": "none"},
            "purge_force": {"type": "bool", "default": False},
            "credentials_dir": {"type": "path"},
            "users": {"type": "list", "elements": "dict", "required": True, "options": USER_OPTIONS},
        },
        supports_check_mode=True,
    )
    users = parse(module.params["users"], "users")
    converge(module, users, module.params["purge"], module.params["purge_force"])


if __name__ == "__main__":
    main()
