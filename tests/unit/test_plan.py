"""The plan from what a server holds to what is declared, and what is sent for it, without a server."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.wheelhouse.devpi.plugins.module_utils._apply import apply
from ansible_collections.wheelhouse.devpi.plugins.module_utils._checks import unknown_passwords
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client, RequestFailed
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials, CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import USER_OPTIONS, User, parse
from ansible_collections.wheelhouse.devpi.plugins.module_utils._plan import Change, diff, plan

EXISTING: dict[str, Any] = {
    "root": {
        "username": "root",
        "indexes": {"pypi": {"type": "mirror", "volatile": False, "mirror_url": "http://up/"}},
    },
    "bob": {
        "username": "bob",
        "email": "bob@example.com",
        "created": "2026-01-01T00:00:00Z",
        "indexes": {
            "dev": {
                "type": "stage",
                "volatile": True,
                "bases": ["bob/prod"],
                "acl_upload": ["bob"],
                "acl_toxresult_upload": ["bob"],
            },
            "prod": {
                "type": "stage",
                "volatile": False,
                "bases": [],
                "acl_upload": ["bob"],
                "acl_toxresult_upload": ["bob"],
            },
        },
    },
}


class Recorder(Client):
    """A client that keeps what would be sent, and fails where it is told to."""

    def __init__(
        self, existing: dict[str, Any] | None = None, refuse: dict[tuple[str, str], int] | None = None
    ) -> None:
        super().__init__("http://127.0.0.1:1", "root", "x")
        self.existing = existing or {}
        self.refuse = refuse or {}
        self.sent: list[tuple[str, str, Any]] = []

    def _write(self, method: str, path: str, body: Any) -> Any:
        self.sent.append((method, path, body))
        if (method, path) in self.refuse:
            raise RequestFailed("refused", self.refuse[method, path])

    def get_json(self, path: str) -> Any:
        return self.existing[path]


def declared(*users: dict[str, Any]) -> list[User]:
    spec = {"users": {"type": "list", "elements": "dict", "options": USER_OPTIONS}}
    result = ArgumentSpecValidator(spec).validate({"users": list(users)})
    assert not result.error_messages
    return parse(result.validated_parameters["users"], "users")


def steps(
    *users: dict[str, Any], directory: Path | None = None, current: bool = True, existing: dict[str, Any] | None = None
) -> list[Change]:
    credentials = Credentials(str(directory)) if directory else None
    existing = EXISTING if existing is None else existing
    return plan(declared(*users), existing, credentials, lambda user, password: current)


def test_what_is_as_declared_is_left_alone() -> None:
    assert (
        steps(
            {"name": "bob", "email": "bob@example.com", "password": "x", "title": "", "indexes": [{"name": "dev"}]},
            {"name": "root", "indexes": [{"name": "pypi", "type": "mirror", "mirror_no_project_list": False}]},
            {"name": "gone", "state": "absent", "indexes": [{"name": "dev", "state": "absent"}]},
        )
        == []
    )


def test_root_pypi_without_an_upstream_is_made_as_devpi_init_makes_it() -> None:
    mirror = {"name": "pypi", "type": "mirror", "mirror_no_project_list": True}
    [step] = steps({"name": "root", "indexes": [mirror]}, existing={"root": {"username": "root"}})
    assert step.body == {
        "type": "mirror",
        "volatile": False,
        "title": "PyPI",
        "mirror_url": "https://pypi.org/simple/",
        "mirror_web_url_fmt": "https://pypi.org/project/{name}/",
        "mirror_no_project_list": True,
    }
    mirror["mirror_url"] = "http://up/"
    [step] = steps({"name": "root", "indexes": [mirror]}, existing={"root": {"username": "root"}})
    assert step.body == {"type": "mirror", "mirror_url": "http://up/", "mirror_no_project_list": True}


def test_only_what_differs_is_sent_and_shown() -> None:
    [step] = steps({"name": "bob", "indexes": [{"name": "dev", "acl_upload": ["bob"], "bases": ["root/pypi"]}]})
    assert step.body == {"bases": ["root/pypi"]}
    assert diff([step]) == {
        "before": {"bob/dev": {"bases": ["bob/prod"]}},
        "after": {"bob/dev": {"bases": ["root/pypi"]}},
    }


def test_users_come_first_then_indexes_as_bases_need_them_then_deletions() -> None:
    found = steps(
        {"name": "bob", "indexes": [{"name": "prod", "state": "absent", "force": True}]},
        {"name": "alice", "password": "x", "indexes": [{"name": "dev", "bases": ["carol/prod"]}, {"name": "old"}]},
        {"name": "carol", "password": "x", "indexes": [{"name": "prod", "bases": ["alice/old"]}]},
    )
    assert [(step.action, step.path) for step in found] == [
        ("create", "alice"),
        ("create", "carol"),
        ("create", "alice/old"),
        ("create", "carol/prod"),
        ("create", "alice/dev"),
        ("delete", "bob/prod"),
    ]


def test_what_is_not_volatile_is_made_so_before_it_is_deleted() -> None:
    client = Recorder()
    for step in steps({"name": "bob", "state": "absent", "force": True}):
        apply(step, client, None)
    assert client.sent == [("PATCH", "/bob/prod", {"volatile": True}), ("DELETE", "/bob", None)]


def test_a_deletion_that_another_run_made_is_no_failure() -> None:
    [step] = steps({"name": "bob", "indexes": [{"name": "dev", "state": "absent"}]})
    apply(step, Recorder({"/": {"bob": {"indexes": {}}}}, {("DELETE", "/bob/dev"): 403}), None)
    with pytest.raises(RequestFailed):
        apply(step, Recorder({"/": EXISTING}, {("DELETE", "/bob/dev"): 403}), None)


def test_what_another_run_made_meanwhile_is_changed_where_it_differs() -> None:
    found = steps(
        {"name": "al", "password": "x", "email": "a", "indexes": [{"name": "dev", "bases": [], "title": "t"}]}
    )
    client = Recorder(
        {"/al": {"email": "b"}, "/al/dev?no_projects=": {"type": "stage", "acl_toxresult_upload": ["al"]}},
        {("PUT", "/al"): 409, ("PUT", "/al/dev"): 409},
    )
    for step in found:
        apply(step, client, None)
    assert [sent for sent in client.sent if sent[0] == "PATCH"] == [
        ("PATCH", "/al", {"email": "a"}),
        ("PATCH", "/al/dev", {"title": "t"}),
    ]


@pytest.mark.parametrize(
    ("update_password", "current", "expected"),
    [("on_create", False, []), ("always", True, []), ("always", False, ["password"])],
)
def test_a_password_of_who_exists_is_set_only_when_asked_and_other(
    update_password: str, current: bool, expected: list[str]
) -> None:
    found = steps({"name": "bob", "password": "CANARY", "update_password": update_password}, current=current)
    assert [key for step in found for key in step.summary()["settings"]] == expected
    if found:
        shown = diff(found)
        assert shown["before"] != shown["after"]
        assert "CANARY" not in repr([shown, found])


def test_a_generated_password_is_in_its_file_before_the_server_hears_of_it(tmp_path: Path) -> None:
    directory = tmp_path / "credentials"
    users = ({"name": "alice"},)
    existing = dict(EXISTING)
    [step] = steps(*users, directory=directory)
    assert not directory.exists(), "a plan writes nothing"
    with pytest.raises(RequestFailed):
        apply(step, Recorder(refuse={("PUT", "/alice"): 500}), Credentials(str(directory)))
    password = (directory / "alice").read_text().rstrip("\n")
    assert len(password) >= 24
    assert "%" not in password
    assert stat.S_IMODE((directory / "alice").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert os.listdir(directory) == ["alice"]  # noqa: PTH208 - hidden files too

    client = Recorder()
    for step in steps(*users, directory=directory, existing=existing):
        apply(step, client, Credentials(str(directory)))
    assert client.sent == [("PUT", "/alice", {"password": password})]


def test_runs_at_the_same_time_agree_on_a_generated_password(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(Credentials(str(tmp_path)).obtain("alice")))
        for _thread in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(tmp_path / "alice").read_text().strip()] * 8


def test_a_directory_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(CredentialsError, match="chmod 0700 it"):
        Credentials(str(tmp_path)).obtain("alice")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_password_file_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("\n")
    [problem] = unknown_passwords(declared({"name": "alice"}), EXISTING, Credentials(str(tmp_path)))
    assert f"{tmp_path}/alice is empty" in problem


def test_without_a_password_and_a_directory_both_ways_out_are_named() -> None:
    [problem] = unknown_passwords(declared({"name": "bob"}, {"name": "alice", "password": ""}), EXISTING, None)
    assert problem.startswith(
        "users[1] (alice): the user is to be created and has no password; give one as password, or"
    )


def test_the_password_in_a_mirrors_address_is_not_shown() -> None:
    existing = {"root": {"indexes": {"pypi": {"type": "mirror", "mirror_url": "https://u:CANARY1@up:8/simple/"}}}}
    users = {"name": "root", "indexes": [{"name": "pypi", "mirror_url": "https://u:CANARY2@up:8/simple/"}]}
    shown = diff(steps(users, existing=existing))
    assert "CANARY" not in repr(shown)
    assert shown["before"] == {"root/pypi": {"mirror_url": "https://u:********@up:8/simple/"}}
    assert shown["before"] != shown["after"]


def test_an_index_of_a_plugins_type_is_kept_like_a_stage() -> None:
    index = {"name": "safe", "type": "constrained", "bases": ["root/pypi"], "options": {"constraints": ["pip<26", "*"]}}
    [step] = steps({"name": "bob", "indexes": [index]})
    client = Recorder()
    apply(step, client, None)
    there = {
        "type": "constrained",
        "bases": ["root/pypi"],
        "constraints": ["pip<26", "*"],
        "acl_toxresult_upload": ["bob"],
    }
    assert client.sent == [("PUT", "/bob/safe", there)]
    existing = {**EXISTING, "bob": {"username": "bob", "indexes": {"safe": {**there, "acl_upload": ["bob"]}}}}
    for kept in (index, {"name": "safe", "options": {"constraints": ["pip<26", "*"]}}, {"name": "safe"}):
        assert steps({"name": "bob", "indexes": [kept]}, existing=existing) == []
    changed = {"name": "safe", "options": {"constraints": ["*"]}, "title": "t"}
    [step] = steps({"name": "bob", "indexes": [changed]}, existing=existing)
    client = Recorder()
    apply(step, client, None)
    assert client.sent == [("PATCH", "/bob/safe", {"constraints": ["*"], "title": "t"})]
    assert diff([step])["before"] == {"bob/safe": {"constraints": ["pip<26", "*"]}}
    # what a plugin defines and nobody declares is sent as it is, or the server would reset it
    [step] = steps({"name": "bob", "indexes": [{"name": "safe", "title": "t"}]}, existing=existing)
    client = Recorder()
    apply(step, client, None)
    assert client.sent == [("PATCH", "/bob/safe", {"constraints": ["pip<26", "*"], "title": "t"})]


def test_a_type_that_the_server_has_not_is_the_servers_to_refuse() -> None:
    [step] = steps({"name": "bob", "indexes": [{"name": "x", "type": "jail"}]})
    with pytest.raises(RequestFailed):
        apply(step, Recorder(refuse={("PUT", "/bob/x"): 400}), None)
