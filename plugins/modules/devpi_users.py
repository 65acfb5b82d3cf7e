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
  - Takes all users with their indexes in one call and creates, changes and deletes what differs, with bases before the
    indexes that build on them.
  - What is not declared stays as it is, be it a user, an index or a key. Nothing is deleted unless
    O(users[].state=absent) or O(users[].indexes[].state=absent) says so for that object. A list that is declared is the
    whole list.
  - What the server could not take, or what would open a hole, is refused before anything is changed, with all such
    problems in one message.
  - Asks once for the whole tree and logs in only when something is to be changed, or when
    O(users[].update_password=always) has passwords to compare. A run that is killed is completed by the next.
  - A server that does not answer is an error, in check mode too unless O(new_server) is set.
  - Needs nothing but Python on the managed host, and speaks to devpi-server 6.15 and newer releases of 6, and
    to 7, in the words of each.
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
    details: Shows the users and indexes concerned, with the keys concerned. Of a password it shows only that it is set.
options:
  new_server:
    description:
      - In check mode, where nothing listens at O(url) yet, predict from a new devpi-server, with root and no index, as
        C(devpi-init --no-root-pypi) makes it. For playbooks that deploy the server first and know that there is none.
    type: bool
    default: false
  purge:
    description:
      - V(indexes) deletes the indexes of declared users that are not declared themselves.
      - V(users) deletes besides the users who are not declared, with their indexes.
      - Neither root nor what is root's is ever purged. An index that holds packages or is a base of one that stays is
        refused, all of them in one message, unless O(purge_force) is set. What goes is listed in a warning first.
    type: str
    choices: [none, indexes, users]
    default: none
  purge_force:
    description: Purge what holds packages or is a base as well.
    type: bool
    default: false
  credentials_dir:
    description:
      - A directory on the managed host where generated passwords are kept, each in a file named after its user,
        readable by the account that runs the module alone (modes V(0700) and V(0600)). It is made when it is missing.
      - A user who is to be created without O(users[].password) gets the password in that file; where there is none, it
        is generated and written first. Without this option such a user is refused.
      - When O(password) is not set, the file named after O(username) is read in its place.
      - A file stays when its user is deleted, and holds for a user of that name made later.
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

- name: Remove a user with all indexes and packages
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
  description: What was changed, or in check mode would be, in that order. After a failure, what was changed before it.
  returned: always
  type: list
  elements: dict
  contains:
    user:
      description: The user.
      type: str
    index:
      description: The index, where the step is about one.
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
  description: The file of each password that this run generated, or in check mode would generate, by user.
  returned: success
  type: dict
  sample:
    team: /etc/devpi/credentials/team
purged:
  description: The users and the paths of the indexes that were deleted because nobody declared them, or would be.
  returned: success
  type: list
  elements: str
  sample: [bob, team/old]
version:
  description: The version of the devpi-server that answered; empty where check mode predicted from a new one.
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
