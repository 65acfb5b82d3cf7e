"""The module supervisor_program beside a supervisord that is played here, over XML-RPC and a real unix socket."""

from __future__ import annotations

import json
import os
import pwd
import socketserver
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from xmlrpc.client import Fault
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _host_lock, _supervisord
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
        self.log_file = str(path.with_name("log"))
        self.logRequests = False
        self.register_function(self.add, "supervisor.addProcessGroup")
        self.register_function(self.remove, "supervisor.removeProcessGroup")
        self.register_function(self.stop_group, "supervisor.stopProcessGroup")
        self.register_function(self.reload, "supervisor.reloadConfig")
        self.register_function(lambda: {"statename": "RUNNING"}, "supervisor.getState")
        self.known = ["devpi"]
        self.autostarts = False
        self.register_function(lambda: [{"group": name} for name in self.known], "supervisor.getAllProcessInfo")
        self.register_function(self.info, "supervisor.getProcessInfo")
        self.register_function(self.start, "supervisor.startProcess")
        self.register_function(self.stop, "supervisor.stopProcess")

    def reload(self):
        changes = self.changes
        if isinstance(changes, Fault):
            raise Fault(changes.faultCode, changes.faultString)
        return changes

    def add(self, name):
        self.calls.append(f"add {name}")
        self.changes = [[[], [], []]]
        if self.autostarts:
            self.start()
        return True

    def remove(self, name):
        self.calls.append(f"remove {name}")
        return True

    def stop_group(self, name):
        self.calls.append(f"stop {name}")
        self.end()
        return True

    def info(self, _name):
        running = self.process is not None
        return {
            "statename": "RUNNING" if running else "STOPPED",
            "pid": self.process.pid if running else 0,
            "spawnerr": "",
            "description": "Not started",
            "stdout_logfile": self.log_file,
        }

    def start(self, *_):
        self.calls.append("start")
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        return True

    def stop(self, *_):
        self.calls.append("stop")
        self.end()
        return True

    def end(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


@pytest.fixture
def supervisord(tmp_path, monkeypatch):
    server = Played(tmp_path / "socket")
    monkeypatch.setattr(_supervisord, "SOCKET", str(tmp_path / "socket"))
    monkeypatch.setattr(_supervisord.Supervisord.__init__, "__defaults__", (str(tmp_path / "socket"),))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.end()
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


@pytest.fixture
def module(monkeypatch, capsys, tmp_path, url):
    monkeypatch.setattr(_host_lock, "LOCK", str(tmp_path / "lock"))

    def call(**options):
        check = options.pop("check", False)
        me = pwd.getpwuid(os.geteuid()).pw_name
        parameters = {"programs": {"devpi": options.pop("url", url)}, "user": me, **options}
        parameters["_ansible_check_mode"] = check
        from ansible.module_utils.testing import patch_module_args  # noqa: PLC0415

        with patch_module_args(parameters), pytest.raises(SystemExit):
            supervisor_program.main()
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Let no supervisord listen."""
    monkeypatch.setattr(_supervisord.Supervisord.__init__, "__defaults__", (str(tmp_path / "nothing"),))


def test_a_stopped_program_is_started_once(supervisord, module):
    assert module(check=True)["actions"] == ["devpi: started"]
    assert supervisord.process is None
    first = module()
    assert first["actions"] == ["devpi: started"]
    assert supervisord.process is not None
    again = module()
    assert (again["changed"], again["diff"]) == (False, {"before": "", "after": ""})
    assert supervisord.calls == ["start"]


def test_a_changed_file_is_predicted_and_then_restarts_the_program_once(supervisord, module):
    module()
    supervisord.calls = []
    predicted = module(changed_files=["devpi"], check=True)
    assert supervisord.calls == []
    supervisord.changes = [[[], ["devpi"], []]]
    done = module(changed_files=["devpi"])
    assert done["actions"] == predicted["actions"] == ["devpi: changed"]
    assert done["diff"] == predicted["diff"]
    assert supervisord.calls == ["stop devpi", "remove devpi", "add devpi", "start"]
    assert not module()["changed"]


def test_a_change_that_a_killed_run_left_is_applied_by_the_next(supervisord, module):
    supervisord.changes = [[[], ["devpi"], []]]
    assert module(check=True)["actions"] == ["devpi: changed"]
    assert module()["actions"] == ["devpi: changed"]


def test_a_new_program_is_predicted_as_added(supervisord, module):
    supervisord.known = []
    assert module(check=True, changed_files=["devpi"])["actions"] == ["devpi: added"]
    supervisord.changes = [[["devpi"], [], []]]
    supervisord.autostarts = True
    assert module()["actions"] == ["devpi: added"]
    assert supervisord.calls == ["add devpi", "start"]


def test_a_restart_is_for_what_runs_and_has_not_been_started_anew(supervisord, module):
    assert module(restart=True)["actions"] == ["devpi: started"]
    pid = supervisord.process.pid
    assert module(restart=True, check=True)["actions"] == ["devpi: restarted"]
    assert supervisord.process.pid == pid
    assert module(restart=True)["actions"] == ["devpi: restarted"]
    assert supervisord.process.pid != pid
    supervisord.changes = [[[], ["devpi"], []]]
    assert module(restart=True)["actions"] == ["devpi: changed"]
    assert module(restart=True, state="stopped")["actions"] == ["devpi: stopped"]


def test_stopped_means_stopped(supervisord, module):
    module()
    assert module(state="stopped", check=True)["actions"] == ["devpi: stopped"]
    assert module(state="stopped")["actions"] == ["devpi: stopped"]
    assert supervisord.process is None
    assert not module(state="stopped")["changed"]
    # A program with autostart is started by the update itself.
    supervisord.changes = [[[], ["devpi"], []]]
    supervisord.autostarts = True
    assert module(state="stopped")["actions"] == ["devpi: changed"]
    assert supervisord.process is None


def test_a_program_that_does_not_answer_shows_its_log(supervisord, module, tmp_path):
    (tmp_path / "log").write_text("".join(f"line {number}\n" for number in range(30)))
    said = module(url="http://127.0.0.1:9/+api", ready_timeout=0)
    assert said["failed"]
    assert "line 29" in said["msg"]
    assert "line 14" not in said["msg"]
    assert "http://127.0.0.1:9/+api" in said["msg"]


@pytest.mark.usefixtures("nowhere")
def test_without_supervisord_only_check_mode_goes_on(module, monkeypatch):
    tried = []

    def start(_module, command):
        tried.append(command)
        return 1, "", "no such unit"

    monkeypatch.setattr(supervisor_program.AnsibleModule, "run_command", start)
    assert module(check=True)["actions"] == ["supervisor: started", "devpi: added"]
    assert tried == []
    said = module()
    assert len(tried) == 1
    assert said["failed"]
    assert "no such unit" in said["msg"]
    assert "systemctl status supervisor" in said["msg"]


def test_what_supervisor_cannot_read_is_not_shown(supervisord, module):
    supervisord.changes = Fault(92, "CANT_REREAD: invalid value canary in section 'program:x'")
    said = module()
    assert said["failed"]
    assert "it cannot read its configuration; supervisorctl reread says why" in said["msg"]
    assert "canary" not in json.dumps(said)


def test_workers_without_a_file_are_removed_and_other_programs_left_alone(supervisord, module):
    supervisord.known = ["devpi", "devpi-worker-2", "other", "devpi-worker-x"]
    module()
    supervisord.calls = []
    assert module(check=True, changed_files=["devpi-worker-2"])["actions"] == ["devpi-worker-2: removed"]
    supervisord.changes = [[[], [], ["other", "devpi-worker-x", "devpi-worker-2"]]]
    assert module()["actions"] == ["devpi-worker-2: removed"]
    assert supervisord.calls == ["stop devpi-worker-2", "remove devpi-worker-2"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other accounts")
def test_another_account_on_the_port_is_named(supervisord, module):
    server = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)"
    script = f"{server}; print(s.server_port, flush=True); s.serve_forever()"
    command = ["runuser", "-u", "nobody", "--", "/usr/bin/python3", "-c", script, "/opt/devpi/venv/bin/devpi-server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/usr/share/doc") as stranger:
        port = int(stranger.stdout.readline())
        said = module(url=f"http://127.0.0.1:{port}/")
        stranger.terminate()
    assert said["failed"]
    assert f"port {port} is held by process python3" in said["msg"]
    assert ") of nobody, and program devpi, which runs as root," in said["msg"]
    assert "stop that process" in said["msg"]


def test_our_own_account_on_the_port_is_named_where_the_program_runs_as_another(supervisord, module):
    account = pwd.getpwuid(1).pw_name
    assert f"which runs as {account}" in module(user=account)["msg"]


def test_an_account_that_is_not_there_is_named(supervisord, module):
    assert "nobody-here" in module(user="nobody-here")["msg"]
