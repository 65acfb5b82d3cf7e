#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create and revoke the tokens of a devpi user."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_token
short_description: Create and revoke the tokens of a devpi user
version_added: 0.1.0
description:
  - A token replaces its user's password in pip, uv, twine and every other tool that sends a name and a password. The
    name is that of the user, and the password is the token.
  - You can restrict what a token may do. No token can change users, or create or list tokens.
  - The server shows the secret only once, when it creates the token. With O(path), the module writes the secret to a
    file on the managed host and never outputs it.
  - With O(path), the module keeps the token in the file as long as the server knows and accepts it, its restrictions
    are as declared, and it expires later than O(renew_before) from now. Otherwise the module creates a new token,
    writes it to the file, and then revokes the old one.
  - Without O(path), each run creates another token and returns its secret as RV(token). Ansible would print it, so the
    module refuses this unless the task has C(no_log=true).
extends_documentation_fragment:
  - wheelhouse.devpi.connection
  - wheelhouse.devpi.tokens
  - wheelhouse.devpi.attributes
  - wheelhouse.devpi.attributes.action_group
attributes:
  check_mode:
    support: partial
    details:
      - C(changed), RV(revoked) and the diff are those of the real run. The id of a new token cannot be predicted, so
        RV(id) is missing and RV(tokens) does not list the new token.
      - If the server does not allow O(username) an O(expires) of more than a year, only the real run fails.
  diff_mode:
    support: full
    details: Shows the tokens concerned with their restrictions, and why one is replaced. A new token is V((new\)).
options:
  user:
    description: The user whose tokens they are. With O(state=present) the user must exist.
    type: str
    required: true
  state:
    description:
      - V(present) creates a token, or keeps the one in O(path).
      - V(absent) revokes the token that O(path) or O(id) names, or all tokens of the user with O(force). Exactly one of
        these three is required. A revoked token stops working at once.
      - M(wheelhouse.devpi.devpi_token_info) lists the tokens of a user.
    type: str
    choices: [present, absent]
    default: present
  path:
    description:
      - The absolute path of the file for the token. The file contains the token and a newline, nothing else. It has
        mode V(0600); the module corrects mode, owner and group if they differ.
      - The directory must exist. O(owner) must be able to read and write there, and nobody else but root may write
        there.
      - A file that contains anything but a token of O(user) is refused.
      - With O(state=absent), the module revokes the token in the file and B(deletes the file).
    type: path
  owner:
    description:
      - The login name of the file's owner. If the module runs as root, it accesses the file with the rights of
        O(owner).
      - The default is the user that the module runs as.
    type: str
  id:
    description: With O(state=absent), the token to revoke.
    type: str
  force:
    description: With O(state=absent), revoke B(all tokens of the user).
    type: bool
    default: false
  allowed:
    description:
      - The permissions of the token. It never has more than its user. If not set, it has all permissions of its user.
      - V(upload) allows uploading releases; V(pkg_read) allows downloading from an index with restricted readers.
    type: list
    elements: str
    choices:
      - del_entry
      - del_project
      - del_verdata
      - index_create
      - index_delete
      - index_modify
      - pkg_read
      - toxresult_upload
      - upload
  indexes:
    description: The indexes where the token can be used, each as V(user/index). If not set, all indexes.
    type: list
    elements: str
  projects:
    description: The projects for which the token can be used. If not set, all projects.
    type: list
    elements: str
  expires:
    description:
      - When a new token expires. This is a duration such as V(90d), with the unit V(s), V(m), V(h), V(d) or V(w); a
        time such as V(2030-01-31) or V(2030-01-31T12:00:00Z), in UTC if it names no zone; or V(never).
      - With a duration, the module replaces a token in O(path) that is valid for longer than that. It keeps a token
        with less time left until O(renew_before).
      - The server accepts V(never), or more than a year, only from root or the users that its C(restrict-modify) names.
    type: str
    default: 365d
  renew_before:
    description:
      - How long before it expires the token in O(path) is replaced. This is a duration shorter than O(expires).
      - It has no effect if O(expires) is a time or V(never).
    type: str
    default: 30d
  not_before:
    description: The time from which the token can be used, written as in O(expires).
    type: str
notes:
  - B(A token whose file you deleted by hand stays valid until it expires.) M(wheelhouse.devpi.devpi_token_info) lists
    it, and O(state=absent) with O(id) revokes it.
  - The server stores no label for a token. So the module marks each token for O(path) with a random negative
    C(not_before), which has no effect, and a token that replaces it gets the same mark. If a run is killed, the next
    run for the same O(path) revokes the tokens with this mark that are not in O(path). Until the token is in O(path), a
    draft in the same directory, C(.NAME.….draft), stores the mark.
  - With O(not_before) a token cannot have a mark. If such a run is killed, the server may keep a valid token that is in
    no file.
  - Two runs for one directory on a host work one after the other.
  - With the setting C(no_target_syslog) the module cannot see whether the task has C(no_log=true), and assumes that it
    has.
seealso:
  - module: wheelhouse.devpi.devpi_token_info
  - module: wheelhouse.devpi.devpi_users
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Give the build agent a token to publish to one index
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    path: /etc/ci/devpi-token
    allowed: [upload, pkg_read]
    indexes: [team/dev]
    expires: 90d
    renew_before: 14d

- name: Get a token for a pipeline to pass on
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    allowed: [pkg_read]
    expires: 8h
  no_log: true
  register: handed_on

- name: List the tokens of a user
  wheelhouse.devpi.devpi_token_info:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
  register: listed

- name: Revoke those that never expire
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    state: absent
    id: "{{ item }}"
  loop: "{{ listed.tokens | selectattr('expires', 'eq', 'never') | map(attribute='id') }}"

- name: Revoke the build agent's token and delete its file
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    path: /etc/ci/devpi-token
    state: absent
"""

RETURN = r"""
id:
  description: The id of the token that was created or kept. It is not a secret.
  returned: with O(state=present), unless check mode would create a new token
  type: str
  sample: JpW8DxM5
token:
  description: The secret of the token.
  returned: with O(state=present) and without O(path), except in check mode
  type: str
  sample: devpi-AgEAAgtjaS1KcFc4RHhNNQ
revoked:
  description: The ids of the tokens that were revoked, or would be revoked in check mode.
  returned: success
  type: list
  elements: str
  sample: [QzQ5mK7x]
tokens:
  description:
    - The user's tokens after the run, as M(wheelhouse.devpi.devpi_token_info) returns them. In check mode a new token
      is missing.
  returned: success
  type: list
  elements: dict
  sample:
    - id: JpW8DxM5
      expires: "2030-01-31T12:00:00Z"
"""

import time
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import AccountError, account_of
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import ClientError, connection_options
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import flaws_of_name
from ansible_collections.wheelhouse.devpi.plugins.module_utils._session import connect, kept_passwords
from ansible_collections.wheelhouse.devpi.plugins.module_utils._token_file import TokenFile
from ansible_collections.wheelhouse.devpi.plugins.module_utils._token_run import Run
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tokens import (
    PERMISSIONS,
    TokenApi,
    TokenError,
    declared_token,
)


def problems_with(params: Mapping[str, Any], no_log: bool) -> list[str]:
    """Return what is wrong with the options that say what is to be done."""
    problems = list(flaws_of_name(params["user"], "user", "user"))
    state = params["state"]
    which = [name for name in ("path", "id", "force") if params[name]]
    if state == "absent" and len(which) != 1:
        problems.append(f"state: absent takes one of path, id and force, and {' and '.join(which) or 'none'} is given")
    if state == "present":
        meant = "it has no meaning with state: present; leave it out"
        problems += [f"{name}: {meant}" for name in which if name != "path"]
    if state == "present" and not params["path"] and not no_log:
        problems.append(
            "without path the secret is in the task's result, which Ansible prints; set 'no_log: true' for the task, "
            "or give a path"
        )
    return problems


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "user": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "path": {"type": "path"},
            "owner": {"type": "str"},
            "id": {"type": "str"},
            "force": {"type": "bool", "default": False},
            "allowed": {"type": "list", "elements": "str", "choices": PERMISSIONS},
            "indexes": {"type": "list", "elements": "str"},
            "projects": {"type": "list", "elements": "str"},
            "expires": {"type": "str", "default": "365d"},
            "renew_before": {"type": "str", "default": "30d"},
            "not_before": {"type": "str"},
            "credentials_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params = module.params
    problems = problems_with(params, module.no_log)
    api = None
    try:
        declared = None
        if params["state"] == "present":
            try:
                declared = declared_token(params, int(time.time()))
            except TokenError as error:
                problems += str(error).splitlines()
        if problems:
            raise TokenError("\n- ".join(["Nothing was changed.", *problems]) if problems[1:] else problems[0])
        file = TokenFile(params["path"], account_of(params["owner"])) if params["path"] else None
        if file is not None and declared is not None and not file.has_directory:
            raise TokenError(f"path: there is no directory {file.target.parent}; make it, or name another path")
        api = TokenApi(connect(module, kept_passwords(module)), params["user"])
        api.login()
        result = Run(module, api, declared, file if file is not None and file.has_directory else None).converge()
    except (AccountError, ClientError, CredentialsError, TokenError) as error:
        module.fail_json(msg=str(error), changed=api is not None and api.changed)
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or params['path']}: {error.strerror}; the next run goes on from here",
            changed=api is not None and api.changed,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
