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
  - Computes the argon2id hash that devpi-server stores for a user. So the server need not compute it, and gets no
    password until the user logs in.
  - The hash has the parameters of devpi-server's own hashes (64 MiB of memory, 3 passes, 4 lanes, 32 bytes). The server
    would replace a hash with other parameters at the user's first login.
positional: _input
options:
  _input:
    description: The password.
    type: str
    required: true
  salt:
    description:
      - A text of at least 8 bytes in UTF-8, better 16, different for each user. With the same salt, the same password
        gives the same hash in every run.
      - B(The salt is readable in the hash, so do not derive it from the password.) Generate and store one with
        P(ansible.builtin.password#lookup), as in the example, or join a random text of the inventory and the user's
        name.
      - If not set, each evaluation gives another hash, even within one run. Use this only for a hash that you store,
        for example in a vault.
    type: str
requirements:
  - The Python library C(argon2-cffi) where Ansible runs (C(pip install argon2-cffi)). ansible-core does not install it.
notes:
  - On 2 cores, a user created or changed with a password costs the server 0.2 s or more, and with a hash 0.01 to 0.02
    s. The hash costs the controller 0.2 s, so the filter moves the work to the controller and does not save it. A login
    costs the server the same in both cases.
  - A variable that contains this filter is evaluated each time that it is read. Store the hash with
    M(ansible.builtin.set_fact) and C(no_log).
  - B(Whoever reads a hash can try passwords against it.) Treat it as a secret.
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Hash the team's password, with a salt that is generated once and stored beside the playbook
  ansible.builtin.set_fact:
    team_hash: "{{ vault_team_password | wheelhouse.devpi.devpi_password_hash(
      salt=lookup('ansible.builtin.password', 'salts/team', length=16)) }}"
  no_log: true

- name: Set the team's password to the hashed one
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
            f"the library argon2-cffi is missing where Ansible runs; run {sys.executable} -m pip install argon2-cffi"
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
