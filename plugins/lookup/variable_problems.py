# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the variables of this collection's roles before any of them is used."""

from __future__ import annotations

DOCUMENTATION = r"""
name: variable_problems
short_description: Check the variables of this collection's roles
version_added: 0.1.0
description:
  - Checks the variables of a host against the argument specs of the roles, and checks that files, commands and
    addresses can hold the values. Returns one sentence for each problem, with the variable, its value and the way out.
  - Ansible checks the arguments of a role only when that role starts, after other roles have changed the host. This
    lookup checks all roles at once. Role P(wheelhouse.devpi.checks#role) runs before every other role and fails with
    all sentences in one message.
  - A variable whose template cannot be filled in is a problem like the others.
  - The lookup warns about a variable whose name is nearly that of one of the roles' variables, because the roles do not
    read it. It may be your own variable, so the run goes on.
  - The lookup contacts no host and changes nothing. No sentence shows a password.
options:
  _terms:
    description:
      - The roles to check, V(venv) or V(wheelhouse.devpi.venv). Names of other roles are ignored.
      - If you name none, all roles of the collection are checked. The variables of role C(common) are always checked.
    type: list
    elements: str
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Fail if a variable is wrong
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ query('wheelhouse.devpi.variable_problems', 'server', 'supervisor') }}"
"""

RETURN = r"""
_list:
  description: One sentence for each problem. The list is empty if there is none.
  type: list
  elements: str
  sample: ["devpi_port 70000 is out of range; name one from 1 to 65535"]
"""

import difflib
import functools
import re
from pathlib import Path
from typing import Any, Iterator, Mapping

import yaml
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.wheelhouse.devpi.plugins.module_utils._variables import problems

try:
    # The only way to a variable's file and line. Display.warning(obj=…) would show the line, and a password with it.
    from ansible._internal._datatag._tags import Origin
except ImportError:
    Origin = None

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAMESPACE = "wheelhouse.devpi."
SHARED = "common"
NAMED = re.compile(r"\b(?:__)?devpi_\w+")
UNDEFINED = re.compile(r"'([^']+)' is undefined")
# Ansible's own, and those that the roles keep for themselves
NEVER_OURS = ("ansible_", "__devpi_")
# A default with this variable in it depends on the role whose task fills it in.
OF_THE_ROLE = "role_path"


@functools.lru_cache(maxsize=None)
def specs_of(role: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the options in a role's argument spec, of all entry points, empty where it is none of the collection's."""
    try:
        text = (ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    except OSError:
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    spec = yaml.load(text, Loader=loader)  # noqa: S506 - either of these is a safe loader
    return {name: option for each in spec["argument_specs"].values() for name, option in each["options"].items()}


@functools.lru_cache(maxsize=None)
def defaults_of(role: str) -> Mapping[str, Any]:
    """Return a role's defaults as they stand in its file, templates included."""
    try:
        text = (ROLES / role / "defaults" / "main.yml").read_text(encoding="utf-8")
    except OSError:
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return dict(yaml.load(text, Loader=loader) or {})  # noqa: S506 - either of these is a safe loader


def all_roles() -> list[str]:
    """Return the names of all roles of the collection."""
    return sorted(path.name for path in ROLES.iterdir() if path.is_dir())


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no type information
    """What ansible-core loads."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[str]:
        """Return a sentence for each problem."""
        self.set_options(var_options=variables, direct=kwargs)
        variables = variables or {}
        known = all_roles()
        roles = [role for role in (str(term).partition(NAMESPACE)[2] or str(term) for term in terms) if role in known]
        roles = [SHARED, *(role for role in roles or known if role != SHARED)]
        specs = {name: option for role in roles for name, option in specs_of(role).items()}
        defaults = {name: value for role in roles for name, value in defaults_of(role).items()}
        given = {name: variables[name] for name in specs if name in variables}
        made_of = {name: _names_in(name, variables) for name, raw in given.items() if raw == defaults.get(name)}
        values: dict[str, Any] = {}
        unfilled: dict[str, str] = {}
        for name, raw in given.items():
            if name in made_of and OF_THE_ROLE in str(raw):
                continue
            # Whatever a template or a vault ends in is one more problem.
            try:
                values[name] = self._templar.template(raw)
            except Exception as error:
                unfilled[name] = _unfilled(name, error)
        # A default that cannot be filled in is the fault of what it is made of, if that is wrong itself.
        wrong = set(unfilled) - set(made_of)
        for name in [name for name in values if made_of.get(name, set()) & wrong]:
            del values[name]
        found = problems(specs, values, made_of=made_of, proxied="devpi_proxy" in variables.get("group_names", []))
        if wrong or found:
            unfilled = {name: problem for name, problem in unfilled.items() if name in wrong}
        for warning in _misspelt(variables, known):
            Display().warning(warning)
        return [*unfilled.values(), *found]


def _names_in(name: str, variables: Mapping[str, Any]) -> set[str]:
    """Return the variables that one is made of, and those that these are made of."""
    found: set[str] = set()
    todo = [name]
    while todo:
        for each in NAMED.findall(str(variables.get(todo.pop(), ""))):
            if each not in found and each in variables:
                found.add(each)
                todo.append(each)
    return found - {name}


def _unfilled(name: str, error: BaseException) -> str:
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(f"{type(cause).__name__} {cause}")
        cause = cause.__cause__
    missing = UNDEFINED.search(" ".join(causes))
    if missing:
        return (
            f"{name} is a template that needs {missing[1]}, and that is not defined; define it, or give {name} a value"
        )
    if any(each.startswith("RecursionError") for each in causes):
        return f"{name} refers to itself, or is nested too deeply; write it without that"
    if any("vault" in each.lower() or "decrypt" in each.lower() for each in causes):
        return f"{name} cannot be decrypted; give the vault's password with --ask-vault-pass or --vault-password-file"
    return (
        f"{name} is a template that cannot be filled in; correct it, and look at it with "
        f"ansible HOST -m ansible.builtin.debug -a var={name}"
    )


def _misspelt(variables: Mapping[str, Any], roles: list[str]) -> Iterator[str]:
    known = [name for role in roles for name in specs_of(role)]
    for key in sorted(each for each in variables if each not in known and not each.startswith(NEVER_OURS)):
        for near in difflib.get_close_matches(key, known, 1, 0.9):
            place = _place_of(key) or _place_of(variables[key])
            called = f"{key} ({place})" if place else key
            yield (
                f"{called} is not a variable of wheelhouse.devpi, so it changes nothing there; write {near} if that "
                "was meant"
            )


def _place_of(value: object) -> str:
    """Return the file and line that a variable, or its name, was read from; empty where Ansible knows none."""
    origin = Origin.get_tag(value) if Origin else None
    if origin is None or not origin.path:
        return str(origin.description or "") if origin else ""
    return f"{origin.path}:{origin.line_num}" if origin.line_num else str(origin.path)
