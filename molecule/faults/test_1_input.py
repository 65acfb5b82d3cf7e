"""Bad input is refused before anything changes, and the refusal names the value, where it came from and the way out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from molecule.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from molecule.conftest import Target


def users(*indexes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "ann", "password": "Canary7f3-ann", "indexes": list(indexes)}]


# variables, and words that the refusal must have
REFUSED = {
    "port out of range": ({"devpi_port": 70000}, ["devpi_port", "70000"]),
    "port zero": ({"devpi_port": 0}, ["devpi_port", "0"]),
    "port no number": ({"devpi_port": "eighty"}, ["devpi_port", "eighty"]),
    "python that apt lacks": ({"devpi_python": "python3.8"}, ["devpi_python", "python3.8", "python3.11"]),
    "user's name": ({"devpi_username": "an/n"}, ["an/n"]),
    "index's name": ({"devpi_index": "d/ev"}, ["d/ev"]),
    "base that is not declared": ({"devpi_index_bases": ["ann/none"]}, ["ann/none"]),
    "cycle of bases": (
        {"devpi_users": users({"name": "a", "bases": ["ann/b"]}, {"name": "b", "bases": ["ann/a"]})},
        ["ann/a", "ann/b"],
    ),
    "door to dependency confusion": (
        {"devpi_users": users({"name": "dev", "bases": ["root/pypi"], "mirror_whitelist": ["*"]})},
        ["mirror_whitelist", "accept_dependency_confusion"],
    ),
    "unknown key": ({"devpi_users": users({"name": "dev", "volatil": True})}, ["volatil"]),
    "password of two lines": ({"devpi_password": "Canary7f3-one\nCanary7f3-two"}, ["password", "line"]),
    # What the variables alone show to be wrong is told in one message.
    "many wrong values at once": (
        {
            "devpi_environment": "NO_PROXY=localhost",
            "devpi_password": 4711,
            "devpi_users": None,
            "devpi_host": None,
            "devpi_venv_path": "/opt/devpi:venv",
            "devpi_root_password": "Canary7f3" + "x" * 4096,
            "devpi_venv_lock": "/srv/none.lock",
            "devpi_venv_extra_packages": ["thing==1 --index-url https://index.example.com/"],
            "devpi_proxy_ca": "/etc",
        },
        [
            "devpi_environment is a text and has to be a dictionary; write it as names with values",
            "devpi_password is a number and has to be a text; put it in quotes",
            "devpi_users is null and has to be a list; give it a value, or remove its line",
            "devpi_host is null and has to be a text; give it a value, or remove its line",
            "devpi_venv_path '/opt/devpi:venv' has a colon in it",
            "devpi_root_password: the password has 4105 characters",
            "devpi_venv_lock /srv/none.lock is not a file",
            "devpi_venv_extra_packages[0] 'thing==1 --index-url",
            "devpi_proxy_ca '/etc' is a directory of the system; name a file",
            "Nothing was changed",
        ],
    ),
    "null and numbers below users": (
        {
            "devpi_users": [{"name": None, "password": 4711}, {"name": "ann", "indexes": [{"name": 7}]}],
            "devpi_environment": {"A": None, "B": ["x"]},
            "devpi_root_password": None,
            "devpi_port": None,
        },
        [
            "devpi_users[0] lacks name, which is required; give it one",
            "devpi_users[0].password is a number and has to be a text; put it in quotes",
            "devpi_users[1].indexes[0].name is the number 7 and has to be a text; put it in quotes",
            "devpi_environment.A is null and has to be a text",
            "devpi_environment.B is a list and has to be a text",
            "devpi_root_password is null and has to be a text",
            "devpi_port is null and has to be a whole number",
        ],
    ),
    "too little memory": ({"devpi_min_memory": 10_000_000}, ["devpi_min_memory", "10000000", "MB"]),
    "too little disk": ({"devpi_min_disk": 1_000_000_000}, ["devpi_min_disk", "1000000000", "MB"]),
}


def assert_refused(target: Target, variables: dict[str, Any], words: list[str]) -> None:
    before = target.files()
    run = target.deploy(variables, "-vvv", "--diff")
    assert run.code != 0, run.said
    for word in words:
        assert word in run.said
    assert run.leaks() == []
    assert target.files() == before


@pytest.mark.parametrize(("variables", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_variable(bare: Target, variables: dict[str, Any], words: list[str]) -> None:
    assert_refused(bare, variables, words)


def test_misspelt_variable_is_warned_of_and_the_run_goes_on(bare: Target) -> None:
    # The host's own problem shows that the variables were passed.
    before = bare.files()
    run = bare.deploy({"devpi_prot": 3142, "devpi_pasword": "Canary7f3-own", "devpi_min_memory": 10_000_000})
    said = " ".join(run.said.split())
    warning = r"\[WARNING\]: devpi_prot( \(\S+\))? is not a variable of wheelhouse\.devpi, so it changes"
    assert re.search(warning, said), said
    assert "write devpi_port if that was meant" in said
    assert "write devpi_password if that was meant" in said
    assert "devpi_min_memory asks for 10000000 MB" in said
    assert run.leaks() == []
    assert bare.files() == before


@pytest.fixture
def taken(bare: Target) -> Iterator[None]:
    """Let another program hold the port."""
    pid = bare.host.check_output("python3 -m http.server 3141 --bind 127.0.0.1 >/dev/null 2>&1 & echo $!")
    bare.host.check_output(
        "for i in $(seq 50); do ss -Hlt 'sport = :3141' | grep -q . && exit 0; sleep 0.1; done; exit 1"
    )
    yield
    bare.host.check_output(f"kill {pid}")


@pytest.mark.usefixtures("taken")
def test_port_that_another_process_holds(bare: Target) -> None:
    assert_refused(bare, {}, ["devpi_port", "3141", "python3"])


@pytest.fixture
def fedora(bare: Target) -> Iterator[None]:
    """Let the host call itself a system that the roles don't know."""
    bare.host.check_output("cp -P /etc/os-release /opt/os-release && rm /etc/os-release")
    bare.host.check_output("printf 'ID=fedora\\nVERSION_ID=41\\nPRETTY_NAME=\"Fedora Linux 41\"\\n' >/etc/os-release")
    yield
    bare.host.check_output("mv -T /opt/os-release /etc/os-release")


@pytest.mark.usefixtures("fedora")
def test_unsupported_system(bare: Target) -> None:
    assert_refused(bare, {}, ["Fedora Linux 41", "Debian 11", "Ubuntu 20.04"])


@pytest.fixture
def malformed_pypirc(bare: Target) -> Iterator[None]:
    """Let the person have a ~/.pypirc that no parser reads."""
    bare.host.check_output("printf '[distutils]\\nindex-servers =\\n  mine\\n[mine\\n' >/root/.pypirc")
    yield
    bare.host.check_output("rm /root/.pypirc")


@pytest.mark.usefixtures("malformed_pypirc")
def test_malformed_pypirc(bare: Target) -> None:
    assert_refused(bare, {}, ["/root/.pypirc", "line 4"])


def test_wrong_root_password_on_a_server_that_exists(deployed: Target) -> None:
    program = deployed.host.file("/etc/supervisor/conf.d/devpi.conf").content_string
    pid = deployed.host.check_output("supervisorctl pid devpi")
    run = deployed.deploy({"devpi_root_password": "Canary7f3-wrong"}, "-vvv", "--diff")
    assert run.code != 0
    assert "devpi_root_password" in run.said
    assert run.leaks() == []
    assert deployed.host.file("/etc/supervisor/conf.d/devpi.conf").content_string == program
    assert deployed.host.check_output("supervisorctl pid devpi") == pid


CONFIG = "/etc/xdg/devpi-server/devpi-server.yml"


def test_configuration_that_devpi_server_cannot_read_replaces_nothing(deployed: Target, tmp_path: Path) -> None:
    """With a lock of one's own there may be plugins, so that only devpi-server itself knows its options."""
    lock = tmp_path / "own.lock"
    lock.write_bytes((PROJECT / "roles" / "venv" / "files" / "devpi.lock").read_bytes())
    before = deployed.host.file(CONFIG).content_string
    pid = deployed.host.check_output("supervisorctl pid devpi")
    options = {"no-such-option": 1, "some-password": "Canary7f3-option"}
    run = deployed.deploy({"devpi_venv_lock": str(lock), "devpi_server_options": options}, "-vvv", "--diff")
    assert run.code != 0, run.said
    assert "devpi-server cannot read the configuration" in run.said
    assert "no-such-option" in run.said
    assert run.leaks() == []
    assert deployed.host.file(CONFIG).content_string == before
    assert deployed.host.check_output("ls -A /etc/xdg/devpi-server") == "devpi-server.yml"
    assert deployed.host.check_output("supervisorctl pid devpi") == pid
