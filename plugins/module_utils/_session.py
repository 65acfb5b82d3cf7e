# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server that a module's connection options name: a client of it, and its users and indexes in one dialect."""

from __future__ import annotations

from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client, Unreachable, is_loopback
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials
from ansible_collections.wheelhouse.devpi.plugins.module_utils._dialect import from_dialect

# A server that role server has just made, with devpi-init --no-root-pypi
FRESH_SERVER: dict[str, Any] = {"root": {"username": "root", "indexes": {}}}


def kept_passwords(module: AnsibleModule) -> Credentials | None:
    """Return the directory that the module's option ``credentials_dir`` names, where it names one."""
    directory = module.params.get("credentials_dir")
    return Credentials(directory) if directory else None


def connect(module: AnsibleModule, credentials: Credentials | None = None) -> Client:
    """Return the client that the module's connection options describe. It logs in when a login is needed.

    :param credentials: where the password of ``username`` is read if no option gives it.
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
    """Return all users with their indexes, under the names of devpi-server 6 and without a login.

    In check mode with ``new_server``, where nothing listens yet, these are the users of a new server.
    """
    try:
        return from_dialect(client.get_json("/"), client.version)
    except Unreachable as error:
        if not (module.check_mode and error.refused and module.params.get("new_server")):
            raise
        return FRESH_SERVER
