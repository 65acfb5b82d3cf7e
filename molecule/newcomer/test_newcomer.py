"""What script/deploy left and said on a machine on which nothing else was done."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

    from molecule.conftest import Layout, Shell


def last_lines(host: Host) -> dict[str, str]:
    """Return the closing lines, by their first word."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", host.file("/opt/first-deploy").content_string).replace("\r", "")
    recap = said.rindex("PLAY RECAP")
    lines = [line.strip() for line in said[recap:].splitlines() if line.startswith("  ")]
    return dict(line.split(None, 1) for line in lines)


def test_last_lines_say_what_runs_where(host: Host, layout: Layout) -> None:
    assert last_lines(host)["Index"] == layout.index


def test_last_lines_say_where_the_password_is(host: Host, layout: Layout) -> None:
    assert f"/etc/devpi/credentials/{layout.user}" in last_lines(host)["Password"]
    kept = host.file(f"/etc/devpi/credentials/{layout.user}").content_string.strip()
    assert kept not in host.file("/opt/first-deploy").content_string


def test_publish_command_names_a_repository_of_pypirc(host: Host, layout: Layout) -> None:
    assert f"flit publish --repository {layout.section}" in last_lines(host)["Publish"]


def test_install_command_installs(host: Host, shell: Shell) -> None:
    command = last_lines(host)["Install"]
    assert command.startswith("pip install ")
    said = shell(
        f"python3 -m venv told && . told/bin/activate && {command.replace('PACKAGE', 'iniconfig')} && pip list"
    )
    assert said.rc == 0, said.stderr
    assert "iniconfig" in said.stdout


def test_second_deploy_sets_nothing_up_again(host: Host) -> None:
    said = host.file("/opt/last-deploy").content_string
    assert "changed=0" in said
    assert "Setting up" not in said
    assert "Installing" not in said


@pytest.mark.parametrize("run", ["first", "last"])
def test_last_line_says_how_long_it_took(host: Host, run: str) -> None:
    lines = host.file(f"/opt/{run}-deploy").content_string.split()
    assert re.search(r"\bTook (\d+ min )?\d+ s$", " ".join(lines))


def test_few_lines_are_checks_of_arguments(host: Host) -> None:
    names = re.findall(r"TASK \[([^\]]*)", host.file("/opt/first-deploy").content_string)
    assert len(names) > 15
    # those of the two roles on which all depend
    assert len([name for name in names if "Validating arguments" in name]) == 2


def test_what_is_said_holds_no_warning(host: Host) -> None:
    said = host.file("/opt/first-run").content_string
    assert "Setting up" in said
    said += host.file("/opt/first-deploy").content_string
    assert [line for line in said.splitlines() if "WARNING" in line.upper()] == []


def test_environment_is_debians_and_the_service_can_run_it(host: Host, layout: Layout) -> None:
    environment = host.check_output(f"readlink {layout.venv}")
    assert environment.startswith("/opt/devpi/venvs/")
    code = "import sys; print(sys.base_prefix)"
    assert host.check_output(f"runuser -u {layout.account} -- {layout.venv}/bin/python -c '{code}'") == "/usr"
    written = host.check_output("find /opt/devpi ! -user root -o ! -type l -perm /022")
    assert written == ""


OWN_PYTHON = "/root/.pyenv/versions/own/bin/python3"
HOME_OF_OWN_PYTHON = "PATH=/root/.pyenv/shims:$PATH"


@pytest.fixture
def own_python(host: Host) -> str:
    """Return an interpreter that root alone can run, made as on the host that has one from the beginning."""
    host.check_output(
        "umask 077 && mkdir -p /root/.pyenv/versions/own/bin && chmod 0700 /root && "
        f'cp "$(readlink -f /usr/bin/python3)" {OWN_PYTHON}'
    )
    return OWN_PYTHON


@pytest.mark.parametrize("options", ["", "--check"])
def test_interpreter_that_the_service_cannot_run_is_refused_and_the_server_runs_on(
    host: Host, layout: Layout, own_python: str, options: str
) -> None:
    checkout = "/root/devpi" if layout.person == "root" else f"/home/{layout.person}/devpi"
    before = [host.check_output(command) for command in ("supervisorctl pid devpi", f"readlink {layout.venv}")]
    said = host.run(
        f"cd {checkout} && {HOME_OF_OWN_PYTHON} LC_ALL=POSIX script/deploy -e devpi_username={layout.user} "
        f"-e devpi_pypirc_owner={layout.person} -e devpi_python={own_python} {options}"
    )
    assert said.rc != 0
    assert "Nothing was changed." in said.stdout
    assert f"devpi_python '{own_python}' leads to" in said.stdout
    assert "may not enter /root" in said.stdout
    assert "script/deploy -e devpi_python=python3" in said.stdout
    assert [host.check_output(command) for command in ("supervisorctl pid devpi", f"readlink {layout.venv}")] == before
    host.check_output(f"python3 -c 'import urllib.request as u; u.urlopen(\"{layout.url}/+api\")'")
