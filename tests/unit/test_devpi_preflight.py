"""The module devpi_preflight: what it refuses, all at once and without a change. Whole hosts: the scenario faults."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pwd
import socket
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.testing import patch_module_args
from ansible_collections.wheelhouse.devpi.plugins.module_utils import (
    _environment,
    _home,
    _paths,
    _pypirc_file,
    _server_directory,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._arguments import completed
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import USER_OPTIONS
from ansible_collections.wheelhouse.devpi.plugins.module_utils._listeners import is_held_by, listeners_on
from ansible_collections.wheelhouse.devpi.plugins.modules import devpi_preflight

ME = pwd.getpwuid(os.geteuid()).pw_name
ROOT = {"name": "root", "indexes": [{"name": "pypi", "type": "mirror"}]}
EXAMPLE = yaml.safe_load(devpi_preflight.EXAMPLES)[0]["wheelhouse.devpi.devpi_preflight"]


@pytest.fixture
def look(monkeypatch, capsys, tmp_path):
    """Return what runs the module as root would, on a server directory that does not exist yet."""
    monkeypatch.setattr(devpi_preflight.os, "geteuid", lambda: 0)
    if os.getuid() != 0:
        for each in (_environment, _home, _paths, _pypirc_file, _server_directory, devpi_preflight):
            monkeypatch.setattr(each, "acting_as", lambda _account: contextlib.nullcontext())

    def run(*roles, **options):
        parameters = {
            **EXAMPLE,
            "roles": list(roles),
            "users": [],
            "first_index": "",
            "owner": ME,
            "server_dir": str(tmp_path / "server"),
            "server_config": str(tmp_path / "devpi-server.yml"),
            "credentials_dir": str(tmp_path / "credentials"),
            "venv_path": str(tmp_path / "venv"),
            "_ansible_check_mode": True,
            **options,
        }
        with patch_module_args(parameters), pytest.raises(SystemExit):
            devpi_preflight.main()
        return json.loads(capsys.readouterr().out)

    return run


def test_all_problems_are_told_at_once(look):
    users = [{"name": "a b", "indexes": [{"name": "dev", "bases": ["root/pipy"]}]}, ROOT]
    said = look("users", "pypirc", port=70000, owner="nobody-here", users=users, first_index="team/dev")
    assert said["failed"]
    for words in (
        "devpi_port 70000 is out of range",
        "devpi_pypirc_owner 'nobody-here' is not an account",
        "user name 'a b' is not allowed",
        "base root/pipy neither exists nor is declared; did you mean root/pypi?",
        "devpi_username and devpi_index name team/dev",
    ):
        assert words in said["msg"]
        assert sum(words in problem for problem in said["problems"]) == 1
    assert said["msg"].startswith("Nothing was changed.")


def test_users_of_no_form_are_told_without_their_passwords(look):
    users = [{"name": "ann", "password": "CANARY", "indexes": "dev"}, {"pasword": "CANARY"}, {"name": 7}]
    said = look("users", users=users)
    assert said["failed"]
    for words in (
        "devpi_users[0].indexes is a text and has to be a list",
        "devpi_users[1] has a key pasword, which is not one of its options; did you mean password?",
        "devpi_users[1] lacks name, which is required",
        "devpi_users[2].name is the number 7 and has to be a text",
    ):
        assert words in said["msg"]
    assert "CANARY" not in json.dumps(said)


def test_users_are_taken_as_devpi_users_takes_them():
    option = {"type": "list", "elements": "dict", "options": USER_OPTIONS}
    users = [
        {"name": "ann", "password": None, "custom_data": {"a": [1, None]}, "force": "yes"},
        {"name": "bob", "indexes": [{"name": "m", "mirror_cache_expiry": "60", "bases": ["a/b"], "options": {"x": 1}}]},
    ]
    taken = ArgumentSpecValidator({"users": option}).validate({"users": copy.deepcopy(users)})
    assert not taken.error_messages
    wanted = taken.validated_parameters["users"]
    for index in wanted[1]["indexes"]:
        for alias in ("remote_url", "remote_web_url_fmt"):
            index.pop(alias, None)
    assert completed(option, users) == wanted


def test_what_is_right_is_told_to_the_roles(look, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    users = [{"name": "team", "indexes": [{"name": "dev", "bases": ["root/pypi"]}]}, ROOT]
    said = look("users", "pypirc", port=free, users=users, first_index="team/dev")
    assert not said.get("failed"), said["msg"]
    assert said["server_url"] == ""
    assert said["server_initialised"] is False
    assert said["owner_home"] == pwd.getpwnam(ME).pw_dir
    assert list(tmp_path.iterdir()) == []


class Module:
    """What the facts need of an AnsibleModule."""

    def __init__(self, directory, user):
        paths = {"server_dir": "server", "server_config": "devpi-server.yml", "venv_path": "venv"}
        self.params = {name: str(directory / path) for name, path in paths.items()}
        self.params.update(roles=["server"], server_user=user, signing_file="", supervisor_program="devpi", users=[])

    def sha1(self, path):
        return "digest" if Path(path).exists() else None


def test_what_is_there_of_a_server_is_told_to_the_roles(tmp_path):
    def facts(user):
        return devpi_preflight.Preflight(Module(tmp_path, user))._server_facts()

    server, config = tmp_path / "server", tmp_path / "devpi-server.yml"
    seen = facts("devpi-to-come")
    assert (seen["server_user_exists"], seen["server_group"]) == (False, "devpi-to-come")
    assert (seen["server_dir_attributes"], seen["server_open_files"], seen["server_config_digest"]) == ([], [], "")
    assert (seen["secret_keeper"], seen["environment_path"]) == ("devpi-to-come", "")
    (tmp_path / "venvs" / "0a").mkdir(parents=True)
    (tmp_path / "venv").symlink_to("venvs/0a")
    server.mkdir(mode=0o755)
    (server / ".sqlite").touch(0o644)
    config.write_text("devpi-server:\n  secretfile: /a\n")
    seen = facts(ME)
    assert (seen["server_user_exists"], seen["server_dir_attributes"][:2]) == (True, ["0755", ME])
    assert seen["server_open_files"] == [f"{server}/.sqlite"]
    assert seen["server_config_digest"] == "digest"
    assert not seen["server_config_conceals"]
    assert seen["environment_path"] == f"{tmp_path}/venvs/0a"
    config.write_text("devpi-server:\n  ldap_password: x\n")
    assert facts(ME)["server_config_conceals"]


def test_a_port_that_somebody_else_holds_names_the_holder(look, tmp_path):
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "devpi-server").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = look("supervisor", port=port)
    assert f"devpi_port {port}" in said["msg"]
    assert f"({os.getpid()})" in said["msg"]


def test_only_root_can_run_most_roles(look, monkeypatch):
    monkeypatch.setattr(devpi_preflight.os, "geteuid", lambda: 1000)
    [problem] = look("venv", "pypirc")["problems"]
    assert problem.endswith("set become: true (ansible_become)")


def test_a_role_without_the_environment_it_stands_on_is_refused(look, tmp_path):
    said = look("server")
    assert f"role server needs {tmp_path}/venv/bin/devpi-init, and there is none; run role venv first" in said["msg"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("devpi-server:\n  host: 127.0.0.1\n  port: 3142\n", ("127.0.0.1", 3142)),
        ("devpi-server:\n    port: '3143'\n    host: \"::1\"\n", ("::1", 3143)),
        ("devpi-server:\n  serverdir: /x\n", ("127.0.0.1", 0)),
    ],
)
def test_where_the_last_deployment_listens_is_read_from_its_configuration(tmp_path, text, address):
    config = tmp_path / "devpi-server.yml"
    config.write_text(text)
    assert devpi_preflight._configured_address(str(config)) == address
    assert devpi_preflight._configured_address(str(tmp_path / "none")) == ("", 0)


def test_more_workers_than_there_is_memory_for_are_refused(look, monkeypatch):
    monkeypatch.setattr(devpi_preflight, "_available_memory", lambda: 500)
    options = {"proxied": True, "proxy_names": ["index.example.com"]}
    words = "devpi_server_workers starts 8 more processes of 64 MB each"
    assert any(words in each for each in look("supervisor", worker_ports=[*range(39000, 39008)], **options)["problems"])
    few = look("supervisor", worker_ports=[*range(39000, 39007)], **options)
    assert not any("devpi_server_workers" in each for each in few.get("problems", []))


@pytest.fixture
def pair(tmp_path):
    """Return what makes a key and a certificate for names, and returns their options."""

    def make(label, names="DNS:index.example.com,IP:192.0.2.10", *options):
        files = {name: str(tmp_path / f"{label}.{name}") for name in ("key", "certificate")}
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-subj",
            "/CN=x",
            "-addext",
            f"subjectAltName={names}",
        ]
        command += [*(options or ["-nodes"]), "-keyout", files["key"], "-out", files["certificate"]]
        subprocess.run(command, check=True, capture_output=True)
        return {f"proxy_{name}": path for name, path in files.items()}

    return make


@pytest.mark.parametrize("name", ["proxy_ca", "proxy_certificate", "proxy_key", "ca_bundle"])
@pytest.mark.parametrize("place", ["directory", "nothing", "pipe"])
def test_what_has_to_be_a_file_is_one(look, tmp_path, pair, name, place):
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    given = {**pair("good"), name: str(tmp_path / place)}
    said = look("proxy", proxied=True, proxy_manage="site", proxy_names=["index.example.com"], **given)
    (problem,) = [each for each in said.get("problems", ()) if each.startswith(f"devpi_{name} ")]
    assert problem.startswith(f"devpi_{name} {tmp_path / place} is not a file on {os.uname().nodename}; put ")


def test_ca_that_the_host_is_to_make_need_not_be_there(look, tmp_path):
    ours = {"proxy_ca": "/etc/ssl/devpi/ca.pem", "proxy_names": ["index.example.com"]}
    said = look("proxy", proxied=True, proxy_manage="site", **ours)
    assert not [each for each in said.get("problems", ()) if "proxy_ca" in each]


@pytest.mark.parametrize("name", ["program_log", "proxy_access_log", "signing_file"])
def test_directory_is_no_log_and_no_secret(look, tmp_path, name):
    (tmp_path / "directory").mkdir()
    options = {"proxied": True, "proxy_manage": "site", "proxy_names": ["x.example.com"]}
    said = look("server", "supervisor", "proxy", **options, **{name: str(tmp_path / "directory")})
    variable = {
        "program_log": "devpi_supervisor_log_file",
        "proxy_access_log": "devpi_proxy_access_log",
        "signing_file": "devpi_server_secret_file",
    }[name]
    found = [each for each in said["problems"] if each.startswith(f"{variable} {tmp_path / 'directory'}")]
    assert found, said["problems"]
    assert "director" in found[0]


def problems_of_the_pair(look, **options):
    said = look("proxy", proxied=True, proxy_manage="site", **options)
    return [each for each in said["problems"] if each.startswith("devpi_proxy_certificate")]


def test_certificate_that_clients_take_is_taken(look, pair):
    assert problems_of_the_pair(look, proxy_names=["index.example.com", "192.0.2.10"], **pair("good")) == []


def test_certificate_and_key_that_are_no_pair_are_refused(look, pair):
    one, other = pair("one"), pair("other")
    for key in (
        other["proxy_key"],
        pair("locked", "DNS:x", "-passout", "pass:x")["proxy_key"],
        one["proxy_certificate"],
    ):
        options = {**one, "proxy_key": key, "proxy_names": ["index.example.com"]}
        (problem,) = problems_of_the_pair(look, **options)
        assert f"and devpi_proxy_key {key} on " in problem
        assert "are not a pair that nginx can use" in problem


def test_certificate_for_other_names_is_refused(look, pair):
    names = ["index.example.com", "other.example.com", "192.0.2.11"]
    found = problems_of_the_pair(look, proxy_names=names, **pair("one"))
    assert ["is not for other.example.com" in each for each in found] == [True, False]
    assert ["is not for 192.0.2.11" in each for each in found] == [False, True]


@pytest.mark.parametrize(
    ("file", "refused"), [("/etc/nginx/sites-enabled/shop", True), (devpi_preflight.OUR_SITE, False)]
)
def test_name_of_another_site_is_refused(look, monkeypatch, tmp_path, file, refused):
    printed = (
        f"# configuration file {file}:\nserver {{ listen 443 ssl; server_name shop.example.com Index.example.com; }}"
    )
    nginx = tmp_path / "nginx"
    nginx.write_text(f"#!/bin/sh\ncat <<'END'\n{printed}\nEND\n")
    nginx.chmod(0o755)
    monkeypatch.setattr(devpi_preflight, "NGINX", nginx)
    said = look("proxy", proxied=True, proxy_manage="site", proxy_names=["packages.example.com", "index.example.com"])
    found = [each for each in said["problems"] if file in each]
    assert [each.startswith("devpi_proxy_names has index.example.com, and so has another site") for each in found] == (
        [True] if refused else []
    )


def test_owner_without_a_home_is_refused(look):
    [problem] = look("pypirc", owner="nobody")["problems"]
    home = pwd.getpwnam("nobody").pw_dir
    assert problem.startswith(f"devpi_pypirc_owner 'nobody' has the home directory {home}, which does not exist; make")


def test_log_that_others_could_replace_is_refused(look, tmp_path):
    tmp_path.chmod(0o777)
    said = look("proxy", proxied=True, proxy_access_log=str(tmp_path / "devpi.log"), proxy_names=["x.example.com"])
    assert [each for each in said["problems"] if each.startswith("devpi_proxy_access_log") and "nginx opens it" in each]
    said = look("proxy", proxied=True, proxy_access_log="/var/log/nginx/devpi.log", proxy_names=["x.example.com"])
    assert not [each for each in said["problems"] if each.startswith("devpi_proxy_access_log")]


@pytest.mark.parametrize(
    "case",
    [
        (None, "", False),
        ("", "", False),
        ("root:x:0:0:root:/root:/bin/bash\n", "", True),
        ('127.0.0.1 "GET /+api"\n', 'access_log "{log}" devpi buffer=32k;', False),
        ('127.0.0.1 "GET /+api"\n', 'access_log "{log}.other" devpi buffer=32k;', True),
    ],
)
def test_log_in_the_place_of_somebodys_file_is_refused(look, tmp_path, monkeypatch, case):
    content, site, refused = case
    log = tmp_path / "log"
    if content is not None:
        log.write_text(content)
    (tmp_path / "site").write_text(site.format(log=log))
    monkeypatch.setattr(devpi_preflight, "OUR_SITE", str(tmp_path / "site"))
    found = look("proxy", proxied=True, proxy_access_log=str(log), proxy_names=["x.example.com"])["problems"]
    assert [f"{log} is there on" in each for each in found if each.startswith("devpi_proxy_access_log")] == [
        True
    ] * refused


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other accounts")
def test_process_that_calls_itself_nginx_is_no_nginx():
    """A program chooses its arguments, the first one too."""
    listen = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    for account in ("nobody", "root"):
        command = ["runuser", "-u", account, "--", "bash", "-c", f'exec -a "nginx: master" python3 -c "{listen}"']
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd="/", env=path, text=True, **pipes) as other:
            port = int(other.stdout.readline())
            found = listeners_on("127.0.0.1", port)
            other.communicate("")
        assert [is_held_by(each, 0, str(devpi_preflight.NGINX)) for each in found] == [False]


def test_stranger_on_the_port_is_named_where_users_are_all_that_is_wanted(look):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = look("users", port=port, server_user="daemon")
    assert any(each.startswith(f"devpi_port {port} on ") and f"({os.getpid()})" in each for each in said["problems"])
