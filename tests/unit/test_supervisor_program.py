"""The module supervisor_program beside a supervisord that is played here, over XML-RPC and a real unix socket."""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _supervisord
from ansible_collections.wheelhouse.devpi.plugins.modules import supervisor_program


class Handler(SimpleXMLRPCRequestHandler):
    disable_nagle_algorithm = False

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


class Played(socketserver.ThreadingUnixStreamServer, SimpleXMLRPCDispatcher):
    """What supervisord does with one program named devpi, whose process is a real one."""

    def __init__(self, path):
        SimpleXMLRPCDispatcher.__init__(self, allow_none=True)
        socketserver.ThreadingUnixStreamServer.__init__(self, str(path), Handler)
        self.changes = [[[], [], []]]
        self.process = None
        self.calls = []
        self.logRequests = False
        for name in ("addProcessGroup", "removeProcessGroup", "stopProcessGroup"):
            self.register_function(lambda *_, name=name: self.calls.append(name) or True, f"supervisor.{name}")
        self.register_function(lambda: self.changes, "supervisor.reloadConfig")
        self.known = ["devpi"]
        self.register_function(lambda: [{"group": name} for name in self.known], "supervisor.getAllProcessInfo")
        self.register_function(self.info, "supervisor.getProcessInfo")
        self.register_function(self.start, "supervisor.startProcess")
        self.register_function(self.stop, "supervisor.stopProcess")

    def info(self, _name):
        running = self.process is not None
        return {
            "statename": "RUNNING" if running else "STOPPED",
            "pid": self.process.pid if running else 0,
            "spawnerr": "",
            "description": "Not started",
        }

    def start(self, *_):
        self.calls.append("startProcess")
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        return True

    def stop(self, *_):
        self.calls.append("stopProcess")
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None
        return True


@pytest.fixture
def supervisord(tmp_path, monkeypatch):
    server = Played(tmp_path / "socket")
    monkeypatch.setattr(_supervisord, "SOCKET", str(tmp_path / "socket"))
    monkeypatch.setattr(_supervisord.Supervisord.__init__, "__defaults__", (str(tmp_path / "socket"),))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.stop()
    server.shutdown()
    server.server_close()


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/+api"
        server.shutdown()


PROGRAM = "[program:devpi]\ncommand=/opt/devpi/venv/bin/devpi-server\n"


@pytest.fixture
def program_file(tmp_path, monkeypatch):
    """The program's file, as an earlier run left it."""
    path = tmp_path / "conf.d" / "devpi.conf"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    path.chmod(0o600)
    monkeypatch.setattr(supervisor_program, "PROGRAMS", path.parent)
    monkeypatch.setattr(supervisor_program, "SUPERVISORD", Path(sys.executable))
    return path


@pytest.fixture
def module(monkeypatch, capsys, tmp_path, url, program_file):
    def call(**options):
        check = options.pop("check", False)
        parameters = {"name": "devpi", "program": PROGRAM, "url": url, "log_file": str(tmp_path / "log"), **options}
        parameters["_ansible_check_mode"] = check
        from ansible.module_utils.testing import patch_module_args  # noqa: PLC0415

        with patch_module_args(parameters), pytest.raises(SystemExit):
            supervisor_program.main()
        return json.loads(capsys.readouterr().out)

    return call


def test_a_stopped_program_is_started_once(supervisord, module):
    assert module(check=True)["actions"] == ["started"]
    assert supervisord.process is None
    first = module()
    assert first["actions"] == ["started"]
    assert supervisord.process is not None
    again = module()
    assert not again["changed"]
    assert supervisord.calls == ["startProcess"]


def test_a_file_that_is_newer_than_the_process_restarts_it(supervisord, module, tmp_path):
    config = tmp_path / "config"
    config.write_text("old")
    time.sleep(0.05)
    module()
    pid = supervisord.process.pid
    assert not module(reads=[str(config)])["changed"]
    time.sleep(0.05)
    config.write_text("new")
    assert module(reads=[str(config)], check=True)["actions"] == ["restarted"]
    assert supervisord.process.pid == pid
    assert module(reads=[str(config)])["actions"] == ["restarted"]
    assert supervisord.process.pid != pid
    assert not module(reads=[str(config)])["changed"]


def test_check_mode_predicts_the_restart_for_a_file_that_would_change(supervisord, module):
    module()
    assert module(restart=True, check=True)["actions"] == ["restarted"]


def test_a_new_text_is_predicted_and_then_written_readable_by_its_owner_alone(supervisord, module, program_file):
    text = PROGRAM + 'environment=HTTPS_PROXY="http://canary@proxy"\n'
    predicted = module(program=text, check=True)
    assert predicted["actions"] == ["changed", "started"]
    assert program_file.read_text() == PROGRAM
    supervisord.changes = [[[], ["devpi"], []]]
    done = module(program=text)
    assert (done["actions"], done["diff"]) == (predicted["actions"], predicted["diff"])
    assert program_file.read_text() == text
    assert program_file.stat().st_mode & 0o777 == 0o600
    assert "+environment=********" in done["diff"][0]["prepared"]
    assert "canary" not in json.dumps(done)


def test_a_program_that_supervisor_does_not_have_is_predicted_as_added(supervisord, module, program_file):
    supervisord.known = []
    program_file.unlink()
    assert module(check=True)["actions"] == ["added", "started"]
    assert not program_file.exists()


def test_check_mode_predicts_the_installation_of_supervisor(module, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor_program, "SUPERVISORD", tmp_path / "none")
    monkeypatch.setattr(_supervisord.Supervisord.__init__, "__defaults__", (str(tmp_path / "nothing"),))
    assert module(check=True)["actions"] == ["installed supervisor", "added", "started"]


def test_a_changed_program_file_is_applied(supervisord, module):
    supervisord.changes = [[[], ["devpi"], []]]
    assert module(check=True)["actions"] == ["changed", "started"]
    assert supervisord.calls == []
    assert module()["actions"] == ["changed", "started"]
    assert supervisord.calls == ["stopProcessGroup", "removeProcessGroup", "addProcessGroup", "startProcess"]


def test_stopped_means_stopped(supervisord, module):
    module()
    assert module(state="stopped")["actions"] == ["stopped"]
    assert supervisord.process is None
    assert not module(state="stopped")["changed"]


def test_a_program_that_does_not_answer_shows_its_log(supervisord, module, tmp_path):
    (tmp_path / "log").write_text("".join(f"line {number}\n" for number in range(30)))
    said = module(url="http://127.0.0.1:9/+api", ready_timeout=0)
    assert said["failed"]
    assert "line 29" in said["msg"]
    assert "line 14" not in said["msg"]
    assert "http://127.0.0.1:9/+api" in said["msg"]


def test_without_supervisord_only_check_mode_goes_on(module, tmp_path, monkeypatch):
    monkeypatch.setattr(_supervisord.Supervisord.__init__, "__defaults__", (str(tmp_path / "nothing"),))
    tried = []

    def start(_module, command):
        tried.append(command)
        return 1, "", "no such unit"

    monkeypatch.setattr(supervisor_program.AnsibleModule, "run_command", start)
    assert module(check=True)["changed"]
    assert tried == []
    said = module()
    assert len(tried) == 1
    assert said["failed"]
    assert "no such unit" in said["msg"]
    assert "systemctl status supervisor" in said["msg"]
