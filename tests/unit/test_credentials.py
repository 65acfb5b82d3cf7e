"""Which directories and files hold passwords, and which only look as if."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials, CredentialsError


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return a directory as deployments have made it until today."""
    directory = tmp_path / "credentials"
    directory.mkdir(0o700)
    for name in ("root", "alice", "ci.token"):
        (directory / name).touch(0o600)
        (directory / name).write_text(f"password-of-{name}\n")
    return directory


def test_directory_of_a_deployment_is_taken_over(kept: Path) -> None:
    credentials = Credentials(str(kept))
    credentials.examine()
    assert credentials.read("alice") == "password-of-alice"
    assert credentials.read("bob") is None
    assert credentials.obtain("bob") == credentials.read("bob")


@pytest.mark.parametrize(
    "directory", ["/etc", "/", "/var/lib", "relative", "/srv/../etc", "/srv/x/", "/etc/ssl/private"]
)
def test_system_directory_is_never_read(directory: str) -> None:
    for ask in (lambda it: it.read("hostname"), lambda it: it.obtain("hostname"), lambda it: it.examine()):
        with pytest.raises(CredentialsError, match="credentials_dir"):
            ask(Credentials(directory))


@pytest.mark.parametrize("user", ["../x", "..", ".", "", "/etc/hostname", "a/b", "a\nb"])
def test_users_name_leads_nowhere_else(kept: Path, user: str) -> None:
    (kept.parent / "x").write_text("secret\n")
    for ask in (Credentials(str(kept)).read, Credentials(str(kept)).obtain):
        with pytest.raises(CredentialsError, match="names no file in"):
            ask(user)


def test_directory_with_other_things_is_refused(kept: Path) -> None:
    (kept / "notes").write_text("one\ntwo\n")
    with pytest.raises(CredentialsError, match="holds notes, which is not a password file"):
        Credentials(str(kept)).read("alice")


def test_directory_that_others_enter_with_files_that_they_read_is_refused(kept: Path) -> None:
    kept.chmod(0o755)
    assert Credentials(str(kept)).read("alice") == "password-of-alice"
    (kept / "hostname").write_text("web1\n")
    (kept / "hostname").chmod(0o644)
    with pytest.raises(CredentialsError, match="hostname"):
        Credentials(str(kept)).read("alice")
    with pytest.raises(CredentialsError, match="can be read by others"):
        Credentials(str(kept)).read("hostname")


def test_directory_that_others_write_is_refused(kept: Path) -> None:
    kept.chmod(0o770)
    with pytest.raises(CredentialsError, match="can be written by others"):
        Credentials(str(kept)).read("alice")


def test_links_and_pipes_are_refused_and_not_waited_for(kept: Path) -> None:
    for name in ("link", "pipe", "directory"):
        path = kept / name
        if name == "link":
            path.symlink_to("/etc/hostname")
        elif name == "pipe":
            os.mkfifo(path, 0o600)
        else:
            path.mkdir()
        for user in (name, "alice"):
            with pytest.raises(CredentialsError, match=name):
                Credentials(str(kept)).read(user)
        path.rmdir() if name == "directory" else path.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_file_or_directory_of_another_account_is_refused(kept: Path) -> None:
    os.chown(kept / "alice", 65534, -1)
    with pytest.raises(CredentialsError, match="belongs to another account"):
        Credentials(str(kept)).read("alice")
    os.chown(kept, 65534, -1)
    with pytest.raises(CredentialsError, match=r"lies in|belongs to another account"):
        Credentials(str(kept)).read("root")


def test_draft_of_a_run_that_lives_stays_and_that_of_a_killed_one_goes(kept: Path) -> None:
    live, left = kept / ".password.live+draft", kept / ".password.left+draft"
    left.touch(0o600)
    left.write_text("half")
    live.touch(0o600)
    with live.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        made = Credentials(str(kept)).obtain("bob")
        assert live.exists()
    assert Credentials(str(kept)).read("bob") == made
    assert sorted(each.name for each in kept.iterdir()) == [live.name, "alice", "bob", "ci.token", "root"]
    Credentials(str(kept)).remove_leftovers()
    assert sorted(each.name for each in kept.iterdir()) == ["alice", "bob", "ci.token", "root"]


def test_another_runs_password_wins(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def later(draft: Path, path: Path) -> None:
        path.touch(0o600)
        path.write_text("theirs\n")
        real(draft, path)

    monkeypatch.setattr(os, "link", later)
    assert Credentials(str(kept)).obtain("bob") == "theirs"
    assert sorted(each.name for each in kept.iterdir()) == ["alice", "bob", "ci.token", "root"]


KILLED = """
import os, signal, sys
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials
os.link = lambda *_names: os.kill(os.getpid(), signal.SIGKILL)
Credentials(sys.argv[1]).obtain("bob")
"""
AT_ONCE = """
import sys
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials
print([Credentials(sys.argv[1]).obtain(f"user{number}") for number in range(30)])
"""


def start(script: str, directory: Path) -> subprocess.Popen[str]:
    root = next(path for path in sys.path if Path(path, "ansible_collections/wheelhouse").is_dir())
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", script, str(directory)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_run_left_is_mended_by_the_next(kept: Path) -> None:
    run = start(KILLED, kept)
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    assert len(list(kept.iterdir())) == 4
    Credentials(str(kept)).examine()
    Credentials(str(kept)).obtain("bob")
    assert sorted(each.name for each in kept.iterdir()) == ["alice", "bob", "ci.token", "root"]


def test_runs_at_once_end_with_the_same_passwords(tmp_path: Path) -> None:
    directory = tmp_path / secrets.token_hex(4)
    runs = [start(AT_ONCE, directory) for _run in range(3)]
    said = {run.communicate()[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(said) == 1
    assert sorted(each.name for each in directory.iterdir()) == sorted(f"user{number}" for number in range(30))
