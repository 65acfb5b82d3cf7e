# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server has and nobody declared, to be deleted where that is asked for; root and what is root's never is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Iterator, Mapping

from ansible_collections.wheelhouse.devpi.plugins.module_utils._tree import Index, User

CHOICES = ("none", "indexes", "users")


def with_purged(users: list[User], existing: Mapping[str, Any], purge: str, force: bool) -> list[User]:
    """Return the declared users, with what is to be purged declared absent.

    :param purge: ``indexes`` of declared users alone, or ``users`` with all that is theirs too.
    :param force: whether what has packages, or is a base of what stays, goes as well.
    """
    found = [
        user if user.absent or user.name == "root" else _with_purged_indexes(user, existing, force) for user in users
    ]
    if purge == "users":
        declared = {user.name for user in users} | {"root"}
        found += [
            User(name, f"purge of user {name}", absent=True, force=force, purged=True)
            for name in sorted(existing)
            if name not in declared
        ]
    return found


def _with_purged_indexes(user: User, existing: Mapping[str, Any], force: bool) -> User:
    declared = {index.name for index in user.indexes}
    gone = tuple(
        Index(user.name, name, f"purge of index {user.name}/{name}", absent=True, force=force, purged=True)
        for name in sorted(existing.get(user.name, {}).get("indexes", {}))
        if name not in declared
    )
    return replace(user, indexes=user.indexes + gone)


def purged(users: list[User]) -> list[str]:
    """Return the names of the users and the paths of the indexes that are to be purged."""
    return [user.name for user in users if user.purged] + [
        index.path for user in users for index in user.indexes if index.purged
    ]


def with_packages(
    users: list[User], existing: Mapping[str, Any], projects_of: Callable[[str], list[str]]
) -> Iterator[str]:
    """Tell what has packages and would be purged without force.

    :param projects_of: returns the projects of an index; never asked about a mirror, whose packages are not its own.
    """
    for user in users:
        if user.purged and not user.force:
            for name, config in sorted(existing[user.name].get("indexes", {}).items()):
                yield from _holds(user.where, f"{user.name}/{name}", config, projects_of)
        for index in user.indexes:
            if index.purged and not index.force:
                yield from _holds(index.where, index.path, existing[user.name]["indexes"][index.name], projects_of)


def _holds(where: str, path: str, config: Mapping[str, Any], projects_of: Callable[[str], list[str]]) -> Iterator[str]:
    projects = [] if config.get("type") == "mirror" else sorted(projects_of(path))
    if projects:
        named = ", ".join(projects[:5]) + (" and others" if len(projects) > 5 else "")
        yield (
            f"{where}: {path} is not declared and holds {named}; declare it, or say purge_force: true to delete it "
            "with all packages"
        )
