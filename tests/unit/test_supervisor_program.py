"""The module supervisor_program beside a supervisord that is played here, over XML-RPC and a real unix socket."""

from __future__ import annotations

import json
import os
import pwd
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from xmlrpc.client import Fault
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _program_file, _supervisord
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
        self.register_function(self.reload, "supervisor.reloadConfig")
        self.register_function(os.getpid, "supervisor.getPID")
        self.register_function(lambda: {"statename": "RUNNING"}, "supervisor.getState")
        self.known = ["devpi"]
        self.register_function(lambda: [{"group": name} for name in self.known], "supervisor.getAllProcessInfo")
        self.register_function(self.info, "supervisor.getProcessInfo")
        self.register_function(self.start, "supervisor.startProcess")
        self.register_function(self.stop, "supervisor.stopProcess")

    def reload(self):
        changes = self.changes
        if isinstance(changes, Fault):
            raise Fault(changes.faultCode, changes.faultString)
        return changes

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
    monkeypatch.setattr(_program_file, "PROGRAMS", path.parent)
    # supervisor's own parser, in the Python that these tests run by
    supervisord = tmp_path / "supervisord"
    supervisord.write_text(f"#!{sys.executable}\n")
    monkeypatch.setattr(supervisor_program, "SUPERVISORD", supervisord)
    main = tmp_path / "supervisord.conf"
    main.write_text("[supervisord]\n[include]\nfiles = conf.d/*.conf\n")
    monkeypatch.setattr(_program_file, "MAIN_FILE", main)
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


BROKEN = PROGRAM + 'environment=PASSWORD="canary\n'


@pytest.mark.parametrize("there", [True, False])
def test_what_supervisor_cannot_read_never_takes_the_place(supervisord, module, program_file, there):
    if not there:
        program_file.unlink()
    said = module(program=BROKEN)
    assert said["failed"]
    assert "supervisor would not start with" in said["msg"]
    assert "in section 'program:devpi'" in said["msg"]
    assert "canary" not in json.dumps(said)
    assert [each.read_text() for each in program_file.parent.iterdir()] == [PROGRAM] * there
    assert supervisord.calls == []


def test_a_broken_file_that_an_earlier_run_left_is_mended(supervisord, module, program_file):
    program_file.write_text(BROKEN)
    supervisord.changes = [[["devpi"], [], []]]
    assert module()["actions"] == ["added", "started"]
    assert program_file.read_text() == PROGRAM


def test_somebody_elses_broken_file_gets_the_blame(supervisord, module, program_file):
    (program_file.parent / "other.conf").write_text("[program:other]\ncommand=x\nuser=nobody-here\n")
    said = module(program=PROGRAM + "startsecs=7\n")
    assert "with or without" in said["msg"]
    assert "Invalid user name nobody-here" in said["msg"]
    assert program_file.read_text() == PROGRAM


def test_what_supervisor_refuses_all_the_same_is_taken_back(supervisord, module, program_file):
    supervisord.changes = Fault(92, "CANT_REREAD: no way")
    said = module(program=PROGRAM + "startsecs=7\n")
    assert "CANT_REREAD: no way" in said["msg"]
    assert program_file.read_text() == PROGRAM
    program_file.unlink()
    assert module()["failed"]
    assert not program_file.exists()


@pytest.mark.parametrize(
    "text",
    [
        "[program:devpi]\ncommand=/usr/sbin/nginx\n",
        "; Ansible managed\n[program:devpi]\ncommand=/usr/sbin/nginx\n",
        "[program:other]\ncommand=/opt/devpi/venv/bin/devpi-server\n",
        PROGRAM + "[program:other]\ncommand=/usr/bin/other\n",
        "",
    ],
)
def test_somebody_elses_file_is_left_alone(supervisord, module, program_file, text):
    program_file.write_text(text)
    said = module()
    assert said["failed"]
    assert "is somebody else's program" in said["msg"]
    assert program_file.read_text() == text


def test_a_server_made_by_hand_is_taken_over(supervisord, module, program_file):
    program_file.write_text("[program:devpi]\ncommand = /home/x/devpi_venv/bin/devpi-server --port=3141\nuser=x\n")
    module()
    assert program_file.read_text() == PROGRAM


def test_only_our_own_workers_are_surplus(supervisord, module, program_file):
    theirs = program_file.with_name("devpi-worker-9.conf")
    theirs.write_text("[program:devpi-worker-9]\ncommand=/usr/bin/celery worker\n")
    ours = program_file.with_name("devpi-worker-2.conf")
    ours.write_text("[program:devpi-worker-2]\ncommand=/opt/devpi/venv/bin/devpi-server --requests-only --port=1\n")
    supervisord.known = ["devpi", "devpi-worker-9", "devpi-worker-2"]
    module()
    assert theirs.exists()
    assert not ours.exists()


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
    assert f"which runs as {account}" in module(program=PROGRAM + f"user={account}\n")["msg"]


def test_a_link_that_is_switched_restarts_it_both_ways(supervisord, module, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "installed-from").write_text(name)
    link = tmp_path / "venv"
    link.symlink_to("one")
    time.sleep(0.05)
    reads = [str(link / "installed-from")]
    module(reads=reads)
    assert not module(reads=reads)["changed"]
    for name in ("two", "one"):
        time.sleep(0.05)
        link.unlink()
        link.symlink_to(name)
        assert module(reads=reads)["actions"] == ["restarted"]
        assert not module(reads=reads)["changed"]


def test_process_that_ends_while_it_is_looked_at_is_no_error(supervisord, module, monkeypatch):
    module()

    def gone(pid):
        raise FileNotFoundError(f"/proc/{pid}/stat")

    monkeypatch.setattr(supervisor_program, "started_at", gone)
    assert not module(reads=["/etc/hostname"]).get("failed")


def test_link_that_leads_to_itself_is_no_error(tmp_path):
    (tmp_path / "venv").symlink_to("venv")
    assert not supervisor_program._changed_since(tmp_path / "venv" / "installed-from", 0)
