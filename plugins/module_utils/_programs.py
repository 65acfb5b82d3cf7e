# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs a bare name means where root runs them: the distribution's own, whatever PATH says."""

from __future__ import annotations

# PATH of a root who has pyenv, conda or asdf begins with their programs, openssl and python3 among them.
SYSTEM_PROGRAMS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
