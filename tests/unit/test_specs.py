"""What stands in several places stands there alike: defaults, specs and tables of roles, the options of devpi_users."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.wheelhouse.devpi.plugins.doc_fragments.users import ModuleDocFragment
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import USER_OPTIONS
from ansible_collections.wheelhouse.devpi.plugins.modules import pypirc

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
TYPES = {"str": str, "path": str, "int": int, "bool": bool, "list": list, "dict": dict}


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def options(role: str) -> dict[str, dict[str, Any]]:
    specs = read(f"roles/{role}/meta/argument_specs.yml")
    found = {name: option for entry in specs["argument_specs"].values() for name, option in entry["options"].items()}
    if "devpi_users" in found:
        # Its default may hold a password, and Ansible prints a spec where an argument is wrong.
        assert "default" not in found["devpi_users"]
        found["devpi_users"]["default"] = read(f"roles/{role}/defaults/main.yml")["devpi_users"]
    return found


EVERYTHING = {name: option for role in ROLES for name, option in options(role).items()}


def templated(value: object) -> bool:
    return "{{" in str(value)


def table(*pages: Path) -> dict[str, str]:
    """Return the variables that stand in the pages' tables, each with the text in the column of its default."""
    text = "\n".join(page.read_text("utf-8") for page in pages)
    return dict(re.findall(r"^\| `(devpi_\w+)` +\| +(.*?) +\|", text, re.MULTILINE))


def assert_same_defaults(shown: dict[str, str], specs: dict[str, dict[str, Any]]) -> None:
    """Compare what a table shows with the specs; a default that is a template is told in words there."""
    literal = {name: option["default"] for name, option in specs.items() if not templated(option["default"])}
    told = {name: "" if shown[name] == "empty" else yaml.safe_load(shown[name].strip("`")) for name in literal}
    assert told == literal


@pytest.mark.parametrize("role", ROLES)
def test_specs_equal_defaults(role: str) -> None:
    specs = {name: option["default"] for name, option in options(role).items()}
    assert specs == read(f"roles/{role}/defaults/main.yml")


@pytest.mark.parametrize("role", ROLES)
def test_defaults_have_the_types_of_their_specs(role: str) -> None:
    for name, option in options(role).items():
        default = option["default"]
        if isinstance(default, str) and templated(default):
            continue
        assert {type(default)} == {TYPES[option["type"]]}, name
        assert default in option.get("choices", [default]), name
        if option["type"] == "list":
            literal = [element for element in default if not templated(element)]
            assert {type(element) for element in literal} <= {TYPES[option["elements"]]}, name


@pytest.mark.parametrize("role", ROLES)
def test_names_say_whose_they_are(role: str) -> None:
    prefix = "devpi_" if role == "common" else f"devpi_{role}_"
    assert [name for name in options(role) if not name.startswith(prefix)] == []


@pytest.mark.parametrize("role", ROLES)
def test_role_readme_has_its_variables(role: str) -> None:
    shown = table(ROOT / "roles" / role / "README.md")
    assert set(shown) == set(options(role))
    assert_same_defaults(shown, options(role))


def test_readme_and_docs_have_all_variables() -> None:
    shown = table(ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    assert set(shown) == set(EVERYTHING)
    assert_same_defaults(shown, EVERYTHING)


@pytest.mark.parametrize("inventory", ["howto", "localhost", "production"])
def test_inventories_set_variables_that_exist(inventory: str) -> None:
    text = (ROOT / "inventory" / inventory).read_text("utf-8")
    named = re.findall(r"^ +(?:# )?(devpi_\w+):", text, re.MULTILINE)
    assert named
    assert set(named) <= set(EVERYTHING)


def test_localhost_shows_the_defaults() -> None:
    text = (ROOT / "inventory" / "localhost").read_text("utf-8")
    lines = re.findall(r"^ +# (devpi_\w+): (\S.*)$", text, re.MULTILINE)
    shown = {name: yaml.safe_load(value) for name, value in lines}
    literal = {name for name in shown if not templated(EVERYTHING[name]["default"])} - {"devpi_users"}
    assert len(literal) > 10
    assert {name: shown[name] for name in literal} == {name: EVERYTHING[name]["default"] for name in literal}


def without_descriptions(given: dict[str, Any]) -> dict[str, Any]:
    result = {}
    for name, option in given.items():
        result[name] = {key: value for key, value in option.items() if key != "description"}
        if "options" in option:
            result[name]["options"] = without_descriptions(option["options"])
    return result


def without_aliases(given: dict[str, Any]) -> dict[str, Any]:
    """A role's spec can have none."""
    result = {}
    for name, option in given.items():
        result[name] = {key: value for key, value in option.items() if key != "aliases"}
        if "options" in option:
            result[name]["options"] = without_aliases(option["options"])
    return result


def with_types(given: dict[str, Any]) -> dict[str, Any]:
    """Write out the type where the module leaves it to Ansible's default, a string."""
    result = {}
    for name, option in given.items():
        result[name] = {"type": "str", **option}
        if "options" in option:
            result[name]["options"] = with_types(option["options"])
    return result


def descriptions(given: dict[str, Any], inner: str) -> dict[str, Any]:
    """Return what is said of each option, and of those below ``inner``, without the lines' breaks."""
    said: dict[str, Any] = {}
    for name, option in given.items():
        told = option["description"]
        said[name] = [" ".join(line.split()) for line in ([told] if isinstance(told, str) else told)]
        if inner in option:
            said[f"{name}[]"] = descriptions(option[inner], inner)
    return said


def test_role_takes_the_users_that_the_module_takes() -> None:
    assert without_descriptions(EVERYTHING["devpi_users"]["options"]) == with_types(without_aliases(USER_OPTIONS))


def test_role_says_of_users_what_the_module_says() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]["users"]["suboptions"]
    # The module's options users and credentials_dir are the role's devpi_users and devpi_credentials_dir.
    renamed = yaml.safe_load(re.sub(r"O\((users|credentials_dir)\b", r"O(devpi_\1", yaml.safe_dump(documented)))
    assert descriptions(EVERYTHING["devpi_users"]["options"], "options") == descriptions(renamed, "suboptions")


def test_role_takes_the_repositories_that_the_module_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def note(argument_spec: dict[str, Any], **_rest: object) -> None:
        given.update(argument_spec)
        raise InterruptedError

    monkeypatch.setattr(pypirc, "AnsibleModule", note)
    with pytest.raises(InterruptedError):
        pypirc.main()
    option = EVERYTHING["devpi_pypirc_repositories"]
    assert [option["type"], option["elements"]] == [given["repositories"]["type"], given["repositories"]["elements"]]
    assert without_descriptions(option["options"]) == with_types(given["repositories"]["options"])
