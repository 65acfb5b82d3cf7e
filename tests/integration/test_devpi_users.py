"""The module devpi_users against a real devpi-server."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client
from ansible_collections.wheelhouse.devpi.plugins.module_utils._converge import Passwords, apply, plan
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tree import USER_OPTIONS, check, parse
from ansible_collections.wheelhouse.devpi.plugins.modules import devpi_users
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from conftest import Devpi, Result

TEAM: list[dict[str, Any]] = [
    {
        "name": "team",
        "password": "CANARY-team",
        "email": "team@example.com",
        "title": "The team",
        "description": "Us",
        "custom_data": {"room": 7},
        "indexes": [
            {
                "name": "dev",
                "bases": ["team/production", "team/upstream"],
                "acl_upload": ["ci", "team", ":authenticated:"],
                "acl_toxresult_upload": [],
                "mirror_whitelist": ["Foo_Bar", "baz"],
                "mirror_whitelist_inheritance": "union",
                "title": "Development",
                "description": "",
                "custom_data": ["x", {"y": None}],
            },
            {"name": "production", "volatile": False},
            {
                "name": "upstream",
                "type": "mirror",
                "mirror_url": "http://u:CANARY-mirror@127.0.0.1:9/simple/",
                "mirror_web_url_fmt": "http://127.0.0.1:9/{name}",
                "mirror_cache_expiry": "60",
                "mirror_use_external_urls": "yes",
                "mirror_no_project_list": True,
                "volatile": True,
                "title": "Upstream",
            },
        ],
    },
    {"name": "ci", "password": "CANARY-ci"},
    {"name": "root", "indexes": [{"name": "pypi", "mirror_no_project_list": True}]},
]


def converge(devpi: Devpi, users: list[dict[str, Any]], check: bool = False, **options: object) -> Result:
    arguments = {"url": devpi.url, "password": devpi.root_password, "users": users, **options}
    result = devpi.run("devpi_users", arguments, check)
    assert devpi.root_password not in result.output
    assert "CANARY" not in result.output
    return result


def check_real_again(devpi: Devpi, users: list[dict[str, Any]], **options: object) -> Result:
    """Run in check mode, for real, and again; return the real run's result."""
    before = devpi.tree()
    predicted = converge(devpi, users, check=True, **options)
    assert devpi.tree() == before, "check mode changed something"
    real = converge(devpi, users, **options)
    assert not real.values.get("failed"), real["msg"]
    for key in ("changed", "diff", "changes", "generated", "version"):
        assert predicted[key] == real[key], key
    after = devpi.tree()
    asked = len(devpi.requests())
    again = converge(devpi, users, **options)
    assert again["changed"] is False, again["diff"]
    assert again["diff"] == {"before": {}, "after": {}}
    assert devpi.tree() == after
    if not any(user.get("update_password") == "always" for user in users):
        assert devpi.requests()[asked:][:-1] == ["GET /"], "more than one request at rest"
    return real


def test_a_tree_with_every_key(devpi: Devpi) -> None:
    result = check_real_again(devpi, TEAM)
    assert result["changed"] is True
    tree = devpi.tree()
    assert set(tree) == {"root", "team", "ci"}
    team = tree["team"]
    assert {key: team[key] for key in ("email", "title", "description", "custom_data")} == {
        "email": "team@example.com",
        "title": "The team",
        "description": "Us",
        "custom_data": {"room": 7},
    }
    assert team["indexes"]["dev"] == {
        "type": "stage",
        "volatile": True,
        "bases": ["team/production", "team/upstream"],
        "acl_upload": ["ci", "team", ":AUTHENTICATED:"],
        "acl_toxresult_upload": [],
        "mirror_whitelist": ["foo-bar", "baz"],
        "mirror_whitelist_inheritance": "union",
        "title": "Development",
        "description": "",
        "custom_data": ["x", {"y": None}],
    }
    assert team["indexes"]["production"]["volatile"] is False
    assert team["indexes"]["upstream"] == {
        "type": "mirror",
        "volatile": True,
        "mirror_url": "http://u:CANARY-mirror@127.0.0.1:9/simple/",
        "mirror_web_url_fmt": "http://127.0.0.1:9/{name}",
        "mirror_cache_expiry": 60,
        "mirror_use_external_urls": True,
        "mirror_no_project_list": True,
        "title": "Upstream",
    }
    assert tree["root"]["indexes"]["pypi"]["mirror_no_project_list"] is True
    assert devpi.takes("team", "CANARY-team")
    assert devpi.takes("root", devpi.root_password)


@pytest.mark.parametrize(
    ("key", "since"), [("mirror_ignore_serial_header", (6, 17)), ("mirror_provides_core_metadata", (6, 20))]
)
def test_keys_that_not_every_server_knows(devpi: Devpi, key: str, since: tuple[int, int]) -> None:
    mirror = {"name": "up", "type": "mirror", "mirror_url": "http://127.0.0.1:9/", key: True}
    users = [{"name": "team", "password": "CANARY", "indexes": [mirror]}]
    if devpi.version() >= since:
        check_real_again(devpi, users)
        assert devpi.index("team/up")[key] is True
    else:
        assert f"{key} is known to devpi-server {since[0]}.{since[1]} and newer" in converge(devpi, users)["msg"]
        assert set(devpi.tree()) == {"root"}


def test_every_key_can_be_changed_and_the_rest_stays(devpi: Devpi) -> None:
    converge(devpi, TEAM)
    before = devpi.tree()
    check_real_again(
        devpi,
        [
            {
                "name": "team",
                "password": "CANARY-other",
                "email": "",
                "indexes": [
                    {"name": "dev", "bases": ["team/new"], "mirror_whitelist": [], "title": ""},
                    {"name": "new", "bases": ["team/production"]},
                    {"name": "upstream", "mirror_cache_expiry": 5, "mirror_url": "http://127.0.0.1:9/other/"},
                ],
            }
        ],
    )
    team = devpi.tree()["team"]
    assert "email" not in team
    assert team["title"] == "The team"
    expected = {**before["team"]["indexes"]["dev"], "bases": ["team/new"], "mirror_whitelist": [], "title": ""}
    assert team["indexes"]["dev"] == expected
    assert team["indexes"]["upstream"] == {
        **before["team"]["indexes"]["upstream"],
        "mirror_cache_expiry": 5,
        "mirror_url": "http://127.0.0.1:9/other/",
    }
    assert team["indexes"]["production"] == before["team"]["indexes"]["production"]
    assert devpi.tree()["ci"] == before["ci"]
    assert devpi.takes("team", "CANARY-team"), "on_create changed the password of a user who existed"


def test_update_password_always(devpi: Devpi) -> None:
    converge(devpi, TEAM)
    check_real_again(devpi, [{"name": "ci", "password": "CANARY-new", "update_password": "always"}])
    assert devpi.takes("ci", "CANARY-new")
    assert not devpi.takes("ci", "CANARY-ci")


def test_deleting_needs_words_and_then_happens(devpi: Devpi) -> None:
    converge(devpi, TEAM)
    before = devpi.tree()
    refused = converge(
        devpi,
        [
            {"name": "ci", "indexes": [{"name": "new"}]},
            {"name": "team", "indexes": [{"name": "production", "state": "absent"}]},
        ],
    )
    assert refused["failed"]
    assert "users[1].indexes[0] (team/production): this index is not volatile" in refused["msg"]
    assert "users[1].indexes[0] (team/production): team/production is a base of team/dev" in refused["msg"]
    assert devpi.tree() == before

    check_real_again(devpi, [{"name": "team", "indexes": [{"name": "production", "state": "absent", "force": True}]}])
    assert set(devpi.tree()["team"]["indexes"]) == {"dev", "upstream"}
    assert converge(devpi, [{"name": "team", "state": "absent"}])["failed"]
    check_real_again(devpi, [{"name": "ci", "state": "absent"}, {"name": "team", "state": "absent", "force": True}])
    assert set(devpi.tree()) == {"root"}


def test_passwords_are_generated_and_kept_on_the_host(devpi: Devpi, tmp_path: Path) -> None:
    directory = tmp_path / "credentials"
    users: list[dict[str, Any]] = [{"name": "alice"}, {"name": "bob", "password": "CANARY"}]
    predicted = converge(devpi, users, check=True, credentials_dir=str(directory))
    assert not directory.exists()
    result = check_real_again(devpi, users, credentials_dir=str(directory))
    assert result["generated"] == predicted["generated"] == {"alice": str(directory / "alice")}
    assert [each.name for each in directory.iterdir()] == ["alice"]
    assert stat.S_IMODE((directory / "alice").stat().st_mode) == 0o600
    password = (directory / "alice").read_text()[:-1]
    assert password not in result.output
    assert devpi.takes("alice", password)
    assert devpi.takes("bob", "CANARY")


def test_the_password_of_the_connection_is_found_in_the_directory(devpi: Devpi, tmp_path: Path) -> None:
    (tmp_path / "root").write_text(devpi.root_password + "\n")
    tmp_path.chmod(0o700)
    check_real_again(devpi, [{"name": "alice"}], password=None, credentials_dir=str(tmp_path))
    assert set(devpi.tree()) == {"root", "alice"}


def test_a_killed_run_is_completed_by_the_next(devpi: Devpi, tmp_path: Path) -> None:
    directory = tmp_path / "credentials"
    users = [{"name": f"user{number}", "indexes": [{"name": "dev", "volatile": False}]} for number in range(6)]
    arguments = {
        "url": devpi.url,
        "password": devpi.root_password,
        "credentials_dir": str(directory),
        "users": users,
    }
    for moment in (1, 4):
        with subprocess.Popen(
            devpi.command("devpi_users"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=devpi.environment(),
        ) as process:
            assert process.stdin
            process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
            process.stdin.close()
            deadline = time.monotonic() + 30
            while len(devpi.tree()) <= moment and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        time.sleep(1)  # what it had sent already is still carried out
        assert moment < len(devpi.tree()) < 7, "the run was not killed half-way"
    check_real_again(devpi, users, credentials_dir=str(directory))
    tree = devpi.tree()
    for user in users:
        assert list(tree[str(user["name"])]["indexes"]) == ["dev"]
        assert devpi.takes(str(user["name"]), (directory / str(user["name"])).read_text()[:-1])
    assert set(tree) - {"root"} <= {each.name for each in directory.iterdir()}


def test_two_runs_at_once_end_in_the_declared_state(devpi: Devpi, tmp_path: Path) -> None:
    users = [{"name": f"user{number}", "indexes": [{"name": "dev", "title": "t"}]} for number in range(8)]
    results: list[Result] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(converge(devpi, users, credentials_dir=str(tmp_path / "credentials")))
        )
        for _thread in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [result["msg"] for result in results if result.values.get("failed")]
    assert converge(devpi, users, credentials_dir=str(tmp_path / "credentials"))["changed"] is False
    assert all(devpi.index(f"user{number}/dev")["title"] == "t" for number in range(8))
    assert devpi.takes("user0", (tmp_path / "credentials" / "user0").read_text()[:-1])


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_password_is_refused_before_anything_is_changed(devpi: Devpi, tmp_path: Path, check: bool) -> None:
    before = devpi.tree()
    directory = tmp_path / "credentials"
    result = converge(devpi, [{"name": "alice"}], check, password="CANARY", credentials_dir=str(directory))
    assert result["failed"]
    assert result["msg"].startswith(f"POST {devpi.url}/+login: the server does not take the password given for root")
    assert devpi.tree() == before
    assert not directory.exists()


def test_everything_wrong_is_told_at_once_and_nothing_is_changed(devpi: Devpi) -> None:
    before = devpi.tree()
    result = converge(
        devpi,
        [
            {"name": "fine", "password": "CANARY"},
            {"name": "alice", "indexes": [{"name": "dev", "bases": ["alice/nothing"]}]},
            {"name": "b b", "password": "CANARY\n"},
        ],
    )
    assert result["failed"]
    for text in (
        "users[1].indexes[0] (alice/dev): base alice/nothing neither exists nor is declared",
        "users[1] (alice): the user is to be created and has no password",
        "users[2] (b b): user name 'b b' is not allowed",
        "users[2] (b b): the password holds a newline",
    ):
        assert text in result["msg"]
    assert devpi.tree() == before


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a": -(2**31)}, True),
        ({"a": -(2**31) - 1}, False),
        ([{"b": [-(2**63)]}], False),
        ([2**31, 2**80, -3e9, True], True),
        ({str(-(2**40)): 1}, True),
        ("\ud800", False),
        ({"\ud800": 1}, False),
    ],
    ids=ascii,
)
def test_what_the_server_cannot_store_is_refused_and_nothing_else(devpi: Devpi, value: object, stored: bool) -> None:
    users = [{"name": "ann", "password": "CANARY", "custom_data": value}]
    index = [{"name": "ann", "password": "CANARY", "indexes": [{"name": "dev", "custom_data": value}]}]
    refused = {bool(converge(devpi, declared, check=True).values.get("failed")) for declared in (users, index)}
    assert refused == {not stored}
    token = devpi.token()
    devpi.ask("PUT", "/ann", {"password": "CANARY"}, token)
    if stored:
        devpi.ask("PATCH", "/ann", {"custom_data": value}, token)
        assert devpi.tree()["ann"]["custom_data"] == value
    else:
        with pytest.raises(urllib.error.HTTPError, match="500"):
            devpi.ask("PATCH", "/ann", {"custom_data": value}, token)


def test_where_the_server_refuses_half_way_what_was_done_is_told(devpi: Devpi) -> None:
    users = [{"name": "alice", "password": "CANARY", "indexes": [{"name": "dev", "options": {"no_such_key": 1}}]}]
    result = converge(devpi, users)
    assert result["failed"]
    assert f"PUT {devpi.url}/alice/dev: devpi-server 6." in result["msg"]
    assert "no_such_key=1" in result["msg"]
    assert result["changed"] is True
    assert [each["user"] for each in result["changes"]] == ["alice"]


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([{"name": "alice", "indexes": [{"name": "dev", "volatil": True}], "password": "CANARY"}], "volatil"),
        ([{"name": "alice", "pasword": "CANARY"}], "pasword"),
        ([{"name": "alice", "password": "CANARY", "indexes": "dev"}], "dictionary requested"),
        ({"alice": {"password": "CANARY"}}, "users"),
    ],
)
def test_what_the_argument_spec_refuses_shows_no_password(devpi: Devpi, users: Any, message: str) -> None:
    result = converge(devpi, users)
    assert result["failed"]
    assert message in result["msg"]
    assert "invocation" in result.values
    assert set(devpi.tree()) == {"root"}


def test_check_mode_on_a_host_without_a_server_yet(devpi: Devpi, tmp_path: Path) -> None:
    users = [*TEAM[:2], {"name": "alice"}]
    options = {"credentials_dir": str(tmp_path / "credentials")}
    arguments = {"url": "http://127.0.0.1:9", "users": users, "new_server": True, **options}
    predicted = devpi.run("devpi_users", arguments, check=True)
    assert "warnings" not in predicted.values
    real = converge(devpi, users, **options)
    for key in ("changed", "diff", "changes", "generated"):
        assert predicted[key] == real[key], key
    for new_server, dry in ((True, False), (False, True)):
        nowhere = devpi.run("devpi_users", {**arguments, "new_server": new_server}, check=dry)
        assert nowhere["failed"]
        assert "nothing listens there" in nowhere["msg"]


def test_the_examples_of_the_documentation(devpi: Devpi, tmp_path: Path) -> None:
    directory = tmp_path / "credentials"
    directory.mkdir(mode=0o700)
    (directory / "root").write_text(devpi.root_password + "\n")
    tasks = yaml.safe_load(devpi_users.EXAMPLES)
    assert len(tasks) == 3
    for task in tasks:
        arguments = json.loads(
            json.dumps(task["wheelhouse.devpi.devpi_users"]).replace("{{ vault_team_password }}", "CANARY-vault")
        )
        arguments.update(url=devpi.url, password=None, credentials_dir=str(directory))
        users = arguments.pop("users")
        assert check_real_again(devpi, users, **arguments)["changed"] is True
        if "vault" in json.dumps(task):
            assert devpi.takes("team", "CANARY-vault")
    assert set(devpi.tree()) == {"root", "ci"}


def test_no_password_is_in_what_ansible_prints(devpi: Devpi, tmp_path: Path) -> None:
    arguments = {
        "url": devpi.url,
        "password": devpi.root_password,
        "credentials_dir": str(tmp_path / "credentials"),
        "users": [*TEAM, {"name": "alice"}],
    }
    wrong = {**arguments, "password": "CANARY", "users": [{"name": "new", "password": "CANARY\n"}]}
    for task, mode, status in ((arguments, ["--check"], 0), (arguments, [], 0), (wrong, [], 2)):
        playbook = tmp_path / "play.yml"
        tasks = [{"wheelhouse.devpi.devpi_users": task}]
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        process = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("ansible-playbook")), str(playbook), "-i", "localhost,", *mode),
                *("-c", "local", "-vvv", "--diff", "-e", f"ansible_python_interpreter={sys.executable}"),
            ],
            env=devpi.environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        output = process.stdout + process.stderr
        assert process.returncode == status, output
        assert "CANARY" not in output
        assert devpi.root_password not in output
        for path in (tmp_path / "credentials").glob("*"):
            assert path.read_text().strip() not in output
    assert set(devpi.tree()) == {"root", "team", "ci", "alice"}


KEYS = st.fixed_dictionaries(
    {},
    optional={
        "volatile": st.booleans(),
        "title": st.sampled_from(["", "t"]),
        "mirror_whitelist": st.lists(st.sampled_from(["Foo_Bar", "foo.bar", "baz"]), max_size=3),
        "mirror_whitelist_inheritance": st.sampled_from(["union", "intersection"]),
        "acl_upload": st.lists(st.sampled_from([":anonymous:", ":AUTHENTICATED:", "root"]), max_size=2),
        "custom_data": st.one_of(
            st.text(max_size=3), st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2)
        ),
    },
)
INDEX = st.tuples(st.sampled_from(["ann", "b.en"]), st.sampled_from(["dev", "prod", "x-1"]), KEYS)


@st.composite
def trees(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw users whose indexes build on those drawn before, listed the other way round."""
    users: dict[str, dict[str, Any]] = {
        name: {"name": name, "password": "CANARY", "indexes": []} for name in ("ann", "b.en")
    }
    paths = ["root/pypi"]
    for name, index, keys in draw(st.lists(INDEX, max_size=6, unique_by=lambda each: each[:2])):
        bases = draw(st.lists(st.sampled_from(paths), max_size=2, unique=True))
        users[name]["indexes"].insert(0, {"name": index, "bases": bases, **keys})
        paths.append(f"{name}/{index}")
    return list(users.values())


@settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(first=trees(), second=trees())
def test_any_tree_is_reached_from_any_other(
    devpi: Devpi, first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    client = Client(devpi.url, "root", devpi.root_password)
    passwords = Passwords(None, client.is_password)
    spec = {"users": {"type": "list", "elements": "dict", "options": USER_OPTIONS}}
    nothing = [
        {"name": name, "indexes": [{"name": index, "state": "absent", "force": True} for index in user["indexes"]]}
        for name, user in devpi.tree().items()
        if name != "root"
    ]
    for raw in (nothing, first, second):
        users = parse(ArgumentSpecValidator(spec).validate({"users": raw}).validated_parameters["users"], "users")
        before = devpi.tree()
        # What exists may build on what is declared in another order now.
        assume(not check(users, before))
        for step in plan(users, before, passwords):
            apply(step, client, None)
        assert plan(users, devpi.tree(), passwords) == []
    tree = devpi.tree()
    for user in second:
        for index in user["indexes"]:
            there = tree[user["name"]]["indexes"][index["name"]]
            assert there["bases"] == index["bases"]
            assert there["volatile"] == index.get("volatile", there["volatile"])
            assert set(there["mirror_whitelist"]) == {
                each.lower().replace("_", "-").replace(".", "-")
                for each in index.get("mirror_whitelist", there["mirror_whitelist"])
            }
