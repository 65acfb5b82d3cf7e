"""What the tests of all scenarios use: the layout that each host should have, the server's API, a person's shell.

Nothing here asks Ansible or a module what it did: the tests look at the containers from outside, through docker.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from testinfra.backend.base import CommandResult
    from testinfra.host import Host

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
    "devpi-web-13": Layout(url="https://packages.example.com", server_dir_mode=0o710, ca="/etc/ssl/devpi/ca.pem"),
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
