# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out a plan, step by step. A client in check mode refuses each of these requests."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client, RequestFailed
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials
from ansible_collections.wheelhouse.devpi.plugins.module_utils._dialect import index_from_dialect, to_dialect
from ansible_collections.wheelhouse.devpi.plugins.module_utils._plan import Change, differs, keys_of_plugins


def apply(step: Change, client: Client, credentials: Credentials | None) -> None:
    """Send the step's requests.

    A password is written to its file before it is sent, so that the next run completes one that was killed in between.

    :raises ClientError: the server refused, or does not answer.
    :raises CredentialsError: a generated password cannot be kept.
    """
    path = f"/{step.path}"
    if step.action == "delete":
        _delete(step, client)
        return
    body = _translated(step, step.body, client)
    if step.password_hash is not None:
        # The server refuses a creation without the key password; where its value is null, the hash holds.
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
        # Another run made it meanwhile. Its password stays, like that of any user who exists.
        existing = client.get_json(path + ("?no_projects=" if step.index is not None else ""))
        if step.index is not None:
            existing = index_from_dialect(existing, client.version)
        rest = {key: value for key, value in step.body.items() if key != "type" and differs(key, value, existing)}
        if rest:
            _patch(
                client, path, _translated(step, rest, client), {} if step.index is None else keys_of_plugins(existing)
            )


def _translated(step: Change, body: Mapping[str, Any], client: Client) -> dict[str, Any]:
    return dict(body) if step.index is None else to_dialect(body, client.version)


def _patch(client: Client, path: str, body: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Change the keys of ``body`` and no others.

    devpi-server resets each key of a plugin that a request does not name, so these are sent along. It keeps a key whose
    plugin was removed, and refuses a request that names it, so that one is left out then.
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
        # devpi-server answers 403 both for an index that was deleted already and for one that may not be deleted.
        everything = client.get_json("/") if error.status in (403, 404) else None
        user = None if everything is None else everything.get(step.user)
        deleted = user is None or (step.index is not None and step.index not in user.get("indexes", {}))
        if everything is None or not deleted:
            raise
