"""The directory and the secret of a server: what is refused, and that nothing outside is touched on the way."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _host_lock, _paths, _service_account
from ansible_collections.wheelhouse.devpi.plugins.module_utils._server_directory import SecretFile, ServerDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
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
        assert (kept.problems(), kept.initialised(), kept.files_readable_by_others()) == ([], False, [])
    (tmp_path / "empty").chmod(0o750)
    assert directory(tmp_path / "absent").attributes() == []
    assert directory(tmp_path / "empty").attributes() == ["0750", ME.pw_name, grp.getgrgid(os.getegid()).gr_name]


def test_data_that_were_made_by_hand_are_taken_over_and_what_is_open_of_them_is_found(tmp_path: Path) -> None:
    kept = directory(data(tmp_path / "server"))
    (tmp_path / "server" / "notes.txt").write_text("mine")
    assert (kept.problems(), kept.initialised()) == ([], True)
    (tmp_path / "server" / ".sqlite").chmod(0o600)
    (tmp_path / "server" / ".nodeinfo").chmod(0o640)
    assert kept.files_readable_by_others() == [f"{tmp_path}/server/.nodeinfo"]


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
    assert kept.incomplete_database() == ""
    (draft / ".sqlite").rename(tmp_path / "server" / ".sqlite")
    assert kept.incomplete_database() == ""
    (draft / ".nodeinfo").unlink()
    assert "without its .nodeinfo" in kept.incomplete_database()


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


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the home of an account; what lies above it is taken for the system's, and open to all."""
    above = {str(parent) for parent in (tmp_path, *tmp_path.parents)}
    monkeypatch.setattr(_paths, "SYSTEM_DIRECTORIES", _paths.SYSTEM_DIRECTORIES | above)
    closed = {each: each.stat().st_mode & 0o7777 for each in (tmp_path, *tmp_path.parents)}
    closed = {each: mode for each, mode in closed.items() if not mode & 1}
    for each, mode in closed.items():
        each.chmod(mode | 0o055)
    path = tmp_path / "home"
    path.mkdir()
    if os.geteuid() == 0:
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    yield path
    for each, mode in closed.items():
        each.chmod(mode)


def of_nobody(path: Path) -> ServerDirectory:
    return ServerDirectory(str(path), NOBODY, "nobody")


@AS_ROOT
@pytest.mark.parametrize("content", [[], [".nodeinfo", ".sqlite"], ["thesis"]])
def test_no_message_has_root_change_what_a_link_of_the_accounts_leads_to(
    home: Path, tmp_path: Path, content: list[str]
) -> None:
    theirs = tmp_path / "roots"
    theirs.mkdir()
    for name in content:
        (theirs / name).touch()
    (home / "data").symlink_to(theirs)
    [problem] = of_nobody(home / "data").problems()
    assert problem.startswith(f"devpi_server_dir {home}/data is a symbolic link to {theirs}, which ")
    assert "; remove the link, or name " in problem
    assert "chown" not in problem


@AS_ROOT
def test_link_of_the_accounts_to_a_directory_of_its_own_is_taken(home: Path, tmp_path: Path) -> None:
    disk = data(tmp_path / "disk")
    for path in (disk, *disk.iterdir()):
        os.chown(path, NOBODY.pw_uid, -1)
    (home / "data").symlink_to(disk)
    assert of_nobody(home / "data").problems() == []
    assert of_nobody(home / "data").initialised()


@AS_ROOT
@pytest.mark.parametrize("target", ["/etc/hostname", "data", "/root"])
def test_link_that_leads_to_no_directory_is_to_be_removed(home: Path, target: str) -> None:
    (home / "data").symlink_to(target)
    [problem] = of_nobody(home / "data").problems()
    assert problem.startswith(f"devpi_server_dir {home}/data is a symbolic link to {target}, ")
    assert "remove the link" in problem
    assert "chown" not in problem


@AS_ROOT
def test_what_is_given_away_is_named_by_its_real_path_and_holds_nothing_else(home: Path, tmp_path: Path) -> None:
    there = data(tmp_path / "real data")
    (tmp_path / "link").symlink_to(there)
    [problem] = of_nobody(tmp_path / "link").problems()
    assert problem.endswith(f"chown -R --no-dereference nobody: '{there}'")
    # Whoever had the directory may have linked a file of root's into it.
    os.link(there / ".sqlite", there / "hard")
    [problem] = of_nobody(tmp_path / "link").problems()
    assert "chown" not in problem
    assert "move it away, or name another directory" in problem
    (there / "hard").unlink()
    # Where the account can replace the directory, not even that is advised.
    moved = home / "data"
    there.rename(moved)
    [problem] = of_nobody(moved).problems()
    assert "chown" not in problem


@AS_ROOT
def test_release_files_in_whose_place_something_else_lies_are_named(home: Path) -> None:
    there = data(home / "data")
    for path in (there, *there.iterdir()):
        os.chown(path, NOBODY.pw_uid, -1)
    files = there / "+files"
    files.symlink_to("/etc")
    [problem] = of_nobody(there).problems()
    assert problem.startswith(f"{files} (devpi_server_dir) is a symbolic link that root made")
    assert "remove the link" in problem
    os.chown(files, NOBODY.pw_uid, -1, follow_symlinks=False)
    assert of_nobody(there).problems() == []
    assert "is a symbolic link, and root, who opens" in of_nobody(there).release_files_problem()
    files.unlink()
    assert of_nobody(there).release_files_problem() == ""
    os.mkfifo(files)
    [problem] = of_nobody(there).problems()
    assert problem == f"{files} (devpi_server_dir) is a pipe and should be a directory; move it away"
    files.unlink()
    files.mkdir()
    [problem] = of_nobody(there).problems()
    assert problem.endswith("(devpi_server_user); move it away")


@AS_ROOT
def test_secret_that_others_read_is_closed_by_its_owner(home: Path) -> None:
    """Root would close what the account puts there meanwhile."""
    path = home / "secret"
    path.write_text(SECRET)
    os.chown(path, NOBODY.pw_uid, -1)
    [problem] = SecretFile(str(path), NOBODY, "nobody").problems()
    assert problem.endswith(f"; runuser -u nobody -- chmod 0600 {path}")


@AS_ROOT
def test_secret_where_the_account_may_not_look_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(0o700)
    (home / "link").symlink_to(tmp_path / "closed")
    [problem] = SecretFile(str(home / "link" / "secret"), NOBODY, "nobody").problems()
    assert "cannot be read (Permission denied)" in problem


@AS_ROOT
def test_way_that_is_closed_tells_nothing_of_what_lies_there(home: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "there").mkdir(parents=True)
    closed.chmod(0o700)
    (home / "link").symlink_to(closed)
    told = {tuple(of_nobody(home / "link" / name / "data").problems()) for name in ("there", "not-there")}
    assert {len(problems) for problems in told} == {1}
    assert {problem.replace("not-there", "there") for (problem,) in told} == {
        next(iter(problem.replace("not-there", "there") for (problem,) in told))
    }
