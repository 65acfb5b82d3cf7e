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
  - A token takes the place of its user's password in pip, uv, twine and every other tool that sends a name and a
    password. The name is that of the user, the password is the token.
  - What a token may do can be restricted. With no token can users be changed, or other tokens made or listed.
  - The secret is known once, when the token is made. With O(path) it is written to a file on the managed host and is in
    no output. A token that the file holds already is kept as long as the server knows and takes it, its restrictions
    are those declared, and its end is further away than O(renew_before). Otherwise a new one is made, written, and then
    the one that was in the file is revoked.
  - Without O(path) the secret is the result's RV(token), and each run makes another token. That is refused unless the
    task has C(no_log=true), since Ansible would print it.
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
        RV(id) is missing, and RV(tokens) is without the new one.
      - That the server refuses an O(expires) of more than a year from O(username) comes out in the real run alone.
  diff_mode:
    support: full
    details: Shows the tokens concerned with their restrictions, a new one as V((new\)), and why one is replaced.
options:
  user:
    description: Whose tokens they are. The user has to exist, unless O(state=absent).
    type: str
    required: true
  state:
    description:
      - V(present) makes a token, or keeps the one in O(path).
      - V(absent) revokes a token, which takes effect at once. One of O(path), O(id) and O(force) says which.
      - M(wheelhouse.devpi.devpi_token_info) tells which tokens there are.
    type: str
    choices: [present, absent]
    default: present
  path:
    description:
      - The absolute path of the file that holds the token, and nothing else but a newline. It has mode V(0600); mode,
        owner and group are mended where they differ.
      - Its directory has to exist, O(owner) must be able to read and write there, and nobody else but root to write.
      - A file that holds something else than a token of O(user) is refused.
      - With O(state=absent) the token in the file is revoked, and the file is removed.
    type: path
  owner:
    description:
      - The login name of the file's owner. Run as root, the module acts with the rights of O(owner) on the file.
      - The default is the user that the module runs as.
    type: str
  id:
    description: With O(state=absent), the token to revoke.
    type: str
  force:
    description: With O(state=absent), revoke all tokens of the user.
    type: bool
    default: false
  allowed:
    description:
      - The permissions that the token has, of those that its user has; all of them where this is not set.
      - To upload releases takes V(upload), to download from an index whose readers are restricted V(pkg_read).
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
    description: The indexes where the token can be used, each as V(user/index); all of them where this is not set.
    type: list
    elements: str
  projects:
    description: The projects for which the token can be used; all of them where this is not set.
    type: list
    elements: str
  expires:
    description:
      - When a new token ends. A duration such as V(90d), with V(s), V(m), V(h), V(d) or V(w) behind the number; a time
        such as V(2030-01-31) or V(2030-01-31T12:00:00Z), in UTC where it has no zone; or V(never).
      - With a duration, a token in O(path) that would live longer than that is replaced, and one with less time left
        is kept until O(renew_before).
      - More than a year, or V(never), the server takes only from root or those whom its C(restrict-modify) names.
    type: str
    default: 365d
  renew_before:
    description:
      - How long before its end the token in O(path) is replaced, as a duration that is shorter than O(expires).
      - It has no effect where O(expires) is no duration.
    type: str
    default: 30d
  not_before:
    description: A time from which on the token can be used, written as in O(expires).
    type: str
notes:
  - The server stores no label. A token that is made for O(path) therefore has a mark, a C(not_before) that is negative,
    at random and without effect, and one that replaces it has the same. Where a run is killed, the next one for this
    O(path) revokes the tokens with the mark that O(path) does not hold. Until the token is in O(path), the mark is in a
    draft beside it, C(.NAME.….draft).
  - With O(not_before) there is no room for a mark, so what a killed run leaves is a token in the list that nobody
    holds.
  - Two runs for one directory on a host work one after the other.
  - A token whose file was removed by hand stays valid until it ends. M(wheelhouse.devpi.devpi_token_info) shows it.
  - Run with the setting C(no_target_syslog), the module cannot see whether the task has C(no_log=true), and takes it
    for granted.
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

- name: Get a token that a pipeline hands on
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    allowed: [pkg_read]
    expires: 8h
  no_log: true
  register: handed_on

- name: See which tokens there are
  wheelhouse.devpi.devpi_token_info:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
  register: listed

- name: Revoke those that never end
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    state: absent
    id: "{{ item }}"
  loop: "{{ listed.tokens | selectattr('expires', 'eq', 'never') | map(attribute='id') }}"

- name: Take the build agent's token away
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    path: /etc/ci/devpi-token
    state: absent
"""

RETURN = r"""
id:
  description: The id of the token that was made or kept. It is no secret.
  returned: with O(state=present), not in check mode where a new one is to be made
  type: str
  sample: JpW8DxM5
token:
  description: The secret of the token.
  returned: with O(state=present) without O(path), not in check mode
  type: str
  sample: devpi-AgEAAgtjaS1KcFc4RHhNNQ
revoked:
  description: The ids of the tokens that were revoked, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [QzQ5mK7x]
tokens:
  description:
    - The user's tokens after the run, each as M(wheelhouse.devpi.devpi_token_info) returns it. In check mode a new one
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
