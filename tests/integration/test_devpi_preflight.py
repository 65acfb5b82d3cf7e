"""The module devpi_preflight on this machine, with a real devpi-server; whole hosts are the scenario faults'."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.wheelhouse.devpi.plugins.modules import devpi_preflight
from conftest import HASH

if TYPE_CHECKING:
    from conftest import Devpi, Result


EXAMPLE = yaml.safe_load(devpi_preflight.EXAMPLES)[0]["wheelhouse.devpi.devpi_preflight"]


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the module believe that root runs it; what these tests ask of it needs no such rights."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def look(devpi: Devpi, directory: Path, *roles: str, **options: Any) -> Result:
    """Look whether the roles could be run, with the server of the tests as the one that runs already."""
    arguments: dict[str, Any] = {
        **EXAMPLE,
        "roles": list(roles),
        "first_index": "",
        "port": int(devpi.url.rpartition(":")[2]),
        "url": devpi.url,
        "venv_path": os.environ["DEVPI_TEST_VENV"],
        "server_user": pwd.getpwuid(os.getuid()).pw_name,
        "server_dir": str(directory / "server"),
        "server_config": str(directory / "devpi-server.yml"),
        "credentials_dir": str(directory / "credentials"),
        "root_password": devpi.root_password,
        "users": [],
        **options,
    }
    before = devpi.tree()
    predicted, real = (devpi.run("devpi_preflight", arguments, check) for check in (True, False))
    assert predicted.values == real.values
    assert devpi.tree() == before
    assert not real.values.get("changed")
    for secret in (devpi.root_password, "CANARY"):
        assert secret not in real.output
    return real


DECLARED: list[dict[str, Any]] = [
    {"name": "root", "indexes": [{"name": "pypi", "type": "mirror", "mirror_no_project_list": True}]},
    {"name": "ann", "indexes": [{"name": "dev", "type": "stage", "bases": ["root/pypi"], "mirror_whitelist": []}]},
]


@pytest.mark.usefixtures("as_root")
def test_what_is_there_may_be_declared_again(devpi: Devpi, tmp_path: Path) -> None:
    devpi.ask("PUT", "/ann", {"password": None, "pwhash": HASH}, devpi.token())
    devpi.ask("PUT", "/ann/dev", {"bases": ["root/pypi"]}, devpi.token())
    result = look(devpi, tmp_path, "users", users=DECLARED)
    assert not result.values.get("failed"), result["msg"]
    assert result["server_url"] == devpi.url


@pytest.mark.usefixtures("as_root")
def test_declared_users_are_held_against_the_server_that_runs(devpi: Devpi, tmp_path: Path) -> None:
    devpi.ask("PUT", "/root/dev", {}, devpi.token())
    users = [
        {
            "name": "root",
            "indexes": [
                {"name": "dev", "type": "mirror", "mirror_url": "http://127.0.0.1:9/"},
                {"name": "pypi", "bases": []},
                {"name": "new", "mirror_whitelist": ["thing"]},
            ],
        }
    ]
    result = look(devpi, tmp_path, "users", users=users)
    place = "devpi_users[0].indexes"
    expected = [
        f"{place}[0] (root/dev): type mirror is declared and the index is a stage, which devpi cannot change",
        f"{place}[1] (root/pypi): bases is not a key of a mirror",
        *([f"{place}[2] (root/new): mirror_whitelist names thing, and devpi-server 7"] if devpi.is_7 else []),
    ]
    problems = [problem.split(";")[0] for problem in result["problems"]]
    assert len(problems) == len(expected)
    assert [each for each, problem in zip(expected, problems) if not problem.startswith(each)] == []


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"root_password": "CANARY"}, "devpi_root_password is not the password of root on {devpi.url}; correct it, or"),
        ({"root_password": ""}, "a devpi-server runs at {devpi.url} and {directory}/credentials/root is missing; give"),
    ],
)
def test_the_password_of_root_has_to_be_known(
    devpi: Devpi, tmp_path: Path, options: dict[str, str], problem: str
) -> None:
    [told] = look(devpi, tmp_path, "users", users=DECLARED, **options)["problems"]
    assert told.startswith(problem.format(devpi=devpi, directory=tmp_path))


@pytest.mark.usefixtures("as_root")
def test_somebody_else_on_the_port_is_named(devpi: Devpi, tmp_path: Path) -> None:
    listen = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    command = [sys.executable, "-c", listen]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        port = int(other.stdout.readline())
        # Where something is wrong already, apt is not asked for packages.
        options = {"port": port, "ca_bundle": "/no/bundle", "min_memory": 0}
        problems = look(devpi, tmp_path, "supervisor", **options)["problems"]
        other.communicate("")
    [problem] = [each for each in problems if each.startswith(f"devpi_port {port} on ")]
    me = pwd.getpwuid(os.getuid()).pw_name
    assert (
        f"({other.pid}) of {me}, which listens on 127.0.0.1; set devpi_port to a free one or stop that process"
        in problem
    )


def test_the_owner_has_to_exist(devpi: Devpi, tmp_path: Path) -> None:
    [problem] = look(devpi, tmp_path, "pypirc", owner="nobody-at-all")["problems"]
    assert problem.startswith("devpi_pypirc_owner 'nobody-at-all' is not an account on ")
