"""What script/deploy left and said on a machine on which nothing else was done."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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
