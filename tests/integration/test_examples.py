"""The examples in the documentation of every module that talks to a server, each as it stands and in variants.

A module of the action group is found by itself. Where its examples need something that a new server does not have, name
a file, or are not to leave the second run without a change, a row of CASES says so.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from conftest import CHECKOUT
from test_devpi_package import sdist, wheel

if TYPE_CHECKING:
    from conftest import Devpi

# What differs between devpi-servers is tested module by module.
pytestmark = pytest.mark.once

# What stands in the examples of all modules, and what is put in its place. A variable vault_x gets the value CANARY-x.
PLACES = {"http://127.0.0.1:3141": "{url}", "/etc/devpi/credentials": "{directory}/credentials"}
NOWHERE = "http://127.0.0.1:9"

# What a variant changes of an example: options of the module, keywords of the task. They run in this order.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "unknown_key": ({"no_such_option": True}, {}),
    "no_server": ({"url": NOWHERE}, {}),
    "wrong_password": ({"password": "CANARY-wrong"}, {}),
    "check": ({}, {"check_mode": True}),
    "real": ({}, {}),
    "again": ({}, {}),
}

# What Ansible adds to what a module returns
ADDED = {"ansible_loop_var", "changed", "deprecations", "diff", "failed", "invocation", "item", "warnings"}


@dataclass(frozen=True)
class Case:
    """What the examples of one module need.

    :param places: more of PLACES.
    :param ground: makes what the examples find on the server and, as files, in a directory of the test's.
    :param actions: the names of those that are documented to change something each time.
    :param reading: the names of those that change nothing.
    :param plugin: the package of the server's plugin without which none of them can run.
    """

    places: dict[str, str] = field(default_factory=dict)
    ground: Callable[[Devpi, Path], None] = lambda devpi, directory: None
    actions: frozenset[str] = frozenset()
    reading: frozenset[str] = frozenset()
    plugin: str = ""


def releases(devpi: Devpi, directory: Path) -> None:
    devpi.make("team/production")
    devpi.upload("team/production", "latexhelper", "1.1", "latexhelper-1.1.tar.gz")


def packages(devpi: Devpi, directory: Path) -> None:
    devpi.ask("PUT", "/team", {"password": "CANARY-team"}, devpi.token())
    (directory / "credentials" / "team").write_text("CANARY-team\n")
    devpi.make("team/dev", acl_upload=["team", "root"])
    devpi.make("team/production", acl_upload=["team"], volatile=False)
    for number in range(6):
        devpi.upload("team/dev", "other", f"1.0.dev{number}", f"other-1.0.dev{number}.tar.gz")
    wheel(directory)
    sdist(directory)


def expiring(devpi: Devpi, directory: Path) -> None:
    devpi.make("ci/dev")
    devpi.ask("POST", "/ci/+token-create", {"expires": 2_000_000_000}, devpi.token())


def tokens(devpi: Devpi, directory: Path) -> None:
    devpi.make("ci/dev")
    devpi.make("team/dev")
    devpi.ask("POST", "/ci/+token-create", {"expires": "never"}, devpi.token())


CASES = {
    "devpi_info": Case(
        ground=releases,
        reading=frozenset(["Get the users, indexes and versions of a server", "Get the releases of one project"]),
    ),
    "devpi_package": Case(ground=packages, places={"/srv/build/dist": "{directory}"}),
    "devpi_token": Case(
        ground=tokens,
        places={"/etc/ci": "{directory}"},
        actions=frozenset(["Get a token for a pipeline to pass on"]),
        reading=frozenset(["List the tokens of a user"]),
        plugin="devpi_tokens",
    ),
    "devpi_token_info": Case(
        ground=expiring,
        reading=frozenset(["List the tokens of a user"]),
        plugin="devpi_tokens",
    ),
}

GROUP: list[str] = yaml.safe_load((CHECKOUT / "meta" / "runtime.yml").read_text("utf-8"))["action_groups"]["devpi"]


def said(module: str, name: str) -> str:
    """Return EXAMPLES or RETURN of a module."""
    return str(getattr(importlib.import_module(f"ansible_collections.wheelhouse.devpi.plugins.modules.{module}"), name))


def action_of(task: dict[str, Any]) -> str:
    """Return the key under which a task calls a module of the group; nothing where it calls another."""
    return next((key for key in task if key.rpartition(".")[2] in GROUP), "")


# The environment decides which modules' examples can run: others refuse a server that lacks their plugin.
SERVER = Path(os.environ.get("DEVPI_TEST_VENV", ""))
MODULES = [name for name in GROUP if list(SERVER.glob(f"lib/python3.*/site-packages/{CASES.get(name, Case()).plugin}"))]

# Each example that calls a module of the group: the module that documents it, its place there, its name.
EXAMPLES = [
    (module, number, task["name"])
    for module in MODULES
    for number, task in enumerate(yaml.safe_load(said(module, "EXAMPLES")))
    if action_of(task)
]


@dataclass(frozen=True)
class Played:
    """What ansible-playbook printed, and of each example in each variant the task, the results and the serial numbers.

    :param secrets: what may be nowhere in the output.
    :param results: by the names that tasks_of gives.
    """

    output: str
    secrets: list[str]
    tasks: list[dict[str, Any]]
    results: dict[str, Any]

    def of(self, number: int, variant: str) -> list[dict[str, Any]]:
        """Return the results of an example, one for each item where it has a loop."""
        result = self.results[f"result_{number}_{variant}"]
        return list(result["results"]) if "loop" in self.tasks[number] else [result]

    def failed(self, number: int, variant: str) -> str:
        """Return the messages of an example that was to fail for each item, and to change nothing."""
        results = self.of(number, variant)
        assert results
        assert [result for result in results if not result.get("failed")] == []
        assert not self.moved(number, variant)
        return "\n".join(result["msg"] for result in results)

    def changed(self, number: int, variant: str) -> bool:
        """Whether an example that was to succeed changed something, as it says and, outside check mode, as it is."""
        results = self.of(number, variant)
        assert results
        assert [result["msg"] for result in results if result.get("failed")] == []
        changed = any(result["changed"] for result in results)
        assert self.moved(number, variant) is (changed and variant != "check")
        return changed

    def moved(self, number: int, variant: str) -> bool:
        """Whether the server's serial number moved, as it does with every change there."""
        order = ["before", *VARIANTS]
        before = self.results[f"serial_{number}_{order[order.index(variant) - 1]}"]
        return bool(before != self.results[f"serial_{number}_{variant}"])


Plays = Callable[[str], Played]


def tasks_of(number: int, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an example in the variants, with a look at the server's serial number before and after each."""
    action = action_of(task)
    if not action:
        yield task
        return
    serial = "{{ (lookup('ansible.builtin.url', server ~ '/+status', **as_json) | from_json).result.serial }}"
    yield {"ansible.builtin.set_fact": {f"serial_{number}_before": serial}}
    for variant, (options, keywords) in VARIANTS.items():
        result = f"result_{number}_{variant}"
        yield {**task, action: {**task[action], **options}, **keywords, "register": result, "ignore_errors": True}
        yield {"ansible.builtin.set_fact": {f"serial_{number}_{variant}": serial}}
        if variant == "real" and "register" in task:
            yield {"ansible.builtin.set_fact": {task["register"]: f"{{{{ {result} }}}}"}, "no_log": True}


def play(devpi: Devpi, module: str, directory: Path) -> Played:
    """Run all examples of a module as one play."""
    case = CASES.get(module, Case())
    devpi.reset()
    credentials = directory / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "root").write_text(devpi.root_password + "\n")
    case.ground(devpi, directory)
    text = said(module, "EXAMPLES")
    for there, place in {**PLACES, **case.places}.items():
        text = text.replace(there, place.format(url=devpi.url, directory=directory))
    examples = yaml.safe_load(text)
    tasks = [each for number, task in enumerate(examples) for each in tasks_of(number, task)]
    names = [name for task in tasks for name in [task.get("register"), *task.get("ansible.builtin.set_fact", {})]]
    kept = {name: f"{{{{ {name} }}}}" for name in names if name and re.match("(result|serial)_", name)}
    file = directory / "results.json"
    copy = {"content": kept, "dest": str(file), "mode": "0600"}
    tasks.append({"ansible.builtin.copy": copy, "no_log": True})
    vault = {name: f"CANARY-{name}" for name in re.findall(r"vault_\w+", text)}
    settings = {"hosts": "localhost", "connection": "local", "gather_facts": False, "diff": True}
    as_json = {"headers": {"Accept": "application/json"}, "split_lines": False}
    playbook = directory / "play.json"
    variables = {"server": devpi.url, "as_json": as_json, **vault}
    playbook.write_text(json.dumps([{**settings, "vars": variables, "tasks": tasks}]))
    process = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-vvv"),
            *("-e", f"ansible_python_interpreter={sys.executable}", str(playbook)),
        ],
        env={**devpi.environment(), "ANSIBLE_PIPELINING": "true"},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    output = process.stdout + process.stderr
    assert process.returncode == 0, output
    secrets = [path.read_text().strip() for path in credentials.iterdir()]
    return Played(output, ["CANARY", *secrets], examples, json.loads(file.read_text()))


@pytest.fixture(scope="module")
def plays(running_devpi: Devpi, tmp_path_factory: pytest.TempPathFactory) -> Plays:
    """Play the examples of a module when they are first looked at."""
    return functools.cache(lambda module: play(running_devpi, module, tmp_path_factory.mktemp(module)))


@pytest.fixture
def played(plays: Plays, module: str) -> Played:
    return plays(module)


of_each_example = pytest.mark.parametrize(
    ("module", "number", "name"), [pytest.param(*each, id=f"{each[0]}: {each[2]}") for each in EXAMPLES]
)


def test_every_module_has_examples() -> None:
    assert {module for module, _number, _name in EXAMPLES} == set(MODULES)
    assert {name for name in GROUP if not CASES.get(name, Case()).plugin} <= set(MODULES)
    assert set(CASES) <= set(GROUP)


@of_each_example
def test_it_runs_as_it_stands(played: Played, module: str, number: int, name: str) -> None:
    assert played.changed(number, "real") is (name not in CASES.get(module, Case()).reading)


@of_each_example
def test_the_second_run_changes_nothing(played: Played, module: str, number: int, name: str) -> None:
    assert played.changed(number, "again") is (name in CASES.get(module, Case()).actions)


@of_each_example
def test_check_mode_predicts_the_run(played: Played, module: str, number: int, name: str) -> None:
    assert played.changed(number, "check") is played.changed(number, "real")
    predicted, real = (played.of(number, variant) for variant in ("check", "real"))
    assert [result.get("diff") for result in predicted] == [result.get("diff") for result in real]


@of_each_example
def test_it_returns_what_it_says(played: Played, module: str, number: int, name: str) -> None:
    told = yaml.safe_load(said(action_of(played.tasks[number]).rpartition(".")[2], "RETURN"))
    for result in played.of(number, "real"):
        assert set(result) - ADDED <= set(told)
        assert {key for key, value in told.items() if value["returned"] in ("always", "success")} <= set(result)


@of_each_example
def test_a_wrong_password_is_refused(played: Played, module: str, number: int, name: str) -> None:
    message = played.failed(number, "wrong_password")
    task = played.tasks[number]
    options = task[action_of(task)]
    assert f"POST {options['url']}/+login: the server does not accept the password given for " in message
    assert f" for {options.get('username', 'root')}; " in message


@of_each_example
def test_a_server_that_does_not_answer_is_named(played: Played, module: str, number: int, name: str) -> None:
    assert f" {NOWHERE}/" in played.failed(number, "no_server")


@of_each_example
def test_an_unknown_key_is_named(played: Played, module: str, number: int, name: str) -> None:
    message = played.failed(number, "unknown_key")
    assert re.search(r"Unsupported parameters for \([\w.]+\) module: no_such_option\.", message)


@pytest.mark.parametrize("module", MODULES)
def test_no_secret_is_in_what_ansible_prints(played: Played, module: str) -> None:
    assert "PLAY RECAP" in played.output
    for secret in played.secrets:
        assert secret not in played.output
