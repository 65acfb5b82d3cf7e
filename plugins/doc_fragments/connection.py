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
      - The address of the devpi-server, V(http://127.0.0.1:3141), with the path under which a proxy serves it and
        without credentials.
      - If not set, the environment variable E(DEVPI_URL) on the managed host is used.
      - Redirects are not followed. A password over plain http to another machine works, with a warning.
    type: str
    required: true
  username:
    description:
      - The devpi user who makes the changes. A server with C(restrict-modify) takes most of them only from the users
        that it names there.
      - If not set, the environment variable E(DEVPI_USERNAME) on the managed host is used.
    type: str
    default: root
  password:
    description:
      - That user's password, or a token of the plugin devpi-tokens. It is needed only when something is to be changed.
      - If not set, the environment variable E(DEVPI_PASSWORD) on the managed host is used.
    type: str
  validate_certs:
    description: Whether the server's TLS certificate is verified.
    type: bool
    default: true
  ca_path:
    description: A file on the managed host with the CA certificates to trust, in PEM; the system's where it is not set.
    type: path
  client_cert:
    description: A file on the managed host with the certificate to show to the server, in PEM. It may hold the key too.
    type: path
  client_key:
    description: A file on the managed host with the key of O(client_cert), in PEM.
    type: path
  use_proxy:
    description: Whether the proxy in the environment is used. It never is for loopback addresses.
    type: bool
    default: true
  server_user:
    description:
      - The account that the devpi-server runs as, where that is one of the managed host. Before each request the kernel
        is asked who listens at O(url), and nothing is sent to a process of another account.
      - If not set, whoever answers at O(url) is taken for the server.
    type: str
  timeout:
    description: How many seconds to wait for a connection and for each part of an answer.
    type: int
    default: 30
"""
