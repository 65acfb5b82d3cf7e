"""No message has a person run what a link of another account's would turn on something else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"\b(chown|chmod|chgrp|rm|mv)\b", re.IGNORECASE)
# They look at what lies on the way before they name a command.
SAFE = {"command_for", "command_as", "_way_out"}
# What is run with the account's rights, a draft of root's own, and what lies in a directory that only root can change
KNOWN = {
    "_credentials.py": {"chmod"},
}


def advised(source: str) -> set[str]:
    """Return the commands that stand in texts, without docstrings and what is handed to the functions above."""
    tree = ast.parse(source)
    passed_over = {
        id(inner)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in SAFE)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for inner in ast.walk(node)
    }
    return {
        word.lower()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed_over
        for word in COMMAND.findall(node.value)
    }


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").glob("*/*.py")), ids=lambda path: path.name)
def test_commands_in_messages_are_looked_at_before(path: Path) -> None:
    text = re.sub(r'(?s)(DOCUMENTATION|EXAMPLES|RETURN) = r""".*?"""', "", path.read_text("utf-8"))
    assert advised(text) <= KNOWN.get(path.name, set())


def messages(part: object) -> list[str]:
    """Return what the tasks would tell a person."""
    if isinstance(part, dict):
        told = [str(value) for key, value in part.items() if key in ("msg", "fail_msg")]
        return told + [each for value in part.values() for each in messages(value)]
    return [each for value in part for each in messages(value)] if isinstance(part, list) else []


@pytest.mark.parametrize("path", sorted((ROOT / "roles").glob("*/tasks/*.yml")), ids=lambda path: path.parts[-3])
def test_tasks_advise_no_command(path: Path) -> None:
    assert [told for told in messages(yaml.safe_load(path.read_text("utf-8"))) if COMMAND.search(told)] == []
