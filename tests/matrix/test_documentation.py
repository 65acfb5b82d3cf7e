"""What one ansible-core makes of the collection as it is installed: its documentation and the playbook's syntax."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

COLLECTION = Path(os.environ["ANSIBLE_COLLECTIONS_PATH"].split(":")[0], "ansible_collections", "wheelhouse", "devpi")
PLAYBOOK = "wheelhouse.devpi.site"
NAMES = {
    "callback": [path.stem for path in COLLECTION.glob("plugins/callback/*.py")],
    "filter": [path.stem for path in COLLECTION.glob("plugins/filter/*.py")],
    "lookup": [path.stem for path in COLLECTION.glob("plugins/lookup/*.py")],
    "module": [path.stem for path in COLLECTION.glob("plugins/modules/*.py")],
    "role": [path.parents[1].name for path in COLLECTION.glob("roles/*/meta/argument_specs.yml")],
}


def run(directory: Path, *command: str) -> str:
    """Run a program away from the checkout and its settings; it must have nothing to warn of."""
    said = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    # 2.22.0rc1 warns of a collection of its own.
    warnings = [line for line in said.stderr.splitlines() if "ansible/_internal/ansible_collections/" not in line]
    assert (said.returncode, warnings) == (0, [])
    return said.stdout


def test_the_core_is_the_one_that_is_meant(tmp_path: Path) -> None:
    core = os.environ["DEVPI_TEST_CORE"]
    assert run(tmp_path, "ansible-playbook", "--version").startswith(f"ansible-playbook [core {core}.")


@pytest.mark.parametrize("kind", NAMES)
def test_every_plugin_and_role_has_documentation(tmp_path: Path, kind: str) -> None:
    names = [f"wheelhouse.devpi.{name}" for name in NAMES[kind]]
    assert names
    found = json.loads(run(tmp_path, "ansible-doc", "--type", kind, "--json", *names))
    assert sorted(found) == sorted(names)
    assert [name for name in names if "error" in found[name]] == []
    pages = run(tmp_path, "ansible-doc", "--type", kind, *names).lower()
    assert [name for name in names if name not in pages] == []


def test_syntax_of_the_playbook(tmp_path: Path) -> None:
    (tmp_path / "inventory").write_text("[devpi]\nindex.example.com\n")
    assert run(tmp_path, "ansible-playbook", "--inventory", "inventory", "--syntax-check", PLAYBOOK).strip()
