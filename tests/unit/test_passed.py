"""tests/run.py: script/release trusts the commit that it writes down, so only a whole run that passed may write it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUN = Path(__file__).parents[1] / "run.py"
STEPS = ("static", "unit", "build", "docs", "sanity", "integration")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git("init", "--quiet", str(tmp_path))
    (tmp_path / ".gitignore").write_text(".cache/\n")
    commit(tmp_path)
    return tmp_path


def git(*arguments: str) -> str:
    who = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
    return subprocess.run(["git", *who, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def commit(checkout: Path) -> str:
    git("-C", str(checkout), "add", "--all")
    git("-C", str(checkout), "commit", "--quiet", "--allow-empty", "--message", "All")
    return git("-C", str(checkout), "rev-parse", "HEAD")


@pytest.fixture
def runner(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return tests/run.py for a checkout whose steps run no more than `true`."""
    spec = importlib.util.spec_from_file_location("run", RUN)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "run", module)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(module)
    cache = checkout / ".cache"
    for name, value in (("ROOT", checkout), ("CACHE", cache), ("LOGS", cache / "logs"), ("PASSED", cache / "passed")):
        monkeypatch.setattr(module, name, value)
    for name in (*STEPS, "molecule"):
        monkeypatch.setattr(module, name, step(module, "true"))
    monkeypatch.setattr(module, "has_history", lambda: True)
    return module


def step(module: ModuleType, command: str) -> Callable[..., Iterator[object]]:
    return lambda *_: iter([module.Check("one", ["sh", "-c", command], directory=module.ROOT)])


def passed(module: ModuleType, *arguments: str) -> str:
    """Run what the command line names, and return the commit that stands there after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run.py", *arguments])
        module.main()
    return module.PASSED.read_text().strip() if module.PASSED.exists() else ""


def test_whole_run_that_passed_is_written_down(runner: ModuleType, checkout: Path) -> None:
    assert passed(runner) == git("-C", str(checkout), "rev-parse", "HEAD")


@pytest.mark.parametrize("name", [*STEPS, "molecule"])
def test_run_that_failed_takes_back_what_stands_there(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert passed(runner)
    monkeypatch.setattr(runner, name, step(runner, "false"))
    assert passed(runner) == ""
    assert passed(runner, "--keep-going") == ""


@pytest.mark.parametrize("names", [["static"], ["molecule"], ["default"], list(STEPS)])
def test_part_of_a_run_is_no_evidence(runner: ModuleType, names: list[str]) -> None:
    assert passed(runner, *names) == ""


def test_changes_without_a_commit_are_no_commit(runner: ModuleType, checkout: Path) -> None:
    (checkout / "mine.txt").touch()
    assert passed(runner) == ""


@pytest.mark.parametrize(
    "change", ["touch mine.txt", "git -c user.name=x -c user.email=x commit -q --allow-empty -m x"]
)
def test_change_during_the_run_is_noticed(runner: ModuleType, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.setattr(runner, "integration", step(runner, change))
    assert passed(runner) == ""


def test_run_without_scenario_upgrade_is_not_whole(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "has_history", lambda: False)
    assert passed(runner) == ""
