# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation that the modules of tokens share."""

from __future__ import annotations


class ModuleDocFragment:
    """The user whose tokens they are, and what the server needs."""

    DOCUMENTATION = r"""
requirements:
  - The server must have the plugin C(devpi-tokens), which the role wheelhouse.devpi.venv installs with
    V(devpi_venv_tokens=true). Without the plugin the module fails before it changes anything.
options:
  user:
    description: The user whose tokens they are. The user must exist.
    type: str
    required: true
  credentials_dir:
    description:
      - A directory on the managed host that holds passwords, each in a file named after its user. If O(password) is not
        set, the module reads the password from the file named after O(username).
    type: path
notes:
  - Each run logs in, because the server lists tokens only to those who may change the user. On a server with
    C(restrict-modify) only the users that this setting names may do so.
"""
