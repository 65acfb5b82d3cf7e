"""The module preflight: what it refuses, all at once and without a change. Whole hosts are the scenario faults'."""

from __future__ import annotations

import json
import os
import pwd
import socket

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.wheelhouse.devpi.plugins.modules import preflight

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def look(monkeypatch, capsys, tmp_path):
    """Return what runs the module as root would, on a server directory that does not exist yet."""
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 0)

    def run(*roles, **options):
        parameters = {
            "roles": list(roles),
            "users": [],
            "owner": ME,
            "server_dir": str(tmp_path / "server"),
            "server_config": str(tmp_path / "devpi-server.yml"),
            "credentials_dir": str(tmp_path / "credentials"),
            "venv_path": str(tmp_path / "venv"),
            "_ansible_check_mode": True,
            **options,
        }
        with patch_module_args(parameters), pytest.raises(SystemExit):
            preflight.main()
        return json.loads(capsys.readouterr().out)

    return run


def test_all_problems_are_told_at_once(look):
    users = [{"name": "a b", "indexes": [{"name": "dev", "bases": ["root/pipy"]}]}]
    said = look("users", "pypirc", port=70000, owner="nobody-here", users=users, first_index="team/dev")
    assert said["failed"]
    for words in (
        "devpi_port 70000 is out of range",
        "devpi_pypirc_owner 'nobody-here' is no account",
        "user name 'a b' is not allowed",
        "base root/pipy neither exists nor is declared; did you mean root/pypi?",
        "devpi_username and devpi_index say team/dev",
    ):
        assert words in said["msg"]
        assert sum(words in problem for problem in said["problems"]) == 1
    assert said["msg"].startswith("Nothing was changed.")


def test_what_is_right_is_told_to_the_roles(look, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    users = [{"name": "team", "indexes": [{"name": "dev", "bases": ["root/pypi"]}]}]
    said = look("users", "pypirc", port=free, users=users, first_index="team/dev")
    assert not said.get("failed"), said["msg"]
    assert said["server_url"] == ""
    assert said["server_initialised"] is False
    assert said["owner_home"] == pwd.getpwnam(ME).pw_dir
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_somebody_else_holds_names_the_holder(look, tmp_path):
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "devpi-server").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = look("supervisor", port=port)
    assert f"devpi_port {port}" in said["msg"]
    assert f"({os.getpid()})" in said["msg"]


def test_only_root_can_run_most_roles(look, monkeypatch):
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 1000)
    [problem] = look("venv", "pypirc")["problems"]
    assert problem.endswith("set become: true (ansible_become)")


def test_a_role_without_the_environment_it_stands_on_is_refused(look, tmp_path):
    said = look("server")
    assert f"role server needs {tmp_path}/venv/bin/devpi-init, and there is none; run role venv first" in said["msg"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("devpi-server:\n  host: 127.0.0.1\n  port: 3142\n", ("127.0.0.1", 3142)),
        ("devpi-server:\n    port: '3143'\n    host: \"::1\"\n", ("::1", 3143)),
        ("devpi-server:\n  serverdir: /x\n", ("127.0.0.1", 0)),
    ],
)
def test_where_the_last_deployment_listens_is_read_from_its_configuration(tmp_path, text, address):
    config = tmp_path / "devpi-server.yml"
    config.write_text(text)
    assert preflight._configured_address(str(config)) == address
    assert preflight._configured_address(str(tmp_path / "none")) == ("", 0)
