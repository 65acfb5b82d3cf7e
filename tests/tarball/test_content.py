"""What is in the tarball that users install, and what is not."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ("meta", "playbooks", "plugins", "roles")
DOCUMENTS = {
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CODE_OF_CONDUCT.md",
    "MAINTAINERS.md",
    "SECURITY.md",
    "REUSE.toml",
}


@pytest.fixture(scope="module")
def names() -> set[str]:
    with tarfile.open(os.environ["DEVPI_TEST_TARBALL"]) as tarball:
        return {member.name for member in tarball.getmembers() if member.isfile()}


def test_nothing_but_the_collection(names: set[str]) -> None:
    allowed = {*RUNTIME, "changelogs", "docs", "LICENSES"}
    tops = {name for name in names if name.split("/")[0] not in allowed}
    assert tops == DOCUMENTS | {"MANIFEST.json", "FILES.json"}


def test_nothing_that_runs_is_forgotten(names: set[str]) -> None:
    files = {
        str(path.relative_to(ROOT))
        for top in RUNTIME
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert files - names == set()


def test_documentation_sites_find_the_guides(names: set[str]) -> None:
    guides = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "docsite" / "rst").glob("*.rst")}
    assert guides | {"docs/docsite/extra-docs.yml", "docs/docsite/links.yml"} == {
        name for name in names if name.startswith("docs/docsite/")
    }
