"""An upgrade of a server that runs: nothing is lost, it restarts once, and the next run has nothing to do."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import TYPE_CHECKING

import pytest

from molecule.conftest import PROJECT
from molecule.upgrade.conftest import PACKAGES, PERSON, State, earlier_collection, install, project, starts, state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testinfra.host import Host

    from molecule.conftest import Layout, Shell
    from molecule.upgrade.conftest import Old, Upgraded


@pytest.fixture(scope="module")
def now(host: Host, upgraded: Upgraded) -> State:
    return state(host)


def test_before_it_everything_was_there(old: Old) -> None:
    assert sorted(old.state.users) == [PERSON, "root", "team"]
    assert {index: len(files) for index, files in old.state.packages.items()} == dict.fromkeys(PACKAGES, 2)
    assert old.state.logins == {"root": 200, "team": 200, PERSON: 200}


def test_check_before_it_changes_nothing(old: Old, upgraded: Upgraded) -> None:
    assert upgraded.files_after_check.splitlines() == old.files.splitlines()


def test_check_before_it_predicts_it(upgraded: Upgraded) -> None:
    assert upgraded.first.roles
    assert upgraded.check.roles == upgraded.first.roles


def test_next_run_changes_nothing(upgraded: Upgraded) -> None:
    assert upgraded.second.roles == []
    assert " changed=0 " in upgraded.second.run.said


@pytest.mark.parametrize("kind", [field.name for field in dataclasses.fields(State)])
def test_is_as_it_was(old: Old, now: State, kind: str) -> None:
    assert getattr(now, kind) == getattr(old.state, kind)


@pytest.mark.usefixtures("upgraded")
def test_login_of_before_goes_on(host: Host, layout: Layout, old: Old) -> None:
    ask = (
        "import base64, json, sys, urllib.request; pair = base64.b64encode(sys.argv[2].encode()).decode(); "
        'headers = {"Accept": "application/json", "X-Devpi-Auth": pair}; '
        'said = urllib.request.urlopen(urllib.request.Request(sys.argv[1] + "/+api", headers=headers)); '
        'print(json.load(said)["result"]["authstatus"][:2])'
    )
    said = host.run(f"{layout.trust} python3 -c %s %s %s", ask, layout.url, f"{PERSON}:{old.session}")
    assert said.stdout.strip() == f"['ok', '{PERSON}']", said.stderr


def test_server_was_restarted_at_most_once(
    host: Host, old: Old, upgraded: Upgraded, record_testsuite_property: Callable[[str, object], None]
) -> None:
    # measured, and not judged: it is what the server takes to start on a machine that does other things too
    record_testsuite_property("longest time without an answer, in seconds", round(downtime(upgraded), 1))
    bad = sorted({f"{path}: {said}" for path, *_times, said in upgraded.watched if said != 200})
    record_testsuite_property("other answers meanwhile", bad)
    assert starts(host) - old.starts <= 1


def downtime(upgraded: Upgraded) -> float:
    """Return how long the longest time was from one good answer to the next, on any of the paths."""
    longest = 0.0
    for path in {path for path, *_answer in upgraded.watched}:
        good = sorted(end for asked, _start, end, said in upgraded.watched if asked == path and said == 200)
        longest = max([longest, *(later - earlier for earlier, later in zip(good, good[1:]))])
    return longest


@pytest.mark.usefixtures("upgraded")
def test_nginx_was_not_restarted(host: Host, old: Old) -> None:
    assert host.check_output("cat /run/nginx.pid") == old.nginx


@pytest.mark.usefixtures("upgraded")
def test_nothing_is_left_but_the_way_back(host: Host, layout: Layout, old: Old) -> None:
    environment = host.check_output("readlink -f %s", layout.venv)
    assert environment != old.environment
    assert host.check_output("ls -A /opt/devpi").split() == ["venv", "venvs"]
    environments = host.check_output("find /opt/devpi/venvs -mindepth 1 -maxdepth 1 -not -name '.*'").split()
    assert sorted(environments) == sorted([environment, old.environment])
    # drafts, and what is kept aside while something is replaced
    left = "find /etc /opt -xdev '(' -name '*.former' -o -name '*.before-wheelhouse' -o -name '.draft*' ')'"
    assert host.check_output(left) == ""
    # what the earlier commit made in these places is there under the same names, and nothing beside it
    assert host.check_output("ls -A /etc/devpi /etc/supervisor/conf.d /etc/nginx/conf.d /etc/ssl/devpi").split() == [
        *("/etc/devpi:", "credentials"),
        *("/etc/nginx/conf.d:", "devpi.conf"),
        *("/etc/ssl/devpi:", "ca.key", "ca.pem", "server.pem"),
        *("/etc/supervisor/conf.d:", "devpi.conf"),
    ]


@pytest.mark.usefixtures("upgraded")
def test_no_process_runs_what_was_removed(host: Host) -> None:
    gone = host.run("find /proc/[0-9]*/exe /proc/[0-9]*/cwd /proc/[0-9]*/map_files -lname '*/opt/devpi/*(deleted)'")
    assert gone.stdout == ""


@pytest.mark.usefixtures("upgraded")
def test_persons_own_section_of_pypirc_stays(host: Host, layout: Layout) -> None:
    pypirc = host.file("/root/.pypirc").content_string
    assert f"[ada]\nrepository = {layout.url}/ada/stable\nusername = {PERSON}\n" in pypirc


@pytest.mark.usefixtures("upgraded")
def test_publishing_and_installing_go_on(shell: Shell, layout: Layout) -> None:
    for script in (
        f"{project('kept', '1.1')} && ~/tools/bin/flit publish --repository {layout.section}",
        f"before/bin/pip install -q --no-cache-dir --upgrade --index-url {layout.url}/ada/stable/+simple/ kept",
        "cd / && test 1.1 = $(~/before/bin/python -c 'import kept; print(kept.__version__)')",
        install("after"),
    ):
        said = shell(script)
        assert said.rc == 0, said.stdout + said.stderr
        published = said.stdout.splitlines()[-1:]
    assert published == ["1.1 1.0"]


@pytest.mark.usefixtures("upgraded")
def test_token_of_before_publishes(host: Host, shell: Shell, layout: Layout) -> None:
    said = shell(
        f"{project('bytoken', '1.0')} && ~/tools/bin/flit build && TWINE_PASSWORD=$(cat ~/ci.token) "
        f"{layout.venv}/bin/twine upload --non-interactive --repository-url {layout.index}/ -u team dist/*"
    )
    assert said.rc == 0, said.stdout + said.stderr


def test_clone_without_history_is_told_the_way_out(tmp_path: Path) -> None:
    shallow = tmp_path / "clone"
    source = PROJECT.resolve().as_uri()
    git = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--depth", "1", source, str(shallow)]
    subprocess.run(git, check=True)
    with pytest.raises(pytest.fail.Exception, match="git fetch --unshallow"):
        earlier_collection(shallow, tmp_path)
