"""The module devpi_server with a real devpi-server: what is in the directory afterwards, and after interruptions."""

from __future__ import annotations

import grp
import json
import os
import pwd
import sqlite3
import stat
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).parents[2] / "plugins" / "modules" / "devpi_server.py"
CANARY = "canary-root-password"


class Server:
    """The files of one devpi-server that is to be."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "lib" / "server"
        self.credentials = directory / "credentials"
        self.config = directory / "etc" / "devpi-server.yml"

    def init(self, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "server_dir": str(self.directory),
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "venv_path": os.environ["DEVPI_TEST_VENV"],
            "secret_file": str(self.directory / ".secret"),
            "config_file": str(self.config),
            "config": f"devpi-server:\n  serverdir: {self.directory}\n",
            "credentials_dir": str(self.credentials),
            "_ansible_check_mode": check,
            **options,
        }
        done = subprocess.run(
            [sys.executable, str(MODULE)],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={**os.environ, "PYTHONPATH": str(Path(sys.prefix, "collections"))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert CANARY not in done.stdout + done.stderr
        return dict(json.loads(done.stdout))

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


@pytest.fixture
def server(tmp_path):
    if not os.environ.get("DEVPI_TEST_VENV"):
        pytest.fail("DEVPI_TEST_VENV names no virtual environment with devpi-server; script/test makes one")
    return Server(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_first_predicted_then_made_then_left_alone(server):
    predicted = server.init(check=True)
    assert not server.directory.parent.exists()
    made = server.init()
    assert made["made"] == predicted["made"]
    assert mode(server.directory) == mode(server.directory.parent) == 0o700
    assert mode(server.directory / ".secret") == mode(server.directory / ".sqlite") == 0o600
    assert len((server.directory / ".secret").read_text()) == 44
    assert mode(server.credentials / "root") == 0o600
    assert not (server.directory / ".initializing").exists()
    assert made["made"][0] == str(server.config)
    assert mode(server.config) == 0o640
    kept = {path: path.read_bytes() for path in server.directory.iterdir()}
    assert not server.init()["changed"]
    assert {path: path.read_bytes() for path in server.directory.iterdir()} == kept


def test_readers_may_pass_through_the_directory_and_see_nothing_of_it(server):
    group = grp.getgrgid(os.getegid()).gr_name
    assert server.init()["changed"]
    changed = server.init(check=True, readers=group)
    assert changed["made"] == [str(server.directory)]
    assert mode(server.directory) == 0o700
    assert server.init(readers=group)["made"] == changed["made"]
    assert (mode(server.directory), server.directory.stat().st_gid) == (0o710, os.getegid())
    assert {mode(path) for path in server.directory.iterdir() if path.is_file()} == {0o600}
    assert server.init(readers=group)["changed"] is False
    assert server.init()["made"] == changed["made"]
    assert mode(server.directory) == 0o700
    assert "is no group on this host" in server.init(readers="nobodys-group")["msg"]


def test_root_pypi_does_without_the_list_of_projects_from_the_first_moment(server):
    server.init(mirror_url="http://upstream.example/simple/")
    content = server.content()
    assert "mirror_no_project_list" in content
    assert "http://upstream.example/simple/" in content


def test_a_given_password_is_stored_nowhere(server):
    server.init(root_password=CANARY)
    assert not server.credentials.exists()
    assert CANARY not in server.content()
    assert "argon2" in server.content()


def test_an_interrupted_initialisation_is_begun_anew(server):
    server.init()
    password = (server.credentials / "root").read_text()
    for name in (".nodeinfo", ".sqlite", ".serverversion"):
        (server.directory / name).unlink()
    (server.directory / ".initializing").mkdir()
    (server.directory / ".initializing" / ".nodeinfo").write_text("{")
    assert server.init()["made"] == ["the database"]
    assert (server.credentials / "root").read_text() == password
    assert not server.init()["changed"]


def test_an_interrupted_move_is_finished(server):
    server.init()
    nodeinfo = (server.directory / ".nodeinfo").read_text()
    database = (server.directory / ".sqlite").read_bytes()
    draft = server.directory / ".initializing"
    draft.mkdir()
    (server.directory / ".nodeinfo").rename(draft / ".nodeinfo")
    server.init()
    assert (server.directory / ".nodeinfo").read_text() == nodeinfo
    assert (server.directory / ".sqlite").read_bytes() == database
    assert not draft.exists()


def test_a_database_without_its_nodeinfo_is_not_overwritten(server):
    server.init()
    (server.directory / ".nodeinfo").unlink()
    database = (server.directory / ".sqlite").read_bytes()
    said = server.init()
    assert said["failed"]
    assert str(server.directory) in said["msg"]
    assert (server.directory / ".sqlite").read_bytes() == database


def test_a_configuration_that_devpi_server_cannot_read_replaces_nothing(server):
    server.init()
    before = server.config.read_text()
    said = server.init(config="devpi-server:\n  port: many\n")
    assert said["failed"]
    assert "invalid int value: 'many'" in said["msg"]
    assert server.config.read_text() == before
    assert [path.name for path in server.config.parent.iterdir()] == [server.config.name]


def test_a_changed_configuration_is_predicted_and_shown_without_its_secrets(server):
    server.init()
    config = server.config.read_text() + f"  outside-url: http://user:{CANARY}@packages.example\n"
    predicted = server.init(config=config, check=True, _ansible_diff=True)
    assert (predicted["made"], predicted["configured"]) == ([str(server.config)], True)
    assert "+  outside-url: http://user:********" in predicted["diff"]["prepared"]
    assert "outside-url" not in server.config.read_text()
    assert server.init(config=config)["configured"]
    assert server.config.read_text() == config
    assert not server.init(config=config)["changed"]


def test_an_option_that_devpi_server_does_not_know_is_refused_where_it_says_so(server):
    server.init()
    unknown = "devpi-server:\n  no-such-option: 1\n"
    draft = server.config.with_name("draft")
    draft.write_text(unknown)
    program = Path(os.environ["DEVPI_TEST_VENV"], "bin", "devpi-server")
    said = subprocess.run([program, "--configfile", draft, "--version"], capture_output=True, text=True, check=True)
    refused = server.init(config=unknown)
    # 6.15 is silent
    assert refused.get("failed", False) is ("no-such-option" in said.stdout + said.stderr)
