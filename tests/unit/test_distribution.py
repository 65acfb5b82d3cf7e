"""What is read from wheels and sdists."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._distribution import (
    Distribution,
    DistributionError,
    normalised,
    read,
)

METADATA = """\
Metadata-Version: 2.4
Name: Foo.Bar
Version: 1.0
Summary: Füße
Author-email: A <a@example.com>
License-Expression: MIT
License-File: LICENSE
License-File: NOTICE
Classifier: Programming Language :: Python :: 3
Classifier: Topic :: Software Development
Requires-Dist: attrs>=20
Requires-Dist: tomli; python_version<"3.11"
Requires-Python: >=3.8
Project-URL: Home, https://example.com
Provides-Extra: test
Dynamic: description
Description-Content-Type: text/markdown

# Title

One: not a header
"""


def wheel(directory: Path, name: str, metadata: str = METADATA, member: str = "x.dist-info/METADATA") -> Path:
    with zipfile.ZipFile(directory / name, "w") as archive:
        archive.writestr("vendored/y.dist-info/METADATA", "Name: y\nVersion: 9\n")
        archive.writestr(member, metadata)
    return directory / name


def sdist(directory: Path, name: str, metadata: str = METADATA, member: str = "x/PKG-INFO") -> Path:
    if name.endswith(".zip"):
        return wheel(directory, name, metadata, member)
    with tarfile.open(directory / name, "w:gz") as archive:
        for each, text in (("x/y.egg-info/PKG-INFO", "Name: y\nVersion: 9\n"), (member, metadata)):
            info = tarfile.TarInfo(each)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return directory / name


def test_all_that_the_metadata_says(tmp_path: Path) -> None:
    expected = (
        ("name", "Foo.Bar"),
        ("version", "1.0"),
        ("metadata_version", "2.4"),
        ("summary", "Füße"),
        ("author_email", "A <a@example.com>"),
        ("license_expression", "MIT"),
        ("requires_python", ">=3.8"),
        ("description_content_type", "text/markdown"),
        ("classifiers", "Programming Language :: Python :: 3"),
        ("classifiers", "Topic :: Software Development"),
        ("license_file", "LICENSE"),
        ("license_file", "NOTICE"),
        ("project_urls", "Home, https://example.com"),
        ("requires_dist", "attrs>=20"),
        ("requires_dist", 'tomli; python_version<"3.11"'),
        ("provides_extras", "test"),
        ("dynamic", "description"),
        ("description", "# Title\n\nOne: not a header\n"),
    )
    for path in (
        wheel(tmp_path, "foo_bar-1.0-py3-none-any.whl"),
        sdist(tmp_path, "foo_bar-1.0.tar.gz"),
        sdist(tmp_path, "Foo.Bar-1.0.zip"),
    ):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        assert read(path) == Distribution(path, "foo-bar", "1.0", sha256, expected)


def test_a_description_in_a_header_loses_its_indentation(tmp_path: Path) -> None:
    text = "Name: foo\nVersion: 1\nDescription: A\n        b::\n        \n          c\n       |d\n"
    fields = dict(read(sdist(tmp_path, "foo-1.tar.gz", text)).fields)
    assert fields["description"] == "A\nb::\n\n  c\nd"


@pytest.mark.parametrize(
    ("name", "project", "version", "sent"),
    [
        ("foo-bar-1.0.tar.gz", "foo-bar", "1.0", "1.0"),
        ("Foo_Bar-1.0.tar.gz", "foo.bar", "1.0", "1.0"),
        ("foo-2-1.0.tar.gz", "foo-2", "1.0", "1.0"),
        ("foo-1.0.0.tar.gz", "foo", "1.0", "1.0"),
        ("foo-1.0.dev3.tar.gz", "foo", "1.0-dev3", "1.0.dev3"),
        ("foo-1.0-py3-none-any.whl", "foo", "v1.0", "1.0"),
        ("foo-1.0+a.1-py3-none-any.whl", "foo", "1.0+a.1", "1.0+a.1"),
        ("foo-1.0_a.1-py3-none-any.whl", "foo", "1.0+a.1", "1.0+a.1"),
        ("foo-1.0-1abc-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "foo", "1.0", "1.0"),
        ("foo-2024-final.tar.gz", "foo", "2024-final", "2024-final"),
        ("foo-1!1.0.tar.gz", "foo", "1!1.0", "1!1.0"),
    ],
)
def test_names_and_metadata_that_agree(tmp_path: Path, name: str, project: str, version: str, sent: str) -> None:
    make = wheel if name.endswith(".whl") else sdist
    found = read(make(tmp_path, name, f"Name: {project}\nVersion: {version}\n"))
    assert (found.project, found.version) == (normalised(project), sent)
    assert dict(found.fields)["version"] == sent


@pytest.mark.parametrize(
    ("name", "project", "version"),
    [
        ("foo-1.0.tar.gz", "bar", "1.0"),
        ("foo-1.0.tar.gz", "foo", "1.1"),
        ("foo-1.0.tar.gz", "foo", "1.0.dev1"),
        ("foo_bar-1.0-py3-none-any.whl", "foo", "1.0"),
        ("foo-1.0-py3-none-any.whl", "foo", "1.0.post1"),
    ],
)
def test_names_and_metadata_that_disagree(tmp_path: Path, name: str, project: str, version: str) -> None:
    make = wheel if name.endswith(".whl") else sdist
    path = make(tmp_path, name, f"Name: {project}\nVersion: {version}\n")
    with pytest.raises(DistributionError, match=f"the metadata inside is of {project} {version}, which the name does"):
        read(path)


@pytest.mark.parametrize(
    "name", ["foo.whl", "foo-1.0.whl", "foo-1.0.tar.bz2", "foo.tar.gz", "README.md", "foo -1.0.tar.gz", "foo-ü.zip"]
)
def test_names_of_neither_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DistributionError, match="neither that of a wheel"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["foo-1.0-py3-none-any.whl", "foo-1.0.tar.gz", "foo-1.0.zip"])
def test_files_that_are_not_what_their_name_says(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DistributionError, match=f"{name}: No such file"):
        read(path)
    for content in (b"", b"PK\x05", b"\x1f\x8b\x08", b"<html>"):
        path.write_bytes(content)
        with pytest.raises(DistributionError, match=f"{name} is damaged"):
            read(path)
    make = wheel if name.endswith(".whl") else sdist
    with pytest.raises(DistributionError, match=f"{name} holds no"):
        read(make(tmp_path, name, member="deep/down/PKG-INFO"))
    for text in ("", "Name: foo\n", "Version: 1.0\n", "Name: ../foo\nVersion: 1.0\n", "\nName: foo\nVersion: 1.0\n"):
        member = {"member": "x.dist-info/METADATA"} if name.endswith(".whl") else {}
        with pytest.raises(DistributionError, match=f"{name}: the metadata names no project or no version"):
            read(make(tmp_path, name, text, **member))
    path.unlink()
    path.mkdir()
    with pytest.raises(DistributionError, match=f"{name} is not a regular file"):
        read(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(DistributionError, match=f"{name} is not a regular file"):
        read(path)


def test_a_damaged_member_is_told(tmp_path: Path) -> None:
    path = sdist(tmp_path, "foo-1.0.tar.gz", METADATA + "x" * 100_000)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DistributionError, match="is damaged"):
        read(path)
