"""What lies in a person's home, the traps too: each is named at once, and none makes a run wait."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
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
    client(home).write_text(json.dumps({"index": INDEX + "/"}))
    assert problems(home) == []
    assert home.client_index() == INDEX


def test_index_or_else_the_server_is_told(home: Home) -> None:
    current = client(home)
    for content, index in (
        ({"login": "http://127.0.0.1:3141/+login"}, "http://127.0.0.1:3141"),
        ({"index": None, "login": None}, ""),
        ([], ""),
        ({"index": [1]}, "[1]"),
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
    assert [each.split(",")[0] for each in problems(home)] == [f"{path} is no directory"]
    path.unlink()
    path.touch()
    assert [each.split(",")[0] for each in problems(home)] == [f"{path} is no directory"]
    path.unlink()
    (home.path / "dotfiles").mkdir()
    os.chown(home.path / "dotfiles", home.account.pw_uid, -1)
    path.symlink_to("dotfiles")
    assert problems(home) == []


def test_home_must_be_there_and_the_persons(home: Home) -> None:
    away = Home(pwd.struct_passwd((*PERSON[:5], "/nonexistent", PERSON[6])))
    assert "has the home directory /nonexistent, and there is none; make it, or name an account" in away.problem()
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
