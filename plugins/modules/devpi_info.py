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
  - Returns the users, indexes, versions and status of a devpi-server, and of one index the projects and releases with
    their files. It only reads.
  - What anyone may read is read without a login. Where O(password) is set the module logs in first (0.2 s and more),
    for servers where a plugin hides indexes.
  - A server has no list of its releases, so RV(releases) costs one request for each project of the index; all else
    costs one or two.
  - The list of all projects of a mirror is never asked for, since it is that of the whole upstream. Without
    C(mirror_no_project_list) the server may fetch it by itself when one project of the mirror is asked for.
  - A password or token inside an address, such as that of a mirror's upstream, is masked in the result.
  - Needs nothing but Python on the managed host, and speaks to devpi-server 6.15 and newer releases of 6, and to 7.
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
      - The devpi user who asks, where a password is given.
      - If not set, the environment variable E(DEVPI_USERNAME) on the managed host is used.
    type: str
    default: root
  password:
    description:
      - That user's password. With it the module logs in, which only a server that hides something needs.
      - If not set, the environment variable E(DEVPI_PASSWORD) on the managed host is used.
    type: str
  gather:
    description:
      - What to ask for, each under the name of the value that it returns.
      - V(status) and V(versions) come of one request, V(users) and V(indexes) of another.
      - V(projects) and V(releases) need O(index).
      - If not set, V(versions), V(status), V(users) and V(indexes); with O(index), V(indexes) and V(releases).
      - If not set, what is closed to who asks is left out, with a warning that says how to open it. The nginx of role
        wheelhouse.devpi.proxy gives V(status) and V(versions) to the networks of C(devpi_proxy_networks) alone, or to
        all with C(devpi_proxy_public_status); with C(devpi_private) everything takes a login; and a token that is bound
        to indexes does not read V(users). What O(gather) names itself, the module fails for.
    type: list
    elements: str
    choices: [versions, status, users, indexes, projects, releases]
  index:
    description: One index as V(user/index), which V(indexes), V(projects) and V(releases) are then about.
    type: str
  project:
    description:
      - One project of O(index), in any spelling of its name. V(projects) and V(releases) are then about it alone.
      - Needed where O(index) is a mirror.
    type: str
  inherited:
    description:
      - Whether RV(releases) also holds what the bases of O(index) give for the same projects, which is what pip sees.
      - A mirror among the bases then asks its upstream for each project that it may serve.
    type: bool
    default: false
seealso:
  - plugin: wheelhouse.devpi.release
    plugin_type: lookup
    description: The newest release that fits a specifier, for a play to pin.
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Ask which users, indexes and versions there are
  wheelhouse.devpi.devpi_info:
    url: http://127.0.0.1:3141
  register: devpi

- name: Show the indexes that build on root/pypi
  ansible.builtin.debug:
    msg: "{{ devpi.indexes | dict2items | selectattr('value.bases', 'defined')
      | selectattr('value.bases', 'contains', 'root/pypi') | map(attribute='key') }}"

- name: Ask for the releases of one project
  wheelhouse.devpi.devpi_info:
    url: http://127.0.0.1:3141
    index: team/production
    project: latexhelper
    gather: [releases]
  register: production

- name: Stop where this release is on the index already
  ansible.builtin.assert:
    that: "'1.2' not in production.releases.latexhelper | map(attribute='version')"
"""

RETURN = r"""
version:
  description: The version of the devpi-server that answered, without the mark of a pre-release.
  returned: success
  type: str
  sample: 6.20.3
dialect:
  description:
    - V(6) or V(7), the first number of the version.
    - Types and settings of indexes have other names on devpi-server 7 (V(local) and V(remote) for V(stage) and
      V(mirror)) and are returned as the server calls them.
  returned: success
  type: int
  sample: 6
versions:
  description: The versions of devpi-server and its plugins, in full.
  returned: when O(gather) has V(versions), or where it is not set and they are open
  type: dict
  sample:
    devpi-server: 6.20.3
    devpi-web: 5.1.1
status:
  description:
    - What the server tells of itself, under its own names.
    - Among them are C(role), which is V(REPLICA), or else V(MASTER) on devpi-server 6 and V(PRIMARY) on 7; C(serial);
      and on a replica C(replica-in-sync-at).
  returned: when O(gather) has V(status), or where it is not set and it is open
  type: dict
  sample:
    role: MASTER
    serial: 12
    uuid: 024979f2aa534f15ad34576e5efc04af
users:
  description: The users by name, with the names of their indexes.
  returned: when O(gather) has V(users), or where it is not set and they are open
  type: dict
  sample:
    team:
      username: team
      email: team@example.com
      indexes: [dev, production]
indexes:
  description: The settings of the indexes by path; of O(index) alone where it is set.
  returned: when O(gather) has V(indexes), or where it is not set and they are open
  type: dict
  sample:
    team/production:
      type: stage
      volatile: false
      bases: []
projects:
  description:
    - The names of the projects of O(index), not those of its bases, as the server writes them (V(foo-bar) for Foo_Bar).
    - With O(project), that name, or nothing where the index has no such project.
  returned: when O(gather) has V(projects)
  type: list
  elements: str
  sample: [latexhelper]
releases:
  description:
    - The releases of each project, the newest first by the order of PEP 440. Projects are called as in RV(projects).
    - With O(project), that name is there also where the index has no such project; its list is empty then.
    - Only wheels, eggs and source archives belong to a release.
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
          description: Its name.
          type: str
        url:
          description: Its address, without credentials.
          type: str
        index:
          description: The index that holds it, O(index) or one of its bases.
          type: str
        sha256:
          description: Its checksum; null where an upstream tells none.
          type: str
        size:
          description: Its size in bytes; null on devpi-server 6, and where an upstream tells none.
          type: int
        requires_python:
          description: The versions of Python that it is for; null for all.
          type: str
        yanked:
          description: V(false), V(true), or the reason why an upstream withdrew it.
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
        return f"project {params['project']!r} is no project's name; use letters, digits and - . _"
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
