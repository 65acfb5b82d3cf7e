"""The file of a token: where it may lie, and what may lie in its place."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _paths
from ansible_collections.wheelhouse.devpi.plugins.module_utils._token_file import TokenFile, Unfinished
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tokens import TokenError

if TYPE_CHECKING:
    from collections.abc import Iterator

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
ME = pwd.getpwuid(os.geteuid())
NOBODY = pwd.getpwnam("nobody")
TOKEN = "devpi-AgEAAgtjaS1KcFc4RHhNNQ"


@pytest.fixture(autouse=True)
def impatience() -> Iterator[None]:
    """End a test that waits for ever."""
    signal.alarm(10)
    yield
    signal.alarm(0)


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory of whoever runs the tests; what lies above it is taken for the system's."""
    room = tmp_path_factory.mktemp("room")
    above = {str(parent) for parent in room.parents}
    monkeypatch.setattr(_paths, "SYSTEM_DIRECTORIES", _paths.SYSTEM_DIRECTORIES | above)
    return room


def test_what_is_written_is_read(room: Path) -> None:
    file = TokenFile(str(room / "token"), ME)
    assert file.read() is None
    file.write(TOKEN)
    assert TokenFile(str(room / "token"), ME).read() == TOKEN
    assert (room / "token").read_text() == TOKEN + "\n"
    assert (room / "token").stat().st_mode & 0o7777 == 0o600
    assert file.state() == file.wanted_state()
    assert list(room.iterdir()) == [room / "token"]


def test_draft_of_a_run_that_lives_stays(room: Path) -> None:
    live, left = room / ".token.live.draft", room / ".token.left.draft"
    left.touch()
    with live.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        TokenFile(str(room / "token"), ME).write(TOKEN)
    assert sorted(each.name for each in room.iterdir()) == [".token.live.draft", "token"]


@pytest.mark.parametrize(
    "path", ["/etc", "/dev/token", "/srv/../etc/passwd", "ci/token", "/srv/ci\n/token", "//srv/token"]
)
def test_no_place_for_a_token(path: str) -> None:
    with pytest.raises(TokenError, match=r"^path: .*;"):
        TokenFile(path, ME)


@pytest.mark.parametrize("content", ["root:x:0:0:root:/root:/bin/bash\n", "a" * (2 << 20)])
def test_others_content_stays(room: Path, content: str) -> None:
    path = room / "token"
    path.write_text(content)
    with pytest.raises(TokenError, match=rf"^path: {path} .*move (the file|it) away, or name another path$"):
        TokenFile(str(path), ME).read()
    assert path.read_text() == content


def test_what_is_no_file_is_refused(room: Path) -> None:
    path = room / "token"
    os.mkfifo(path)
    with pytest.raises(TokenError, match=r"is a named pipe and no file with a token; move it away"):
        TokenFile(str(path), ME).read()
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(TokenError, match=r"is a device and no file with a token|cannot read|may not write"):
        TokenFile(str(path), ME).read()
    path.unlink()
    path.mkdir()
    with pytest.raises(TokenError, match=r"is a directory and no file with a token"):
        TokenFile(str(path), ME).read()


def test_pipe_in_place_of_the_note_is_refused(room: Path) -> None:
    file = TokenFile(str(room / "token"), ME)
    os.mkfifo(file.note)
    for act in (file.unfinished, lambda: file.held(1).__enter__()):
        with pytest.raises(TokenError, match=r"is no file; remove it"):
            act()
    file.note.unlink()
    file.note.symlink_to(room / "elsewhere")
    with pytest.raises(TokenError, match=r"cannot be opened .*; remove it"):
        file.unfinished()
    assert not (room / "elsewhere").exists()


@pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"user": "ci"}', '{"user": "ci", "marks": 1}', "x" * (2 << 20)])
def test_note_that_says_nothing_is_as_none(room: Path, note: str) -> None:
    file = TokenFile(str(room / "token"), ME)
    file.note.write_text(note)
    assert file.unfinished() is None
    with file.held(1):
        file.begin(Unfinished("ci", ()))
        assert file.unfinished() == Unfinished("ci", ())
        file.end()
    assert list(room.iterdir()) == []


@AS_ROOT
def test_who_may_replace_the_file_must_be_its_owner(room: Path) -> None:
    home = room / "home"
    home.mkdir()
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    room.chmod(0o755)
    for owner in (ME, pwd.getpwnam("daemon")):
        with pytest.raises(
            TokenError, match=rf"lies in {home}, where others than {owner.pw_name} .*; name another owner"
        ):
            TokenFile(str(home / "token"), owner)
    (room / "link").symlink_to("home/token")
    with pytest.raises(TokenError, match=r"others than root"):
        TokenFile(str(room / "link"), ME)
    home.chmod(0o777)
    with pytest.raises(TokenError, match=r"others than nobody"):
        TokenFile(str(home / "token"), NOBODY)


@AS_ROOT
@pytest.mark.parametrize("target", ["/etc/shadow", "/etc/new", "/root/closed/new"])
def test_nothing_is_to_be_done_to_what_a_link_leads_to(target: str) -> None:
    home = Path(tempfile.mkdtemp())
    try:
        os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
        (home / "token").symlink_to(target)
        with pytest.raises(TokenError) as refused:
            TokenFile(str(home / "token"), NOBODY).read()
        assert "chown" not in str(refused.value)
        assert "give" not in str(refused.value)
        assert "remove the link" in str(refused.value)
    finally:
        shutil.rmtree(home)
