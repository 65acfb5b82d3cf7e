# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks declared users against what the server holds, before any write.

A deployment runs these checks twice: in preflight, before anything is changed on the host, and in devpi_users, before
its own changes. A server that was stopped during preflight runs by then, and somebody may have changed it meanwhile.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any, Iterable, Iterator, Mapping

from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials, CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import (
    MIRROR_KEYS,
    STAGE_KEYS,
    Index,
    User,
    flaws,
    is_path,
    order,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._dialect import inexpressible

# Which users and indexes are deleted that nobody declared; root and its indexes never are.
PURGE = ("none", "indexes", "users")
# The first release that knows the key; older ones refuse it.
SINCE = {"mirror_ignore_serial_header": (6, 17), "mirror_provides_core_metadata": (6, 20)}


def problems(users: list[User], existing: Mapping[str, Any], version: tuple[int, ...] | None = None) -> list[str]:
    """Return all that is wrong with declared users, one sentence for each: place, value and way out.

    :param existing: what the server holds (``_session.existing_users``), or ``FRESH_SERVER``.
    :param version: the server's, ``(6, 20, 3)``; None where it is not known.
    """
    return [*flaws(users), *_Checks(users, existing, version).run()]


def listed(wrong: list[str]) -> str:
    """Return the problems as the end of a message: a single one as a sentence, several as a list."""
    return f" {wrong[0]}" if len(wrong) == 1 else "".join(f"\n- {problem}" for problem in wrong)


def unknown_passwords(users: list[User], existing: Mapping[str, Any], credentials: Credentials | None) -> Iterator[str]:
    """Yield why the password of a user, which is to be set, cannot be found.

    :param credentials: the directory of generated passwords; None where none is named.
    """
    for user in users:
        given = user.password is not None or user.password_hash is not None
        if user.absent or user.known or given or (user.name in existing and not user.update_password):
            continue
        if credentials is None:
            needed = "to be created" if user.name not in existing else "declared with update_password: always"
            yield (
                f"{user.where}: the user is {needed} and has no password; give one as {user.credential_option}, "
                "or name a credentials_dir for a generated one"
            )
            continue
        try:
            credentials.read(user.name)
        except CredentialsError as error:
            yield f"{user.where}: {error}"


def with_purged(users: list[User], existing: Mapping[str, Any], purge: str, force: bool) -> list[User]:
    """Return the declared users, with everything to be purged declared absent.

    :param purge: ``none``, ``indexes`` of declared users alone, or ``users`` with all that is theirs too.
    :param force: whether an index is deleted too that has packages, or is a base of one that stays.
    """
    if purge == "none":
        return users
    found = []
    for user in users:
        indexes = existing.get(user.name, {}).get("indexes", {}) if not user.absent and user.name != "root" else ()
        undeclared = sorted(set(indexes) - {index.name for index in user.indexes})
        purged_indexes = [
            Index(user.name, name, f"purge of index {user.name}/{name}", absent=True, force=force, purged=True)
            for name in undeclared
        ]
        found.append(replace(user, indexes=(*user.indexes, *purged_indexes)) if purged_indexes else user)
    if purge == "users":
        found += [
            User(name, f"purge of user {name}", absent=True, force=force, purged=True)
            for name in sorted(set(existing) - {user.name for user in users} - {"root"})
        ]
    return found


def purge_problems(users: list[User], existing: Mapping[str, Any], client: Client) -> Iterator[str]:
    """Yield which indexes to be purged hold packages, unless that is forced. A mirror's packages do not count."""
    for user in users:
        indexes = existing.get(user.name, {}).get("indexes", {})
        purged = [(index.where, index.name) for index in user.indexes if index.purged and not index.force]
        if user.purged and not user.force:
            purged = [(user.where, name) for name in sorted(indexes)]
        for where, name in purged:
            path = f"{user.name}/{name}"
            mirror = indexes[name].get("type") == "mirror"
            projects = [] if mirror else sorted(client.get_json(f"/{path}")["projects"])
            if projects:
                yield (
                    f"{where}: {path} is not declared and holds {', '.join(projects[:5])}"
                    f"{' and others' if len(projects) > 5 else ''}; declare it, or set purge_force: true to delete it "
                    "with all packages"
                )


def open_upload_problems(users: list[User]) -> list[str]:
    """Return which declared stages open uploads to everybody, which the collection's nginx does not allow."""
    return [
        f"{index.where}: {key} holds ':ANONYMOUS:', and nginx lets nobody upload without a login; name who may, or use "
        "':AUTHENTICATED:' for all devpi users"
        for user in users
        for index in user.indexes
        for key in ("acl_upload", "acl_toxresult_upload")
        if not (user.absent or index.absent) and ":ANONYMOUS:" in index.keys.get(key, ())
    ]


class _Checks:
    def __init__(self, users: list[User], existing: Mapping[str, Any], version: tuple[int, ...] | None) -> None:
        self.users = users
        self.existing = existing
        self.version = version
        self.present = {user.name for user in users if not user.absent}
        self.absent_users = {user.name for user in users if user.absent}
        self.declared = {index.path: index for user in users for index in user.indexes}
        self.existing_indexes = indexes_of(existing)

    def run(self) -> Iterator[str]:
        for user in self.users:
            yield from self.user(user)
            for index in user.indexes:
                yield from (f"{index.where}: {problem}" for problem in self.index(index))
        _dummy, cycles = order(self.declared, self.existing_indexes)
        for cycle in cycles:
            concerned = [self.declared[path].where for path in cycle if path in self.declared]
            yield f"{concerned[0]}: bases form a cycle, {' → '.join(cycle)}; remove one from the other's bases"

    def user(self, user: User) -> Iterator[str]:
        if user.known and user.name not in self.existing and not all(index.absent for index in user.indexes):
            guess = _guess(user.name, self.existing, "make the user first")
            yield f"{user.where}: there is no user {user.name}; {guess}"
        if not user.absent or user.name == "root":
            return
        indexes = sorted(self.existing.get(user.name, {}).get("indexes", {}))
        if indexes and not user.force and not user.purged:
            yield (
                f"{user.where}: deleting this user deletes {'index' if len(indexes) == 1 else 'indexes'} "
                f"{', '.join(indexes)} with all packages; set force: true if that is meant"
            )
        for name in indexes:
            yield from (
                f"{user.where}: {problem}" for problem in self.still_a_base_problems(f"{user.name}/{name}", user)
            )

    def index(self, index: Index) -> Iterator[str]:
        observed = self.existing_indexes.get(index.path)
        if index.absent:
            if observed is not None and not observed.get("volatile", True) and not (index.force or index.purged):
                yield (
                    "this index is not volatile, so its packages are meant to stay; set force: true to delete it with "
                    "all of them"
                )
            if observed is not None and index.user not in self.absent_users:
                yield from self.still_a_base_problems(index.path, index)
            return
        current_type = index.type if observed is None else observed.get("type", "stage")
        if index.type and index.type != current_type:
            yield (
                f"type {index.type} is declared and the index is a {current_type}, which devpi cannot change; choose "
                "another name, or delete the index first (state: absent)"
            )
        yield from inexpressible(index.keys, self.version)
        mirror = index.kind(observed) == "mirror"
        for key in index.keys:
            if key in STAGE_KEYS and mirror:
                yield f"{key} is not a key of a mirror; drop it, or declare it on a stage"
            elif key in MIRROR_KEYS and not mirror:
                yield f"{key} is a key of mirrors only; set type: mirror, or drop it"
            elif key in SINCE and self.version and self.version < SINCE[key]:
                yield (
                    f"{key} needs devpi-server {'.'.join(map(str, SINCE[key]))} or newer, and the server is "
                    f"{'.'.join(map(str, self.version))}; drop it, or upgrade the server"
                )
        if mirror and observed is None and "mirror_url" not in index.keys and index.path != "root/pypi":
            yield "a mirror needs a mirror_url; give the address of its upstream's simple page"
        for base in index.keys.get("bases", ()):
            yield from self.base(base)
        for key in ("acl_upload", "acl_toxresult_upload"):
            for principal in index.keys.get(key, ()):
                if not principal.startswith(":"):
                    yield from self.principal(key, principal)

    def base(self, base: str) -> Iterator[str]:
        if not is_path(base):
            return
        declared = self.declared.get(base)
        if base.partition("/")[0] in self.absent_users or (declared is not None and declared.absent):
            yield f"base {base} is declared absent; drop it from bases, or keep it"
        elif declared is None and base not in self.existing_indexes:
            guess = _guess(base, [*self.declared, *self.existing_indexes], "declare it, or correct the name")
            yield f"base {base} neither exists nor is declared; {guess}"

    def principal(self, key: str, principal: str) -> Iterator[str]:
        if principal in self.absent_users:
            yield f"{key} holds {principal!r}, who is declared absent; drop it from {key}"
        elif principal not in self.present and principal not in self.existing:
            guess = _guess(principal, [*self.present, *self.existing], "declare that user, or correct the name")
            yield f"{key} holds {principal!r}, a user who neither exists nor is declared; {guess}"

    def still_a_base_problems(self, path: str, removed: User | Index) -> Iterator[str]:
        if removed.force:
            return
        option = "purge_force" if removed.purged else "force"
        for other, config in self.existing_indexes.items():
            declared = self.declared.get(other)
            is_removed = other.split("/")[0] in self.absent_users or (declared is not None and declared.absent)
            if (
                not is_removed
                and (declared is None or "bases" not in declared.keys)
                and path in config.get("bases", ())
            ):
                yield f"{path} is a base of {other}; take it out of the bases there, or set {option}: true"


def indexes_of(existing: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the configuration of each index that exists, by path."""
    return {f"{user}/{name}": config for user in existing for name, config in existing[user].get("indexes", {}).items()}


def _guess(wrong: str, known: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise
