"""The modules of tokens against a devpi-server that has no plugin devpi-tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Devpi


@pytest.fixture
def devpi(devpi: Devpi) -> Devpi:
    plugins = devpi.ask("GET", "/+status")["versioninfo"]
    assert "devpi-tokens" not in plugins, f"DEVPI_TEST_VENV names an environment with devpi-tokens: {plugins}"
    return devpi


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("options", [{"state": "present"}, {"state": "absent"}, {"user": "nobody-here"}])
def test_the_way_out_is_named_before_a_login(
    devpi: Devpi, tmp_path: Path, check: bool, options: dict[str, Any]
) -> None:
    asked = len(devpi.requests())
    arguments = {"url": devpi.url, "password": "CANARY", "user": "root", "path": str(tmp_path / "token"), **options}
    result = devpi.run("devpi_token", arguments, check)
    assert result["failed"]
    assert result["msg"] == (
        f"the devpi-server at {devpi.url} has no plugin devpi-tokens; install it with 'devpi_venv_tokens: true' of the "
        "role wheelhouse.devpi.venv and restart the server. Nothing was changed."
    )
    assert devpi.requests()[asked:] == [f"GET /{arguments['user']}/+tokens"]
    assert list(tmp_path.iterdir()) == []
    assert "CANARY" not in result.output
    listed = devpi.run("devpi_token_info", {key: arguments[key] for key in ("url", "password", "user")}, check)
    assert (listed["failed"], listed["msg"]) == (True, result["msg"])
    assert "CANARY" not in listed.output
