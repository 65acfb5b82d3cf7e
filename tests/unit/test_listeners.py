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
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _listeners, _server_process
from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as
from ansible_collections.wheelhouse.devpi.plugins.module_utils._listeners import (
    accounts_on,
    grouped_by_process,
    is_held_by,
    listeners_on,
)

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
    assert is_held_by(found, uid("nobody"), PYTHON)
    assert is_held_by(found, uid("nobody"), "/usr/bin/perl", PYTHON)
    assert not is_held_by(found, uid("nobody"), "/usr/bin/perl")
    assert not is_held_by(found, uid("nobody"))
    assert not is_held_by(found, 0, PYTHON)


@AS_ROOT
def test_the_right_words_in_its_arguments_make_no_process_ours(process_of):
    (found,) = listeners_on("127.0.0.1", process_of("nobody", PYTHON, "/opt/devpi/venv/bin/devpi-server"))
    assert "/opt/devpi/venv/bin/devpi-server" in found.commands[0]
    assert not is_held_by(found, uid("daemon"), PYTHON)


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
        assert is_held_by(found, uid("nobody"), str(environment / "current" / "bin" / "python"))


@AS_ROOT
def test_the_account_decides_alone_where_the_process_cannot_be_looked_into(process_of):
    port = process_of("daemon")
    # Not even root may look into others' processes in some containers, and nobody never may.
    with acting_as(pwd.getpwnam("nobody")):
        (found,) = listeners_on("127.0.0.1", port)
    assert found.executables == []
    assert is_held_by(found, uid("daemon"), PYTHON)
    assert not is_held_by(found, uid("nobody"), PYTHON)


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
        assert is_held_by(found, uid("nobody"), str(python))


ME = pwd.getpwuid(os.geteuid())


def lie_about(listening_script):
    """Return a program that calls itself something with a number in it, as each may."""
    return f"open('/proc/self/comm', 'w').write('x (1)')\n{listening_script}"


@pytest.fixture
def run():
    """Return what starts a process that listens, and returns it with its first line of output."""
    started = []

    def start(script, *arguments, program=PYTHON):
        command = [program, "-c", script, *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
        started.append(process)
        return process, process.stdout.readline()

    yield start
    for each in started:
        each.communicate()


def test_number_that_a_process_has_in_its_name_is_no_process_of_ours(run, tmp_path, monkeypatch):
    """A message tells root to kill it."""
    process, port = run(lie_about(LISTENING), "/opt/devpi/venv/bin/devpi-server")
    (found,) = listeners_on("127.0.0.1", int(port))
    assert found.holder == f"x (1) ({process.pid})"
    assert found.described == f"x (1) ({process.pid}) of {ME.pw_name}, which runs {os.path.realpath(PYTHON)}"
    monkeypatch.setattr(_server_process, "_supervised", dict)
    assert _server_process.started_by_hand([found], ME, str(tmp_path), "devpi") == [(process.pid, "")]


WORKERS = """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
database = open(sys.argv[1])
ends = os.pipe()
for _worker in range(3):
    if os.fork() == 0:
        os.close(ends[1])
        os.read(ends[0], 1)
        os._exit(0)
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_a_server_and_its_workers_are_one(run, tmp_path, monkeypatch):
    (tmp_path / ".sqlite").touch()
    process, port = run(WORKERS, str(tmp_path / ".sqlite"), "/opt/devpi/venv/bin/devpi-server")
    listeners = listeners_on("127.0.0.1", int(port))
    assert [each.holder.rpartition(" ")[2] for each in listeners] == [f"({process.pid})"]
    monkeypatch.setattr(_server_process, "_supervised", dict)
    assert _server_process._servers_with_open(str(tmp_path / ".sqlite"), ME.pw_uid) >= {process.pid}
    assert _server_process.started_by_hand(listeners, ME, str(tmp_path), "devpi") == [(process.pid, "")]
    for name, found in (("devpi", []), ("devpi-worker-2", []), ("other", [(process.pid, "other")])):
        monkeypatch.setattr(_server_process, "_supervised", lambda name=name: {process.pid: name})
        assert _server_process.started_by_hand(listeners, ME, str(tmp_path), "devpi") == found
    # Supervisor runs what started the server, as a script around it.
    monkeypatch.setattr(_server_process, "_supervised", lambda: {os.getpid(): "devpi"})
    assert _server_process.started_by_hand(listeners, ME, str(tmp_path), "devpi") == []


BOTH = """
import socket, sys
first = socket.create_server(("127.0.0.1", 0))
port = first.getsockname()[1]
second = socket.create_server(("::1", port), family=socket.AF_INET6)
print(port, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
def test_a_process_with_two_addresses_is_named_once(run):
    process, port = run(BOTH)
    there = listeners_on("0.0.0.0", int(port))  # noqa: S104 - it is asked for, not bound
    assert [each.address for each in there] == ["127.0.0.1", "::1"]
    [(described, addresses)] = grouped_by_process(there)
    assert f"({process.pid}) of {ME.pw_name}" in described
    assert addresses == "127.0.0.1 and ::1"


HANDED_ON = """
import os, socket, sys
os.seteuid(int(sys.argv[1]))
listening = socket.create_server(("127.0.0.1", 0))
os.seteuid(0)
os.setuid(int(sys.argv[2]))
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


@AS_ROOT
def test_a_process_of_another_account_with_our_accounts_socket_is_not_ours(run):
    daemon = pwd.getpwnam("daemon")
    process, port = run(HANDED_ON, str(daemon.pw_uid), str(uid("nobody")), "/opt/devpi/venv/bin/devpi-server")
    (found,) = listeners_on("127.0.0.1", int(port))
    assert found.uid == daemon.pw_uid
    assert found.accounts == {daemon.pw_uid, uid("nobody")}
    assert f"({process.pid}) of nobody" in found.described
    assert not is_held_by(found, daemon.pw_uid, PYTHON)
    assert not _server_process.is_server(found, daemon, "/opt/devpi/venv")


def test_what_ends_while_it_is_looked_at_is_no_error(listening, monkeypatch):
    real_list, real_link = os.listdir, os.readlink

    def listdir(path):
        if path == "/proc/1/fd":
            raise FileNotFoundError(path)
        return real_list(path)

    seen = set()

    def readlink(path):
        if f"/proc/{os.getpid()}/fd/" in str(path) and path not in seen:
            seen.add(path)
            if len(seen) < 3:
                raise FileNotFoundError(path)
        return real_link(path)

    monkeypatch.setattr(_listeners.os, "listdir", listdir)
    monkeypatch.setattr(_listeners.os, "readlink", readlink)
    (found,) = listeners_on("127.0.0.1", listening)
    assert f"({os.getpid()})" in found.holder
    assert _listeners.process(2**22 + 1) is None
    assert _server_process._ancestors(2**22 + 1) == []


def test_socket_that_is_closed_meanwhile_is_none(listening, monkeypatch):
    first = list(_listeners._sockets("127.0.0.1", listening))
    answers = iter([first, []])
    monkeypatch.setattr(_listeners, "_sockets", lambda _host, _port: next(answers))
    monkeypatch.setattr(_listeners, "_holders", lambda _inodes: ({}, []))
    assert listeners_on("127.0.0.1", listening) == []
    answers = iter([first, first])
    (found,) = listeners_on("127.0.0.1", listening)
    assert found.holder == "that cannot be seen from here"
    assert found.described == f"of {ME.pw_name} that cannot be seen from here"
