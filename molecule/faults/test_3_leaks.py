"""A password that was given is in no output, no log, no list of processes and no file, whatever happens."""

from __future__ import annotations

import re
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from molecule.conftest import Target

# What every password has in it
MARK = "Canary7f3"
EVERYWHERE = "/etc /home /opt /root /run /srv /tmp /usr/local /var"


def around(text: str) -> list[str]:
    """Return each place where a password shows, with what is around it."""
    return [text[max(0, match.start() - 200) : match.end() + 40] for match in re.finditer(MARK, text)]


class Watch:
    """Looks at the command lines of all processes of a container and of this machine again and again."""

    def __init__(self, name: str) -> None:
        self.seen: set[str] = set()
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            for command in (["docker", "top", self._name, "-eo", "pid,args"], ["ps", "-eo", "args"]):
                listing = subprocess.run(command, capture_output=True, text=True, check=False)
                self.seen.update(listing.stdout.splitlines())


@pytest.fixture(scope="module")
def output(bare: Target) -> Iterator[dict[str, str]]:
    """What a run that fails, a first deployment and one that sets all passwords anew say, and what ps shows."""
    again = {"devpi_users": [{"name": "canary", "password": "Canary7f3-first", "update_password": "always"}]}
    said = {}
    with Watch(bare.name) as watch:
        for name, variables, fails in (
            ("failure", {"devpi_python": "python3.8"}, True),
            ("deploy", {}, False),
            ("re-run", again, False),
        ):
            run = bare.deploy(variables, "-vvv", "--diff")
            assert (run.code != 0) is fails, run.said
            said[name] = run.said
    said["processes"] = "\n".join(watch.seen)
    yield said


@pytest.mark.parametrize("name", ["failure", "deploy", "re-run"])
def test_no_password_in_what_ansible_says(output: dict[str, str], name: str) -> None:
    assert "PLAY RECAP" in output[name]
    assert around(output[name]) == []


def test_no_password_on_a_command_line(output: dict[str, str]) -> None:
    assert "devpi-server" in output["processes"]
    assert around(output["processes"]) == []


@pytest.mark.usefixtures("output")
def test_no_password_in_any_file(bare: Target) -> None:
    found = bare.host.run(f"grep -rlsF --devices=skip {MARK} {EVERYWHERE}")
    assert (found.rc, found.stdout) == (1, "")


@pytest.mark.usefixtures("output")
def test_no_password_in_the_journal(bare: Target) -> None:
    journal = bare.host.check_output("journalctl --no-pager --quiet")
    assert journal
    assert around(journal) == []
