"""The scripts of role server with a real devpi-init and devpi-server: what is there afterwards, and after a kill."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import zlib
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "roles" / "server" / "files"
CANARY = "canary-root-password"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have the rights of another account")


class Server:
    """The files of one devpi-server that is to be, whose account is root: no other can run this environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "server"
        self.credentials = directory / "etc" / "credentials"
        self.directory.mkdir()

    def make(self, password: str = "") -> subprocess.CompletedProcess[str]:
        arguments = ["root", str(self.directory), os.environ["DEVPI_TEST_VENV"], str(self.credentials)]
        done = run("make-database.sh", *arguments, given=password + "\n")
        assert CANARY not in done.stdout + done.stderr
        return done

    def content(self) -> str:
        """Return what the database holds, as text: enough to look for a word."""
        with sqlite3.connect(f"file:{self.directory}/.sqlite?mode=ro", uri=True) as database:
            rows = database.execute("SELECT data FROM changelog").fetchall()
        found = b""
        for (data,) in rows:
            try:
                found += zlib.decompress(data)
            except zlib.error:
                found += bytes(data)
        return found.decode("latin-1")

    def names(self) -> set[str]:
        return {each.name for each in self.directory.iterdir()}


def run(script: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = ["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "/bin/sh", "-c"]
    command += [(SCRIPTS / script).read_text(), script, *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    if not os.environ.get("DEVPI_TEST_VENV"):
        pytest.fail("DEVPI_TEST_VENV names no virtual environment with devpi-server; script/test makes one")
    return Server(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_made_once_and_left_alone(server: Server) -> None:
    done = server.make()
    assert done.returncode == 0, done.stderr
    assert {".nodeinfo", ".sqlite", ".serverversion"} <= server.names()
    assert not [name for name in server.names() if name.startswith(".initializing")]
    assert {mode(path) for path in server.directory.iterdir()} == {0o600}
    password = server.credentials / "root"
    assert (mode(password), mode(server.credentials), mode(server.credentials.parent)) == (0o600, 0o700, 0o755)
    assert len(password.read_text().strip()) == 32
    kept = {path: path.read_bytes() for path in [*server.directory.iterdir(), *server.credentials.iterdir()]}
    assert server.make().returncode == 0
    assert {path: path.read_bytes() for path in [*server.directory.iterdir(), *server.credentials.iterdir()]} == kept


def test_nothing_is_mirrored_before_somebody_declares_it(server: Server) -> None:
    server.make()
    assert "mirror" not in server.content()


def test_a_given_password_is_stored_nowhere(server: Server) -> None:
    assert server.make(CANARY).returncode == 0
    assert not server.credentials.exists()
    assert CANARY not in server.content()
    assert "argon2" in server.content()


def test_a_password_that_an_interrupted_run_left_holds(server: Server) -> None:
    server.credentials.mkdir(parents=True, mode=0o700)
    (server.credentials / "root").write_text("kept\n")
    assert server.make().returncode == 0
    assert (server.credentials / "root").read_text() == "kept\n"


def test_draft_of_a_password_that_a_killed_run_left_goes(server: Server) -> None:
    server.credentials.mkdir(parents=True, mode=0o700)
    (server.credentials / ".password.root+draft").write_text("half")
    assert server.make().returncode == 0
    assert [each.name for each in server.credentials.iterdir()] == ["root"]


def test_an_interrupted_initialisation_is_begun_anew(server: Server) -> None:
    server.make()
    for name in (".nodeinfo", ".sqlite", ".serverversion"):
        (server.directory / name).unlink()
    (server.directory / ".initializing.0a").mkdir()
    (server.directory / ".initializing.0a" / ".nodeinfo").write_text("{")
    (server.directory / ".secret").write_text("kept")
    assert server.make().returncode == 0
    assert {".nodeinfo", ".sqlite", ".serverversion", ".secret"} <= server.names()
    assert ".initializing.0a" not in server.names()


def test_an_interrupted_move_is_finished(server: Server) -> None:
    server.make()
    nodeinfo = (server.directory / ".nodeinfo").read_text()
    database = (server.directory / ".sqlite").read_bytes()
    draft = server.directory / ".initializing"
    draft.mkdir()
    (server.directory / ".nodeinfo").rename(draft / ".nodeinfo")
    assert server.make().returncode == 0
    assert (server.directory / ".nodeinfo").read_text() == nodeinfo
    assert (server.directory / ".sqlite").read_bytes() == database
    assert not draft.exists()


def test_a_database_without_its_nodeinfo_is_not_overwritten(server: Server) -> None:
    server.make()
    (server.directory / ".nodeinfo").unlink()
    database = (server.directory / ".sqlite").read_bytes()
    done = server.make()
    assert done.returncode != 0
    assert f"{server.directory} holds a database (.sqlite) without its .nodeinfo" in done.stderr
    assert (server.directory / ".sqlite").read_bytes() == database


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("devpi-server:\n  port: 3142\n", ""),
        ("devpi-server:\n  port: many\n", "invalid int value: 'many'"),
        ("devpi-server: [\n", "devpi-server cannot read the configuration"),
    ],
)
def test_a_configuration_is_read_before_it_takes_its_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "draft").write_text(text)
    before = sorted(Path("/tmp").glob("tmp.*"))  # noqa: S108 - what mktemp makes
    done = run("read-configuration.sh", "root", os.environ["DEVPI_TEST_VENV"], str(tmp_path / "draft"))
    assert (done.returncode != 0) is bool(words), done.stderr
    assert words in done.stderr
    assert sorted(Path("/tmp").glob("tmp.*")) == before  # noqa: S108


def test_an_option_that_devpi_server_does_not_know_is_refused_where_it_says_so(tmp_path: Path) -> None:
    draft = tmp_path / "draft"
    draft.write_text("devpi-server:\n  no-such-option: 1\n")
    program = Path(os.environ["DEVPI_TEST_VENV"], "bin", "devpi-server")
    said = subprocess.run([program, "--configfile", draft, "--version"], capture_output=True, text=True, check=True)
    done = run("read-configuration.sh", "root", os.environ["DEVPI_TEST_VENV"], str(draft))
    # 6.15 is silent
    assert (done.returncode != 0) is ("no-such-option" in said.stdout + said.stderr)
