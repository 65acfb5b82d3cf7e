"""script/_setup: what a person reads while an environment is made, and the locale that Ansible gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
IGNORED = "WARNING: Location 'file:///opt/none/simple/uv/' is ignored: it is neither a file nor a directory."


def bash(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run what follows the set-up's functions, with nothing of the caller's locale."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    command = ["bash", "-euo", "pipefail", "-c", f". script/_setup\n{script}"]
    return subprocess.run(
        command, cwd=CHECKOUT, env={**inherited, **variables}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "variables",
    [{}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LANG": "C"}, {"LANG": "xx_YY.UTF-8"}, {"LC_ALL": "xx_YY.UTF-8"}],
)
def test_ansible_gets_a_locale_that_it_takes(variables: dict[str, str]) -> None:
    said = bash('"$ANSIBLE" --version', ANSIBLE=f"{CHECKOUT}/.venv-test/bin/ansible-playbook", **variables)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("ansible-playbook [core ")
    # bash itself cannot be kept from telling that a locale is not there
    assert [line for line in said.stderr.splitlines() if "warning: setlocale: " not in line] == []


def test_locale_that_works_is_left_alone() -> None:
    assert bash("echo ${LC_ALL:-unset}", LANG="C.UTF-8").stdout == "unset\n"


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """Return an environment whose python says what pip would, and ends as EXIT says."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "{IGNORED}" >&2\necho "$SAYS" >&2\nexit $EXIT\n')
    python.chmod(0o755)
    return tmp_path


def test_nobody_reads_of_places_that_are_not_there(venv: Path) -> None:
    said = bash(f"pip_install {venv} thing", SAYS="WARNING: Retrying (Retry(total=4))", EXIT="0")
    assert said.returncode == 0
    assert said.stderr == "WARNING: Retrying (Retry(total=4))\n"


def test_all_that_pip_says_is_read_where_it_fails(venv: Path) -> None:
    said = bash(f"pip_install {venv} thing", SAYS="ERROR: No matching distribution found for thing", EXIT="3")
    assert said.returncode == 3
    assert sorted(said.stderr.splitlines()) == ["ERROR: No matching distribution found for thing", IGNORED]


def test_apts_locks_are_waited_for(tmp_path: Path) -> None:
    """The first answer is that of an apt-get beside apt-daily."""
    (tmp_path / "apt-get").write_text(
        f"#!/bin/sh\n[ -e {tmp_path}/asked ] && exit 0\ntouch {tmp_path}/asked\n"
        'echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (apt-get)" >&2\nexit 100\n'
    )
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "sudo").chmod(0o755)
    said = bash("apt_get update", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (said.returncode, said.stderr) == (0, "")
    assert (tmp_path / "asked").exists()


def test_machine_without_any_python_gets_debians(tmp_path: Path) -> None:
    install = f'debian_packages() {{ echo "$@" >&2; /bin/ln -s {sys.executable} {tmp_path}/python3; }}'
    said = bash(f"{install}; PATH={tmp_path}; find_python")
    assert (said.returncode, said.stdout, said.stderr) == (0, f"{tmp_path}/python3\n", "python3-venv\n")


def test_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text('#!/bin/sh\n[ "$1" != --version ] || echo Python 3.9.2\nexit 1\n')
    (tmp_path / "python3").chmod(0o755)
    (tmp_path / "tail").symlink_to("/usr/bin/tail")
    said = bash(f"PATH={tmp_path}; find_python")
    assert (said.returncode, said.stdout) == (1, "")
    assert "Python 3.11 or newer, and python3 is Python 3.9.2." in said.stderr


def test_python_that_a_person_names_is_taken() -> None:
    assert bash("find_python", DEVPI_DEPLOY_PYTHON=sys.executable).stdout == f"{sys.executable}\n"
