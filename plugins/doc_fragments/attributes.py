# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules say about check mode, diff mode, the systems they run on and their action group."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes for C(extends_documentation_fragment: wheelhouse.devpi.attributes).

    A module adds C(support) to C(check_mode) and C(diff_mode), since that is its own promise.
    """

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: With C(--check) the module changes nothing and reports the same C(changed) and diff as the real run.
  diff_mode:
    description: With C(--diff) the result shows the state before and after. Every secret is masked.
  platform:
    description: The systems that the module runs on.
    platforms: debian
    support: full
options: {}
"""

    # For the members of the group in meta/runtime.yml
    ACTION_GROUP = r"""
attributes:
  action_group:
    description: C(group/wheelhouse.devpi.devpi) in C(module_defaults) sets options for all modules of the group.
    support: full
    membership:
      - wheelhouse.devpi.devpi
options: {}
"""
