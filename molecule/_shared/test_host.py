"""The state of a host after its deployment: files, processes, sockets, the API, and what strangers cannot do."""

from __future__ import annotations

import configparser
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

    from molecule.conftest import Api, Layout, Shell

CREDENTIALS = "/etc/devpi/credentials"


def mode(host: Host, path: str) -> tuple[str, int]:
    file = host.file(path)
    assert file.exists, path
    return file.user, file.mode


def test_server_directory_is_the_servers_alone(host: Host, layout: Layout) -> None:
    assert mode(host, layout.server_dir) == (layout.account, layout.server_dir_mode)
    assert mode(host, f"{layout.server_dir}/.secret") == (layout.account, 0o600)
    foreign = host.run(f"find {layout.server_dir} ! -user {layout.account}")
    assert (foreign.rc, foreign.stdout) == (0, "")


def test_passwords_are_kept_for_root_alone(host: Host) -> None:
    assert mode(host, CREDENTIALS) == ("root", 0o700)
    for name in host.file(CREDENTIALS).listdir():
        assert mode(host, f"{CREDENTIALS}/{name}") == ("root", 0o600)


def test_server_cannot_change_its_own_code(host: Host, layout: Layout) -> None:
    writable = host.run(f"runuser -u {layout.account} -- find {layout.venv} ! -type l -writable -print -quit")
    assert (writable.rc, writable.stdout) == (0, "")
    assert mode(host, layout.venv)[0] == "root"


def test_configuration_is_roots_to_change(host: Host, layout: Layout) -> None:
    for path in ("/etc/xdg/devpi-server/devpi-server.yml", f"/etc/supervisor/conf.d/{layout.program}.conf"):
        owner, bits = mode(host, path)
        assert owner == "root"
        assert bits & 0o027 == 0


def test_server_runs_as_its_account(host: Host, layout: Layout) -> None:
    processes = [process for process in host.process.filter(user=layout.account) if "devpi-server" in process.args]
    assert [process.args.split()[1] for process in processes] == [f"{layout.venv}/bin/devpi-server"]
    everyone = host.check_output("ps -eo user:32,args")
    assert [line.split()[0] for line in everyone.splitlines() if "bin/devpi-server" in line] == [layout.account]


def test_server_listens_on_loopback_alone(host: Host) -> None:
    listeners = host.check_output("ss --no-header --listening --tcp --numeric 'sport = :3141'")
    assert [line.split()[3] for line in listeners.splitlines()] == ["127.0.0.1:3141"]


def test_index_is_based_on_the_mirror(api: Api, layout: Layout) -> None:
    index = api("GET", f"/{layout.user}/dev?no_projects=").result
    assert (index["type"], index["bases"]) == ("stage", ["root/pypi"])


def test_releases_are_kept_unless_declared_otherwise(api: Api, layout: Layout) -> None:
    assert api("GET", f"/{layout.user}/dev?no_projects=").result["volatile"] is layout.volatile


def test_mirror_does_not_download_all_names(api: Api) -> None:
    assert api("GET", "/root/pypi?no_projects=").result["mirror_no_project_list"] is True


def test_strangers_can_read_and_create_nothing(api: Api, layout: Layout) -> None:
    before = api("GET", "/").result
    for method, path, body in (
        ("PUT", "/mallory", {"password": "mallory"}),
        ("PUT", f"/{layout.user}/mallory", {}),
        ("PATCH", f"/{layout.user}", {"password": "mallory"}),
        ("PATCH", f"/{layout.user}/dev", {"acl_upload": [":ANONYMOUS:"]}),
        ("DELETE", f"/{layout.user}/dev", None),
    ):
        assert api(method, path, body).status in {401, 403}, (method, path)
    assert api("GET", "/").result == before


def test_users_create_nothing_that_root_should(api: Api, layout: Layout) -> None:
    assert api("PUT", "/mallory", {"password": "mallory"}, user=layout.user).status == 403
    assert "mallory" not in api("GET", "/").result


@pytest.mark.parametrize("password", ["", "root", "devpi"])
def test_root_has_no_guessable_password(api: Api, password: str) -> None:
    assert api("POST", "/+login", {"user": "root", "password": password}).status == 401


def test_kept_passwords_are_the_servers(api: Api, layout: Layout) -> None:
    for user in ("root", layout.user):
        assert api("GET", "/+api", user=user).result["authstatus"][:2] == ["ok", user]


def test_kept_passwords_can_be_read_nowhere_else(host: Host, layout: Layout) -> None:
    passwords = [host.file(f"{CREDENTIALS}/{name}").content_string.strip() for name in ("root", layout.user)]
    assert all(len(password) >= 16 for password in passwords)
    # nobody looks where everybody may: a file that is open to all, in a directory that is not, gives nothing away
    found = host.run(
        f"cat {CREDENTIALS}/* | runuser -u nobody -- "
        "grep -rlsFf - /etc /home /opt /root /run /srv /tmp /usr/local /var --devices=skip"
    )
    assert found.stdout == ""
    command_lines = host.check_output("ps -eo args")
    assert not any(password in command_lines for password in passwords)


def test_pypirc_names_the_index(host: Host, layout: Layout) -> None:
    assert mode(host, f"{layout.home}/.pypirc") == (layout.person, 0o600)
    parser = configparser.RawConfigParser()
    parser.read_string(host.file(f"{layout.home}/.pypirc").content_string)
    assert layout.section in parser["distutils"]["index-servers"].split()
    section = dict(parser[layout.section])
    assert (section["repository"], section["username"]) == (layout.index, layout.user)
    assert "password" not in section


def test_persons_client_points_at_the_index(shell: Shell, layout: Layout) -> None:
    said = shell(f"{layout.venv}/bin/devpi use")
    assert said.rc == 0, said.stderr
    assert f"current devpi index: {layout.index}" in said.stdout


def test_supervisor_comes_back_after_a_reboot(host: Host) -> None:
    if host.file("/run/systemd/system").is_directory:
        assert host.service("supervisor").is_enabled
    status = host.check_output("supervisorctl status")
    assert [line.split()[1] for line in status.splitlines()] == ["RUNNING"], json.dumps(status)
