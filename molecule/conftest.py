"""What the tests of all scenarios use: the layout that each host should have, the server's API, a person's shell.

Nothing here asks Ansible or a module what it did: the tests look at the containers from outside, through docker.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import testinfra

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.backend.base import CommandResult
    from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
PLAYBOOK = PROJECT / "molecule" / "_shared" / "converge.yml"
# What every password has in it, so that the tests need to look for one word only
MARK = "Canary7f3"
# The same as in the molecule.yml of the scenarios that use Target
PASSWORDS = {"devpi_password": "Canary7f3-first", "devpi_root_password": "Canary7f3-root"}

# Runs on the host. A password is read there from the credentials, so that it is on no command line.
ASK = """
import base64, json, sys, urllib.error, urllib.request
url, method, user, body, accept, credentials = json.loads(sys.argv[1])
headers = {"Accept": accept, "Content-Type": "application/json"}
if user:
    with open(credentials + "/" + user) as password:
        pair = user + ":" + password.read().strip()
    headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
data = None if body is None else json.dumps(body).encode()
request = urllib.request.Request(url, data, headers, method=method)
try:
    answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status if hasattr(answer, "status") else answer.code, answer.read().decode()]))
"""


@dataclass(frozen=True)
class Layout:
    """Where things are on a host, and whose they are; the defaults are those of the collection on root's machine."""

    person: str = "root"
    user: str = "team"
    section: str = "team-dev"
    url: str = "http://127.0.0.1:3141"
    venv: str = "/opt/devpi/venv"
    account: str = "devpi"
    server_dir: str = "/var/lib/devpi"
    program: str = "devpi"
    volatile: bool = False
    # where nginx reads release files it may pass through the directory
    server_dir_mode: int = 0o700
    ca: str = ""

    @property
    def home(self) -> str:
        """The person's home directory."""
        return "/root" if self.person == "root" else f"/home/{self.person}"

    @property
    def trust(self) -> str:
        """The variables by which tools trust the CA, for a shell's command."""
        variables = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
        return " ".join(f"{name}={self.ca}" for name in variables) if self.ca else ""

    @property
    def index(self) -> str:
        """The URL of the person's index."""
        return f"{self.url}/{self.user}/dev"


LAYOUTS = {
    "devpi-howto": Layout(
        person="ubuntu",
        user="pbernatchez",
        section="latexhelperpypi",
        url="http://localhost:3141",
        venv="/home/ubuntu/devpi_venv",
        account="ubuntu",
        server_dir="/home/ubuntu/.devpi/server",
        program="ubuntu_devpi_server",
        volatile=True,
    ),
    "devpi-newcomer-13": Layout(person="alex", user="alex", section="alex-dev"),
    "devpi-remote-server": Layout(person="admin", user="admin", section="admin-dev"),
    "devpi-faults": Layout(user="canary", section="canary-dev"),
    "devpi-hostile": Layout(user="canary", section="canary-dev"),
    "devpi-web-13": Layout(url="https://packages.example.com", server_dir_mode=0o710, ca="/etc/ssl/devpi/ca.pem"),
    "devpi-bullseye": Layout(url="https://packages.example.com", server_dir_mode=0o710, ca="/etc/ssl/devpi/ca.pem"),
    "devpi-upgrade": Layout(url="https://packages.example.com", server_dir_mode=0o710, ca="/etc/ssl/devpi/ca.pem"),
    "devpi-proxy-12": Layout(url="https://packages.example.com", server_dir_mode=0o710, ca="/etc/ssl/devpi/ca.pem"),
    "devpi-proxy-13": Layout(url="https://packages.example.com", server_dir_mode=0o710, ca="/etc/ssl/given/ca.pem"),
}


class Answer(NamedTuple):
    """What the server said."""

    status: int
    text: str

    @property
    def result(self) -> Any:
        """What devpi wraps in its JSON."""
        return json.loads(self.text)["result"]


class Api:
    """The API of the host's devpi-server, asked from the host itself."""

    def __init__(self, host: Host, layout: Layout) -> None:
        self._host = host
        self._layout = layout

    def __call__(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        user: str = "",
        accept: str = "application/json",
    ) -> Answer:
        """Ask as `user`, with the password that is kept on the host; without one as a stranger."""
        request = [self._layout.url + path, method, user, body, accept, "/etc/devpi/credentials"]
        said = self._host.run(f"{self._layout.trust} python3 -c %s %s", ASK, json.dumps(request))
        assert said.rc == 0, said.stderr
        return Answer(*json.loads(said.stdout))


class Shell:
    """A login of the person whose tools are pointed at the index."""

    def __init__(self, host: Host, layout: Layout) -> None:
        self._host = host
        self._layout = layout

    def __call__(self, script: str) -> CommandResult:
        """Run the shell commands in the person's home, with FLIT_PASSWORD as `script/deploy` tells them to set it."""
        person, home = self._layout.person, self._layout.home
        return self._host.run(
            f'FLIT_PASSWORD="$(cat /etc/devpi/credentials/{self._layout.user})" '
            f"runuser -u {person} -- env HOME={home} LANG=C.UTF-8 {self._layout.trust} "
            f"sh -euc {shlex.quote('cd; ' + script)}"
        )


class Run(NamedTuple):
    """A run of ansible-playbook that has ended."""

    code: int
    said: str

    def leaks(self) -> list[str]:
        """Return the places where a password shows, short enough to be read in a failure."""
        return [self.said[max(0, match.start() - 200) : match.end() + 40] for match in re.finditer(MARK, self.said)]


class Target:
    """One container that the tests deploy to."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.host: Host = testinfra.get_host(f"docker://{name}")
        self._inventory = directory / f"{name}.json"

    def command(self, variables: dict[str, Any] | None = None, *arguments: str) -> list[str]:
        """Return the command line of a run with these variables beside the passwords."""
        known = {
            "ansible_connection": "community.docker.docker",
            "ansible_user": "root",
            "devpi_username": "canary",
            "devpi_ca_bundle": "/opt/test-ca/bundle.pem" if (PROJECT / ".cache/ca/bundle.pem").exists() else "",
            **PASSWORDS,
            **(variables or {}),
        }
        self._inventory.touch(0o600)
        self._inventory.write_text(json.dumps({"devpi": {"hosts": {self.name: known}}}))
        return ["ansible-playbook", "-i", str(self._inventory), *arguments, str(PLAYBOOK)]

    def deploy(self, variables: dict[str, Any] | None = None, *arguments: str) -> Run:
        """Run the playbook to its end."""
        done = subprocess.run(self.command(variables, *arguments), capture_output=True, text=True, check=False)
        return Run(done.returncode, done.stdout + done.stderr)

    def files(self) -> str:
        """Return every file's path, mode, owner, size and time of change where a deployment could leave something.

        Left out is what changes by itself: apt's package lists, systemd's own state, Ansible's directory for scratch.
        That one is made first, for Ansible makes it in a check too, and changes the time of the directory around it.
        """
        self.host.check_output("mkdir -p /root/.ansible/tmp")
        left_out = " -o ".join(f"-path {path}" for path in ("/var/lib/apt", "/var/lib/systemd", "/root/.ansible"))
        found = self.host.check_output(
            f"find /etc /home /opt /root /srv /usr/local /var/lib /var/log/supervisor -xdev \\( {left_out} \\) -prune "
            "-o -printf '%p %M %u:%g %s %T@\\n' 2>/dev/null | sort || true"
        )
        accounts = self.host.check_output("getent passwd")
        packages = self.host.check_output("dpkg --get-selections")
        return f"{found}\n{accounts}\n{packages}"


def guide(name: str) -> str:
    """Return the text of a guide."""
    return (PROJECT / "docs" / "docsite" / "rst" / f"{name}.rst").read_text("utf-8")


def code_in(cell: str) -> list[str]:
    return re.findall(r"`+([^`]+)`+", " ".join(cell.split()))


def readme_rows(title: str) -> dict[str, list[str]]:
    """Return a column of the table in README.md: for each tool that has something there, the code in its cell."""
    section = (PROJECT / "README.md").read_text("utf-8").split("\n## Publish and install\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    header, _line, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    column = header.index(title)
    return {row[0]: code_in(row[column]) for row in rows if row[column]}


def guide_rows(name: str, title: str) -> dict[str, list[str]]:
    """Return the table of a guide whose second column has this title: for each tool the code in its row."""
    table = guide(name).split(f"   * - tool\n     - {title}\n   * - ", 1)[1].split("\n\n", 1)[0]
    rows = [row.split("\n     - ", 1) for row in table.split("\n   * - ")]
    return {tool: code_in(cell) for tool, cell in rows}


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Target]:
    directory = tmp_path_factory.mktemp("inventories")
    return lambda name: Target(name, directory)


@pytest.fixture(scope="module", autouse=True)
def instruments(host: Host) -> None:
    """Install what the tests look with, on hosts so empty that they have no ps and ss."""
    said = host.run(
        "command -v ps ss >/dev/null || "
        "DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends procps iproute2"
    )
    assert said.rc == 0, said.stderr


@pytest.fixture(scope="module")
def layout(host: Host) -> Layout:
    return LAYOUTS.get(host.backend.get_hostname(), Layout())


@pytest.fixture(scope="module")
def api(host: Host, layout: Layout) -> Api:
    return Api(host, layout)


@pytest.fixture(scope="module")
def shell(host: Host, layout: Layout) -> Shell:
    return Shell(host, layout)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a module that names a host as ONLY_ON, keep the tests there: what it tests is the same on the other."""
    items[:] = [item for item in items if getattr(item.getparent(pytest.Module).obj, "ONLY_ON", "") in item.name]
