#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge repositories into a person's ~/.pypirc."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pypirc
short_description: Merge repositories into a person's ~/.pypirc
version_added: 0.1.0
description:
  - Adds, changes and removes repositories in C(~/.pypirc), where C(twine), C(flit) and C(devpi push) look up their
    names.
  - The module changes only lines whose value differs. It keeps comments, order, blank lines, other sections,
    delimiters, indentation and line endings. C(%) is an ordinary character.
  - The module also lists each repository in C(index-servers) of C([distutils]), because C(twine) and C(flit) do not
    know a repository that is not listed there.
  - The tools know V(pypi), and C(twine) also V(testpypi), only while a file has no such list. So if the module creates
    the list, it adds these two, with a section C([testpypi]) for the URL. It does not add them to an existing list.
    Declare a name with O(repositories[].state=absent) to keep it out of a new list.
  - A file that Python's C(configparser) cannot read is refused before anything is changed, with the number of the line.
  - The file is replaced in one step. It has mode V(0600) and belongs to O(owner) and the owner's primary group; the
    module corrects these if they differ.
  - If the module runs as root, it accesses the file with the rights of O(owner), so a link in the person's home cannot
    lead root to another file.
extends_documentation_fragment:
  - wheelhouse.devpi.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Passwords are masked. A password that changes is marked as changed.
options:
  owner:
    description:
      - The login name of the person whose file it is. The account must exist, in check mode too.
      - To change another person's file, the module must run as root (C(become)).
      - The default is the user that the module runs as.
    type: str
  path:
    description:
      - The absolute path of the file. Its directory must exist. O(owner) must be able to write there, and nobody else
        but root may write there.
      - The module follows a symbolic link only if the file that it leads to belongs to O(owner).
      - A leading C(~) is the home of the user that the module runs as. Write C(~name) for another user's home.
      - The default is C(.pypirc) in the home of O(owner).
    type: path
  repositories:
    description:
      - The repositories to write or to remove. Repositories that you do not name here stay as they are.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The name of the section, as in C(flit publish --repository NAME) and C(twine upload -r NAME).
          - It must not contain spaces, control characters or square brackets, nor begin with C(#) or C(;).
            V(distutils), V(server-login) and V(DEFAULT) are refused, because they have another meaning in the file.
        type: str
        required: true
      repository:
        description:
          - The complete URL to upload to, without credentials. Required with O(repositories[].state=present).
          - It is written unchanged. Do not end the URL of an index with V(/), or C(flit) prints links with V(//).
        type: str
      username:
        description: The user who uploads. If not set, an existing username is kept.
        type: str
      password:
        description:
          - The password. B(The file holds it in plain text.)
          - If not set, an existing password is kept and none is written. Without a password in the file, the tools take
            it from their environment variables or the keyring, or ask for it.
        type: str
      state:
        description: Whether the repository exists. V(absent) deletes its section and its name in C(index-servers).
        type: str
        choices: [present, absent]
        default: present
notes:
  - A file that the module created begins with a comment that says so. Lines that you add to it by hand are kept.
  - Each time the module changes the text of any other file, it keeps a copy of the file in the same directory.
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Let the account ubuntu run flit publish --repository latexhelperpypi
  wheelhouse.devpi.pypirc:
    owner: ubuntu
    repositories:
      - name: latexhelperpypi
        repository: http://localhost:3141/pbernatchez/dev
        username: pbernatchez
      - name: testpypi
        repository: https://test.pypi.org/legacy/
        username: pbernatchez
  become: true

- name: Let a build agent publish without a prompt for the password
  wheelhouse.devpi.pypirc:
    owner: ci
    path: /srv/ci/pypirc
    repositories:
      - name: team
        repository: https://devpi.example.com/team/release
        username: ci
        password: "{{ vault_devpi_ci_password }}"
  become: true

- name: Remove a repository whose index was deleted
  wheelhouse.devpi.pypirc:
    repositories:
      - name: oldindex
        state: absent
"""

RETURN = r"""
changed:
  description: Whether the text, mode, owner or group of the file was changed, or would be changed in check mode.
  returned: always
  type: bool
  sample: true
path:
  description: The path of the file, as it was given.
  returned: always
  type: str
  sample: /home/ubuntu/.pypirc
backup_file:
  description: The copy of the file as it was before the change.
  returned: when the text of a file that the module did not create was changed, except in check mode
  type: str
  sample: /home/ubuntu/.pypirc.2025-06-01T101500.k3v9x2a7~
"""

import os
import pwd
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import (
    AccountError,
    account_of,
    acting_as,
    attributes,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._draft import draft_of
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import exposed, unfit
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pypirc import (
    Pypirc,
    PypircError,
    Repository,
    masked_diff,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pypirc_file import find, refuse_closed

MODE = 0o600
# The end of a draft's name
UNFINISHED = ".unfinished"


def write(target: Path, text: str, backup: str | None, account: pwd.struct_passwd) -> str | None:
    """Replace ``target`` in one step, after keeping ``backup`` if there is one; return the backup's path."""
    with acting_as(account):
        kept = None
        if backup is not None:
            now = time.strftime("%Y-%m-%dT%H%M%S")
            handle, kept = tempfile.mkstemp(prefix=f"{target.name}.{now}.", suffix="~", dir=target.parent)
            try:
                _fill(handle, backup, account)
            finally:
                os.close(handle)
        # draft_of puts a dot before the name.
        with draft_of(target.with_name(target.name.lstrip(".") or target.name), suffix=UNFINISHED) as draft:
            _fill(draft.descriptor, text, account)
            draft.path.replace(target)
    return kept


def _fill(handle: int, text: str, account: pwd.struct_passwd) -> None:
    """Write a new file that only the owner can read."""
    os.fchmod(handle, MODE)
    os.fchown(handle, account.pw_uid, account.pw_gid)
    with open(handle, "wb", closefd=False) as file:
        file.write(text.encode("utf-8"))
    os.fsync(handle)


def merge_file(module: AnsibleModule, path: str, account: pwd.struct_passwd) -> dict[str, Any]:
    """Do what the task asks, and return the module's result."""
    repositories = [Repository(**repository) for repository in module.params["repositories"]]
    target, found = find(path, account)
    pypirc = Pypirc.parse(found.text, path)
    merged = pypirc.merge(repositories)
    wanted = attributes(MODE, account.pw_uid, account.pw_gid)
    mended = {name: value for name, value in found.attributes.items() if value != wanted[name]}
    result: dict[str, Any] = {"changed": merged != found.text or bool(mended), "path": path}
    if module._diff:
        before, after = masked_diff(found.text, merged)
        result["diff"] = [{"before_header": path, "after_header": path, "before": before, "after": after}]
        if mended:
            headers = {"before_header": f"{path} (attributes)", "after_header": f"{path} (attributes)"}
            result["diff"].append({**headers, "before": mended, "after": {name: wanted[name] for name in mended}})
    if not result["changed"]:
        return result
    refuse_closed(path, target, account)
    if not module.check_mode:
        foreign = merged != found.text and found.text.strip() and not pypirc.made_here
        backup_file = write(target, merged, found.text if foreign else None, account)
        if backup_file:
            result["backup_file"] = backup_file
    return result


def check_path(path: str, account: pwd.struct_passwd) -> None:
    """Raise PypircError where no file can be kept, or where another account could put something else in its place."""
    why = unfit(path)
    if why:
        raise PypircError(f"path: {path if path.isprintable() else repr(path)} {why}. Nothing was changed.")
    place = exposed(path, account.pw_uid)
    # A place that is not a directory is a link that leads to itself, which is refused when it is read.
    if place is not None and place.is_dir():
        raise PypircError(
            f"path: {path} lies in {place}, where other accounts than {account.pw_name} can replace it. "
            f"Name another owner, or a path that only {account.pw_name} can change. Nothing was changed."
        )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "owner": {"type": "str"},
            "path": {"type": "path"},
            "repositories": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "repository": {"type": "str"},
                    "username": {"type": "str"},
                    "password": {"type": "str", "no_log": True},
                    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                },
                "required_if": [("state", "present", ("repository",))],
            },
        },
        supports_check_mode=True,
    )
    for repository in module.params["repositories"]:
        # Credentials in a URL are refused; until then they must not be shown with the task's arguments.
        credentials, at, _host = (repository["repository"] or "").rpartition("@")
        if at:
            credentials = credentials.rpartition("://")[2]
            module.no_log_values.add(credentials.partition(":")[2] or credentials)
    path = module.params["path"]
    try:
        account = account_of(module.params["owner"])
        if path:
            check_path(path, account)
        path = path or str(Path(account.pw_dir) / ".pypirc")
        module.exit_json(**merge_file(module, path, account))
    except (AccountError, PypircError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or path}: {error.strerror}. {path} was not changed.")


if __name__ == "__main__":
    main()
