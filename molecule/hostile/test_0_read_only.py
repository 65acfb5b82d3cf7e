"""A host to which nothing was deployed, and a place of environments that cannot be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from molecule.conftest import Target


@pytest.fixture
def read_only(bare: Target) -> Iterator[None]:
    """Mount /opt read-only for as long as the test goes on."""
    bare.host.check_output("mount --bind /opt /opt && mount -o remount,ro,bind /opt")
    yield
    bare.host.check_output("umount /opt")


@pytest.mark.usefixtures("read_only")
@pytest.mark.parametrize("path", ["/opt/devpi/venv", "/srv/devpi/venv"])
@pytest.mark.parametrize("arguments", [(), ("--check",)], ids=["run", "check"])
def test_environments_that_cannot_be_made_are_refused_before_anything_changes(
    bare: Target, path: str, arguments: tuple[str, ...]
) -> None:
    before = bare.files()
    run = bare.deploy({"devpi_venv_path": path}, *arguments)
    assert run.code != 0
    said = " ".join(run.said.split())
    assert "Nothing was changed" in said
    # Environments are made there whatever the link to them is called, so another name of it is no way out.
    problem = "the virtual environment (devpi_venv_path) goes to /opt/devpi/venvs, and its file system is mounted "
    assert problem + "read-only; mount it for writing" in said
    assert "name another path" not in said
    # each place once, however many look at it
    listed = run.said.split("problems:")[-1]
    assert listed.count("read-only;") == (2 if path.startswith("/opt/") else 1), listed
    assert bare.files() == before
