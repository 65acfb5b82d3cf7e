"""script/tables: what documents say of variables and tasks is what the roles and the playbook are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def tables(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "script/_tables.py", *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a checkout that a test may change."""
    for name in ("docs", "inventory", "playbooks", "plugins", "roles", "script"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    shutil.copy(CHECKOUT / "ansible.cfg", tmp_path)
    return tmp_path


def test_documents_are_what_script_tables_writes() -> None:
    done = tables(CHECKOUT, "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_differs_is_named_and_then_written(copy: Path) -> None:
    change(copy / "roles/common/defaults/main.yml", "devpi_port: 3141", "devpi_port: 4131")
    change(copy / "roles/users/meta/argument_specs.yml", "Whether undeclared users and", "Whether users | and")
    change(copy / "roles/server/README.md", "The file with the secret that signs logins", "A secret")
    change(copy / "roles/users/tasks/main.yml", "- name: Keep the tokens", "- name: Keep what opens doors")
    pages = ["roles/common/README.md", "roles/server/README.md", "roles/users/README.md", "docs/what-it-does.md"]

    done = tables(copy, "--check")
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stderr.splitlines()] == pages
    assert "A secret" in (copy / "roles/server/README.md").read_text("utf-8")

    assert tables(copy).stdout.splitlines() == pages
    assert "| `devpi_port` | `4131` |" in (copy / pages[0]).read_text("utf-8")
    assert (copy / pages[1]).read_text("utf-8") == (CHECKOUT / pages[1]).read_text("utf-8")
    assert r"| Whether users \| and indexes are deleted." in (copy / pages[2]).read_text("utf-8")
    assert "wheelhouse.devpi.users : Keep what opens doors\n" in (copy / pages[3]).read_text("utf-8")
    assert tables(copy, "--check").returncode == 0


def test_document_without_a_place_for_them_is_named(copy: Path) -> None:
    change(copy / "roles/venv/README.md", "<!-- variables -->\n", "")
    done = tables(copy, "--check")
    assert done.returncode == 1
    assert done.stderr == "roles/venv/README.md lacks the lines <!-- variables --> and <!-- end of variables -->\n"


@pytest.mark.parametrize("page", sorted((CHECKOUT / "roles").glob("*/README.md")), ids=lambda page: page.parent.name)
def test_tables_are_rows_of_three_readable_cells(page: Path) -> None:
    for row in re.findall(r"^\| `devpi_.*$", page.read_text("utf-8"), re.MULTILINE):
        cells = re.split(r"(?<!\\)\|", row)[1:-1]
        assert len(cells) == 3, row
        assert all(cell.strip() for cell in cells), row
        assert not re.search(r"\b[A-Z]{1,2}\([^)]*\)", row), row
        assert row.count("`") % 2 == 0, row
