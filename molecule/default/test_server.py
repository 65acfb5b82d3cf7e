"""What the server is started with, and that nothing of how its files were made is left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testinfra.host import Host

PROGRAM = "/etc/supervisor/conf.d/devpi.conf"


def test_process_has_the_digest_that_its_file_has(host: Host) -> None:
    [digest] = re.findall(r'DEVPI_DIGEST="([0-9a-f]{64})"', host.file(PROGRAM).content_string)
    environment = host.check_output("tr '\\0' '\\n' </proc/$(supervisorctl pid devpi)/environ")
    assert f"DEVPI_DIGEST={digest}" in environment.splitlines()


def test_process_takes_no_other_configuration(host: Host) -> None:
    command = host.check_output("tr '\\0' ' ' </proc/$(supervisorctl pid devpi)/cmdline")
    assert "--configfile=/etc/xdg/devpi-server/devpi-server.yml" in command


def test_drafts_are_gone(host: Host) -> None:
    drafts = "-name '*draft*' -o -name '.initializing*'"
    places = "/var/lib/devpi /etc/devpi /etc/supervisor /etc/xdg/devpi-server"
    assert host.check_output(f"find {places} {drafts}") == ""


def test_nobody_else_can_keep_deployments_waiting(host: Host) -> None:
    lock = host.file("/run/wheelhouse.devpi.lock")
    assert (lock.user, lock.mode) == ("root", 0o600)
