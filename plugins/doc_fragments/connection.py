# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options with which every module of this collection reaches a devpi-server."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of ``_client.connection_options``."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - The URL of the devpi-server, such as V(http://127.0.0.1:3141). Include the path under which a proxy serves it,
        if there is one, and no credentials.
      - If not set, the environment variable E(DEVPI_URL) on the managed host is used.
      - Redirects are not followed.
      - B(Over plain http to another machine, the password crosses the network unencrypted.) The module sends it and
        warns.
    type: str
    required: true
  username:
    description:
      - The devpi user who makes the changes. A server with C(restrict-modify) accepts most changes only from the users
        that this setting names.
      - If not set, the environment variable E(DEVPI_USERNAME) on the managed host is used.
    type: str
    default: root
  password:
    description:
      - The password of O(username), or a token of the plugin devpi-tokens. The module needs it only when there is
        something to change.
      - If not set, the environment variable E(DEVPI_PASSWORD) on the managed host is used.
    type: str
  validate_certs:
    description: Whether the server's TLS certificate is verified. With V(false), B(anyone on the way to the server can
      read and change everything that is sent, the password included).
    type: bool
    default: true
  ca_path:
    description: A file on the managed host with the CA certificates to trust, in PEM. If not set, those of the system.
    type: path
  client_cert:
    description: A file on the managed host with the certificate to show to the server, in PEM. It may hold the key too.
    type: path
  client_key:
    description: A file on the managed host with the key of O(client_cert), in PEM.
    type: path
  use_proxy:
    description: Whether to use the proxy that the environment names. Loopback addresses are always reached directly.
    type: bool
    default: true
  server_user:
    description:
      - The account on the managed host that the devpi-server runs as, for a server that runs there. Before each request
        the module asks the kernel which process listens at O(url), and sends nothing to a process of another account.
      - If not set, whatever process answers at O(url) gets the password.
    type: str
  timeout:
    description: How many seconds to wait for a connection and for each part of an answer.
    type: int
    default: 30
"""
