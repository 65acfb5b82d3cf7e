"""The file of a token: where it may lie, and what may lie in its place."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _paths
from ansible_collections.wheelhouse.devpi.plugins.module_utils._token_file import TokenFile
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


def write(file: TokenFile, secret: str) -> None:
    with file.draft("ci a mark") as draft:
        file.write(draft, secret)


def test_what_is_written_is_read(room: Path) -> None:
    file = TokenFile(str(room / "token"), ME)
    assert file.read() is None
    write(file, TOKEN)
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
        write(TokenFile(str(room / "token"), ME), TOKEN)
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
    with pytest.raises(TokenError, match=r"is a device and no file with a token|cannot read|may not read and write"):
        TokenFile(str(path), ME).read()
    path.unlink()
    path.mkdir()
    with pytest.raises(TokenError, match=r"is a directory and no file with a token"):
        TokenFile(str(path), ME).read()


def test_next_run_reads_what_a_draft_tells(room: Path) -> None:
    file = TokenFile(str(room / "token"), ME)
    with contextlib.suppress(ValueError), file.draft("ci a mark"):
        assert file.read_leftovers() == [], "the run that writes it lives"
        raise ValueError
    [left] = room.iterdir()
    assert left.stat().st_mode & 0o7777 == 0o600
    assert file.read_leftovers() == ["ci a mark"]
    (room / ".token.unfinished").write_text("{}")
    assert sorted(file.read_leftovers()) == ["ci a mark", "{}"]
    file.remove_leftovers()
    assert list(room.iterdir()) == []
    with file.draft("ci a mark") as draft:
        file.remove_draft(draft)
    assert list(room.iterdir()) == []


def test_what_has_the_name_of_a_draft_and_is_none_is_left_alone(room: Path) -> None:
    file = TokenFile(str(room / "token"), ME)
    os.mkfifo(room / ".token.pipe.draft")
    os.mkfifo(room / ".token.unfinished")
    (room / "precious").write_text("x")
    (room / ".token.link.draft").symlink_to("precious")
    if os.geteuid() == 0:
        (room / ".token.others.draft").touch()
        os.chown(room / ".token.others.draft", NOBODY.pw_uid, NOBODY.pw_gid)
    before = sorted(room.iterdir())
    assert file.read_leftovers() == []
    file.remove_leftovers()
    assert sorted(room.iterdir()) == before


@pytest.mark.parametrize("content", ["", "x" * (2 << 20)])
def test_draft_that_tells_nothing_is_removed(room: Path, content: str) -> None:
    file = TokenFile(str(room / "token"), ME)
    (room / ".token.left.draft").write_text(content)
    assert file.read_leftovers() == [""]
    file.remove_leftovers()
    assert list(room.iterdir()) == []


def test_another_run_is_waited_for(room: Path) -> None:
    file, other, another = (TokenFile(str(room / name), ME) for name in ("token", "token", "another"))
    with another.locked(0), file.locked(1), pytest.raises(TokenError, match="another run keeps"):
        other.locked(0).__enter__()
    with other.locked(0):
        [lock] = room.iterdir()
        # no other account can lock what it cannot open
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert list(room.iterdir()) == []


@AS_ROOT
def test_who_may_replace_the_file_must_be_its_owner(room: Path) -> None:
    home = room / "home"
    home.mkdir()
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    room.chmod(0o755)
    for owner in (ME, pwd.getpwnam("daemon")):
        with pytest.raises(
            TokenError, match=rf"lies in {home}, where other accounts than {owner.pw_name} .*; name another owner"
        ):
            TokenFile(str(home / "token"), owner)
    (room / "link").symlink_to("home/token")
    with pytest.raises(TokenError, match=r"other accounts than root"):
        TokenFile(str(room / "link"), ME)
    home.chmod(0o777)
    with pytest.raises(TokenError, match=r"other accounts than nobody"):
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
