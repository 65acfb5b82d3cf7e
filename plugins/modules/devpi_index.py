#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep one index of a devpi-server as declared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_index
short_description: Keep an index of a devpi-server as declared
version_added: 0.1.0
description:
  - Creates, changes and deletes one index of an existing user. Keys that you do not declare stay as they are. A list
    that you declare replaces the whole list on the server.
  - B(An index is deleted with all its packages.)
  - Before anything is changed, the module refuses what the server would not accept or what is unsafe - a base that does
    not exist, a cycle of bases, an unknown user in an access list, a whitelist of everything.
  - For several indexes, use M(wheelhouse.devpi.devpi_users). It needs one request to compare them all and one login,
    and it finds the order that their bases need.
  - Supports the index types and settings of the server's plugins too (O(type), O(options)).
  - Needs only Python on the managed host. Works with devpi-server 6.15 or a newer 6, and with 7.
extends_documentation_fragment:
  - wheelhouse.devpi.connection
  - wheelhouse.devpi.users.index_keys
  - wheelhouse.devpi.attributes
  - wheelhouse.devpi.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the keys concerned, with the names that devpi-server 6 uses. The password of an upstream is masked.
options:
  name:
    description: The index with its user, V(alice/dev).
    type: str
    required: true
  credentials_dir:
    description: A directory on the managed host. If O(password) is not set, the module reads it there, from the file
      named after O(username).
    type: path
author:
  - The wheelhouse.devpi authors (@wheelhouse)
seealso:
  - module: wheelhouse.devpi.devpi_users
  - module: wheelhouse.devpi.devpi_user
"""

EXAMPLES = r"""
- name: Keep releases on an index of their own
  wheelhouse.devpi.devpi_index:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    name: root/production
    volatile: false
    acl_upload: [root]

- name: Serve them together with the packages of PyPI
  wheelhouse.devpi.devpi_index:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    name: root/dev
    bases: [root/production, root/pypi]

- name: Mirror another index without downloading the list of its projects
  wheelhouse.devpi.devpi_index:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    name: root/upstream
    type: mirror
    mirror_url: https://packages.example.com/simple/
    mirror_no_project_list: true

- name: Delete an index with all its packages
  wheelhouse.devpi.devpi_index:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    name: root/dev
    state: absent
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
    index:
      description: The index.
      type: str
    action:
      description: V(create), V(update) or V(delete).
      type: str
    settings:
      description: The names of the settings that are written.
      type: list
      elements: str
  sample:
    - user: root
      index: production
      action: create
      settings: [acl_upload, type, volatile]
version:
  description: The version of the devpi-server that answered.
  returned: success
  type: str
  sample: 6.20.3
"""

from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import connection_options
from ansible_collections.wheelhouse.devpi.plugins.module_utils._converge import converge
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import (
    INDEX_OPTIONS,
    User,
    is_path,
    parse_index,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._module import UsersModule


def main() -> None:
    """Run the module."""
    module = UsersModule(
        argument_spec={**connection_options(), "credentials_dir": {"type": "path"}, **INDEX_OPTIONS},
        supports_check_mode=True,
    )
    path = module.params["name"]
    user, _slash, name = path.partition("/")
    if not is_path(path):
        module.fail_json(msg=f"name {path!r} is not an index; write it as user/index, for example alice/dev")
    index = parse_index(user, {**module.params, "name": name}, f"index {path}")
    converge(module, [User(user, f"index {path}", known=True, indexes=(index,))])


if __name__ == "__main__":
    main()
