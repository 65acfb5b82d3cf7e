# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a devpi-server holds and what is declared to an ordered plan, and from the plan to requests.

The plan is the same in check mode and outside; only the requests are left out there.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping
from urllib.parse import urlsplit, urlunsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import (
    Client,
    ClientError,
    RequestFailed,
    Unreachable,
    is_loopback,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials, CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._dialect import spoken, understood, understood_index
from ansible_collections.wheelhouse.devpi.plugins.module_utils._purge import purged, with_packages, with_purged
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tree import (
    FRESH_SERVER,
    ROOT_PYPI,
    UPSTREAMS,
    USER_KEYS,
    Index,
    User,
    check,
    differs,
    keys_of_plugins,
    mirror_passwords,
    order,
    with_tox_results,
)


@dataclass(frozen=True)
class Change:
    """One step: a user or an index that is created, updated or deleted.

    :param action: ``create``, ``update`` or ``delete``.
    :param index: None where the step is about the user.
    :param body: the keys to send, less the password.
    :param before: the keys concerned as they are; None where the object does not exist.
    :param after: the same keys as they will be; None where the object will not exist.
    :param set_password: the user's password is set too.
    :param password: the password to set; None for the one in the credentials directory.
    :param password_hash: what to set in the place of a password.
    :param locked: paths of the indexes that must be made volatile before the deletion.
    :param kept: keys of an index that stay as they are and have to be sent for it.
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

    def summary(self) -> dict[str, Any]:
        """Return the step for a person to read: what, how, and which keys; no values."""
        keys = sorted([*self.body, *(["password"] if self.set_password else [])])
        about = {"user": self.user} if self.index is None else {"user": self.user, "index": self.index}
        return {**about, "action": self.action, "keys": keys}


class Passwords:
    """Where the password of a declared user comes from.

    :param credentials: the directory of generated passwords; None where none is named.
    :param is_current: whether a password is a user's on the server.
    """

    def __init__(self, credentials: Credentials | None, is_current: Callable[[str, str], bool]) -> None:
        self.credentials = credentials
        self.is_current = is_current
        self.generated: dict[str, str] = {}

    def problems(self, users: list[User], existing: Mapping[str, Any]) -> list[str]:
        """Return what keeps the needed passwords from being known."""
        found = []
        for user in users:
            given = user.password is not None or user.password_hash is not None
            if user.absent or user.known or given or (user.name in existing and not user.update_password):
                continue
            if self.credentials is None:
                needed = "to be created" if user.name not in existing else "declared with update_password: always"
                found.append(
                    f"{user.where}: the user is {needed} and has no password; give one as {user.credential_option}, "
                    "or name a credentials_dir for a generated one"
                )
                continue
            try:
                self.credentials.read(user.name)
            except CredentialsError as error:
                found.append(f"{user.where}: {error}")
        return found

    def to_set(self, user: User, exists: bool) -> str | None:
        """Return how the password of the user is to be set, for the diff; None where it stays."""
        if exists and not user.update_password:
            return None
        if user.password_hash is not None:
            return "(given as a hash)"
        known = user.password
        if known is None and self.credentials is not None:
            known = self.credentials.read(user.name)
        if known is None:
            self.generated[user.name] = str(self.credentials.path(user.name)) if self.credentials else ""
        elif exists and self.is_current(user.name, known):
            return None
        return "(generated)" if known is None else "(given)" if user.password is not None else "(kept on this host)"


def plan(users: list[User], existing: Mapping[str, Any], passwords: Passwords) -> list[Change]:
    """Return the steps from what exists to what is declared: users, indexes with bases first, then deletions.

    :param users: without problems.
    :param existing: the ``result`` of ``GET /``.
    """
    declared = {index.path: index for user in users for index in user.indexes}
    there = {
        f"{user}/{name}": config for user in existing for name, config in existing[user].get("indexes", {}).items()
    }
    steps = [_user_step(user, existing.get(user.name), passwords) for user in users if not (user.absent or user.known)]
    ordered, _dummy = order(declared, there)
    steps += [_index_step(index, there.get(index.path)) for index in ordered]
    gone = {user.name for user in users if user.absent}
    for index in declared.values():
        if index.absent and index.path in there and index.user not in gone:
            steps.append(_deleted_index(index, there[index.path]))
    steps += [_deleted_user(user, existing[user.name]) for user in users if user.absent and user.name in existing]
    return [step for step in steps if step is not None]


def _user_step(user: User, observed: Mapping[str, Any] | None, passwords: Passwords) -> Change | None:
    marker = passwords.to_set(user, observed is not None)
    if observed is None:
        after = {**user.keys, "password": marker}
        return Change("create", user.name, None, user.keys, None, after, True, user.password, user.password_hash)
    body = {key: value for key, value in user.keys.items() if differs(key, value, observed)}
    if not body and marker is None:
        return None
    before = {key: observed[key] for key in body if key in observed}
    after = dict(body)
    if marker is not None:
        before["password"] = "(another)"  # noqa: S105 - a marker in the diff
        after["password"] = marker
    return Change("update", user.name, None, body, before, after, marker is not None, user.password)


def _index_step(index: Index, observed: Mapping[str, Any] | None) -> Change | None:
    keys = with_tox_results(index, observed)
    if observed is None:
        like_devpi_init = index.path == "root/pypi" and index.type == "mirror" and not keys.get("mirror_url")
        body = {"type": index.type or "stage", **(ROOT_PYPI if like_devpi_init else {}), **keys}
        return Change("create", index.user, index.name, body, None, body)
    body = {key: value for key, value in keys.items() if differs(key, value, observed)}
    if not body:
        return None
    before = {key: observed[key] for key in body if key in observed}
    return Change("update", index.user, index.name, body, before, body, kept=keys_of_plugins(observed))


def _deleted_index(index: Index, observed: Mapping[str, Any]) -> Change:
    locked = () if observed.get("volatile", True) else (index.path,)
    return Change("delete", index.user, index.name, before=observed, locked=locked)


def _deleted_user(user: User, observed: Mapping[str, Any]) -> Change:
    indexes = observed.get("indexes", {})
    before = {key: observed[key] for key in USER_KEYS if key in observed}
    before["indexes"] = sorted(indexes)
    locked = tuple(f"{user.name}/{name}" for name in sorted(indexes) if not indexes[name].get("volatile", True))
    return Change("delete", user.name, before=before, locked=locked)


def apply(step: Change, client: Client, credentials: Credentials | None) -> None:
    """Send the step's requests.

    A password is in its file before the server hears of it, so that a run killed in between is mended by the next.

    :raises ClientError: the server refused, or is gone.
    :raises CredentialsError: a generated password cannot be kept.
    """
    path = f"/{step.path}"
    if step.action == "delete":
        _delete(step, client)
        return
    body = dict(step.body)
    if step.index is not None:
        body = spoken(body, client.version)
    if step.password_hash is not None:
        # A creation without the key is refused; without a value, the hash holds.
        body.update(password=None, pwhash=step.password_hash)
    elif step.set_password:
        body["password"] = step.password
        if step.password is None and credentials is not None:
            body["password"] = credentials.obtain(step.user)
    if step.action == "update":
        _patch(client, path, body, step.kept)
        return
    try:
        client.put(path, body)
    except RequestFailed as error:
        if error.status != 409:
            raise
        # Another run made it meanwhile; its password stays, as that of any user who exists.
        there = client.get_json(path + ("?no_projects=" if step.index is not None else ""))
        if step.index is not None:
            there = understood_index(there, client.version)
        rest = {key: value for key, value in step.body.items() if key != "type" and differs(key, value, there)}
        if rest and step.index is None:
            client.patch(path, rest)
        elif rest:
            _patch(client, path, spoken(rest, client.version), keys_of_plugins(there))


def _patch(client: Client, path: str, body: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Change the keys of ``body`` and no others.

    devpi-server resets each key that a plugin defines and a request does not name. One whose plugin is no longer there
    stays as it is, and is refused.
    """
    try:
        client.patch(path, {**kept, **body})
    except RequestFailed as error:
        known = {key: value for key, value in kept.items() if f" {key}=" not in str(error)}
        if error.status != 400 or known == kept:
            raise
        client.patch(path, {**known, **body})


def _delete(step: Change, client: Client) -> None:
    try:
        for locked in step.locked:
            client.patch(f"/{locked}", {"volatile": True})
        client.delete(f"/{step.path}")
    except RequestFailed as error:
        # For an index that is gone already devpi-server answers 403, as for one that may not be deleted.
        everything = client.get_json("/") if error.status in (403, 404) else None
        if everything is None or _exists(step, everything):
            raise


def _exists(step: Change, everything: Mapping[str, Any]) -> bool:
    user = everything.get(step.user)
    return user is not None and (step.index is None or step.index in user.get("indexes", {}))


def diff(steps: list[Change]) -> dict[str, dict[str, Any]]:
    """Return the objects concerned before and after, each with the keys concerned, without passwords."""
    before = {}
    after = {}
    for step in steps:
        old, new = _shown(step.before), _shown(step.after)
        if old and new and old.get("mirror_url") == new.get("mirror_url") != None:  # noqa: E711
            new["mirror_url"] += " (another password)"
        if old is not None:
            before[step.path] = old
        if new is not None:
            after[step.path] = new
    return {"before": before, "after": after}


def _shown(keys: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if keys is None:
        return None
    shown = copy.deepcopy(dict(keys))
    for key in UPSTREAMS:
        if mirror_passwords({key: shown.get(key)}):
            parts = urlsplit(shown[key])
            host = parts.netloc.rpartition("@")[2]
            shown[key] = urlunsplit(parts._replace(netloc=f"{parts.username or ''}:********@{host}"))
    return shown


def converge(module: AnsibleModule, users: list[User], purge: str = "none", purge_force: bool = False) -> None:
    """Bring the server to what is declared and end the module.

    :param module: with the options of the connection and ``credentials_dir``.
    :param users: the declared users; what they do not mention stays as it is, unless it is purged.
    :param purge: ``none``, ``indexes`` or ``users``.
    :param purge_force: purge what has packages too.
    """
    for user in users:
        for index in user.indexes:
            module.no_log_values.update(mirror_passwords(index.keys))
    params = module.params
    credentials = Credentials(params["credentials_dir"]) if params["credentials_dir"] else None
    done: list[Change] = []
    try:
        client = connect(module, credentials)
        existing = observe(module, client)
        fresh = client.version is None
        if purge != "none":
            users = with_purged(users, existing, purge, purge_force)
        passwords = Passwords(credentials, client.is_password if not fresh else lambda user, password: True)
        problems = check(users, existing, client.version) + passwords.problems(users, existing)
        problems += with_packages(users, existing, lambda path: list(client.get_json(f"/{path}")["projects"]))
        if problems:
            module.fail_json(msg="Nothing was changed." + _listed(problems))
        steps = plan(users, existing, passwords)
        gone = purged(users)
        if gone:
            module.warn(f"purge deletes {', '.join(gone)}")
        if steps and not fresh:
            client.login()
        if not module.check_mode:
            for step in steps:
                apply(step, client, credentials)
                done.append(step)
    except (ClientError, CredentialsError) as error:
        module.fail_json(msg=str(error), changed=bool(done), changes=[step.summary() for step in done])
    result: dict[str, Any] = {
        "changed": bool(steps),
        "changes": [step.summary() for step in steps],
        "version": client.release,
    }
    if not any(user.known for user in users):
        result["generated"] = passwords.generated
    if "purge" in params:
        result["purged"] = gone
    if module._diff:
        result["diff"] = diff(steps)
    module.exit_json(**result)


def connect(module: AnsibleModule, credentials: Credentials | None) -> Client:
    """Return the client that the module's connection options describe."""
    params = module.params
    password = params["password"]
    if password is None and credentials is not None:
        password = credentials.read(params["username"])
    if password:
        module.no_log_values.add(password)
    client = Client(
        params["url"],
        params["username"],
        password,
        check_mode=module.check_mode,
        validate_certs=params["validate_certs"],
        ca_path=params["ca_path"],
        client_cert=params["client_cert"],
        client_key=params["client_key"],
        proxy=params["use_proxy"],
        timeout=params["timeout"],
        server_user=params["server_user"],
    )
    if client.plain and password and not is_loopback(client.host):
        module.warn(
            f"url {client.url} is plain http, so passwords cross the network unencrypted; put TLS in front of it"
        )
    return client


def observe(module: AnsibleModule, client: Client) -> Mapping[str, Any]:
    """Return all users with their indexes, without a login.

    In check mode with ``new_server``, where nothing listens yet, that is what a new server will hold.
    """
    try:
        return understood(client.get_json("/"), client.version)
    except Unreachable as error:
        if not (module.check_mode and error.refused and module.params.get("new_server")):
            raise
        return FRESH_SERVER


def _listed(problems: list[str]) -> str:
    return f" {problems[0]}" if len(problems) == 1 else "".join(f"\n- {problem}" for problem in problems)
