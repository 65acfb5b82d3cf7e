# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module documents about check mode, diff mode and the systems that it runs on."""

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
