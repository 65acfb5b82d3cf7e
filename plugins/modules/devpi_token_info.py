#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which tokens a devpi user has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_token_info
short_description: List the tokens of a devpi user
version_added: 0.2.0
description:
  - Lists the tokens of one user, with their permissions and the time when they expire.
  - The module cannot show the secret of a token. The server shows it only once, when
    M(wheelhouse.devpi.devpi_token) creates the token.
extends_documentation_fragment:
  - wheelhouse.devpi.connection
  - wheelhouse.devpi.tokens
  - wheelhouse.devpi.attributes
  - wheelhouse.devpi.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: Nothing is changed.
seealso:
  - module: wheelhouse.devpi.devpi_token
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: List the tokens of a user
  wheelhouse.devpi.devpi_token_info:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
  register: listed

- name: Fail if one of them never expires
  ansible.builtin.assert:
    that: "'never' not in listed.tokens | map(attribute='expires')"
"""

RETURN = r"""
tokens:
  description: The user's tokens, ordered by id, without their secrets. The server lists expired tokens too.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The token's id.
      type: str
    allowed:
      description: The permissions, if they are restricted.
      type: list
      elements: str
    indexes:
      description: The indexes, if they are restricted.
      type: list
      elements: str
    projects:
      description: The projects, if they are restricted.
      type: list
      elements: str
    expires:
      description: When the token expires, in UTC, or V(never).
      type: str
    not_before:
      description: From when the token can be used, in UTC, if it was given.
      type: str
  sample:
    - id: JpW8DxM5
      allowed: [pkg_read, upload]
      indexes: [team/dev]
      expires: "2030-01-31T12:00:00Z"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import ClientError, connection_options
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import flaws_of_name
from ansible_collections.wheelhouse.devpi.plugins.module_utils._session import connect, kept_passwords
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tokens import TokenApi, TokenError, describe_tokens


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "user": {"type": "str", "required": True},
            "credentials_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    user = module.params["user"]
    for flaw in flaws_of_name(user, "user", "user"):
        module.fail_json(msg=flaw)
    try:
        api = TokenApi(connect(module, kept_passwords(module)), user)
        api.login()
        tokens = api.fetch()
    except (ClientError, CredentialsError, TokenError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, tokens=describe_tokens(tokens))


if __name__ == "__main__":
    main()
