# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a project's simple page to its files and releases."""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client, RequestFailed
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pep440 import parse

SOURCE_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def normalised(project: str) -> str:
    """Return the project's name as PEP 503 writes it, and devpi-server with it."""
    return re.sub(r"[-_.]+", "-", project).lower()


def is_index(text: str) -> bool:
    """Whether the text can be the path of an index, ``user/index``."""
    return re.fullmatch(r"[^/?#+\s][^/?#\s]*/[^/?#+\s][^/?#\s]*", text) is not None


def version_in(filename: str, project: str) -> str | None:
    """Return the version in the name of a release file; None where it is neither a wheel, an egg nor a source archive.

    :param project: normalised.
    """
    if filename.endswith((".whl", ".egg")):
        # Neither the project nor the version holds a dash there.
        fields = filename[:-4].split("-")
        return fields[1] if len(fields) > 1 and normalised(fields[0]) == project else None
    suffix = next((each for each in SOURCE_SUFFIXES if filename.endswith(each)), None)
    if suffix is None:
        return None
    stem = filename[: -len(suffix)]
    for dash in re.finditer("-", stem):
        if normalised(stem[: dash.start()]) == project:
            return stem[dash.end() :]
    return None


def fetch_files(client: Client, index: str, project: str) -> list[dict[str, Any]]:
    """Return the files that an installer sees of a project on an index; none where the index or the project is missing.

    For a stage over a mirror whose upstream does not answer, devpi-server shows the files that it knows, or none.

    :raises RequestFailed: the index is a mirror whose upstream does not answer.
    """
    project = normalised(project)
    path = f"/{index}/+simple/{project}/"
    try:
        try:
            page = client.get_simple(path)
        except RequestFailed as error:
            if error.status != 502:
                raise
            # devpi-server 7 also answers 502 where the upstream lacks the project. This request fails with the reason.
            client.get_json(f"/{index}/{project}")
            page = client.get_simple(path)
    except RequestFailed as error:
        if error.status != 404:
            raise
        return []
    return files(page, client.url + path)


def files(page: Mapping[str, Any], page_url: str) -> list[dict[str, Any]]:
    """Return the files of a simple page, each with the index that holds it and an absolute URL without credentials."""
    project = normalised(str(page["name"]))
    return [_file(each, page_url, project) for each in page["files"]]


def _file(entry: Mapping[str, Any], page_url: str, project: str) -> dict[str, Any]:
    parts = urlsplit(urljoin(page_url, entry["url"]))
    index = re.search(r"([^/]+/[^/]+)/\+[ef]/", parts.path)
    return {
        "filename": entry["filename"],
        "version": version_in(entry["filename"], project),
        "index": unquote(index[1]) if index else None,
        "url": urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])),
        "sha256": entry["hashes"].get("sha256"),
        "size": entry.get("size"),
        # Empty for what was uploaded without it.
        "requires_python": entry.get("requires-python") or None,
        # true, or the reason for it
        "yanked": entry.get("yanked", False),
    }


def releases(given: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the files by release, the newest release first; those whose name tells no version are left out.

    What is not a version of PEP 440 comes last.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in given:
        text = each["version"]
        if text is None:
            continue
        # A wheel and its source archive may spell one version differently.
        name = str(parse(text) or text)
        release = found.setdefault(name, {"version": name, "files": []})
        release["files"].append({key: value for key, value in each.items() if key != "version"})
    for release in found.values():
        release["files"].sort(key=lambda each: str(each["filename"]))
    return sorted(found.values(), key=_sort_key, reverse=True)


def _sort_key(release: Mapping[str, Any]) -> tuple[Any, ...]:
    version = parse(release["version"])
    return (0, release["version"]) if version is None else (1, version.key)
