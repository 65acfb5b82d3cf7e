# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server that a module talks to: as its connection options name it, and what it holds, in one dialect."""

from __future__ import annotations

from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client, Unreachable, is_loopback
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials
from ansible_collections.wheelhouse.devpi.plugins.module_utils._dialect import from_dialect

# What role server makes, by devpi-init --no-root-pypi
FRESH_SERVER: dict[str, Any] = {"root": {"username": "root", "indexes": {}}}


def kept_passwords(module: AnsibleModule) -> Credentials | None:
    """Return the directory that the module's option ``credentials_dir`` names, where it names one."""
    directory = module.params.get("credentials_dir")
    return Credentials(directory) if directory else None


def connect(module: AnsibleModule, credentials: Credentials | None = None) -> Client:
    """Return the client that the module's connection options describe. It logs in when a login is needed.

    :param credentials: where the password of ``username`` is looked for that no option gives.
    """
    params = module.params
    password = params["password"]
    if password is None and credentials is not None:
        password = credentials.read(params["username"])
    if password:
        module.no_log_values.add(password)
    client = Client(
        params["url"],
        params["username"],
        password,
        check_mode=module.check_mode,
        proxy=params["use_proxy"],
        **{
            name: params[name]
            for name in ("validate_certs", "ca_path", "client_cert", "client_key", "timeout", "server_user")
        },
    )
    if client.plain and password and not is_loopback(client.host):
        module.warn(
            f"url {client.url} is plain http, so passwords cross the network unencrypted; put TLS in front of it"
        )
    return client


def existing_users(module: AnsibleModule, client: Client) -> Mapping[str, Any]:
    """Return all users with their indexes in the words of devpi-server 6, without a login.

    In check mode with ``new_server``, where nothing listens yet, that is what a new server will hold.
    """
    try:
        return from_dialect(client.get_json("/"), client.version)
    except Unreachable as error:
        if not (module.check_mode and error.refused and module.params.get("new_server")):
            raise
        return FRESH_SERVER
