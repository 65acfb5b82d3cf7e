# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account whose file a module keeps. Run as root, the module works on the file with that account's rights."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from typing import Iterator


class AccountError(ValueError):
    """There is no such account, or the module may not act for it; the message names it and the way out."""


@contextlib.contextmanager
def acting_as(account: pwd.struct_passwd) -> Iterator[None]:
    """Have the rights of the account and no others, if the module runs as root."""
    if os.geteuid() != 0 or account.pw_uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setegid(account.pw_gid)
        os.seteuid(account.pw_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def nobody() -> pwd.struct_passwd:
    """Return the account nobody, with Debian's number for it, whether or not the host has the account."""
    return pwd.struct_passwd(("nobody", "x", 65534, 65534, "", "/nonexistent", "/usr/sbin/nologin"))


def account_of(owner: str | None) -> pwd.struct_passwd:
    """Return the owner's account; raise AccountError if there is none or the module may not act for it."""
    runs_as = os.geteuid()
    try:
        account = pwd.getpwnam(owner) if owner else pwd.getpwuid(runs_as)
    except KeyError:
        raise AccountError(
            f"owner: this host has no account {owner or runs_as}. Make it first, or name another owner."
        ) from None
    if runs_as not in (0, account.pw_uid):
        raise AccountError(
            f"owner: the module runs as {user_name(runs_as)} and may not write a file for {account.pw_name}. "
            f"Add 'become: true', or name {user_name(runs_as)} as the owner."
        )
    return account


def user_name(uid: int) -> str:
    """Return the login name, or the number where the host has no name for it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the group's name, or the number where the host has no name for it."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def attributes(mode: int, uid: int, gid: int) -> dict[str, str]:
    """Return the three as people write them."""
    return {"mode": f"{mode:04o}", "owner": user_name(uid), "group": group_name(gid)}
