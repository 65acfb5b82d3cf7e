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
  - Uploads wheels and sdists (O(files)), pushes a release on to another index (O(push_to)), deletes releases
    (O(state=absent)), and clears away old development releases (O(keep)).
  - Compares files by their SHA-256, so that the same file again changes nothing. Looks at the index itself alone, never
    at its bases.
  - What the server could not take is refused before anything is changed, with all such problems in one message.
  - Makes two requests for an index and one for each project concerned, and logs in only when something is to be
    changed. A run that is killed is completed by the next.
  - Needs nothing but Python on the managed host, and speaks to devpi-server 6.15 and newer releases of 6, and to 7.
extends_documentation_fragment:
  - wheelhouse.devpi.connection
  - wheelhouse.devpi.attributes
  - wheelhouse.devpi.attributes.action_group
attributes:
  check_mode:
    support: full
    details: With O(keep) or O(state=absent) it tells what would be deleted. The index has to exist.
  diff_mode:
    support: full
    details: Shows the files that come, change and go, with their SHA-256, by index.
options:
  index:
    description: The index with its user, V(alice/dev). It has to hold packages of its own, so a mirror is refused.
    type: str
    required: true
  files:
    description:
      - Paths of wheels and sdists (C(.tar.gz), C(.zip)) on the managed host, to be there on the index.
      - What the index page and pip need to know, such as the Python versions that a release runs on, comes from the
        core metadata inside each file. A file whose name and metadata disagree is refused.
      - Where the index has another content under the name of a file, the file is replaced on a volatile index, and
        refused on one that is not volatile.
    type: list
    elements: path
  project:
    description: The project, in any spelling. With O(keep) all projects of the index where it is not set.
    type: str
  version:
    description:
      - The version to push or to delete, in any spelling that PEP 440 takes for the same.
      - With O(state=absent) the whole project where it is not set, which needs O(force).
    type: str
  push_to:
    description:
      - The index, with its user, that is to have the release too. O(username) has to have the right to upload there.
      - The release goes with its documentation and test results. A file that is there with another content is refused,
        and so is a release of which an index that is not volatile has a part, as devpi cannot push the rest.
    type: str
  keep:
    description:
      - Delete the development releases of PEP 440, V(1.0.dev3), but for this number of the newest of each project.
      - Final releases and other pre-releases are neither counted nor deleted, and neither is what is no version of
        PEP 440.
    type: int
  state:
    description: With V(absent) the release, or the project, is deleted.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - With O(state=absent) or O(keep), delete from an index that is not volatile too. devpi-server does so when asked
        with C(?force); the index stays as it is meanwhile.
      - With O(state=absent), delete a whole project.
    type: bool
    default: false
  credentials_dir:
    description: A directory on the managed host with the password of O(username), in the file named after that user.
    type: path
notes:
  - Who may upload is looked up in the C(acl_upload) of the index before anything is sent, root not excepted. Where it
    names a group, only the server knows.
  - Whoever may upload may delete; the server's C(restrict-modify) names more users, or without it root and the index's
    user may.
  - With O(keep) and no O(project) there is one request for each project of the index. devpi-server 7.0 tells the
    SHA-256 of single files alone, so there each file that is pushed or deleted takes one more.
author:
  - The wheelhouse.devpi authors (@wheelhouse)
seealso:
  - module: wheelhouse.devpi.devpi_users
"""

EXAMPLES = r"""
- name: Publish what was built
  wheelhouse.devpi.devpi_package:
    url: http://127.0.0.1:3141
    username: team
    credentials_dir: /etc/devpi/credentials
    index: team/dev
    files:
      - /srv/build/dist/demo-1.0-py3-none-any.whl
      - /srv/build/dist/demo-1.0.tar.gz

- name: Let production have what was tested
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

- name: Withdraw a release from an index that is not volatile
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
  description: What was changed, or in check mode would be, in that order. After a failure, what was changed before it.
  returned: always
  type: list
  elements: dict
  contains:
    index:
      description: The index that was changed.
      type: str
    project:
      description: The project, in the spelling of addresses.
      type: str
    version:
      description: The version, where the step is about one.
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
    - The files of O(files) on the index, or with O(push_to) those of the release on the index that it was pushed to,
      whether they were there before or not. Empty after a deletion.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The file's name.
      type: str
    project:
      description: The project, in the spelling of addresses.
      type: str
    version:
      description: The version.
      type: str
    sha256:
      description: The SHA-256 of the content.
      type: str
    url:
      description: Where the file is, under O(url).
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
