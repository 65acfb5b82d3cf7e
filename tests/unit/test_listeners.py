"""Who holds a port, seen on real sockets of this machine."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._listeners import listeners_on


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])  # noqa: S104 - it is asked for, not bound
def test_a_listener_is_found_with_its_process(listening, host):
    (found,) = listeners_on(host, listening)
    assert found.address == "127.0.0.1"
    assert f"({os.getpid()})" in found.holder
    assert Path(found.commands[0][0]).name == Path(sys.executable).name


def test_another_address_is_free(listening):
    assert listeners_on("127.0.0.2", listening) == []


def test_a_wildcard_listener_holds_every_address():
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - what the test is about
        (found,) = listeners_on("127.0.0.2", server.getsockname()[1])
    assert found.address == "0.0.0.0"  # noqa: S104


def test_a_connection_is_no_listener(listening):
    with socket.create_connection(("127.0.0.1", listening)) as client:
        assert listeners_on("127.0.0.1", client.getsockname()[1]) == []
