"""Generates parts of documents from other files. script/tables runs it and says which.

It replaces the text between <!-- NAME --> and <!-- end of NAME -->, and leaves the rest of a document alone.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any, Iterator

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
# The role whose variables the others read
SHARED = "common"
# Ansible's own, as in C(text) and M(a.module)
MARKUP = re.compile(r"\b(?:C|I|M|O|P|RV|V)\(([^)]+)\)")
# Neither modules, which stand behind the collection's name, nor nginx's own variables
NAMED = re.compile(r"(?<![\w.$<])(?<!\$\{)(?:__)?devpi_\w+")


def read(role: str, part: str) -> dict[str, Any]:
    """Return what a role's file holds."""
    path = ROOT / "roles" / role / part
    return dict(yaml.safe_load(path.read_text("utf-8"))) if path.exists() else {}


def options(role: str) -> dict[str, dict[str, Any]]:
    """Return a role's variables, as its argument spec describes them."""
    specs = read(role, "meta/argument_specs.yml")["argument_specs"]
    return {name: option for entry in specs.values() for name, option in entry["options"].items()}


def written(value: object) -> str:
    """Return a value in one line, as an inventory would have it; templates without the quotes around them."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, str) and "{{" in value:
        return " ".join(value.split())
    return yaml.safe_dump(value, width=1000, allow_unicode=True).replace("\n...\n", "").strip()


def meaning(option: dict[str, Any]) -> str:
    """Return an option's description, in one line of Markdown."""
    told, choices = option["description"], [f"C({choice})" for choice in option.get("choices", [])]
    text = told if isinstance(told, str) else " ".join(told)
    if not all(choice in text for choice in choices):
        text += f" One of {', '.join(choices)}."
    return " ".join(MARKUP.sub(r"`\1`", text).split())


def table(role: str) -> list[str]:
    """Return the lines of a role's table, none where it has no variables."""
    lines = []
    defaults = read(role, "defaults/main.yml")
    for name, option in options(role).items():
        default = "empty" if defaults[name] == "" else f"`{written(defaults[name])}`"
        cells = (f"`{name}`", default, meaning(option))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return ["| variable | default | meaning |", "| --- | --- | --- |", *lines] if lines else []


def reads(role: str) -> str:
    """Return a sentence with the variables of other roles that a role reads, by itself or by its internal ones."""
    internal = {**read(SHARED, "vars/main.yml"), **read(role, "vars/main.yml")}
    found: set[str] = set()
    parts = ("defaults", "tasks", "templates", "vars")
    todo = [path.read_text("utf-8") for part in parts for path in (ROOT / "roles" / role / part).glob("*")]
    while todo:
        for name in set(NAMED.findall(todo.pop())) - found:
            found.add(name)
            todo.append(str(internal.get(name, "")))
    told = []
    for owner in sorted(ROLES, key=lambda each: (each != SHARED, each)):
        names = ", ".join(f"`{name}`" for name in options(owner) if name in found)
        if names and owner != role:
            told.append(f"of [{owner}](../{owner}/README.md): {names}")
    return textwrap.fill(f"It reads these {'; '.join(told)}.", 120, break_on_hyphens=False) if told else ""


def tasks() -> str:
    """Return the names of the playbook's tasks, each once."""
    with tempfile.TemporaryDirectory() as directory:
        collection = Path(directory, "ansible_collections", "wheelhouse", "devpi")
        collection.parent.mkdir(parents=True)
        collection.symlink_to(ROOT)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment.update(ANSIBLE_CONFIG="ansible.cfg", ANSIBLE_COLLECTIONS_PATH=directory, LC_ALL="C.UTF-8")
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "inventory/localhost", "--list-tasks"]
        said = subprocess.run(
            [*command, "playbooks/site.yml"],
            cwd=ROOT,
            env={**environment, "ANSIBLE_NOCOLOR": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
    lines = [line.partition("\tTAGS: ")[0] for line in said.splitlines() if ": Validating arguments " not in line]
    # What a role depends on is listed with each of them, and run once.
    return "\n".join(["```text", *dict.fromkeys(line for line in lines if line), "```"])


def filled(path: Path, name: str, content: str) -> str:
    """Return a document with this content between its markers."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = path.read_text("utf-8").partition(begin)
    _old, ended, after = rest.partition(end)
    if not (found and ended):
        raise SystemExit(f"{path.relative_to(ROOT)} lacks the lines {begin.strip()} and {end.strip()}")
    return f"{before}{begin}\n{content}\n\n{end}{after}"


def documents() -> Iterator[tuple[Path, str]]:
    """Yield each document with the text that it should have."""
    for role in ROLES:
        # What common reads of other roles it reads where they are in the play, and checks, without any of its own, all.
        told = "" if role == SHARED or not options(role) else reads(role)
        content = "\n\n".join(filter(None, ["\n".join(table(role)), told]))
        if content:
            path = ROOT / "roles" / role / "README.md"
            yield path, filled(path, "variables", content)
    path = ROOT / "docs" / "what-it-does.md"
    yield path, filled(path, "tasks", tasks())


def main() -> int:
    """Write the documents, or check them."""
    parser = argparse.ArgumentParser(prog="script/tables")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file would change")
    check = parser.parse_args().check
    changed = [(path, text) for path, text in documents() if text != path.read_text("utf-8")]
    for path, text in changed:
        name = path.relative_to(ROOT)
        if check:
            sys.stderr.write(f"{name} differs from what script/tables writes; run it\n")
        else:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"{name}\n")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
