"""What may lie at devpi_venv_path, and which environment and interpreter root may run."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _environment, _paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
NOBODY = pwd.getpwnam("nobody")
NAME = "0123456789abcdef"


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that only root can change, whatever lies above it."""
    directory = tmp_path_factory.mktemp("room")
    above = {str(parent) for parent in directory.parents}
    monkeypatch.setattr(_paths, "SYSTEM_DIRECTORIES", _paths.SYSTEM_DIRECTORIES | above)
    return directory


@pytest.fixture
def store(room: Path) -> Path:
    """Return a store with one environment in it, as far as that can be told from outside."""
    (room / "venvs" / NAME / "bin").mkdir(parents=True)
    (room / "venvs" / NAME / "bin" / "python").symlink_to("/usr/bin/env")
    return room / "venvs"


def kind(path: Path, store: Path) -> str:
    return _environment.occupant(str(path), str(store)).kind


def former(directory: Path) -> Path:
    (directory / "bin").mkdir(parents=True)
    (directory / "pyvenv.cfg").touch()
    (directory / "installed-from").write_text("python3 " + 64 * "a" + "\n")
    return directory


def test_path_that_cannot_be_in_path_holds_no_environment(room: Path, store: Path) -> None:
    with pytest.raises(_paths.PathError, match="has a colon in it, which ends a directory in PATH"):
        kind(room / "a:b", store)


def test_what_is_ours_or_nobodys_may_be_taken(room: Path, store: Path) -> None:
    link = room / "venv"
    assert kind(link, store) == "nothing"
    link.mkdir()
    assert kind(link, store) == "empty"
    link.rmdir()
    link.symlink_to(store / NAME)
    assert _environment.occupant(str(link), str(store)) == ("link", NAME)
    link.unlink()
    # as an environment that was removed by hand leaves it
    link.symlink_to(store / NAME.replace("0", "1"))
    assert kind(link, store) == "link"
    assert kind(former(room / "former"), store) == "former"


def test_environment_made_by_hand_is_told_from_data(room: Path, store: Path) -> None:
    (room / "byhand" / "bin").mkdir(parents=True)
    (room / "byhand" / "pyvenv.cfg").touch()
    (room / "byhand" / "bin" / "devpi-server").touch()
    assert kind(room / "byhand", store) == "foreign"


@AS_ROOT
@pytest.mark.parametrize("given_away", ["", "installed-from"])
def test_stamp_that_another_account_wrote_is_no_proof(room: Path, store: Path, given_away: str) -> None:
    directory = former(room / "former")
    os.chown(directory / given_away, NOBODY.pw_uid, -1)
    with pytest.raises(_paths.PathError, match="did not make"):
        kind(directory, store)


def test_named_pipe_in_the_place_of_the_stamp_does_not_hang(room: Path, store: Path) -> None:
    directory = former(room / "former")
    (directory / "installed-from").unlink()
    os.mkfifo(directory / "installed-from")
    with pytest.raises(_paths.PathError, match="did not make"):
        kind(directory, store)


@pytest.mark.parametrize("what", ["data", "file", "stranger", "store", "inside", "above", "dots", "pipe", "other data"])
def test_what_is_somebodys_is_refused(room: Path, store: Path, what: str) -> None:
    path = room / "place"
    if what == "data":
        path.mkdir()
        (path / "thesis.tex").touch()
    elif what == "other data":
        path.mkdir()
        (path / "pyvenv.cfg").touch()
    elif what == "file":
        path.touch()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "stranger":
        path.symlink_to(room)
    places = {"store": store, "inside": store / NAME / "x", "above": room, "dots": room / "a" / ".." / "b"}
    with pytest.raises(_paths.PathError, match="; "):
        kind(places.get(what, path), store)


def test_environment_of_the_link_is_the_one_in_the_store(room: Path, store: Path) -> None:
    (room / "venv").symlink_to(store / NAME)
    assert _environment.resolved(str(room / "venv"), str(store)) == store / NAME


@pytest.mark.parametrize("target", ["", "absent", "elsewhere", "directory"])
def test_what_leads_elsewhere_is_never_run(room: Path, store: Path, target: str) -> None:
    path = room / "venv"
    if target == "directory":
        shutil.copytree(store / NAME, path, symlinks=True)
    elif target == "elsewhere":
        shutil.copytree(store / NAME, room / "elsewhere", symlinks=True)
        path.symlink_to(room / "elsewhere")
    elif target == "absent":
        path.symlink_to(store / NAME.replace("0", "1"))
    with pytest.raises(_paths.PathError, match="run role venv"):
        _environment.resolved(str(path), str(store))


@AS_ROOT
@pytest.mark.parametrize("given_away", [".", NAME, f"{NAME}/bin"])
def test_environment_that_another_account_can_change_is_never_run(room: Path, store: Path, given_away: str) -> None:
    (room / "venv").symlink_to(store / NAME)
    os.chown(store / given_away, NOBODY.pw_uid, -1)
    with pytest.raises(_paths.PathError, match="chown"):
        _environment.resolved(str(room / "venv"), str(store))


@AS_ROOT
def test_directory_that_the_account_cannot_enter_is_named(room: Path) -> None:
    closed = room / "closed"
    (closed / "bin").mkdir(parents=True)
    room_link = room / "python"
    room_link.symlink_to(closed / "bin" / "python")
    room.chmod(0o755)
    closed.chmod(0o700)
    for path in (closed / "bin" / "python", room_link):
        with _open_to_all(room):
            assert _environment.closed_to(NOBODY, str(path)) == closed
    closed.chmod(0o711)
    with _open_to_all(room):
        assert _environment.closed_to(NOBODY, str(room_link)) is None


@contextlib.contextmanager
def _open_to_all(room: Path) -> Iterator[None]:
    """Let other accounts pass to the room, which pytest keeps to itself."""
    modes = {parent: parent.stat().st_mode & 0o7777 for parent in room.parents if parent.stat().st_uid == os.geteuid()}
    try:
        for parent, mode in modes.items():
            parent.chmod(mode | 0o011)
        yield
    finally:
        for parent, mode in modes.items():
            parent.chmod(mode)


@AS_ROOT
def test_command_has_the_accounts_rights_alone() -> None:
    code = "import os; print(os.getresuid(), os.getresgid(), os.getgroups())"
    command = [*_environment.as_account(NOBODY), "/usr/bin/python3", "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"{(NOBODY.pw_uid,) * 3} {(NOBODY.pw_gid,) * 3} []\n"


def test_python3_is_debians_whatever_path_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    defaults = tmp_path / "debian_defaults"
    monkeypatch.setattr(_environment, "DEBIAN_DEFAULTS", defaults)
    assert _environment.interpreter("python3") == "/usr/bin/python3"
    defaults.write_text("[DEFAULT]\n# the default\ndefault-version = python3.11\nunsupported-versions =\n")
    assert _environment.interpreter("python3") == "/usr/bin/python3.11"
    assert _environment.interpreter("python3.9") == "/usr/bin/python3.9"
    assert _environment.interpreter(sys.executable) == sys.executable


class Said:
    """Answers as programs of the host would, and remembers which were run."""

    def __init__(self, works: bool) -> None:
        self.works = works
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str]) -> str:
        self.commands.append(command)
        if "import devpi_server" in command[-1]:
            return "devpi_server\n" if self.works else ""
        return "cpython 3.11 x86_64 /usr/bin/python 3.11\n" if sys.executable in command else ""


def test_facts_are_what_role_venv_goes_by(room: Path, store: Path) -> None:
    (store / NAME / "installed-from").touch()
    (store / NAME.replace("0", "1")).mkdir()
    (store / ".tidy-1").touch()
    link, account = room / "venv", pwd.getpwuid(os.geteuid()).pw_name
    said = Said(works=True)
    facts = _environment.facts(str(link), sys.executable, account, said, str(store))
    assert facts == {
        "identity": "cpython 3.11 x86_64 /usr/bin/python 3.11",
        "python": "/usr/bin/python 3.11",
        "kind": "nothing",
        "linked": "",
        "whole": [NAME],
        "tidied_for": ["1"],
        "keeper": "",
    }
    assert len(said.commands) == 1
    link.symlink_to(store / NAME)
    facts = _environment.facts(str(link), sys.executable, account, said, str(store))
    assert (facts["kind"], facts["linked"], facts["whole"]) == ("link", NAME, [NAME])
    assert said.commands[-1][0] == str(store / NAME / "bin" / "python")


def test_environment_that_does_not_work_is_not_whole(room: Path, store: Path) -> None:
    (store / NAME / "installed-from").touch()
    (room / "venv").symlink_to(store / NAME)
    facts = _environment.facts(str(room / "venv"), "/srv/none", "root", Said(works=False), str(store))
    assert (facts["linked"], facts["whole"], facts["identity"]) == (NAME, [], "")


@AS_ROOT
def test_link_in_the_directory_of_an_account_is_that_accounts_to_make(store: Path) -> None:
    said = Said(works=True)
    # No account enters the directory that pytest makes.
    with tempfile.TemporaryDirectory(dir="/var/lib") as room:
        os.chown(room, NOBODY.pw_uid, -1)
        facts = _environment.facts(f"{room}/venv", "/srv/none", "nobody", said, str(store))
    assert facts["keeper"] == "nobody"
    assert said.commands[0][0] == "/usr/bin/setpriv"
