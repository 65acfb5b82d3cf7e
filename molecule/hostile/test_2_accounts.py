"""Other accounts on the host: what they put in the way of root's run is not followed, and nothing of theirs is lost."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from molecule.conftest import Run, Target

SERVER_DIR = "/var/lib/devpi"
# A run that has something to do takes some 15 s here; one that waits for a pipe never ends.
PATIENCE = 150
STRANGER = Path(__file__).with_name("stranger.py").read_text()
LOGIN = """
import json, sys, urllib.error, urllib.request
body = json.dumps({"user": "root", "password": sys.argv[1]}).encode()
headers = {"Accept": "application/json", "Content-Type": "application/json"}
try:
    print(urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:3141/+login", body, headers)).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def deploy(target: Target, variables: dict[str, Any] | None = None, *arguments: str) -> Run:
    """Deploy as `Target.deploy` does, and fail where the run waits for something that never comes."""
    start = time.monotonic()
    run = target.deploy(variables, *arguments)
    assert time.monotonic() - start < PATIENCE
    return run


def facts(target: Target, directory: str) -> str:
    """Return mode, owner, links, time of change and content of all that is there, and of two files of the system."""
    return str(
        target.host.check_output(
            f"find {directory} /etc/passwd /etc/shadow -exec stat -c '%n %F %a %u:%g %h %Y %Z' {{}} +; "
            f"find {directory} -type f -exec sha256sum {{}} +"
        )
    )


@pytest.fixture
def precious(deployed: Target) -> Iterator[str]:
    """Make files and a directory of root's that the service's account may only read, and return the directory."""
    deployed.host.check_output(
        "mkdir -m 0755 -p /srv/precious/directory && echo kept >/srv/precious/file && chmod 0644 /srv/precious/file"
    )
    yield "/srv/precious"
    deployed.host.check_output("rm -rf /srv/precious")


@pytest.fixture
def stopped(deployed: Target) -> Iterator[None]:
    """Stop the server, and afterwards give it back what it had."""
    deployed.host.check_output(f"supervisorctl stop devpi && rm -rf /root/kept && cp -a {SERVER_DIR} /root/kept")
    yield
    deployed.host.check_output(
        f"supervisorctl stop devpi >/dev/null; rm -rf {SERVER_DIR}; cp -a /root/kept {SERVER_DIR} && rm -rf /root/kept"
    )
    assert deploy(deployed).code == 0


WAYS = {
    "link to a file": "ln -s /srv/precious/file {}",
    "link to a directory": "ln -s /srv/precious/directory {}",
    "pipe": "mkfifo -m 0600 {}",
}


def put(target: Target, way: str, names: list[str]) -> None:
    """Let the service's account put something into its directory in the place of these names."""
    script = "; ".join(f"rm -rf ./{name} && {way.format('./' + name)}" for name in names)
    made = target.host.run(f"runuser -u devpi -- sh -euc 'cd {SERVER_DIR}; {script}'")
    assert made.rc == 0, made.stderr


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_what_the_servers_account_puts_in_the_place_of_its_data_is_named(
    deployed: Target, precious: str, way: str
) -> None:
    names = [".nodeinfo", ".secret", ".sqlite"]
    before = facts(deployed, precious)
    put(deployed, way, names)
    run = deploy(deployed, {"devpi_state": "stopped"})
    assert run.code != 0
    for name in names:
        assert f"{SERVER_DIR}/{name}" in run.said
    assert "Traceback" not in run.said
    assert facts(deployed, precious) == before


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_what_is_in_the_way_of_a_new_database_is_not_followed(deployed: Target, precious: str, way: str) -> None:
    deployed.host.check_output(f"rm -rf {SERVER_DIR}/.[!.]* {SERVER_DIR}/*")
    before = facts(deployed, precious)
    put(deployed, way, [".initializing", ".initializing.0a", ".secret.partial", ".secret.0a", "+files"])
    run = deploy(deployed, {"devpi_state": "stopped"})
    assert "Traceback" not in run.said
    assert run.code == 0 or SERVER_DIR in run.said, run.said
    assert facts(deployed, precious) == before


@pytest.mark.usefixtures("stopped")
def test_server_directory_that_is_a_link_of_the_account_leads_nowhere(deployed: Target, precious: str) -> None:
    """Where the way there is the account's own, as in its home, only its rights are used on it."""
    home = "/home/devpi-home"
    deployed.host.check_output(
        f"install -d -o devpi -g devpi {home} && runuser -u devpi -- ln -s {precious} {home}/data"
    )
    try:
        before = facts(deployed, precious)
        run = deploy(deployed, {"devpi_state": "stopped", "devpi_server_dir": f"{home}/data"})
        assert run.code != 0
        assert f"devpi_server_dir {home}/data is a symbolic link to {precious}" in " ".join(run.said.split())
        assert "chown" not in run.said
        assert facts(deployed, precious) == before
    finally:
        deployed.host.check_output(f"rm -rf {home}")


def test_configuration_of_the_accounts_own_decides_nothing(deployed: Target) -> None:
    """devpi-server by itself takes it before the system's."""
    home = deployed.host.check_output("getent passwd devpi").split(":")[5]
    own = f"{home}/.config/devpi-server"
    script = f"mkdir -p {own}; echo devpi-server: >{own}/devpi-server.yml; echo '  port: 3999' >>{own}/devpi-server.yml"
    deployed.host.check_output("runuser -u devpi -- sh -euc %s", script)
    try:
        deployed.host.check_output("supervisorctl restart devpi")
        run = deploy(deployed)
        assert run.code == 0, run.said
        assert "is not read by the server" in " ".join(run.said.split())
        assert deployed.host.check_output("ss -Hltn 'sport = :3999'") == ""
        assert deployed.host.check_output("ss -Hltn 'sport = :3141'") != ""
    finally:
        deployed.host.check_output(f"rm -rf {home}/.config")


def test_file_of_roots_that_is_linked_hard_into_the_directory_stays_roots(deployed: Target, precious: str) -> None:
    """On a host without fs.protected_hardlinks the account can do that to any file on the same file system."""
    deployed.host.check_output(f"supervisorctl stop devpi && mv {SERVER_DIR}/.secret /root/kept-secret")
    deployed.host.check_output(f"ln {precious}/file {SERVER_DIR}/.secret")
    try:
        run = deploy(deployed)
        assert run.code != 0
        assert f"{SERVER_DIR}/.secret" in run.said
        assert "belongs to root" in run.said
        assert "chown --no-dereference" not in run.said
        assert deployed.host.file(f"{precious}/file").user == "root"
        assert deployed.host.file(f"{precious}/file").mode == 0o644
    finally:
        deployed.host.check_output(f"rm {SERVER_DIR}/.secret && mv /root/kept-secret {SERVER_DIR}/.secret")
        deployed.host.check_output("supervisorctl start devpi")


@pytest.fixture
def mallory(deployed: Target) -> Iterator[Callable[..., str]]:
    """Have another account on the host, which can run a program that looks like a devpi-server."""
    deployed.host.check_output("useradd --create-home mallory")
    deployed.host.check_output("supervisorctl stop devpi")
    pids = []

    def run(account: str) -> str:
        deployed.host.check_output("printf %%s %s >/home/mallory/stranger.py", STRANGER)
        pid: str = deployed.host.check_output(
            f"runuser -u {account} -- sh -c 'exec python3 /home/mallory/stranger.py "
            "/opt/devpi/venv/bin/devpi-server --port=3141 >/dev/null 2>&1 & echo $!'"
        )
        pids.append(pid)
        for _attempt in range(50):
            if deployed.host.check_output("ss -Hltn 'sport = :3141'"):
                return pid
            time.sleep(0.1)
        raise AssertionError("nothing listens")

    yield run
    for pid in pids:
        deployed.host.run(f"kill {pid}")
    deployed.host.check_output("userdel --force --remove mallory")
    deployed.host.check_output("supervisorctl start devpi")


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_process_of_another_account_is_asked_nothing(
    deployed: Target, mallory: Callable[[str], str], arguments: list[str]
) -> None:
    pid = mallory("mallory")
    run = deploy(deployed, None, *arguments)
    assert run.code != 0
    assert "devpi_port 3141 on " in run.said
    assert f"({pid}) of mallory" in run.said
    assert not deployed.host.file("/home/mallory/heard").exists


def test_process_of_another_account_at_the_last_deployments_port_is_asked_nothing(
    deployed: Target, mallory: Callable[[str], str]
) -> None:
    mallory("mallory")
    run = deploy(deployed, {"devpi_port": 3151}, "--check")
    assert "Traceback" not in run.said
    assert not deployed.host.file("/home/mallory/heard").exists


def test_server_that_no_supervisor_runs_is_named_and_left_alone(deployed: Target) -> None:
    deployed.host.check_output("supervisorctl stop devpi")
    pid = deployed.host.check_output(
        "runuser -u devpi -- sh -c 'cd /; exec setsid /opt/devpi/venv/bin/devpi-server >/dev/null 2>&1 & echo $!'"
    )
    try:
        for _attempt in range(300):
            if deployed.host.check_output("ss -Hltn 'sport = :3141'"):
                break
            time.sleep(0.1)
        run = deploy(deployed)
        assert run.code != 0
        assert f"process {pid} of devpi" in run.said, run.said
        assert f"stop it (kill {pid})" in run.said
        assert deployed.host.run(f"kill -0 {pid}").rc == 0
    finally:
        deployed.host.run(f"kill {pid}")
        time.sleep(1)
        deployed.host.check_output("supervisorctl start devpi")


# variables, words that the refusal must have, and how the playbook is called. All problems come in one message, so a
# run tries several. What the text alone shows to be wrong is tried in tests/unit/test_variables.py.
REFUSED: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "user root": ({"devpi_server_user": "root"}, ["devpi_server_user", "root"], ["--check"]),
    "user with root's number": ({"devpi_server_user": "toor"}, ["devpi_server_user", "toor"], []),
    "user nobody": ({"devpi_server_user": "nobody"}, ["devpi_server_user", "nobody", "shared"], []),
    "user that is a group": (
        {"devpi_server_user": "adm"},
        ["devpi_server_user", "adm", "useradd --system --gid adm"],
        ["--check"],
    ),
    "others' data": (
        {"devpi_server_dir": "/srv/mine", "devpi_credentials_dir": "/home/eve"},
        ["devpi_server_dir", "/srv/mine", "thesis", "devpi_credentials_dir", "/home/eve"],
        [],
    ),
    "others' data as passwords": (
        {"devpi_server_dir": "/srv/disk", "devpi_credentials_dir": "/srv/mine"},
        ["devpi_server_dir", "/srv/disk", "lost+found", "devpi_credentials_dir", "/srv/mine", "thesis"],
        ["--check"],
    ),
    "somebody's home": (
        {"devpi_server_dir": "/home/eve", "devpi_server_secret_file": "/etc/passwd"},
        ["devpi_server_dir", "/home/eve", "devpi_server_secret_file", "/etc/passwd"],
        [],
    ),
    "below somebody's home": (
        {"devpi_server_dir": "/home/eve/data", "devpi_server_secret_file": "/srv/pipe"},
        ["devpi_server_dir", "/home/eve/data", "eve", "devpi_server_secret_file", "/srv/pipe", "pipe"],
        ["--check"],
    ),
    "where others write": (
        {"devpi_server_dir": "/var/tmp/devpi", "devpi_server_secret_file": "/home/eve/secret"},  # noqa: S108 - refused
        ["devpi_server_dir", "/var/tmp", "/home/eve/secret", "eve"],  # noqa: S108 - refused
        [],
    ),
    "below root's home": (
        {"devpi_server_dir": "/root/devpi"},
        ["devpi_server_dir", "/root/devpi", "may not enter"],
        ["--check"],
    ),
    "file": ({"devpi_server_dir": "/srv/file"}, ["devpi_server_dir", "/srv/file", "not a directory"], []),
}


@pytest.fixture(scope="module")
def things(bare: Target) -> Target:
    """Have things of others on the host."""
    bare.host.check_output(
        "useradd --create-home eve; useradd --non-unique --uid 0 toor; mkdir -p /srv/mine /srv/disk/lost+found; "
        "echo years >/srv/mine/thesis; echo x >/srv/file; mkfifo /srv/pipe; chmod 0750 /srv/mine"
    )
    return bare


@pytest.mark.parametrize(("variables", "words", "arguments"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_somebodys_is_refused_before_anything_changes(
    things: Target, variables: dict[str, Any], words: list[str], arguments: list[str]
) -> None:
    before = things.files()
    run = deploy(things, variables, *arguments)
    assert run.code != 0, run.said
    for word in words:
        assert word in run.said
    assert "Traceback" not in run.said
    assert run.leaks() == []
    assert things.files() == before


def test_another_account_for_data_that_are_there_is_refused_with_the_way_out(deployed: Target) -> None:
    deployed.host.check_output("id other >/dev/null 2>&1 || useradd --system other")
    before = deployed.files()
    pid = deployed.host.check_output("supervisorctl pid devpi")
    run = deploy(deployed, {"devpi_server_user": "other"})
    assert run.code != 0
    assert "belong to devpi, and devpi_server_user is other; set it to devpi, or stop the server" in run.said
    assert f"chown -R --no-dereference other: {SERVER_DIR}" in run.said
    assert "Traceback" not in run.said
    assert deployed.files() == before
    assert deployed.host.check_output("supervisorctl pid devpi") == pid


def test_two_deployments_at_once_end_with_one_database_and_one_secret(bare: Target, tmp_path: Path) -> None:
    """Both begin with nothing there, and each may end well or say that the other is at work."""
    command = bare.command({"devpi_root_password": ""})
    outputs = [tmp_path / "one", tmp_path / "two"]
    runs = []
    for output in outputs:
        with output.open("w") as file:
            runs.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT))
    codes = [run.wait(600) for run in runs]
    said = [output.read_text() for output in outputs]
    assert 0 in codes, said
    for code, text in zip(codes, said):
        assert code == 0 or "another" in text, text
        assert "Traceback" not in text
    again = deploy(bare, {"devpi_root_password": ""})
    assert again.code == 0, again.said
    assert "changed=0 " in again.said, again.said
    names = bare.host.check_output(f"ls -A {SERVER_DIR}").split()
    assert {".secret", ".sqlite", ".nodeinfo"} <= set(names)
    assert [name for name in names if name.startswith((".initializing", ".secret."))] == []
    password = bare.host.file("/etc/devpi/credentials/root").content_string.strip()
    assert bare.host.check_output("python3 -c %s %s", LOGIN, password) == "200"
    assert json.loads(bare.host.file(f"{SERVER_DIR}/.nodeinfo").content_string)["uuid"]
