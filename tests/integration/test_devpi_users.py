"""The module devpi_users against a real devpi-server."""

from __future__ import annotations

import copy
import json
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import HASH, HASHED
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def spoken_team(devpi: Devpi) -> list[dict[str, Any]]:
    """Return TEAM; for devpi-server 7, where a stage's list can name no projects, with none named."""
    users = copy.deepcopy(TEAM)
    if devpi.is_7:
        users[0]["indexes"][0]["mirror_whitelist"] = []
    return users


def converge(devpi: Devpi, users: list[dict[str, Any]], check: bool = False, **options: object) -> Result:
    arguments = {"url": devpi.url, "password": devpi.root_password, "users": users, **options}
    result = devpi.run("devpi_users", arguments, check)
    for secret in (devpi.root_password, "CANARY", HASH):
        assert secret not in result.output
    return result


def check_real_again(devpi: Devpi, users: list[dict[str, Any]], **options: object) -> Result:
    """Run in check mode, for real, and again; return the real run's result."""
    arguments = {"url": devpi.url, "password": devpi.root_password, "users": users, **options}
    result = devpi.check_real_again("devpi_users", arguments)
    if not any(user.get("update_password") == "always" for user in users):
        asked = len(devpi.requests())
        devpi.run("devpi_users", arguments)
        assert devpi.requests()[asked:] == ["GET /"], "more than one request at rest"
    return result


def test_a_tree_with_every_key(devpi: Devpi) -> None:
    if devpi.is_7:
        refused = converge(devpi, TEAM)
        assert "users[0].indexes[0] (team/dev): mirror_whitelist names baz, foo-bar, and" in refused["msg"]
        assert set(devpi.tree()) == {"root"}
    result = check_real_again(devpi, spoken_team(devpi))
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
        "mirror_whitelist": [] if devpi.is_7 else ["foo-bar", "baz"],
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
    if devpi.is_7:
        assert f"(team/up): {key} is not a key of devpi-server 7; drop it" in converge(devpi, users)["msg"]
        assert set(devpi.tree()) == {"root"}
        mirror[key] = False
        check_real_again(devpi, users)
    elif devpi.version() >= since:
        check_real_again(devpi, users)
        assert devpi.index("team/up")[key] is True
    else:
        assert f"{key} needs devpi-server {since[0]}.{since[1]} or newer" in converge(devpi, users)["msg"]
        assert set(devpi.tree()) == {"root"}


def test_every_key_can_be_changed_and_the_rest_stays(devpi: Devpi) -> None:
    converge(devpi, spoken_team(devpi))
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
    converge(devpi, spoken_team(devpi))
    check_real_again(devpi, [{"name": "ci", "password": "CANARY-new", "update_password": "always"}])
    assert devpi.takes("ci", "CANARY-new")
    assert not devpi.takes("ci", "CANARY-ci")


def test_deleting_needs_words_and_then_happens(devpi: Devpi) -> None:
    converge(devpi, spoken_team(devpi))
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


@pytest.mark.once
def test_two_runs_at_once_end_in_the_declared_state(devpi: Devpi, tmp_path: Path) -> None:
    names = [f"user{number}" for number in range(4)]
    indexes = [{"name": "dev", "bases": ["user0/base"], "title": "t", "options": {"house_rule": "x"}}]
    first = [{"name": name, "title": "t", "indexes": indexes} for name in names]
    first[0]["indexes"] = [{"name": "base", "volatile": False}, *indexes]
    changed = [{"name": "dev", "bases": [], "title": "u", "volatile": False}, {"name": "new", "acl_upload": names[:2]}]
    second = [{"name": name, "update_password": "always", "email": "", "indexes": changed} for name in names[:2]]
    for attempt in range(3):
        devpi.reset()
        directory = tmp_path / str(attempt)
        for users, purge in ((first, "none"), (second, "users")):
            arguments = {
                **{"url": devpi.url, "password": devpi.root_password, "users": users, "purge": purge},
                "credentials_dir": str(directory),
                "purge_force": True,
            }
            running = [devpi.start("devpi_users", arguments) for _run in range(2)]
            results = [finish() for finish in running]
            assert [result["msg"] for result in results if result.values.get("failed")] == []
            again = devpi.run("devpi_users", arguments)
            assert again["changed"] is False, again["diff"]
            tree = devpi.tree()
            assert set(tree) == {"root", *(user["name"] for user in users)}
            for user in users:
                there = tree[user["name"]]["indexes"]
                assert set(there) == {index["name"] for index in user["indexes"]}
                assert there["dev"] == {**there["dev"], "title": "t" if users is first else "u", "house_rule": "x"}
                assert devpi.takes(user["name"], (directory / user["name"]).read_text()[:-1])


def test_a_password_may_come_as_its_hash(devpi: Devpi) -> None:
    result = check_real_again(devpi, [{"name": "ann", "password_hash": HASH}])
    assert result["changes"] == [{"user": "ann", "action": "create", "settings": ["password"]}]
    assert devpi.takes("ann", HASHED)
    assert not devpi.takes("ann", HASH)
    devpi.ask("PATCH", "/ann", {"password": "CANARY-other"}, devpi.token())
    assert converge(devpi, [{"name": "ann", "password_hash": HASH}])["changed"] is False
    assert devpi.takes("ann", "CANARY-other")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"password_hash": "CANARY"}, "password_hash is not an argon2 hash"),
        ({"password_hash": HASH, "password": "CANARY"}, "password and password_hash exclude each other"),
        ({"password_hash": HASH, "update_password": "always"}, "update_password: always compares"),
    ],
)
def test_a_hash_that_cannot_hold_is_refused(devpi: Devpi, options: dict[str, str], problem: str) -> None:
    assert f"users[0] (ann): {problem}" in converge(devpi, [{"name": "ann", **options}])["msg"]
    assert set(devpi.tree()) == {"root"}


def fill(devpi: Devpi) -> None:
    """Make users and indexes by hand: team/dev and team/old, bob/dev on team/old, root/extra."""
    token = devpi.token()
    for user in ("team", "bob"):
        devpi.ask("PUT", f"/{user}", {"password": None, "pwhash": HASH}, token)
    devpi.ask("PUT", "/root/extra", {}, token)
    devpi.ask("PUT", "/team/dev", {}, token)
    devpi.ask("PUT", "/team/old", {"volatile": False, "acl_upload": ["root"]}, token)
    devpi.ask("PUT", "/bob/dev", {"bases": ["team/dev"]}, token)


def paths(devpi: Devpi) -> set[str]:
    tree = devpi.tree()
    return set(tree) | {f"{user}/{index}" for user in tree for index in tree[user]["indexes"]}


EVERYTHING = {"root", "root/pypi", "root/extra", "team", "team/dev", "team/old", "bob", "bob/dev"}
DECLARED: list[dict[str, Any]] = [{"name": "team", "indexes": [{"name": "dev", "title": "t"}]}, {"name": "root"}]


@pytest.mark.parametrize(
    ("purge", "gone"),
    [("none", []), ("indexes", ["team/old"]), ("users", ["bob", "team/old"])],
)
def test_purge_deletes_what_nobody_declared(devpi: Devpi, purge: str, gone: list[str]) -> None:
    fill(devpi)
    result = check_real_again(devpi, DECLARED, purge=purge)
    assert result["purged"] == gone
    assert result.warnings == ([f"purge deletes {', '.join(gone)}"] if gone else [])
    assert paths(devpi) == EVERYTHING - set(gone) - ({"bob/dev"} if "bob" in gone else set())
    assert devpi.index("team/dev")["title"] == "t"


def test_purge_leaves_what_is_roots(devpi: Devpi) -> None:
    fill(devpi)
    declared = [{"name": "root", "indexes": [{"name": "pypi", "title": "Public"}]}]
    result = check_real_again(devpi, declared, purge="users")
    assert result["purged"] == ["bob", "team"]
    assert paths(devpi) == {"root", "root/pypi", "root/extra"}
    check_real_again(devpi, [], purge="users")
    assert paths(devpi) == {"root", "root/pypi", "root/extra"}


@pytest.mark.parametrize(
    ("index", "purge", "told"),
    [
        ("team/old", "indexes", "purge of index team/old: team/old is not declared and holds old-thing"),
        ("bob/dev", "users", "purge of user bob: bob/dev is not declared and holds old-thing"),
    ],
)
def test_purge_refuses_what_holds_packages(devpi: Devpi, index: str, purge: str, told: str) -> None:
    fill(devpi)
    devpi.ask("PATCH", f"/{index}", {"acl_upload": ["root"]}, devpi.token())
    devpi.upload(index, "old-thing", "1.0", "old_thing-1.0-py3-none-any.whl")
    before = devpi.tree()
    for check in (True, False):
        refused = converge(devpi, DECLARED, check, purge=purge)
        assert refused["failed"]
        assert refused["msg"] == (
            f"Nothing was changed. {told}; declare it, or set purge_force: true to delete it with all packages"
        )
    assert devpi.tree() == before
    assert devpi.ask("GET", f"/{index}")["projects"] == ["old-thing"]
    check_real_again(devpi, DECLARED, purge=purge, purge_force=True)
    assert index not in paths(devpi)


def test_purge_refuses_a_base_of_what_stays(devpi: Devpi) -> None:
    fill(devpi)
    devpi.ask("PATCH", "/bob/dev", {"bases": ["team/old"]}, devpi.token())
    before = devpi.tree()
    refused = converge(devpi, DECLARED, purge="indexes")
    assert refused["failed"]
    assert refused["msg"] == (
        "Nothing was changed. purge of index team/old: team/old is a base of bob/dev; take it out of the bases there, "
        "or set purge_force: true"
    )
    assert devpi.tree() == before
    # Together with what builds on it, or where that is declared without it, it goes.
    predicted = converge(devpi, DECLARED, check=True, purge="users")
    assert predicted["purged"] == ["bob", "team/old"]
    bob = [{"name": "bob", "indexes": [{"name": "dev", "bases": []}]}]
    assert converge(devpi, DECLARED + bob, check=True, purge="users")["purged"] == ["team/old"]
    check_real_again(devpi, DECLARED, purge="indexes", purge_force=True)
    assert paths(devpi) == EVERYTHING - {"team/old"}


def test_purge_tells_all_that_it_refuses_in_one_message(devpi: Devpi) -> None:
    fill(devpi)
    devpi.upload("team/old", "old-thing", "1.0", "old_thing-1.0.tar.gz")
    devpi.ask("PATCH", "/bob/dev", {"bases": ["team/old"]}, devpi.token())
    refused = converge(devpi, [{"name": "team"}, {"name": "root"}], purge="indexes")
    problems = refused["msg"].splitlines()
    assert problems[0] == "Nothing was changed."
    assert len(problems) == 3
    assert any("is a base of bob/dev" in each for each in problems)
    assert any("holds old-thing" in each for each in problems)
    assert paths(devpi) == EVERYTHING


def test_purge_refuses_without_asking_mirrors_for_their_packages(devpi: Devpi) -> None:
    fill(devpi)
    kind, key = ("remote", "remote_url") if devpi.is_7 else ("mirror", "mirror_url")
    devpi.ask("PUT", "/team/up", {"type": kind, key: "http://127.0.0.1:9/"}, devpi.token())
    asked = len(devpi.requests())
    assert check_real_again(devpi, DECLARED, purge="indexes")["purged"] == ["team/old", "team/up"]
    assert not [each for each in devpi.requests()[asked:] if each.startswith("GET /team/up")]


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_password_is_refused_before_anything_is_changed(devpi: Devpi, tmp_path: Path, check: bool) -> None:
    before = devpi.tree()
    directory = tmp_path / "credentials"
    result = converge(devpi, [{"name": "alice"}], check, password="CANARY", credentials_dir=str(directory))
    assert result["failed"]
    assert result["msg"].startswith(f"POST {devpi.url}/+login: the server does not accept the password given for root")
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
    assert re.match(rf"PUT {devpi.url}/alice/dev: devpi-server [67]\.[^ ]+ answered 400: ", result["msg"])
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


@pytest.fixture
def without_root_pypi(mirroring_devpi: Devpi) -> Iterator[Devpi]:
    """Return a server as role server makes it; nobody after this test is to ask the real PyPI."""
    yield mirroring_devpi
    token = mirroring_devpi.token()
    mirroring_devpi.ask("PATCH", "/root/pypi", {"volatile": True}, token)
    mirroring_devpi.ask("DELETE", "/root/pypi", None, token)


def test_check_mode_on_a_host_without_a_server_yet(without_root_pypi: Devpi, tmp_path: Path) -> None:
    devpi = without_root_pypi
    mirror = {"name": "pypi", "type": "mirror", "mirror_no_project_list": True}
    users = [{"name": "root", "indexes": [mirror]}, *spoken_team(devpi)[:2], {"name": "alice"}]
    options = {"credentials_dir": str(tmp_path / "credentials")}
    arguments = {"url": "http://127.0.0.1:9", "users": users, "new_server": True, **options}
    predicted = devpi.run("devpi_users", arguments, check=True)
    assert predicted.warnings == []
    real = converge(devpi, users, **options)
    for key in ("changed", "diff", "changes", "generated"):
        assert predicted[key] == real[key], key
    for new_server, dry in ((True, False), (False, True)):
        nowhere = devpi.run("devpi_users", {**arguments, "new_server": new_server}, check=dry)
        assert nowhere["failed"]
        assert "nothing listens there" in nowhere["msg"]


@pytest.mark.once
def test_no_password_is_in_what_ansible_prints(devpi: Devpi, tmp_path: Path) -> None:
    arguments = {
        "url": devpi.url,
        "password": devpi.root_password,
        "credentials_dir": str(tmp_path / "credentials"),
        "users": [*spoken_team(devpi), {"name": "alice"}],
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
            st.text(max_size=3), st.dictionaries(st.sampled_from("ab"), st.integers(-(2**31)), max_size=2)
        ),
    },
)
INDEX = st.tuples(st.sampled_from(["ann", "b.en"]), st.sampled_from(["dev", "prod", "x-1"]), KEYS)


@st.composite
def trees(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw users whose indexes build on those drawn before, listed the other way round."""
    users: dict[str, dict[str, Any]] = {
        name: {"name": name, "password_hash": HASH, "indexes": []}
        for name in draw(st.sampled_from([["ann", "b.en"], ["b.en", "ann"], ["ann"], ["b.en"]]))
    }
    paths = ["root/pypi"]
    for name, index, keys in draw(st.lists(INDEX, max_size=6, unique_by=lambda each: each[:2])):
        if name in users:
            bases = draw(st.lists(st.sampled_from(paths), max_size=2, unique=True))
            users[name]["indexes"].insert(0, {"name": index, "bases": bases, **keys})
            paths.append(f"{name}/{index}")
    return list(users.values())


def spoken(devpi: Devpi, users: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the users with a whitelist of everything in the place of names where the server has no words for these."""
    users = copy.deepcopy(users)
    for index in (each for user in users for each in user["indexes"]):
        if devpi.is_7 and index.get("mirror_whitelist"):
            index.update(mirror_whitelist=["*"], accept_dependency_confusion=True)
    return users


# What may stand between two trees that are in order by themselves: bases that exist are other than those declared.
BETWEEN = re.compile(r"bases form a cycle|is a base of")


@pytest.mark.once
@settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(first=trees(), second=trees(), purge=st.sampled_from(["none", "indexes", "users"]), force=st.booleans())
def test_any_tree_is_reached_from_any_other(
    devpi: Devpi, first: list[dict[str, Any]], second: list[dict[str, Any]], purge: str, force: bool
) -> None:
    devpi.reset()
    first, second = spoken(devpi, first), spoken(devpi, second)
    check_real_again(devpi, first)
    before = devpi.tree()
    options = {"purge": purge, "purge_force": force}
    if converge(devpi, second, check=True, **options).values.get("failed"):
        refused = converge(devpi, second, **options)
        assert refused["failed"]
        problems = refused["msg"].replace("Nothing was changed. ", "Nothing was changed.\n").splitlines()[1:]
        assert problems
        assert [each for each in problems if not BETWEEN.search(each)] == []
        assert devpi.tree() == before
        return
    check_real_again(devpi, second, **options)
    tree = devpi.tree()
    declared = {f"{user['name']}/{index['name']}": index for user in second for index in user["indexes"]}
    for path, index in declared.items():
        user, name = path.split("/")
        there = tree[user]["indexes"][name]
        kept = before.get(user, {}).get("indexes", {}).get(name, {"volatile": True, "title": ""})
        assert there["bases"] == index["bases"]
        assert there["volatile"] == index.get("volatile", kept["volatile"])
        assert there.get("title", "") == index.get("title", kept.get("title", ""))
        assert set(there["mirror_whitelist"]) == {
            each.lower().replace("_", "-").replace(".", "-")
            for each in index.get("mirror_whitelist", there["mirror_whitelist"])
        }
    users = {user["name"] for user in second}
    stays = set() if purge == "users" else set(before) - users - {"root"}
    assert set(tree) == {"root"} | users | stays
    paths = {f"{user}/{name}" for user in tree for name in tree[user]["indexes"]}
    undeclared = {
        f"{user}/{name}"
        for user in before
        for name in before[user]["indexes"]
        if user in stays or user == "root" or (purge == "none" and user in users)
    }
    assert paths == set(declared) | undeclared
