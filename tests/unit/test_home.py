"""What lies in a person's home, the traps too: each is named at once, and none makes a run wait."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

ME = pwd.getpwuid(os.geteuid())
# With root's rights it is another account that has a home, so that rights are put to the test.
PERSON = pwd.getpwnam("nobody") if os.geteuid() == 0 else ME
INDEX = "http://127.0.0.1:3141/alice/dev"


@pytest.fixture
def home() -> Iterator[Home]:
    """The home of a person who is not root, and a limit to how long a test may wait."""
    directory = Path(tempfile.mkdtemp())
    os.chown(directory, PERSON.pw_uid, PERSON.pw_gid)
    signal.alarm(10)
    yield Home(pwd.struct_passwd((*PERSON[:5], str(directory), PERSON[6])))
    signal.alarm(0)
    shutil.rmtree(directory)


def problems(home: Home) -> list[str]:
    return [problem for problem in (home.problem(), home.pypirc_problem(), home.client_problem()) if problem]


def client(home: Home) -> Path:
    """Make the client's directory, and return the path of its settings."""
    for path in (home.path / ".devpi", home.path / ".devpi" / "client"):
        path.mkdir()
        os.chown(path, home.account.pw_uid, home.account.pw_gid)
    return home.path / ".devpi" / "client" / "current.json"


def test_empty_home_will_do(home: Home) -> None:
    assert problems(home) == []
    assert home.client_index() == ""


def test_files_of_the_person_are_read(home: Home) -> None:
    (home.path / ".pypirc").write_text("[distutils]\nindex-servers = pypi\n")
    current = client(home)
    current.write_text(json.dumps({"index": INDEX + "/"}))
    os.chown(current, home.account.pw_uid, -1)
    assert problems(home) == []
    assert home.client_index() == INDEX


def test_index_or_else_the_server_is_told(home: Home) -> None:
    current = client(home)
    for content, index in (
        ({"login": "http://127.0.0.1:3141/+login"}, "http://127.0.0.1:3141"),
        ({"index": None, "login": None}, ""),
        ([], ""),
        ({"index": [1]}, ""),
        ({"index": "http://127.0.0.1:3141/\ud800"}, ""),
    ):
        current.write_text(json.dumps(content))
        assert home.client_index() == index
    current.write_text("[" * 100_000)
    assert home.client_index() == ""


@pytest.mark.parametrize("name", [".pypirc", ".devpi/client/current.json"])
def test_what_is_no_file_is_named_at_once(home: Home, name: str) -> None:
    client(home)
    path = home.path / name
    os.mkfifo(path)
    assert [each.split(";")[0].split(",")[0] for each in problems(home)] == [f"{path} is a named pipe"]
    assert home.client_index() == ""
    path.unlink()
    path.symlink_to("/dev/zero")
    assert [each.split(";")[0].split(",")[0] for each in problems(home)] == [f"{path} is a device"]
    path.unlink()
    with path.open("wb") as file:
        file.truncate(10 << 30)
    assert [each.split(";")[0].split(",")[0] for each in problems(home)] == [f"{path} is larger than 1048576 bytes"]
    path.unlink()
    path.symlink_to(path.name)
    [problem] = problems(home)
    assert f"{path} cannot be read" in problem


def test_clients_directory_must_be_one(home: Home) -> None:
    path = home.path / ".devpi"
    path.symlink_to("nowhere")
    assert [each.split(",")[0] for each in problems(home)] == [
        f"{path} is not a directory that {home.account.pw_name} may enter"
    ]
    path.unlink()
    path.touch()
    assert [each.split(",")[0] for each in problems(home)] == [
        f"{path} is not a directory that {home.account.pw_name} may enter"
    ]
    path.unlink()
    (home.path / "dotfiles").mkdir()
    os.chown(home.path / "dotfiles", home.account.pw_uid, -1)
    path.symlink_to("dotfiles")
    assert problems(home) == []


def test_home_must_be_there_and_the_persons(home: Home) -> None:
    away = Home(pwd.struct_passwd((*PERSON[:5], "/nonexistent", PERSON[6])))
    assert "has the home directory /nonexistent, which does not exist; make it, or name an account" in away.problem()
    home.path.chmod(0o500)
    assert f"may not write in its home directory {home.path}" in home.problem()
    if os.geteuid() == 0:
        home.path.chmod(0o700)
        other = pwd.struct_passwd((*pwd.getpwnam("daemon")[:5], str(home.path), "/bin/sh"))
        assert f"may not write in its home directory {home.path}" in Home(other).problem()


def test_what_the_person_may_not_read_is_not_read(home: Home) -> None:
    secret = home.path / "secret"
    secret.write_text("not = a pypirc\n")
    secret.chmod(0)
    (home.path / ".pypirc").symlink_to("secret")
    assert [each.split(" by ")[0] for each in problems(home)] == [f"{home.path}/.pypirc cannot be read"]


@pytest.mark.parametrize("name", ["current.json", "auth.json"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"garbage", "is not JSON (line 1)"),
        (b'{"index": 1,\n"x"}', "is not JSON (line 2)"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"[" * 100_000, "is not JSON"),
        (b"9" * 5000, "is not JSON"),
        (b"", ""),
        (b" \n", ""),
        # The client takes nothing of these, and writes its own in their place.
        (b"[]", ""),
        (b'"x"', ""),
        (b"null", ""),
        (b'{"index": null}', ""),
    ],
)
def test_settings_that_the_client_fails_on_are_named(home: Home, name: str, content: bytes, words: str) -> None:
    path = client(home).with_name(name)
    path.write_bytes(content)
    os.chown(path, home.account.pw_uid, -1)
    if content == b"9" * 5000 and not hasattr(sys, "set_int_max_str_digits"):
        words = ""
    found = problems(home)
    if not words:
        assert found == []
        return
    [problem] = found
    assert problem.startswith(f"{path} {words}")
    assert problem.endswith("keeps its settings there; move it away")


@pytest.mark.parametrize("settings", [{"index": [1]}, {"login": 7}, {"index": "http://127.0.0.1/\n"}])
def test_address_that_is_none_is_named(home: Home, settings: object) -> None:
    path = client(home)
    path.write_text(json.dumps(settings))
    os.chown(path, home.account.pw_uid, -1)
    [problem] = problems(home)
    assert problem.startswith(f"{path} has no address as its ")
    assert home.client_index() == ""


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root is led elsewhere")


@AS_ROOT
@pytest.mark.parametrize("name", [".pypirc", ".devpi/client/current.json", ".devpi/client/auth.json"])
@pytest.mark.parametrize("target", ["/etc/shadow", "/root/.ssh", "/etc/new-file", "/nonexistent/file"])
def test_link_is_to_be_removed_and_nothing_done_to_where_it_leads(home: Home, name: str, target: str) -> None:
    client(home)
    (home.path / name).symlink_to(target)
    [problem] = problems(home)
    assert str(home.path / name) in problem
    assert "remove the link" in problem
    for command in ("chown", "chmod", "Give"):
        assert command not in problem


@AS_ROOT
@pytest.mark.parametrize("name", [".devpi", ".devpi/client"])
def test_link_to_where_the_person_may_not_look_tells_nothing_of_it(home: Home, name: str, tmp_path: Path) -> None:
    if name != ".devpi":
        (home.path / ".devpi").mkdir()
        os.chown(home.path / ".devpi", home.account.pw_uid, -1)
    (tmp_path / "there").mkdir()
    tmp_path.chmod(0o700)
    told = set()
    for target in ("there", "away"):
        (home.path / name).symlink_to(tmp_path / target)
        told.add(tuple(problems(home)))
        assert home.client_index() == ""
        (home.path / name).unlink()
    [[problem]] = told
    assert problem.startswith(f"{home.path / name} is not a directory that nobody may enter")


@AS_ROOT
@pytest.mark.parametrize("name", [".devpi", ".devpi/client"])
def test_link_in_the_place_of_the_clients_directory_is_to_be_removed(home: Home, name: str) -> None:
    if name != ".devpi":
        (home.path / ".devpi").mkdir()
        os.chown(home.path / ".devpi", home.account.pw_uid, -1)
    (home.path / name).symlink_to("/etc")
    [problem] = problems(home)
    assert problem.startswith(f"nobody may not write in {home.path / name}, ")
    assert problem.endswith("it is a symbolic link to /etc: remove the link")


@AS_ROOT
@pytest.mark.parametrize("name", [".pypirc", ".devpi/client/current.json", ".devpi/client"])
def test_what_the_person_closed_the_person_opens(home: Home, name: str) -> None:
    """Root would open what lies there by then."""
    client(home)
    path = home.path / name
    if not path.is_dir():
        path.touch()
    os.chown(path, home.account.pw_uid, -1)
    path.chmod(0)
    [problem] = problems(home)
    assert problem.endswith(f"; runuser -u nobody -- chmod u+rw{'x' if path.is_dir() else ''} {path}")


@AS_ROOT
def test_no_directory_of_the_system_is_to_be_given_away(home: Home) -> None:
    odd = Home(pwd.struct_passwd((*PERSON[:5], "/usr/sbin", PERSON[6])))
    assert "chown" not in odd.problem()
    os.chown(home.path, 0, 0)
    assert "give it the directory: chown nobody: " in home.problem()


@AS_ROOT
def test_file_that_root_put_there_is_mended_with_the_file(home: Home) -> None:
    (home.path / ".pypirc").write_text("[pypi]\n")
    (home.path / ".pypirc").chmod(0o600)
    assert problems(home) == []
    (home.path / ".pypirc").write_text("no section\n")
    [problem] = problems(home)
    assert f"{home.path}/.pypirc, line 1: " in problem
