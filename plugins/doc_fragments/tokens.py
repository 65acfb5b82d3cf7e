# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of tokens have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Whose tokens they are, and what it takes to see them."""

    DOCUMENTATION = r"""
requirements:
  - The server has to have the plugin C(devpi-tokens), which V(devpi_venv_tokens=true) of the role
    wheelhouse.devpi.venv installs. Without it the module fails before anything is changed.
options:
  user:
    description: Whose tokens they are. The user has to exist.
    type: str
    required: true
  credentials_dir:
    description:
      - A directory on the managed host where passwords are kept, each in a file named after its user. When O(password)
        is not set, the file named after O(username) is read in its place.
    type: path
notes:
  - Each run logs in, as tokens are listed only to those who may change the user. A server with C(restrict-modify)
    takes that from the users that it names there, and from nobody else.
"""
