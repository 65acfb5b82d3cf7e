#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upload, push and delete releases on an index of a devpi-server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_package
short_description: Upload, push and delete releases on a devpi index
version_added: 0.1.0
description:
  - Uploads wheels and sdists (O(files)), pushes a release to another index (O(push_to)), deletes releases
    (O(state=absent)), and deletes old development releases (O(keep)).
  - Compares files by their SHA-256, so uploading the same file again changes nothing. The module looks only at the
    index itself, never at its bases.
  - Before anything is changed, the module refuses what the server would not accept, and lists all problems in one
    message.
  - Makes two requests for an index and one for each project concerned, and logs in only if there is something to
    change. If a run is killed, the next run completes it.
  - Needs only Python on the managed host. Works with devpi-server 6.15 or a newer 6, and with 7.
extends_documentation_fragment:
  - wheelhouse.devpi.connection
  - wheelhouse.devpi.attributes
  - wheelhouse.devpi.attributes.action_group
attributes:
  check_mode:
    support: full
    details: With O(keep) or O(state=absent) the result lists what would be deleted. The index must exist.
  diff_mode:
    support: full
    details: Shows the files that are added, replaced and deleted, with their SHA-256, by index.
options:
  index:
    description: The index with its user, V(alice/dev). A mirror is refused, because it has no packages of its own.
    type: str
    required: true
  files:
    description:
      - Paths on the managed host of the wheels and sdists (C(.tar.gz), C(.zip)) to upload.
      - The core metadata inside each file supplies what the index page and pip need to know, such as the Python
        versions that a release supports. A file whose name and metadata disagree is refused.
      - If the index has a file of the same name with different content, a volatile index B(replaces it), and an index
        that is not volatile refuses the upload.
    type: list
    elements: path
  project:
    description: The project, in any spelling. With O(keep), if not set, B(all projects of the index).
    type: str
  version:
    description:
      - The version to push or to delete, in any spelling that is the same version by PEP 440.
      - With O(state=absent), if not set, B(the whole project is deleted). This needs O(force).
    type: str
  push_to:
    description:
      - The index to push the release to, with its user. O(username) must have the right to upload there.
      - The release is pushed with its documentation and test results.
      - The push is refused if that index has a file of the same name with different content. It is also refused if that
        index is not volatile and has a part of the release, because devpi cannot push the rest.
    type: str
  keep:
    description:
      - How many development releases (PEP 440, such as V(1.0.dev3)) of each project to keep. The newest are kept, and
        B(all older ones are deleted).
      - Final releases, other pre-releases and versions that PEP 440 does not allow are not counted and never deleted.
    type: int
  state:
    description: V(absent) deletes the release, or the whole project.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - With O(state=absent) or O(keep), delete even from an index that is not volatile. The index itself is not made
        volatile for this; the module asks devpi-server with C(?force).
      - With O(state=absent), allow the deletion of a whole project.
    type: bool
    default: false
  credentials_dir:
    description: A directory on the managed host. If O(password) is not set, the module reads it there, from the file
      named after O(username).
    type: path
notes:
  - Before it sends anything, the module looks up in the C(acl_upload) of the index whether the user may upload. This
    applies to root too. If C(acl_upload) names a group, only the server knows who is in it.
  - Whoever may upload may also delete. So may the users that the server's C(restrict-modify) names, or, without
    C(restrict-modify), root and the user of the index.
  - With O(keep) and no O(project), the module makes one request for each project of the index. devpi-server 7.0 reports
    the SHA-256 only for single files, so each file that is pushed or deleted there costs one more request.
author:
  - The wheelhouse.devpi authors (@wheelhouse)
seealso:
  - module: wheelhouse.devpi.devpi_users
"""

EXAMPLES = r"""
- name: Upload a wheel and an sdist
  wheelhouse.devpi.devpi_package:
    url: http://127.0.0.1:3141
    username: team
    credentials_dir: /etc/devpi/credentials
    index: team/dev
    files:
      - /srv/build/dist/demo-1.0-py3-none-any.whl
      - /srv/build/dist/demo-1.0.tar.gz

- name: Push a tested release to production
  wheelhouse.devpi.devpi_package:
    url: http://127.0.0.1:3141
    username: team
    credentials_dir: /etc/devpi/credentials
    index: team/dev
    project: demo
    version: "1.0"
    push_to: team/production

- name: Keep the five newest development releases of each project
  wheelhouse.devpi.devpi_package:
    url: http://127.0.0.1:3141
    username: team
    credentials_dir: /etc/devpi/credentials
    index: team/dev
    keep: 5

- name: Delete a release from an index that is not volatile
  wheelhouse.devpi.devpi_package:
    url: http://127.0.0.1:3141
    username: team
    credentials_dir: /etc/devpi/credentials
    index: team/production
    project: demo
    version: "1.0"
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
    index:
      description: The index that was changed.
      type: str
    project:
      description: The project, spelled as in URLs.
      type: str
    version:
      description: The version, if the step concerns a single one.
      type: str
    action:
      description: V(upload), V(replace), V(push) or V(delete).
      type: str
    files:
      description: The names of the files concerned.
      type: list
      elements: str
  sample:
    - index: team/dev
      project: demo
      version: "1.0"
      action: upload
      files: [demo-1.0-py3-none-any.whl]
files:
  description:
    - The files of O(files) on the index, or, with O(push_to), the files of the release on the index that it was pushed
      to. Files that the index had before are included. After a deletion the list is empty.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The file's name.
      type: str
    project:
      description: The project, spelled as in URLs.
      type: str
    version:
      description: The version.
      type: str
    sha256:
      description: The SHA-256 of the content.
      type: str
    url:
      description: The URL of the file, below O(url).
      type: str
  sample:
    - name: demo-1.0-py3-none-any.whl
      project: demo
      version: "1.0"
      sha256: 3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3
      url: http://127.0.0.1:3141/team/dev/+f/3fc/4ccfe745870e2/demo-1.0-py3-none-any.whl
version:
  description: The version of the devpi-server that answered.
  returned: success
  type: str
  sample: 6.20.3
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import connection_options
from ansible_collections.wheelhouse.devpi.plugins.module_utils._packages import converge


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "index": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "path"},
            "project": {"type": "str"},
            "version": {"type": "str"},
            "push_to": {"type": "str"},
            "keep": {"type": "int"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "force": {"type": "bool", "default": False},
            "credentials_dir": {"type": "path"},
        },
        mutually_exclusive=[("files", "push_to", "keep"), ("files", "project"), ("keep", "version")],
        required_by={"push_to": ("project", "version"), "version": ("project",)},
        required_if=[
            ("state", "absent", ("project",)),
            ("state", "present", ("files", "push_to", "keep"), True),
        ],
        supports_check_mode=True,
    )
    converge(module)


if __name__ == "__main__":
    main()
