"""Every module is tested, listed and documented as it is written: what ansible-doc shows is what the module takes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import connection_options

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
SUPPORT = {"full", "partial", "none", "N/A"}


@pytest.fixture(scope="module")
def documented() -> dict[str, dict[str, Any]]:
    """Return what ansible-doc says of each module, the fragments merged."""
    command = [sys.executable, "-m", "ansible", "doc", "--type", "module", "--json"]
    shown = subprocess.run(
        [*command, *(f"wheelhouse.devpi.{name}" for name in MODULES)],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(Path(sys.prefix, "collections"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    return {name.rpartition(".")[2]: doc for name, doc in json.loads(shown.stdout).items()}


def captured(name: str) -> dict[str, Any]:
    """Return the arguments with which main() makes its AnsibleModule."""
    module = importlib.import_module(f"ansible_collections.wheelhouse.devpi.plugins.modules.{name}")

    with mock.patch.object(AnsibleModule, "__init__", side_effect=SystemExit) as made, pytest.raises(SystemExit):
        module.main()
    return dict(made.call_args.kwargs)


def taken(options: dict[str, dict[str, Any]], path: str = "") -> dict[str, dict[str, Any]]:
    """Return what a spec or a documentation says of each option, flat: ``users[].indexes[].name``."""
    flat = {}
    for name, option in options.items():
        inner = option.get("options", option.get("suboptions"))
        flat[path + name] = {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "required": option.get("required", False),
            "default": option.get("default"),
            "choices": list(option["choices"]) if option.get("choices") else None,
            "aliases": sorted(option.get("aliases", [])),
            "options": None if inner is None else sorted(inner),
        }
        if inner:
            flat.update(taken(inner, f"{path}{name}{'[]' if option.get('type') == 'list' else ''}."))
    return flat


def said(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)


def test_there_are_modules() -> None:
    assert {"devpi_users", "devpi_preflight"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_it_is_tested(name: str) -> None:
    files = [ROOT / "tests" / kind / f"test_{name}.py" for kind in ("unit", "integration")]
    assert [file for file in files if file.exists()]


@pytest.mark.parametrize("name", MODULES)
def test_what_connects_to_a_server_is_in_the_action_group(name: str) -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text("utf-8"))
    connects = set(connection_options()) <= set(captured(name)["argument_spec"])
    assert (name in runtime["action_groups"]["devpi"]) is connects


def test_the_action_group_names_modules_that_exist() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text("utf-8"))
    assert set(runtime["action_groups"]["devpi"]) <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_it_says_whether_it_has_check_and_diff_mode(name: str, documented: dict[str, Any]) -> None:
    attributes = documented[name]["doc"]["attributes"]
    for mode in ("check_mode", "diff_mode"):
        assert attributes[mode]["support"] in SUPPORT
        assert said(attributes[mode]["description"])
    checks = bool(captured(name).get("supports_check_mode"))
    assert (attributes["check_mode"]["support"] != "none") is checks


@pytest.mark.parametrize("name", MODULES)
def test_it_says_what_it_does_and_returns(name: str, documented: dict[str, Any]) -> None:
    module = documented[name]
    for key in ("short_description", "description", "version_added", "author"):
        assert module["doc"].get(key), key
    tasks = yaml.safe_load(module["examples"])
    assert tasks
    assert [task for task in tasks if f"wheelhouse.devpi.{name}" in task]
    assert [task for task in tasks if not task.get("name")] == []
    assert module["return"]
    for key, value in module["return"].items():
        assert value.get("description"), key
        assert value.get("returned"), key
        assert value.get("type"), key


@pytest.mark.parametrize("name", MODULES)
def test_it_takes_what_it_says_that_it_takes(name: str, documented: dict[str, Any]) -> None:
    assert taken(captured(name)["argument_spec"]) == taken(documented[name]["doc"]["options"])


@pytest.mark.parametrize("name", MODULES)
def test_it_says_which_environment_variables_it_reads(name: str, documented: dict[str, Any]) -> None:
    told = documented[name]["doc"]["options"]
    for option, spec in captured(name)["argument_spec"].items():
        for variable in spec.get("fallback", (None, []))[1]:
            assert f"E({variable})" in said(told[option]["description"]), option
