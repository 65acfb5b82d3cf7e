"""The directory and the secret of a server: what is refused, and that nothing outside is touched on the way."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _host_lock, _service_account
from ansible_collections.wheelhouse.devpi.plugins.module_utils._server_directory import SecretFile, ServerDirectory

if TYPE_CHECKING:
    from pathlib import Path

ME = pwd.getpwuid(os.geteuid())
SECRET = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I="


def directory(path: Path) -> ServerDirectory:
    return ServerDirectory(str(path), ME, ME.pw_name)


def secret(path: Path) -> SecretFile:
    return SecretFile(str(path), ME, ME.pw_name)


def data(path: Path) -> Path:
    path.mkdir()
    for name in (".nodeinfo", ".sqlite", ".serverversion"):
        (path / name).write_text("x")
    return path


def test_directory_that_is_not_there_or_empty_is_fit(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty"):
        kept = directory(tmp_path / name)
        assert (kept.problems(), kept.initialised(), kept.open_files()) == ([], False, [])
    (tmp_path / "empty").chmod(0o750)
    assert directory(tmp_path / "absent").attributes() == []
    assert directory(tmp_path / "empty").attributes() == ["0750", ME.pw_name, grp.getgrgid(os.getegid()).gr_name]


def test_data_that_were_made_by_hand_are_taken_over_and_what_is_open_of_them_is_found(tmp_path: Path) -> None:
    kept = directory(data(tmp_path / "server"))
    (tmp_path / "server" / "notes.txt").write_text("mine")
    assert (kept.problems(), kept.initialised()) == ([], True)
    (tmp_path / "server" / ".sqlite").chmod(0o600)
    (tmp_path / "server" / ".nodeinfo").chmod(0o640)
    assert kept.open_files() == [f"{tmp_path}/server/.nodeinfo"]


@pytest.mark.parametrize("name", ["thesis", "lost+found", ".bashrc", ".secrets-of-mine"])
def test_directory_with_others_data_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / name).mkdir()
    [problem] = directory(tmp_path / "server").problems()
    assert problem.startswith(f"devpi_server_dir {tmp_path}/server holds {name}, which no devpi-server has put there; ")


@pytest.mark.parametrize("name", [".secret", ".initializing", ".initializing.0a", "+files"])
def test_what_an_interrupted_run_leaves_is_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / "server").mkdir()
    if name == ".secret":
        (tmp_path / "server" / name).write_text(SECRET)
    else:
        (tmp_path / "server" / name).mkdir()
    assert directory(tmp_path / "server").problems() == []


def test_pipes_and_links_in_the_place_of_data_are_named_and_not_opened(tmp_path: Path) -> None:
    there = data(tmp_path / "server")
    for name in (".nodeinfo", ".sqlite"):
        (there / name).unlink()
    os.mkfifo(there / ".nodeinfo")
    (there / ".sqlite").symlink_to("/etc/shadow")
    kept = directory(there)
    assert not kept.initialised()
    pipe, link = kept.problems()
    assert pipe.startswith(f"{there}/.nodeinfo (devpi_server_dir) is a pipe and should be a file; ")
    assert link.startswith(f"{there}/.sqlite (devpi_server_dir) is a link and should be a file; ")


def test_database_without_its_nodeinfo_is_half_unless_a_draft_has_that(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    kept = directory(tmp_path / "server")
    draft = data(tmp_path / "server" / ".initializing.1")
    assert kept.half() == ""
    (draft / ".sqlite").rename(tmp_path / "server" / ".sqlite")
    assert kept.half() == ""
    (draft / ".nodeinfo").unlink()
    assert "without its .nodeinfo" in kept.half()


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/:/bin/sh\n", 0o600, "holds no secret"),
        ("short", 0o600, "holds no secret"),
        ("a" * 44, 0o600, "holds no secret"),
        (SECRET, 0o644, "can be read by others"),
    ],
)
def test_file_that_is_no_secret_is_refused(tmp_path: Path, content: str, mode: int, words: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    path.chmod(mode)
    [problem] = secret(path).problems()
    assert problem.startswith(f"devpi_server_secret_file {path} {words}")
    assert ";" in problem


def test_links_pipes_and_directories_are_no_secret_and_are_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/shadow")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    found = {name: secret(tmp_path / name).problems() for name in ("link", "nowhere", "pipe", "directory")}
    assert [
        [words in each for each in found[name]] for name, words in zip(found, ("link", "link", "pipe", "directory"))
    ]
    assert all(len(each) == 1 for each in found.values())


def test_secret_in_a_directory_where_others_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert len(secret(tmp_path / "open" / "secret").problems()) == 1


@pytest.mark.parametrize("name", ["a b", "-x", "../x", "x" * 40, "Devpi", "", "1000", "x\n", "root", "nobody"])
def test_account_that_a_server_must_not_run_as_is_refused_with_the_way_out(name: str) -> None:
    assert ";" in _service_account.unfit_account(name)


@pytest.mark.parametrize("name", ["devpi-of-the-team", "_devpi", "daemon"])
def test_account_that_is_fit(name: str) -> None:
    assert _service_account.unfit_account(name) == ""


def test_second_run_waits_and_then_says_who_is_at_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_host_lock, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(_host_lock.os, "geteuid", lambda: 0)
    with _host_lock.one_at_a_time():
        with pytest.raises(_host_lock.HostBusyError) as told, _host_lock.one_at_a_time(0.2):
            pass
        assert f"process {os.getpid()} holds {tmp_path}/lock" in str(told.value)
    with _host_lock.one_at_a_time(0.2):
        assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
