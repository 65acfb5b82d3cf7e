"""The page, value for value: what it has people type in, and what inventory/howto must make of it."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

# The page's own file, key by key. Its command is compared apart: the page leaves host and port to defaults.
PROGRAM = {
    "directory": "/home/ubuntu",
    "user": "ubuntu",
    "autostart": "false",
    "exitcodes": "0",
    "autorestart": "unexpected",
    "priority": "300",
    "startsecs": "5",
    "redirect_stderr": "true",
}
COMMAND = "/home/ubuntu/devpi_venv/bin/devpi-server"
# The page leaves it to devpi-server to find, which would take one of the account's own first.
CONFIGURED = f"{COMMAND} --configfile=/etc/xdg/devpi-server/devpi-server.yml"
# Beside the page's names the list has pypi: flit knows it without a list, and would no longer with one that lacks it.
PYPIRC = {
    "distutils": {"index-servers": "\npypi\nlatexhelperpypi\ntestpypi"},
    "latexhelperpypi": {"repository": "http://localhost:3141/pbernatchez/dev", "username": "pbernatchez"},
    "testpypi": {"repository": "https://test.pypi.org/legacy/", "username": "pbernatchez"},
}


def program(host: Host) -> dict[str, str]:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read_string(host.file("/etc/supervisor/conf.d/ubuntu_devpi_server.conf").content_string)
    assert parser.sections() == ["program:ubuntu_devpi_server"]
    return dict(parser["program:ubuntu_devpi_server"])


@pytest.mark.parametrize(("key", "value"), PROGRAM.items())
def test_programs_keys_are_the_pages(host: Host, key: str, value: str) -> None:
    assert program(host)[key] == value


def test_programs_command_is_the_pages(host: Host) -> None:
    assert program(host)["command"] == CONFIGURED


def test_pypirc_is_the_pages(host: Host) -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(host.file("/home/ubuntu/.pypirc").content_string)
    assert {name: dict(parser[name]) for name in parser.sections()} == PYPIRC


def test_server_was_started_though_it_does_not_start_by_itself(host: Host) -> None:
    assert program(host)["autostart"] == "false"
    assert host.check_output("supervisorctl status ubuntu_devpi_server").split()[1] == "RUNNING"


def test_pages_python_that_debian_lacks_is_refused_with_the_command_that_works() -> None:
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    project = os.environ["MOLECULE_PROJECT_DIRECTORY"]
    command = [
        "ansible-playbook",
        "-i",
        inventory,
        "-i",
        f"{project}/inventory/howto",
        "--limit",
        "devpi-howto",
        "--check",
    ]
    command += ["-e", "devpi_python=python3.8", f"{project}/playbooks/site.yml"]
    said = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    words = " ".join((said.stdout + said.stderr).split())
    assert said.returncode != 0
    assert "apt does not have python3.8-venv for devpi_python 'python3.8'" in words
    assert re.search(
        r"With python3 it works: script/deploy -i \S+ -i inventory/howto -e devpi_python=python3\b", words
    ), words


@pytest.fixture
def open_to_the_network() -> Iterator[None]:
    """Converge with the one variable that the page's second command is for, and afterwards without."""
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    project = os.environ["MOLECULE_PROJECT_DIRECTORY"]
    command = ["ansible-playbook", "-i", inventory, "-i", f"{project}/inventory/howto", "--limit", "devpi-howto"]
    playbook = f"{project}/molecule/_shared/converge.yml"
    subprocess.run([*command, "-e", "devpi_host=0.0.0.0", playbook], check=True)
    yield
    subprocess.run([*command, playbook], check=True)


@pytest.mark.usefixtures("open_to_the_network")
def test_one_variable_opens_it_to_the_network(host: Host) -> None:
    assert program(host)["command"] == f"{CONFIGURED} --host=0.0.0.0 --port=3141"
    listeners = host.check_output("ss --no-header --listening --tcp --numeric 'sport = :3141'")
    assert [line.split()[3] for line in listeners.splitlines()] == ["0.0.0.0:3141"]
