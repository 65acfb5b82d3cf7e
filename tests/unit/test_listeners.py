"""Who holds a port, seen on real sockets of this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as
from ansible_collections.wheelhouse.devpi.plugins.module_utils._listeners import accounts_on, held_by, listeners_on

# Another account can run it, whatever interpreter runs the tests.
PYTHON = "/usr/bin/python3"
LISTENING = """
import socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other accounts")


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


def test_the_accounts_on_a_port_are_told_without_a_look_at_processes(listening):
    assert accounts_on("127.0.0.1", listening) == {os.geteuid()}
    assert accounts_on("127.0.0.2", listening) == set()


@pytest.fixture
def process_of():
    """Return what starts a listening process of an account and returns its port."""
    started = []

    def start(account, program=PYTHON, *arguments):
        command = ["runuser", "-u", account, "--", program, "-c", LISTENING, *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
        started.append(process)
        return int(process.stdout.readline())

    yield start
    for each in started:
        each.communicate()


def uid(name):
    return pwd.getpwnam(name).pw_uid


@AS_ROOT
def test_a_listener_is_its_accounts_and_its_executables(process_of):
    port = process_of("nobody")
    (found,) = listeners_on("127.0.0.1", port)
    assert found.uid == uid("nobody")
    assert found.executables == [os.path.realpath(PYTHON)]
    assert held_by(found, uid("nobody"), PYTHON)
    assert held_by(found, uid("nobody"), "/usr/bin/perl", PYTHON)
    assert not held_by(found, uid("nobody"), "/usr/bin/perl")
    assert not held_by(found, uid("nobody"))
    assert not held_by(found, 0, PYTHON)


@AS_ROOT
def test_the_right_words_in_its_arguments_make_no_process_ours(process_of):
    (found,) = listeners_on("127.0.0.1", process_of("nobody", PYTHON, "/opt/devpi/venv/bin/devpi-server"))
    assert "/opt/devpi/venv/bin/devpi-server" in found.commands[0]
    assert not held_by(found, uid("daemon"), PYTHON)


@AS_ROOT
def test_an_environments_python_stands_for_the_interpreter_behind_it(process_of):
    # Other accounts cannot enter pytest's own directories.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        environment = Path(name)
        environment.chmod(0o755)
        python = environment / "bin" / "python"
        python.parent.mkdir(mode=0o755)
        python.symlink_to(PYTHON)
        (environment / "current").symlink_to(environment)
        (found,) = listeners_on("127.0.0.1", process_of("nobody", str(python)))
        assert held_by(found, uid("nobody"), str(environment / "current" / "bin" / "python"))


@AS_ROOT
def test_the_account_decides_alone_where_the_process_cannot_be_looked_into(process_of):
    port = process_of("daemon")
    # Not even root may look into others' processes in some containers, and nobody never may.
    with acting_as(pwd.getpwnam("nobody")):
        (found,) = listeners_on("127.0.0.1", port)
    assert found.executables == []
    assert held_by(found, uid("daemon"), PYTHON)
    assert not held_by(found, uid("nobody"), PYTHON)


@AS_ROOT
def test_an_upgraded_interpreter_is_the_same(process_of):
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        python = Path(name, "python3")
        shutil.copy2(PYTHON, python)
        port = process_of("nobody", str(python))
        shutil.copy2(PYTHON, f"{python}.new")
        Path(f"{python}.new").replace(python)
        (found,) = listeners_on("127.0.0.1", port)
        assert held_by(found, uid("nobody"), str(python))
