# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hash a devpi user's password on the controller, as devpi-server stores it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: devpi_password_hash
short_description: Hash a devpi user's password on the controller
version_added: 0.1.0
description:
  - Makes the argon2id hash that devpi-server stores for a user, so that the server need not make it and no password is
    sent to it until the user logs in.
  - Its parameters are those of devpi-server's own hashes (64 MiB of memory, 3 passes, 4 lanes, 32 bytes). With others
    the server would put a hash of its own in its place at the user's first login.
positional: _input
options:
  _input:
    description: The password.
    type: str
    required: true
  salt:
    description:
      - A text of at least 8 bytes in UTF-8, better 16, another one for each user. With the same salt the same password
        gives the same hash at every run.
      - It is no secret, for it stands readable in the hash, and so it must have nothing to do with the password. Have
        one generated and kept with P(ansible.builtin.password#lookup), as in the example, or join a random text of the
        inventory and the user's name.
      - Without it each evaluation gives another hash, even twice in one run. That is for a hash that is stored, in a
        vault for example, and not for one that is made in a play.
    type: str
requirements:
  - The Python library C(argon2-cffi) where Ansible runs (C(pip install argon2-cffi)); ansible-core does not bring it.
notes:
  - On 2 cores a user made or changed with a password costs the server 0.2 s and more, and with a hash 0.01 to 0.02 s.
    The hash costs the controller 0.2 s, so the work is not saved but done elsewhere, before the server is asked. A
    login costs the server the same either way.
  - A variable that holds this filter is evaluated wherever it is read. Keep the hash with M(ansible.builtin.set_fact)
    and C(no_log).
  - Who reads a hash can try passwords against it. Treat it as a secret.
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Hash the team's password, with a salt that is made once and kept beside the playbook
  ansible.builtin.set_fact:
    team_hash: "{{ vault_team_password | wheelhouse.devpi.devpi_password_hash(
      salt=lookup('ansible.builtin.password', 'salts/team', length=16)) }}"
  no_log: true

- name: Give the team that password
  wheelhouse.devpi.devpi_users:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    users:
      - name: team
        password_hash: "{{ team_hash }}"
"""

RETURN = r"""
_value:
  description: The hash, as devpi-server's C(pwhash) takes it.
  type: str
  sample: $argon2id$v=19$m=65536,t=3,p=4$dGVhbUBleGFtcGxlLmNvbQ$mc84h1oY0DaYJLhC0MMvlr+YyLP3wZo0xtra/uxKac0
"""

import importlib
import secrets
import sys
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import flaws_of_password

# argon2-cffi's own since 21.2, which passlib and with it devpi-server takes over.
MEMORY_COST = 65536  # KiB
TIME_COST = 3
PARALLELISM = 4
HASH_LENGTH = 32
SALT_LENGTH = 8  # argon2 takes no shorter one


def devpi_password_hash(password: object, salt: object = None) -> str:
    """Return the argon2id hash of the password, with a random salt where none is given."""
    secret = _encoded(password, "the password")
    if not secret:
        raise AnsibleFilterError("the password is empty; nobody should log in with that")
    for flaw in flaws_of_password(str(password), "devpi_password_hash"):
        raise AnsibleFilterError(flaw)
    salted = secrets.token_bytes(16) if salt is None else _encoded(salt, "salt")
    if len(salted) < SALT_LENGTH:
        raise AnsibleFilterError(f"salt has {len(salted)} bytes; give at least {SALT_LENGTH}")
    if secret in salted:
        raise AnsibleFilterError("salt holds the password, and a salt stands readable in the hash; give another salt")
    try:
        argon2 = importlib.import_module("argon2.low_level")
    except ImportError as error:
        raise AnsibleFilterError(
            f"the library argon2-cffi is missing where Ansible runs; say {sys.executable} -m pip install argon2-cffi"
        ) from error
    made: bytes = argon2.hash_secret(secret, salted, TIME_COST, MEMORY_COST, PARALLELISM, HASH_LENGTH, argon2.Type.ID)
    return made.decode()


def _encoded(value: object, name: str) -> bytes:
    if not isinstance(value, str):
        raise AnsibleFilterError(f"{name} is of type {type(value).__name__} and not a text; put it in quotes")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise AnsibleFilterError(f"{name} holds half a character (a lone surrogate); remove it") from None


class FilterModule:
    """What ansible-core loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"devpi_password_hash": devpi_password_hash}
