# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Release files, wheels and sdists: what their names say, and the core metadata inside them."""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Iterator

from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import PROJECT_NAME
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pep440 import parse

# The fields of the upload form by the header of the core metadata that they come from.
FIELDS = {
    "Metadata-Version": "metadata_version",
    "Summary": "summary",
    "Home-page": "home_page",
    "Download-URL": "download_url",
    "Author": "author",
    "Author-email": "author_email",
    "Maintainer": "maintainer",
    "Maintainer-email": "maintainer_email",
    "License": "license",
    "License-Expression": "license_expression",
    "Keywords": "keywords",
    "Requires-Python": "requires_python",
    "Description-Content-Type": "description_content_type",
}
REPEATED_FIELDS = {
    "Platform": "platform",
    "Supported-Platform": "supported_platform",
    "Classifier": "classifiers",
    "License-File": "license_file",
    "Project-URL": "project_urls",
    "Requires-Dist": "requires_dist",
    "Requires-External": "requires_external",
    "Provides-Dist": "provides_dist",
    "Provides-Extra": "provides_extras",
    "Obsoletes-Dist": "obsoletes_dist",
    "Dynamic": "dynamic",
    "Requires": "requires",
    "Provides": "provides",
    "Obsoletes": "obsoletes",
}

_WHEEL = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")
_SDIST = re.compile(r"(?P<stem>.+-.+)(?:\.tar\.gz|\.zip)")
_PRINTABLE = re.compile(r"[A-Za-z0-9._+!-]+")
_BROKEN = (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, NotImplementedError, RuntimeError)


class DistributionError(Exception):
    """A file cannot be uploaded; the message names it and the way out."""


@dataclass(frozen=True)
class Distribution:
    """One release file on this host.

    :param project: in the spelling that addresses have, ``foo-bar``.
    :param version: in the spelling of the metadata, or of the file's name where that has another.
    :param fields: of the upload form, less ``:action``.
    """

    path: Path
    project: str
    version: str
    sha256: str
    fields: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Return the file's name without its directory."""
        return self.path.name


def normalised(project: str) -> str:
    """Return the name of a project as devpi-server writes it in addresses."""
    return re.sub(r"[^A-Za-z0-9]+", "-", project).lower()


def read(path: Path) -> Distribution:
    """Return the wheel or sdist at the path.

    :raises DistributionError: it cannot be read, is neither, or its name and its metadata disagree.
    """
    name = path.name
    wheel, sdist = _WHEEL.fullmatch(name), _SDIST.fullmatch(name)
    if not _PRINTABLE.fullmatch(name) or not (wheel or sdist):
        raise DistributionError(
            f"{path}: the name is neither that of a wheel (name-version-python-abi-platform.whl) nor that of an sdist "
            "(name-version.tar.gz or .zip); build it again, or take it out of files"
        )
    try:
        if path.exists() and not path.is_file():
            raise DistributionError(f"{path} is not a regular file; name the wheel or the sdist itself")
        with path.open("rb") as file:
            digest = hashlib.sha256()
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise DistributionError(f"{path}: {error.strerror}; files are read on the managed host") from error
    try:
        text = _from_wheel(path) if wheel else _from_sdist(path)
    except _BROKEN as error:
        raise DistributionError(f"{path} is damaged ({error}); build it again, or copy it again") from error
    if text is None:
        wanted = "no *.dist-info/METADATA" if wheel else "no PKG-INFO in its first directory"
        raise DistributionError(f"{path} holds {wanted}, so it is no {'wheel' if wheel else 'sdist'}; build it again")
    metadata = Parser().parsestr(text)
    project, version = (str(metadata.get(header) or "").strip() for header in ("Name", "Version"))
    if not PROJECT_NAME.fullmatch(project) or not version:
        raise DistributionError(f"{path}: the metadata names no project or no version; build it again")
    names = [(wheel["name"], wheel["version"])] if wheel else list(_splits(sdist["stem"])) if sdist else []
    for of_file, version_of_file in names:
        if normalised(of_file) == normalised(project) and _same_version(version_of_file, version):
            break
    else:
        raise DistributionError(
            f"{path}: the metadata inside is of {project} {version}, which the name does not say; "
            "give the file its own name back"
        )
    if version not in name and _escaped(version) not in name:
        # devpi-server looks for the version in the name, letter by letter.
        version = version_of_file
    fields = (("name", project), ("version", version), *_fields(metadata))
    return Distribution(path, normalised(project), version, digest.hexdigest(), fields)


def _from_wheel(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"[^/]+\.dist-info/METADATA", name):
                return archive.read(name).decode(errors="replace")
    return None


def _from_sdist(path: Path) -> str | None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if re.fullmatch(r"[^/]+/PKG-INFO", name):
                    return archive.read(name).decode(errors="replace")
        return None
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            if member.isfile() and re.fullmatch(r"(\./)?[^/]+/PKG-INFO", member.name):
                content = archive.extractfile(member)
                return None if content is None else content.read().decode(errors="replace")
    return None


def _splits(stem: str) -> Iterator[tuple[str, str]]:
    for dash in re.finditer("-", stem):
        yield stem[: dash.start()], stem[dash.end() :]


def _same_version(of_file: str, version: str) -> bool:
    left, right = parse(of_file), parse(version)
    return of_file in (version, _escaped(version)) or (left is not None and right is not None and left.key == right.key)


def _escaped(version: str) -> str:
    """Return the version as a wheel's name may have it."""
    return re.sub(r"[^\w.]+", "_", version)


def _fields(metadata: Message) -> Iterator[tuple[str, str]]:
    for header, field in FIELDS.items():
        if metadata.get(header):
            yield field, str(metadata[header])
    for header, field in REPEATED_FIELDS.items():
        for value in metadata.get_all(header, ()):
            yield field, str(value)
    # Old metadata has the description in a header, where its lines are indented.
    description = re.sub(r"\n(?: {8}| {7}\|)", "\n", str(metadata.get("Description") or metadata.get_payload()))
    if description.strip():
        yield "description", description
