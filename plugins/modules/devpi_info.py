#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what a devpi-server holds: its users, indexes, projects and releases."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_info
short_description: Tell what a devpi-server holds
version_added: 0.1.0
description:
  - Returns the users, indexes, versions and status of a devpi-server. For one index, it returns the projects and
    releases with their files. It only reads.
  - Without O(password) the module reads what anyone may read. With O(password) it logs in first, which takes 0.2 s or
    more; only servers on which a plugin hides indexes need this.
  - RV(releases) costs one request for each project of the index, because a server has no list of its releases.
    Everything else costs one or two requests.
  - The module never asks for the list of all projects of a mirror, because that is the list of the whole upstream.
    Without C(mirror_no_project_list), the server itself may fetch this list when the module asks for one project of the
    mirror.
  - A password or token inside a URL, such as that of a mirror's upstream, is masked in the result.
  - Needs only Python on the managed host. Works with devpi-server 6.15 or a newer 6, and with 7.
extends_documentation_fragment:
  - wheelhouse.devpi.connection
  - wheelhouse.devpi.attributes
  - wheelhouse.devpi.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: Nothing is changed.
options:
  username:
    description:
      - The devpi user who logs in, if O(password) is set.
      - If not set, the environment variable E(DEVPI_USERNAME) on the managed host is used.
    type: str
    default: root
  password:
    description:
      - The password of O(username). If it is set, the module logs in; only a server that hides something needs this.
      - If not set, the environment variable E(DEVPI_PASSWORD) on the managed host is used.
    type: str
  gather:
    description:
      - What to ask for. Each choice is the name of the value that it returns.
      - V(status) and V(versions) share one request, and V(users) and V(indexes) share another.
      - V(projects) and V(releases) need O(index).
      - If not set, the module asks for V(versions), V(status), V(users) and V(indexes). With O(index), it asks for
        V(indexes) and V(releases).
      - If you name a value here and the server does not let you read it, the module fails. If O(gather) is not set, the
        module leaves such a value out, and warns with a message that says how to open it.
      - The nginx of role wheelhouse.devpi.proxy shows V(status) and V(versions) only to C(devpi_proxy_networks), or to
        everyone with C(devpi_proxy_public_status). With C(devpi_private) everything needs a login. A token that is
        bound to indexes cannot read V(users).
    type: list
    elements: str
    choices: [versions, status, users, indexes, projects, releases]
  index:
    description: One index, as V(user/index). V(indexes), V(projects) and V(releases) then describe this index only.
    type: str
  project:
    description:
      - One project of O(index), in any spelling of its name. V(projects) and V(releases) then describe this project
        only.
      - Required for V(projects) and V(releases) if O(index) is a mirror.
    type: str
  inherited:
    description:
      - Whether RV(releases) also contains the releases that the bases of O(index) have of the same projects, as pip
        sees them.
      - If it does, each mirror among the bases asks its upstream for each project that it may serve.
    type: bool
    default: false
seealso:
  - plugin: wheelhouse.devpi.release
    plugin_type: lookup
    description: Finds the newest release that fits a specifier, so that a play can pin it.
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Get the users, indexes and versions of a server
  wheelhouse.devpi.devpi_info:
    url: http://127.0.0.1:3141
  register: devpi

- name: Show the indexes that build on root/pypi
  ansible.builtin.debug:
    msg: "{{ devpi.indexes | dict2items | selectattr('value.bases', 'defined')
      | selectattr('value.bases', 'contains', 'root/pypi') | map(attribute='key') }}"

- name: Get the releases of one project
  wheelhouse.devpi.devpi_info:
    url: http://127.0.0.1:3141
    index: team/production
    project: latexhelper
    gather: [releases]
  register: production

- name: Fail if this release is on the index already
  ansible.builtin.assert:
    that: "'1.2' not in production.releases.latexhelper | map(attribute='version')"
"""

RETURN = r"""
version:
  description: The version of the devpi-server that answered, without the suffix of a pre-release.
  returned: success
  type: str
  sample: 6.20.3
dialect:
  description:
    - V(6) or V(7), the first number of the version.
    - Types and settings of indexes are returned with the names that the server uses. devpi-server 7 uses other names,
      such as V(local) and V(remote) for V(stage) and V(mirror).
  returned: success
  type: int
  sample: 6
versions:
  description: The versions of devpi-server and its plugins, in full.
  returned: when O(gather) has V(versions), or when it is not set and you may read them
  type: dict
  sample:
    devpi-server: 6.20.3
    devpi-web: 5.1.1
status:
  description:
    - The status that the server reports, with the server's own keys.
    - C(role) is V(REPLICA) on a replica; otherwise it is V(MASTER) on devpi-server 6 and V(PRIMARY) on 7. Other keys
      are C(serial) and, on a replica, C(replica-in-sync-at).
  returned: when O(gather) has V(status), or when it is not set and you may read it
  type: dict
  sample:
    role: MASTER
    serial: 12
    uuid: 024979f2aa534f15ad34576e5efc04af
users:
  description: The users by name, with the names of their indexes.
  returned: when O(gather) has V(users), or when it is not set and you may read them
  type: dict
  sample:
    team:
      username: team
      email: team@example.com
      indexes: [dev, production]
indexes:
  description: The settings of the indexes, by path. If O(index) is set, only those of this index.
  returned: when O(gather) has V(indexes), or when it is not set and you may read them
  type: dict
  sample:
    team/production:
      type: stage
      volatile: false
      bases: []
projects:
  description:
    - The names of the projects of O(index), as the server writes them (V(foo-bar) for Foo_Bar). Projects of its bases
      are not included.
    - With O(project), only that name; the list is empty if the index has no such project.
  returned: when O(gather) has V(projects)
  type: list
  elements: str
  sample: [latexhelper]
releases:
  description:
    - The releases of each project, newest first by the order of PEP 440. Names of projects are written as in
      RV(projects).
    - With O(project), the dictionary always has that name. If the index has no such project, its list is empty.
    - A release contains only wheels, eggs and source archives.
  returned: when O(gather) has V(releases)
  type: dict
  contains:
    version:
      description: The version in its normal form.
      type: str
    files:
      description: The files, by name.
      type: list
      elements: dict
      contains:
        filename:
          description: The name of the file.
          type: str
        url:
          description: The URL of the file, without credentials.
          type: str
        index:
          description: The index that holds it, O(index) or one of its bases.
          type: str
        sha256:
          description: The SHA-256 of the file; null if the upstream does not report it.
          type: str
        size:
          description: The size in bytes; null on devpi-server 6, and if the upstream does not report it.
          type: int
        requires_python:
          description: The versions of Python that the file is for; null for all.
          type: str
        yanked:
          description: V(false), V(true), or the reason why the upstream yanked the file.
          type: raw
  sample:
    latexhelper:
      - version: "1.1"
        files:
          - filename: latexhelper-1.1-py3-none-any.whl
            url: http://127.0.0.1:3141/team/production/+f/aaa/bfb2d2bfcda7d/latexhelper-1.1-py3-none-any.whl
            index: team/production
            sha256: aaabfb2d2bfcda7d02e076742fb90448f5d76e75fac0be9540e527230a9f8333
            size:
            requires_python: ">=3.8"
            yanked: false
"""

import re
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import (
    Client,
    ClientError,
    RequestFailed,
    connection_options,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._releases import (
    fetch_files,
    is_index,
    normalised,
    releases,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._session import connect

GATHER = ("versions", "status", "users", "indexes", "projects", "releases")
OF_SERVER = ("versions", "status", "users", "indexes")
OF_INDEX = ("indexes", "releases")
MIRROR = ("mirror", "remote")


CLOSED = {
    "/+status": "devpi_proxy_networks names those who may read it, and devpi_proxy_public_status: true opens it to all",
    "/": "a login of a user opens it; a token that is bound to indexes reads them alone, so name one as index",
}


class BadQuery(Exception):  # noqa: N818 - named for what happened
    """The options ask for what the server does not have; the message says how to correct them."""


def masked(value: Any) -> Any:
    """Return the value with every password, or token in the place of a user, in an address masked."""
    if isinstance(value, Mapping):
        return {key: masked(each) for key, each in value.items()}
    if isinstance(value, list):
        return [masked(each) for each in value]
    if isinstance(value, str):
        return re.sub(r"([a-z][a-z0-9+.-]*://)([^\s/?#]*)@", _masked_user, value, flags=re.IGNORECASE)
    return value


def _masked_user(match: re.Match[str]) -> str:
    user, _colon, password = match[2].partition(":")
    return f"{match[1]}{user}:********@" if password else f"{match[1]}********@"


def about_server(client: Client) -> dict[str, Any]:
    """Return what the server tells of itself."""
    status = client.get_json("/+status")
    return {"versions": status["versioninfo"], "status": masked(status)}


def about_users(client: Client) -> dict[str, Any]:
    """Return all users and all indexes."""
    tree = client.get_json("/")
    users = {}
    indexes = {}
    for name in sorted(tree):
        owned = tree[name].get("indexes", {})
        users[name] = masked({**tree[name], "indexes": sorted(owned)})
        indexes.update({f"{name}/{each}": masked(owned[each]) for each in sorted(owned)})
    return {"users": users, "indexes": indexes}


def about_index(client: Client, params: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    """Return the index's settings and what is wanted of its projects and releases.

    :raises BadQuery: there is no such index, or it is a mirror and no project is named.
    """
    index, project, inherited = params["index"], params["project"], params["inherited"]
    try:
        settings = client.get_json(f"/{index}?no_projects=")
    except RequestFailed as error:
        if error.status != 404:
            raise
        raise BadQuery(f"{client.url} has no index {index}; correct the name, or create the index") from error
    found: dict[str, Any] = {"indexes": {index: masked(settings)}}
    if not wanted & {"projects", "releases"}:
        return found
    mirror = settings["type"] in MIRROR
    if mirror and project is None:
        raise BadQuery(
            f"{index} is a mirror, whose projects are all those of its upstream; name one as project, "
            "or drop projects and releases from gather"
        )
    # The list of a mirror would be that of its upstream.
    own = set() if mirror else set(client.get_json(f"/{index}")["projects"])
    names = sorted(own) if project is None else [normalised(project)]
    pages: dict[str, list[dict[str, Any]]] = {}
    if mirror or "releases" in wanted:
        # For the page of a project that only a base may have, the server would ask the mirrors among the bases.
        pages = {name: fetch_files(client, index, name) if mirror or inherited or name in own else [] for name in names}
    found["projects"] = [name for name in names if name in own or (mirror and pages[name])]
    found["releases"] = {
        name: releases(each for each in page if inherited or each["index"] == index) for name, page in pages.items()
    }
    return found


class ServerReader:
    """Reads what the server tells of itself, its users and its indexes, and notes what it keeps closed.

    :param client: of the server.
    :param all_wanted: whether what is closed is an error, because the task names it.
    """

    def __init__(self, client: Client, all_wanted: bool) -> None:
        self._client = client
        self._all_wanted = all_wanted
        self.warnings: list[str] = []

    def read(self, path: str, *names: str) -> dict[str, Any]:
        """Return what is at the path, ``/+status`` or ``/``; nothing, and a warning, where it is closed.

        :raises RequestFailed: it is closed and wanted, or the server failed.
        """
        try:
            return about_server(self._client) if path == "/+status" else about_users(self._client)
        except RequestFailed as error:
            if error.status not in (401, 403):
                raise
            if self._all_wanted:
                raise RequestFailed(f"{error}; {CLOSED[path]}", error.status) from error
            self.warnings.append(f"{' and '.join(names)} are left out: {error}; {CLOSED[path]}")
            return {}


def problem(params: Mapping[str, Any], gather: list[str]) -> str | None:
    """Return what is wrong with the options; None where nothing is."""
    index = params["index"]
    if index is None:
        about_index = [name for name in ("projects", "releases") if name in gather]
        if about_index:
            return f"gather has {' and '.join(about_index)}, which are of one index; name it as index"
        if params["project"] is not None:
            return f"project {params['project']} is given without the index to look on; name it as index"
    elif not is_index(index):
        return f"index {index!r} is not of the form user/index; write it so, for example root/pypi"
    if params["project"] is not None and not re.fullmatch(r"[A-Za-z0-9._-]+", params["project"]):
        return f"project {params['project']!r} is not the name of a project; use letters, digits and - . _"
    return None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "gather": {"type": "list", "elements": "str", "choices": list(GATHER)},
            "index": {"type": "str"},
            "project": {"type": "str"},
            "inherited": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    gather = params["gather"]
    if gather is None:
        gather = list(OF_SERVER if params["index"] is None else OF_INDEX)
    wrong = problem(params, gather)
    if wrong:
        module.fail_json(msg=wrong)
    try:
        client = connect(module)
        if client.password:
            client.login()
        wanted = set(gather)
        found: dict[str, Any] = {}
        if params["index"] is not None and wanted & {"indexes", "projects", "releases"}:
            found = about_index(client, params, wanted)
        reader = ServerReader(client, params["gather"] is not None)
        if wanted & {"versions", "status"}:
            found.update(reader.read("/+status", "versions", "status"))
        if (wanted - set(found)) & {"users", "indexes"}:
            found = {**reader.read("/", "users", "indexes"), **found}
        if client.version is None:
            client.get_json("/+api")
    except (BadQuery, ClientError) as error:
        module.fail_json(msg=str(error))
    for warning in reader.warnings:
        module.warn(warning)
    version = client.version or ()
    module.exit_json(
        changed=False,
        version=".".join(map(str, version)),
        dialect=version[0],
        **{name: found[name] for name in gather if name in found},
    )


if __name__ == "__main__":
    main()
