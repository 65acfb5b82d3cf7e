# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server has and nobody declared, to be deleted where that is asked for; root and what is root's never is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Iterator, Mapping

from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import Index, User

CHOICES = ("none", "indexes", "users")


def with_purged(users: list[User], existing: Mapping[str, Any], purge: str, force: bool) -> list[User]:
    """Return the declared users, with what is to be purged declared absent.

    :param purge: ``none``, ``indexes`` of declared users alone, or ``users`` with all that is theirs too.
    :param force: whether what has packages, or is a base of what stays, goes as well.
    """
    if purge == "none":
        return users
    found = []
    for user in users:
        indexes = existing.get(user.name, {}).get("indexes", {}) if not user.absent and user.name != "root" else ()
        undeclared = sorted(set(indexes) - {index.name for index in user.indexes})
        gone = [
            Index(user.name, name, f"purge of index {user.name}/{name}", absent=True, force=force, purged=True)
            for name in undeclared
        ]
        found.append(replace(user, indexes=(*user.indexes, *gone)) if gone else user)
    if purge == "users":
        found += [
            User(name, f"purge of user {name}", absent=True, force=force, purged=True)
            for name in sorted(set(existing) - {user.name for user in users} - {"root"})
        ]
    return found


def purged(users: list[User]) -> list[str]:
    """Return the names of the users and the paths of the indexes that are to be purged."""
    return [user.name for user in users if user.purged] + [
        index.path for user in users for index in user.indexes if index.purged
    ]


def with_packages(users: list[User], existing: Mapping[str, Any], client: Client) -> Iterator[str]:
    """Tell what has packages and would be purged without force. Those of a mirror are not its own."""
    for user in users:
        indexes = existing.get(user.name, {}).get("indexes", {})
        going = [(index.where, index.name) for index in user.indexes if index.purged and not index.force]
        if user.purged and not user.force:
            going = [(user.where, name) for name in sorted(indexes)]
        for where, name in going:
            path = f"{user.name}/{name}"
            mirror = indexes[name].get("type") == "mirror"
            projects = [] if mirror else sorted(client.get_json(f"/{path}")["projects"])
            if projects:
                yield (
                    f"{where}: {path} is not declared and holds {', '.join(projects[:5])}"
                    f"{' and others' if len(projects) > 5 else ''}; declare it, or say purge_force: true to delete it "
                    "with all packages"
                )
