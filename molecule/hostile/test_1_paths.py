"""Paths that are somebody's: refused before anything changes, whatever the playbook was to do with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from molecule.conftest import Target

# variables, words that the refusal must have, and how the playbook is called. What the text alone shows to be wrong is
# told for all variables at once, so the first of these has many.
REFUSED: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "no places": (
        {
            "devpi_venv_path": "/",
            "devpi_server_dir": "/var/lib",
            "devpi_credentials_dir": "/etc",
            "devpi_server_secret_file": "/srv/x/../../etc/passwd",
            "devpi_supervisor_log_file": "log",
            "devpi_supervisor_program": "../x",
        },
        [
            *("devpi_venv_path '/'", "devpi_server_dir '/var/lib'", "devpi_credentials_dir '/etc'"),
            *("devpi_server_secret_file '/srv/x/../../etc/passwd'", "devpi_supervisor_log_file 'log'"),
            *("devpi_supervisor_program '../x'", "directory of the system", "plain form", "not absolute"),
        ],
        [],
    ),
    "homes": (
        {
            "devpi_venv_path": "/home",
            "devpi_server_dir": "~",
            "devpi_credentials_dir": "~/passwords",
            "devpi_server_secret_file": "/root",
            "devpi_supervisor_log_file": "~root/log",
        },
        [
            *("devpi_venv_path '/home' is a directory of the system", "devpi_server_dir '~' is not absolute"),
            *("devpi_credentials_dir '~/passwords' is not absolute", "devpi_supervisor_log_file '~root/log' is not"),
            "devpi_server_secret_file '/root' is a directory of the system",
        ],
        [],
    ),
    "home": ({"devpi_server_dir": "/home"}, ["devpi_server_dir '/home' is a directory of the system"], ["--check"]),
    "somebody's home": ({"devpi_venv_path": "/home/walter"}, ["devpi_venv_path", "/home/walter"], ["--check"]),
    "data as the server's": ({"devpi_server_dir": "/srv/precious"}, ["devpi_server_dir", "/srv/precious"], []),
    "data as the server's, checked": (
        {"devpi_server_dir": "/srv/precious"},
        ["devpi_server_dir", "/srv/precious"],
        ["--check"],
    ),
    "data as the passwords', checked": (
        {"devpi_credentials_dir": "/srv/precious"},
        ["credentials_dir", "/srv/precious"],
        ["--check"],
    ),
    "data": ({"devpi_venv_path": "/srv/precious"}, ["devpi_venv_path", "/srv/precious"], []),
    "data, checked": ({"devpi_venv_path": "/srv/precious"}, ["devpi_venv_path", "/srv/precious"], ["--check"]),
    "a file": ({"devpi_venv_path": "/srv/a-file"}, ["devpi_venv_path", "/srv/a-file"], []),
    "a link to data": ({"devpi_venv_path": "/srv/to-data"}, ["devpi_venv_path", "/srv/to-data"], []),
    "a link to nothing": ({"devpi_venv_path": "/srv/to-nothing"}, ["devpi_venv_path", "/srv/to-nothing"], ["--check"]),
    "a stamp in a directory of somebody's": (
        {"devpi_venv_path": "/srv/stamped"},
        ["devpi_venv_path", "/srv/stamped"],
        [],
    ),
    "where everybody writes": ({"devpi_venv_path": "/var/tmp/venv"}, ["devpi_venv_path", "/var/tmp"], []),  # noqa: S108 - refused
}


@pytest.fixture(scope="module", params=["bare", "deployed"])
def target_with_data(request: pytest.FixtureRequest) -> Target:
    """Have things of others on the host."""
    chosen: Target = request.getfixturevalue(request.param)
    chosen.host.check_output(
        "id -u walter || useradd --create-home walter; mkdir -p /srv/precious /srv/stamped/bin; "
        "echo years >/srv/precious/thesis; echo x >/srv/a-file; ln -sfn /srv/precious /srv/to-data; "
        "ln -sfn /srv/nothing /srv/to-nothing; echo 'python3 0' >/srv/stamped/installed-from; "
        "chown -R walter: /srv/stamped"
    )
    return chosen


def listed(target: Target) -> list[str]:
    """Return what lies on the host, but for what a server that runs writes by itself."""
    return [line for line in target.files().splitlines() if not line.startswith(("/var/log/", "/var/lib/devpi/"))]


@pytest.mark.parametrize(("variables", "words", "arguments"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_somebodys_is_left_alone(
    target_with_data: Target, variables: dict[str, Any], words: list[str], arguments: list[str]
) -> None:
    before = listed(target_with_data)
    run = target_with_data.deploy(variables, "--diff", *arguments)
    assert run.code != 0, run.said
    assert "Nothing was changed" in run.said
    for word in words:
        assert word in run.said, run.said
    assert "Traceback" not in run.said
    assert listed(target_with_data) == before


def test_credentials_of_a_directory_that_is_not_ours_are_no_passwords(bare: Target) -> None:
    said = bare.deploy({"devpi_credentials_dir": "/etc", "devpi_users": [{"name": "hostname"}]}, "-vvv")
    assert said.code != 0
    assert "devpi_credentials_dir '/etc' is a directory of the system" in said.said
    name = bare.host.check_output("cat /etc/hostname")
    assert f'"password": "{name}"' not in said.said
