# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The difference between what is declared and what a devpi-server holds, as an ordered list of steps.

Check mode makes the same steps: ``changed``, the diff and the result come from them alone.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Mapping, cast
from urllib.parse import urlsplit, urlunsplit

from ansible_collections.wheelhouse.devpi.plugins.module_utils._checks import indexes_of
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import (
    INDEX_KEYS,
    ROOT_PYPI,
    UPSTREAMS,
    USER_KEYS,
    Index,
    User,
    mirror_passwords,
    order,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._dialect import ONLY_IN_7

# How the server treats an index that lacks the key. A new stage gets "intersection", but one without the key unites.
MISSING: dict[str, Any] = {
    "bases": [],
    "acl_upload": [],
    "acl_toxresult_upload": [":ANONYMOUS:"],
    "mirror_whitelist": [],
    "mirror_whitelist_inheritance": "union",
    "mirror_use_external_urls": False,
    "mirror_no_project_list": False,
    "mirror_ignore_serial_header": False,
    "mirror_provides_core_metadata": False,
}
SETS = ("acl_upload", "acl_toxresult_upload", "mirror_whitelist")
TEXTS = ("title", "description", "custom_data", "email", "mirror_web_url_fmt")
GENERATED = "(generated)"


@dataclass(frozen=True)
class Change:
    """One step: a user or an index that is created, updated or deleted.

    :param action: ``create``, ``update`` or ``delete``.
    :param index: None where the step is about the user.
    :param body: the keys to send, without the password.
    :param before: the keys concerned as they are, and ``after`` as they will be; None where there is no object.
    :param set_password: the user's password is set too.
    :param password: the password to set; None for the one in the credentials directory.
    :param password_hash: the hash to set instead of a password.
    :param locked: paths of the indexes that must be made volatile before the deletion.
    :param kept: keys of an index that have to be sent along, so that they stay as they are.
    """

    action: str
    user: str
    index: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    set_password: bool = False
    password: str | None = field(default=None, repr=False)
    password_hash: str | None = field(default=None, repr=False)
    locked: tuple[str, ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Return ``user`` or ``user/index``."""
        return self.user if self.index is None else f"{self.user}/{self.index}"

    @property
    def generates(self) -> bool:
        """Whether the password is to be generated."""
        return (self.after or {}).get("password") == GENERATED

    def summary(self) -> dict[str, Any]:
        """Return the step for a person to read: what, how, and which settings; no values."""
        settings = sorted([*self.body, *(["password"] if self.set_password else [])])
        about = {"user": self.user} if self.index is None else {"user": self.user, "index": self.index}
        return {**about, "action": self.action, "settings": settings}


def plan(
    users: list[User],
    existing: Mapping[str, Any],
    credentials: Credentials | None,
    is_password: Callable[[str, str], bool],
) -> list[Change]:
    """Return the steps from what exists to what is declared: users, indexes with bases first, then deletions.

    :param users: without problems.
    :param existing: what the server holds (``_session.existing_users``).
    :param credentials: the directory of generated passwords; None where none is named.
    :param is_password: whether a password is a user's on the server.
    """
    declared = {index.path: index for user in users for index in user.indexes}
    indexes = indexes_of(existing)
    absent_users = [user.name for user in users if user.absent]
    steps: list[Change | None] = []
    for user in users:
        if not (user.absent or user.known):
            marker = _password(user, user.name in existing, credentials, is_password)
            steps.append(_user_step(user, existing.get(user.name), marker))
    ordered, _dummy = order(declared, indexes)
    steps += [_index_step(index, indexes.get(index.path)) for index in ordered]
    for index in declared.values():
        if index.absent and index.path in indexes and index.user not in absent_users:
            steps.append(_deletion(index.user, index.name, indexes[index.path]))
    steps += [_deletion(name, None, existing[name]) for name in absent_users if name in existing]
    return [step for step in steps if step is not None]


def _password(
    user: User, exists: bool, credentials: Credentials | None, is_password: Callable[[str, str], bool]
) -> str | None:
    """Return how the password of the user is to be set, for the diff; None where it stays."""
    if exists and not user.update_password:
        return None
    if user.password_hash is not None:
        return "(given as a hash)"
    known = user.password
    if known is None and credentials is not None:
        known = credentials.read(user.name)
    if known is None:
        return GENERATED
    if exists and is_password(user.name, known):
        return None
    return "(given)" if user.password is not None else "(kept on this host)"


def _user_step(user: User, observed: Mapping[str, Any] | None, marker: str | None) -> Change | None:
    hashed = user.password_hash if marker else None
    empty = Change("", user.name, set_password=bool(marker), password=user.password, password_hash=hashed)
    return _with_changes(empty, user.keys, observed, marker)


def _index_step(index: Index, observed: Mapping[str, Any] | None) -> Change | None:
    keys = with_tox_results(index, observed)
    if observed is None:
        kind = index.kind(None)
        like_devpi_init = index.path == "root/pypi" and kind == "mirror" and "mirror_url" not in keys
        keys = {"type": kind, **(ROOT_PYPI if like_devpi_init else {}), **keys}
    return _with_changes(Change("", index.user, index.name, kept=keys_of_plugins(observed or {})), keys, observed)


def _with_changes(
    step: Change, keys: Mapping[str, Any], observed: Mapping[str, Any] | None, marker: str | None = None
) -> Change | None:
    """Return the step with what it changes; None where that is nothing."""
    if observed is None:
        after = {**keys, **({"password": marker} if marker else {})}
        return replace(step, action="create", body=keys, after=after)
    body = {key: value for key, value in keys.items() if differs(key, value, observed)}
    before = {key: observed[key] for key in body if key in observed}
    after = dict(body)
    if marker:
        before["password"] = "(another)"  # noqa: S105 - a marker in the diff
        after["password"] = marker
    return replace(step, action="update", body=body, before=before, after=after) if after else None


def _deletion(user: str, index: str | None, observed: Mapping[str, Any]) -> Change:
    indexes = observed.get("indexes", {}) if index is None else {index: observed}
    before = dict(observed)
    if index is None:
        before = {**{key: observed[key] for key in USER_KEYS if key in observed}, "indexes": sorted(indexes)}
    locked = tuple(f"{user}/{name}" for name in sorted(indexes) if not indexes[name].get("volatile", True))
    return Change("delete", user, index, before=before, locked=locked)


def with_tox_results(index: Index, observed: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the keys that an index is to have: those declared and, unless it is a mirror, who may upload test results.

    devpi-server's own default lets anybody without a login store them. So a list that is not declared becomes that of
    ``acl_upload``: on a new stage, on one that has that default, and on one where the two lists were the same. Any
    other list that somebody set on the server stays.

    :param observed: the index as the server shows it; None where it does not exist.
    """
    current = observed or {}
    if "acl_toxresult_upload" in index.keys or index.kind(observed) == "mirror":
        return index.keys
    uploaders = current.get("acl_upload", MISSING["acl_upload"]) if observed is not None else [index.user]
    testers = current.get("acl_toxresult_upload", MISSING["acl_toxresult_upload"])
    if ":ANONYMOUS:" not in testers and set(testers) != set(uploaders):
        return index.keys
    return {**index.keys, "acl_toxresult_upload": list(index.keys.get("acl_upload", uploaders))}


def differs(key: str, declared: object, observed: Mapping[str, Any]) -> bool:
    """Whether an object on the server differs from what is declared for the key.

    The order counts in ``bases`` and in the lists of plugins, and in no other list. An empty text is as good as none.
    """
    current = observed.get(key, MISSING.get(key))
    if key in SETS:
        return set(cast("list[str]", declared)) != set(current)
    if key in TEXTS and not declared and not current:
        return False
    return json.dumps(declared, sort_keys=True) != json.dumps(current, sort_keys=True)


def keys_of_plugins(observed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of an index that plugins of the server define."""
    own = {"type", "projects", *INDEX_KEYS, *ONLY_IN_7}
    return {key: value for key, value in observed.items() if key not in own and value is not None}


def diff(steps: list[Change]) -> dict[str, dict[str, Any]]:
    """Return the objects concerned before and after, each with the keys concerned, without passwords."""
    before = {}
    after = {}
    for step in steps:
        old, new = _without_passwords(step.before), _without_passwords(step.after)
        if old and new and old.get("mirror_url") == new.get("mirror_url") != None:  # noqa: E711
            new["mirror_url"] += " (another password)"
        if old is not None:
            before[step.path] = old
        if new is not None:
            after[step.path] = new
    return {"before": before, "after": after}


def _without_passwords(keys: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if keys is None:
        return None
    shown = copy.deepcopy(dict(keys))
    for key in UPSTREAMS:
        if mirror_passwords({key: shown.get(key)}):
            parts = urlsplit(shown[key])
            host = parts.netloc.rpartition("@")[2]
            shown[key] = urlunsplit(parts._replace(netloc=f"{parts.username or ''}:********@{host}"))
    return shown
