"""What nginx hears of a token from a server with the plugins of role venv and devpi-tokens."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from conftest import Devpi, lay_server_plugins, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUND = "a token that is bound to indexes or projects reads these alone"
READS = "this token may read and nothing else"
# The restrictions of a token, what it asks to read or write, and the answer
ASKED = {
    "page with all users": ({"indexes": ["team/dev"]}, "/", "", (403, BOUND)),
    "page of a user": ({"indexes": ["team/dev"]}, "/team", "", (403, BOUND)),
    "status": ({"projects": ["mine"]}, "/+status", "", (403, BOUND)),
    "its index": ({"indexes": ["team/dev"]}, "/team/dev", "", (200, "")),
    "its project": ({"projects": ["mine"]}, "/team/dev/+f/000/mine-1.0.tar.gz", "", (200, "")),
    "another project": ({"projects": ["mine"]}, "/team/dev/+f/000/yours-1.0.tar.gz", "", (403, BOUND)),
    "writing with a right to read": ({"allowed": ["pkg_read"]}, "/team/dev/", "write", (403, READS)),
    "writing with a right to upload": ({"allowed": ["upload"]}, "/team/dev/", "write", (200, "")),
    "all users with a token of no restriction": ({}, "/", "", (200, "")),
}


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devpi]:
    """Run a server with the plugins and one stage."""
    plugins = lay_server_plugins(tmp_path_factory.mktemp("plugins"))
    with serve(tmp_path_factory.mktemp("plugged"), "--offline-mode", plugins=plugins) as devpi:
        devpi.make("team/dev")
        yield devpi


@pytest.mark.parametrize("what", ASKED)
def test_nginx_hears_what_a_token_may(plugged: Devpi, what: str) -> None:
    restrictions, path, wanted, expected = ASKED[what]
    token = plugged.ask("POST", "/team/+token-create", restrictions, plugged.token())["token"]
    pair = base64.b64encode(f"team:{token}".encode()).decode()
    headers = {"Authorization": f"Basic {pair}", "X-Original-URI": plugged.url + path, "Accept": "application/json"}
    headers["X-Devpi-Access"] = wanted
    request = urllib.request.Request(f"{plugged.url}/+authcheck", headers=headers)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as said:  # noqa: S310
            answer = (said.status, said.headers.get("X-Devpi-Access-Reason", ""))
    except urllib.error.HTTPError as error:
        answer = (error.code, error.headers.get("X-Devpi-Access-Reason", ""))
    assert answer == expected, json.dumps(restrictions)
