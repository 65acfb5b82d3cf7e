# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases on an index: uploaded, pushed to another index, deleted."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping
from urllib.parse import quote, unquote

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._checks import listed
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client, ClientError, RequestFailed
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import (
    FORBIDDEN_IN_NAMES,
    PROJECT_NAME,
    SPECIAL_PRINCIPALS,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._distribution import (
    Distribution,
    DistributionError,
    normalised,
    read,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pep440 import parse
from ansible_collections.wheelhouse.devpi.plugins.module_utils._session import connect, kept_passwords

# The words of devpi-server 6 and 7
MIRRORS = ("mirror", "remote")


@dataclass(frozen=True)
class Step:
    """One request that changes something.

    :param action: ``upload``, ``replace``, ``push`` or ``delete``.
    :param version: None where the whole project is concerned.
    :param before: the SHA-256 of each file that changes, by name, as it is now; ``after``, as it will be.
    :param send: sends the request.
    """

    action: str
    index: str
    project: str
    version: str | None
    before: Mapping[str, str]
    after: Mapping[str, str]
    send: Callable[[Client], object] = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """Return the step for a person to read."""
        about = {"index": self.index, "project": self.project}
        if self.version is not None:
            about["version"] = self.version
        return {**about, "action": self.action, "files": sorted({*self.before, *self.after})}


class Stage:
    """An index that holds packages, as the server shows it. Packages of its bases do not count.

    :param config: the keys of the index.
    """

    def __init__(self, client: Client, path: str, config: Mapping[str, Any]) -> None:
        self.client = client
        self.path = path
        self.volatile = bool(config.get("volatile", True))
        self.acl_upload = list(config.get("acl_upload", ()))
        # Only the index's own projects are asked for: for others the server would ask the mirrors among its bases.
        self.projects = sorted(client.get_json(f"/{path}")["projects"])
        self._releases: dict[str, dict[str, dict[str, str]]] = {}

    def releases(self, project: str) -> dict[str, dict[str, str]]:
        """Return the project's files by version, each with those digits of its SHA-256 that the server shows."""
        if project not in self.projects:
            return {}
        if project not in self._releases:
            self._releases[project] = releases(self.client.get_json(f"/{self.path}/{project}?ignore_bases="))
        return self._releases[project]

    def with_full_digests(self, files: Mapping[str, str]) -> dict[str, str]:
        """Return the files with their full SHA-256, which devpi-server 7.0 shows only for a single file."""
        return {
            name: digest if len(digest) == 64 else _digest(self.client.get_json(self._file_path(name, digest)), digest)
            for name, digest in files.items()
        }

    def described(self, project: str, version: str, files: Mapping[str, str]) -> list[dict[str, str]]:
        """Return the files for the module's result."""
        return [
            {
                "name": name,
                "project": project,
                "version": version,
                "sha256": digest,
                "url": self.client.url + quote(self._file_path(name, digest), safe="/+"),
            }
            for name, digest in sorted(files.items())
        ]

    def _file_path(self, name: str, digest: str) -> str:
        return f"/{self.path}/+f/{digest[:3]}/{digest[3:16]}/{name}"


def releases(projectconfig: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return by version the files with their digests.

    :param projectconfig: the ``result`` of ``GET /user/index/project``.
    """
    found: dict[str, dict[str, str]] = {}
    for version, data in projectconfig.items():
        files = found.setdefault(version, {})
        for link in data.get("+links", ()):
            if link["rel"] in ("releasefile", "doczip"):
                place = unquote(link["href"]).rsplit("/", 3)
                files[place[3]] = _digest(link, place[1] + place[2])
    return found


def _digest(about: Mapping[str, Any], known: str) -> str:
    """Return the SHA-256 that the server shows for a file, or the known digits where it shows none."""
    digest = about.get("hashes", {}).get("sha256")
    algorithm, _dummy, value = about.get("hash_spec", "").partition("=")
    return str(digest or (value if algorithm == "sha256" else known))


def outdated(versions: Iterable[str], keep: int) -> list[str]:
    """Return the development releases, the oldest first, without the newest ``keep`` of them."""
    parsed = ((parse(version), version) for version in versions)
    found = sorted((each.key, version) for each, version in parsed if each is not None and each.is_dev)
    return [version for _dummy, version in found[: max(len(found) - keep, 0)]]


def spellings(version: str, versions: Iterable[str]) -> list[str]:
    """Return the versions that equal the given one, in whatever spelling: ``1.0.dev1`` for ``1.0-DEV1``."""
    wanted = parse(version)
    same = []
    for each in versions:
        candidate = parse(each)
        if each == version or (wanted is not None and candidate is not None and wanted.key == candidate.key):
            same.append(each)
    return sorted(same)


class _Plan:
    """The steps from what the index holds to what the task asks for, and what is wrong with the task.

    :param params: the module's.
    """

    def __init__(self, client: Client, params: Mapping[str, Any]) -> None:
        self.client = client
        self.params = params
        self.force = bool(params["force"])
        self.project = normalised(params["project"] or "")
        self.steps: list[Step] = []
        self.files: list[dict[str, str]] = []
        self.problems: list[str] = []

    def make(self) -> None:
        """Fill in the lists."""
        if self.params["files"] is not None:
            self._uploads()
        elif self.params["push_to"] is not None:
            self._push()
        elif self.params["keep"] is not None:
            self._thin_out()
        else:
            self._delete()

    def _uploads(self) -> None:
        found: dict[str, Distribution] = {}
        for path in map(Path, self.params["files"]):
            try:
                each = read(path)
            except DistributionError as error:
                self.problems.append(str(error))
                continue
            if each.name in found:
                self.problems.append(f"{path}: {found[each.name].path} has the same name; name one of them")
            found.setdefault(each.name, each)
        stage = self._find_stage("index")
        if stage is None:
            return
        for each in found.values():
            self._upload(stage, each)
            self.files += stage.described(each.project, each.version, {each.name: each.sha256})
        if self.steps:
            self._check_upload_right(stage)

    def _upload(self, stage: Stage, file: Distribution) -> None:
        existing: dict[str, str] = {}
        for files in stage.releases(file.project).values():
            existing.update({name: digest for name, digest in files.items() if name == file.name})
        if existing and file.sha256.startswith(existing[file.name]):
            return
        if existing and not stage.volatile:
            self.problems.append(
                f"{file.path}: {stage.path} is not volatile and has another {file.name}, with the SHA-256 "
                f"{existing[file.name]}, not {file.sha256}; raise the version, or upload the file that is there"
            )
            return
        form = [(":action", "file_upload"), *file.fields]
        self.steps.append(
            Step(
                "replace" if existing else "upload",
                stage.path,
                file.project,
                file.version,
                stage.with_full_digests(existing),
                {file.name: file.sha256},
                lambda client: client.upload(f"/{stage.path}/", form, file.name, file.path.read_bytes()),
            )
        )

    def _push(self) -> None:
        source, target = self._find_stage("index"), self._find_stage("push_to")
        if source is None or target is None:
            return
        if source.path == target.path:
            self.problems.append(f"push_to {target.path} is the index itself; name the one that comes after it")
            return
        available = source.releases(self.project)
        versions = spellings(self.params["version"], available)
        if not versions:
            self.problems.append(self._no_release(source, available))
        for version in versions:
            self._push_version(source, target, version)
        if self.steps:
            self._check_upload_right(target)

    def _push_version(self, source: Stage, target: Stage, version: str) -> None:
        release = f"{self.project} {version}"
        files = source.releases(self.project)[version]
        existing = target.releases(self.project).get(version, {})
        if not files:
            self.problems.append(f"{source.path} has no file of {release}; upload one first")
            return
        others = sorted(name for name in files if name in existing and existing[name] != files[name])
        if others:
            self.problems.append(
                f"{target.path} has another {' and another '.join(others)} than {source.path}; "
                f"{self._way_out(target, version)}"
            )
            return
        new = {name: digest for name, digest in files.items() if name not in existing}
        if new and len(new) < len(files) and not target.volatile:
            # devpi-server stops at the first file that the target has, without comparing the contents, and keeps
            # what it has pushed by then.
            self.problems.append(
                f"{target.path} is not volatile and has a part of {release}, which devpi cannot complete by a push; "
                f"upload {', '.join(sorted(new))} to it with files"
            )
            return
        whole = source.with_full_digests(files)
        self.files += target.described(self.project, version, whole)
        if new:
            body = {"name": self.project, "version": version, "targetindex": target.path}
            self.steps.append(
                Step(
                    "push",
                    target.path,
                    self.project,
                    version,
                    {},
                    {name: whole[name] for name in new},
                    lambda client: client.post(f"/{source.path}", body),
                )
            )

    def _way_out(self, target: Stage, version: str) -> str:
        if target.volatile:
            return f"raise the version, or delete {version} there first (state: absent)"
        return "raise the version"

    def _no_release(self, source: Stage, available: Mapping[str, object]) -> str:
        wanted = self.params["version"]
        if available:
            nearest = difflib.get_close_matches(wanted, available, n=1, cutoff=0)[0]
            return (
                f"{source.path} has no {self.project} {wanted}; "
                f"of its {len(available)} versions the nearest is {nearest}"
            )
        near = difflib.get_close_matches(self.project, source.projects, n=1)
        guess = f"did you mean {near[0]}?" if near else "upload it first, or correct the name"
        return f"{source.path} has no project {self.project}; {guess}"

    def _thin_out(self) -> None:
        stage = self._find_stage("index")
        if stage is None:
            return
        for project in [self.project] if self.project else stage.projects:
            existing = stage.releases(project)
            for version in outdated(existing, self.params["keep"]):
                self._delete_version(stage, project, version)
        self._check_deletable(stage)

    def _delete(self) -> None:
        stage = self._find_stage("index")
        if stage is None:
            return
        existing = stage.releases(self.project)
        if self.params["version"] is not None:
            for version in spellings(self.params["version"], existing):
                self._delete_version(stage, self.project, version)
        elif self.project in stage.projects:
            if not self.force:
                self.problems.append(
                    f"{stage.path}: the whole project {self.project} with all its {len(existing)} releases would be "
                    "deleted, because no version is named; set force: true if that is meant, or name a version"
                )
            files = {name: digest for release in existing.values() for name, digest in release.items()}
            self._delete_step(stage, self.project, None, files)
        self._check_deletable(stage)

    def _delete_version(self, stage: Stage, project: str, version: str) -> None:
        self._delete_step(stage, project, version, stage.releases(project)[version])

    def _delete_step(self, stage: Stage, project: str, version: str | None, files: Mapping[str, str]) -> None:
        path = f"/{stage.path}/{project}" + (f"/{version}" if version is not None else "")
        # Only with this does devpi-server delete from an index that is not volatile.
        path += "" if stage.volatile else "?force="
        self.steps.append(
            Step(
                "delete",
                stage.path,
                project,
                version,
                stage.with_full_digests(files),
                {},
                lambda client: _delete_if_present(client, path),
            )
        )

    def _check_deletable(self, stage: Stage) -> None:
        if self.steps and not stage.volatile and not self.force:
            named = ", ".join(f"{step.project} {step.version or '(all of it)'}" for step in self.steps)
            self.problems.append(
                f"{stage.path} is not volatile, so its releases are meant to stay; "
                f"set force: true to delete {named} all the same"
            )

    def _find_stage(self, option: str) -> Stage | None:
        """Return the index that the option names; None, with a problem noted, where it cannot hold packages."""
        path = self.params[option]
        if not re.fullmatch("[^/]+/[^/]+", path) or FORBIDDEN_IN_NAMES.search(path.replace("/", "")):
            self.problems.append(f"{option} {path!r} is not an index; write it as user/index, for example alice/dev")
            return None
        try:
            config = self.client.get_json(f"/{path}?no_projects=")
        except RequestFailed as error:
            if error.status != 404:
                raise
            everything = self.client.get_json("/")
            known = [f"{user}/{name}" for user, each in everything.items() for name in each.get("indexes", {})]
            near = difflib.get_close_matches(path, known, n=1)
            guess = f"did you mean {near[0]}?" if near else "make it first, or correct the name"
            self.problems.append(f"{option} {path}: {self.client.url} has no such index; {guess}")
            return None
        if config.get("type") in MIRRORS:
            self.problems.append(
                f"{option} {path} is a mirror, which has only its upstream's packages; name an index with packages of "
                "its own"
            )
            return None
        return Stage(self.client, path, config)

    def _check_upload_right(self, stage: Stage) -> None:
        """Note a problem where the server would refuse the upload. Only its plugins know the members of groups."""
        groups = [each for each in stage.acl_upload if each.startswith(":") and each not in SPECIAL_PRINCIPALS]
        if not groups and not {self.client.username, *SPECIAL_PRINCIPALS} & set(stage.acl_upload):
            named = ", ".join(stage.acl_upload) or "nobody"
            self.problems.append(
                f"{self.client.username} may not upload to {stage.path}, whose acl_upload names {named}; "
                "log in as one of those, or add the user there"
            )


def _delete_if_present(client: Client, path: str) -> None:
    try:
        client.delete(path)
    except RequestFailed as error:
        # Another run was faster.
        if error.status != 404:
            raise


def diff(steps: list[Step]) -> dict[str, dict[str, dict[str, str]]]:
    """Return by index the files concerned with their SHA-256, before and after."""
    before: dict[str, dict[str, str]] = {}
    after: dict[str, dict[str, str]] = {}
    for step in steps:
        shown = step.before
        if not shown and not step.after:
            shown = {f"{step.project} {step.version or ''}".strip(): "(no files)"}
        before.setdefault(step.index, {}).update(shown)
        after.setdefault(step.index, {}).update(step.after)
    return {"before": before, "after": after}


def check(params: Mapping[str, Any]) -> str | None:
    """Return what is wrong with options that the argument spec accepts; None where nothing is."""
    if params["project"] is not None and not PROJECT_NAME.fullmatch(params["project"]):
        return f"project {params['project']!r} is not the name of a project; write it as in pip install NAME"
    if params["files"] == []:
        return "files is empty; name at least one file, or leave the task out (when: ... | length > 0)"
    if params["keep"] is not None and params["keep"] < 0:
        return f"keep {params['keep']} is negative; give the number of development releases to keep, 0 or more"
    if params["state"] == "absent" and (params["push_to"] is not None or params["keep"] is not None):
        return "state: absent deletes project and version and goes with neither push_to nor keep; write two tasks"
    return None


def converge(module: AnsibleModule) -> None:
    """Bring the index to the state that the task asks for, and end the module."""
    problem = check(module.params)
    if problem:
        module.fail_json(msg=problem)
    done: list[Step] = []
    try:
        client = connect(module, kept_passwords(module))
        plan = _Plan(client, module.params)
        plan.make()
        if plan.problems:
            module.fail_json(msg="Nothing was changed." + listed(plan.problems))
        if plan.steps:
            client.login()
        if not module.check_mode:
            for step in plan.steps:
                step.send(client)
                done.append(step)
    except (ClientError, CredentialsError, OSError) as error:
        module.fail_json(msg=str(error), changed=bool(done), changes=[step.summary() for step in done])
    result: dict[str, Any] = {
        "changed": bool(plan.steps),
        "changes": [step.summary() for step in plan.steps],
        "files": plan.files,
        "version": ".".join(map(str, client.version or ())),
    }
    if module._diff:
        result["diff"] = diff(plan.steps)
    module.exit_json(**result)
