"""What stands in several places stands there alike: defaults and specs of roles, the options of devpi_users."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.wheelhouse.devpi.plugins.doc_fragments.users import ModuleDocFragment
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import USER_OPTIONS
from ansible_collections.wheelhouse.devpi.plugins.modules import pypirc

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
TYPES = {"str": str, "path": str, "int": int, "bool": bool, "list": list, "dict": dict}


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def options(role: str) -> dict[str, dict[str, Any]]:
    specs = read(f"roles/{role}/meta/argument_specs.yml")
    return {name: option for entry in specs["argument_specs"].values() for name, option in entry["options"].items()}


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = read(f"roles/{role}/defaults/main.yml")
    return found


EVERYTHING = {name: option for role in ROLES for name, option in options(role).items()}
DEFAULTS = {name: default for role in ROLES for name, default in defaults(role).items()}


def templated(value: object) -> bool:
    return "{{" in str(value)


def of_its_type(option: dict[str, Any], default: Any) -> bool:
    """Whether a default is what the spec declares; a template is a text, and what it makes is known to a run alone."""
    # bool is an int to isinstance
    if {type(default)} != {TYPES[option.get("type", "str")]}:
        return False
    if option.get("type") == "list" and option.get("elements", "str") in TYPES:
        element = TYPES[option.get("elements", "str")]
        return {type(each) for each in default if not templated(each)} <= {element}
    return default in option.get("choices", [default])


def with_suboptions(given: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in given.items():
        yield place + name, option
        yield from with_suboptions(option.get("options", {}), f"{place}{name}.")


@pytest.mark.parametrize("role", ROLES)
def test_specs_equal_defaults(role: str) -> None:
    said = {name: option.get("default", defaults(role).get(name)) for name, option in options(role).items()}
    assert said == defaults(role)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_in_specs_have_their_types(role: str) -> None:
    """Documentation tools call a role malformed otherwise."""
    said = {name: option for name, option in with_suboptions(options(role)) if "default" in option}
    assert {
        name: option["default"] for name, option in said.items() if not of_its_type(option, option["default"])
    } == {}


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ({"type": "int"}, "{{ devpi_port | int + 1 }}"),
        ({"type": "bool"}, "{{ devpi_tokens | length > 0 }}"),
        ({"type": "int"}, True),
        ({"type": "str"}, 1),
        ({"type": "list", "elements": "int"}, ["0"]),
        ({"type": "str", "choices": ["a"]}, "b"),
        ({"type": "dict"}, None),
    ],
)
def test_default_of_another_type_is_found(option: dict[str, Any], default: object) -> None:
    assert not of_its_type(option, default)


def test_only_what_a_spec_cannot_say_is_left_to_the_defaults() -> None:
    for name in [name for name, option in EVERYTHING.items() if "default" not in option]:
        # That of devpi_users may hold a password, and Ansible prints a spec where an argument is wrong.
        assert name == "devpi_users" or not of_its_type(EVERYTHING[name], DEFAULTS[name])
        assert templated(DEFAULTS[name])
        assert "Unless set" in str(EVERYTHING[name]["description"])
    assert "default" not in EVERYTHING["devpi_users"]


@pytest.mark.parametrize("name", [name for name, default in DEFAULTS.items() if "__devpi_" in str(default)])
def test_default_that_nobody_can_read_is_told_in_words(name: str) -> None:
    assert "Unless set" in str(EVERYTHING[name]["description"])


@pytest.mark.parametrize("role", ROLES)
def test_names_say_whose_they_are(role: str) -> None:
    prefix = "devpi_" if role == "common" else f"devpi_{role}_"
    assert [name for name in options(role) if not name.startswith(prefix)] == []


def test_variables_are_described_in_the_roles_alone() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        assert re.findall(r"^\| `devpi_\w+` +\|.*\|.*\|$", page.read_text("utf-8"), re.MULTILINE) == []
    for page in (ROOT / "docs" / "docsite" / "rst").glob("*.rst"):
        assert re.findall(r"^   \* - ``devpi_\w+``\n", page.read_text("utf-8"), re.MULTILINE) == []


def test_readme_leads_to_all_variables() -> None:
    linked = re.findall(r"/blob/main/roles/(\w+)/README\.md#variables\)", (ROOT / "README.md").read_text("utf-8"))
    assert sorted(linked) == [role for role in ROLES if options(role)]


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
    literal = {name for name in shown if not templated(DEFAULTS[name])} - {"devpi_users"}
    assert len(literal) > 10
    assert {name: shown[name] for name in literal} == {name: DEFAULTS[name] for name in literal}


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
    # The module's options users and credentials_dir are the role's devpi_users and, of another entry point,
    # devpi_credentials_dir.
    text = yaml.safe_dump(documented).replace("O(users", "O(devpi_users")
    other = "O(wheelhouse.devpi.common#role:main:devpi_credentials_dir"
    renamed = yaml.safe_load(text.replace("O(credentials_dir", other))
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
