"""The scripts of role server make what must be whole or absent, with the rights of the account whose place it is."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = Path(__file__).parents[2] / "roles" / "server" / "files"
# An account that every Debian has, whose primary group is its own
ACCOUNT = pwd.getpwnam("daemon")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have the rights of another account")


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory of root's that others may enter, as pytest's own is not."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def home(place: Path) -> Path:
    """Return a directory of the account's."""
    path = place / "home"
    path.mkdir()
    os.chown(path, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    return path


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def attributes(path: Path) -> tuple[int, int, int]:
    seen = path.lstat()
    return stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid


def test_secret_is_made_whole_and_the_accounts_and_no_other_is_replaced(place: Path) -> None:
    path = place / "etc" / "a secret"
    for _time in range(2):
        done = run("make-secret.sh", "root", ACCOUNT.pw_name, path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert attributes(path) == (0o600, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
        first = path.read_text()
        assert len(first) == 44
    assert path.read_text() == first
    assert attributes(path.parent) == (0o755, 0, 0)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_secret_in_the_accounts_own_directory_is_made_with_its_rights(home: Path, place: Path) -> None:
    path = home / "server" / ".secret"
    path.parent.mkdir()
    os.chown(path.parent, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    # what a run that was killed left
    path.with_name(".secret.draft").write_text("half")
    done = run("make-secret.sh", ACCOUNT.pw_name, ACCOUNT.pw_name, path)
    assert done.returncode == 0, done.stderr
    assert attributes(path) == (0o600, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    assert [each.name for each in path.parent.iterdir()] == [".secret"]
    (home / "link").symlink_to(place)
    assert run("make-secret.sh", ACCOUNT.pw_name, ACCOUNT.pw_name, home / "link" / "secret").returncode != 0
    assert not (place / "secret").exists()


@pytest.mark.parametrize("what", ["file", "link to nothing", "link", "pipe"])
def test_what_is_in_the_place_of_the_secret_stays(home: Path, place: Path, what: str) -> None:
    path = home / "secret"
    (place / "precious").write_text("kept")
    if what == "file":
        path.write_text("kept")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(place / ("precious" if what == "link" else "nothing"))
    before = (path.lstat().st_ino, path.lstat().st_mtime_ns)
    run("make-secret.sh", ACCOUNT.pw_name, ACCOUNT.pw_name, path)
    assert (path.lstat().st_ino, path.lstat().st_mtime_ns) == before
    assert (place / "precious").read_text() == "kept"
    assert not (place / "nothing").exists()


def test_devpi_init_looks_for_no_configuration() -> None:
    """It would take one in the account's own directory, which may send the database elsewhere."""
    assert '/bin/devpi-init" --configfile /dev/null ' in (SCRIPTS / "make-database.sh").read_text()


def test_directory_in_one_of_the_accounts_is_made_and_mended_with_its_rights(home: Path) -> None:
    path = home / "a b" / "server"
    assert run("keep-directory.sh", ACCOUNT.pw_name, "daemon", "0700", path).returncode == 0
    assert attributes(path) == attributes(path.parent) == (0o700, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    path.chmod(0o777)
    done = run("keep-directory.sh", ACCOUNT.pw_name, "www-data", "0710", path)
    assert done.returncode == 0, done.stderr
    group = pwd.getpwnam("www-data").pw_gid
    assert attributes(path) == (0o710, ACCOUNT.pw_uid, group)
    assert run("keep-directory.sh", ACCOUNT.pw_name, "daemon", "0700", path).returncode == 0
    assert attributes(path) == (0o700, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    assert run("keep-directory.sh", ACCOUNT.pw_name, "www-data", "0710", home / "c" / "server").returncode == 0
    assert attributes(home / "c")[0] == 0o711


def test_directory_of_somebody_else_that_the_account_leads_to_stays(home: Path, place: Path) -> None:
    (place / "precious").mkdir(mode=0o755)
    (home / "link").symlink_to(place / "precious")
    before = attributes(place / "precious")
    for group, mode in (("daemon", "0700"), ("www-data", "0710")):
        assert run("keep-directory.sh", ACCOUNT.pw_name, group, mode, home / "link").returncode != 0
    assert attributes(place / "precious") == before


def test_a_second_deployment_waits_and_sees_what_the_first_made(home: Path) -> None:
    path = home / "secret"
    commands = [[str(SCRIPTS / "make-secret.sh"), ACCOUNT.pw_name, ACCOUNT.pw_name, str(path)] for _time in range(4)]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    assert [each.wait(60) for each in runs] == [0] * len(runs), [each.communicate() for each in runs]
    assert [each.name for each in home.iterdir()] == ["secret"]
    assert stat.S_IMODE(Path("/run/wheelhouse.devpi.lock").stat().st_mode) == 0o600
