"""The module devpi_server: how it calls devpi's programs. What they make is looked at by tests/integration."""

from __future__ import annotations

import os
import pwd
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ansible_collections.wheelhouse.devpi.plugins.modules import devpi_server

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ME = pwd.getpwuid(os.geteuid())


def test_devpi_init_looks_for_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take one in the account's own directory, which may send the database elsewhere."""
    commands: list[list[str]] = []

    def program(_account: object, command: list[str], _environment: object = None) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(wait=lambda: (0, ""))

    monkeypatch.setattr(devpi_server, "AccountProgram", program)
    params: dict[str, Any] = {
        "user": ME.pw_name,
        "server_dir": str(tmp_path),
        "venv_path": "/opt/devpi/venv",
        "root_password": "x",
        "mirror_url": "",
        "mirror_no_project_list": True,
    }
    server = devpi_server.Server(SimpleNamespace(params=params, check_mode=False))
    server.account = ME
    draft = server._devpi_init(ME)
    assert commands == [
        [
            *("/opt/devpi/venv/bin/python", "-I", "-c", devpi_server.DEVPI_INIT),
            *("--configfile=/dev/null", "--serverdir", draft),
        ]
    ]
