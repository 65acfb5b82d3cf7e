"""script/test matrix and CI's job of that name run with the same releases of ansible-core."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
[CORES] = [
    ast.literal_eval(node.value)
    for node in ast.parse((ROOT / "tests" / "run.py").read_text("utf-8")).body
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CORES"
]


def test_ci_runs_with_each_core_and_its_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    rows = workflow["jobs"]["matrix"]["strategy"]["matrix"]["include"]
    assert {row["core"]: row["python"] for row in rows} == CORES


def test_each_core_has_its_lock_and_its_list_of_exceptions() -> None:
    for pattern, name in (
        ("requirements/matrix-*.txt", r"matrix-(.+)\.txt"),
        ("tests/sanity/ignore-*", r"ignore-(.+)\.txt"),
    ):
        assert {re.fullmatch(name, file.name)[1] for file in ROOT.glob(pattern)} == set(CORES)
    for core in CORES:
        lock = (ROOT / "requirements" / f"matrix-{core}.txt").read_text("utf-8")
        assert re.search(rf"^ansible-core=={re.escape(core)}\.", lock, re.MULTILINE)


def test_help_names_each_core() -> None:
    text = (ROOT / "script" / "test").read_text("utf-8")
    assert re.findall(r"matrix-([0-9.]+[0-9])", text) == list(CORES)


def test_oldest_core_is_the_one_that_the_collection_asks_for() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text("utf-8"))
    assert runtime["requires_ansible"] == f">={min(CORES)}.0"
