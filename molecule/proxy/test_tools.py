"""What the guides say of how people's tools trust a CA of the host's own, and of a colleague's ~/.pypirc."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from typing import TYPE_CHECKING

import pytest

from molecule.conftest import guide, guide_rows
from molecule.proxy.conftest import INVENTORY, MAKE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.backend.base import CommandResult
    from testinfra.host import Host

    from molecule.conftest import Layout, Shell

ONLY_ON = "devpi-proxy-12"
WAYS = [
    (tool, way)
    for tools, ways in guide_rows("server", "trusts it by").items()
    for tool in tools.split(", ")
    for way in ways
    if way != "uv.toml"
]
STORE = re.findall(r"^ +\$ sudo (.*ca-certificates.*)$", guide("server"), re.MULTILINE)
[PYPIRC] = re.findall(r"^\.\. code-block:: ini\n((?: {3}.*\n|\n)+)", guide("team"), re.MULTILINE)
# Another index, with a certificate of another CA
OTHER = """
import functools, http.server, ssl
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/opt/other/www")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/opt/other/server.pem", "/opt/other/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
MAKE_OTHER = """
mkdir -p /opt/other/www/simple/other
cd /opt/other
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=Other
openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost
printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' >extensions
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -set_serial 2 -days 2 -extfile extensions -out server.pem
cd www/simple/other
"""
FLIT_PROJECT = """
cd flit
cat >flitted.py <<'MODULE'
"A tool was here."
__version__ = "1.0"
MODULE
cat >pyproject.toml <<'TOML'
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"
[project]
name = "flitted"
dynamic = ["version", "description"]
TOML
"""
# What the two tools themselves make of the file
NAMES = """
import json
from flit.upload import get_repositories
from twine.utils import get_config
flit = {name: repository.url for name, repository in get_repositories().items()}
twine = {name: repository["repository"] for name, repository in get_config("~/.pypirc").items()}
print(json.dumps([flit, twine]))
"""


class Machine:
    """A machine of a colleague's: a home with ca.pem in it, tools, and no variables that name a CA."""

    def __init__(self, host: Host, layout: Layout) -> None:
        self.index = layout.index
        self._host = host
        self._path = f"/root/toolbox/bin:{layout.venv}/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def __call__(self, script: str) -> CommandResult:
        return self._host.run(
            'cd /root/outside && PASSWORD="$(cat /etc/devpi/credentials/team)" && '
            f"env -i HOME=/root/outside PATH={self._path} LANG=C.UTF-8 SOURCE_DATE_EPOCH=1500000000 "
            'PASSWORD="$PASSWORD" sh -euc %s',
            script,
        )

    def ask(self, tool: str) -> str:
        """Return a command by which the tool speaks to the index."""
        simple = f"{self.index}/+simple/"
        return {
            "pip": f"pip download -q --no-cache-dir --no-deps --dest got --index-url {simple} trusted",
            "uv": f"uv pip install -q --no-cache --no-deps --target got --index-url {simple} trusted",
            "twine": 'TWINE_PASSWORD="$PASSWORD" twine upload --non-interactive --username team '
            f"--repository-url {self.index} trusted-1.0*",
            "flit": f'cd flit && FLIT_INDEX_URL={self.index} FLIT_USERNAME=team FLIT_PASSWORD="$PASSWORD" flit publish',
            "devpi": f"devpi use --clientdir client {self.index} && devpi list --clientdir client trusted",
            "hatch": f'HATCH_INDEX_USER=team HATCH_INDEX_AUTH="$PASSWORD" hatch publish --no-prompt -r {self.index} '
            "hatched-1.0*",
        }[tool]


@pytest.fixture(scope="module")
def machine(host: Host, shell: Shell, layout: Layout) -> Machine:
    uv = f"{layout.venv}/bin/uv"
    said = shell(
        f"{uv} venv -q --clear toolbox && "
        # the registry that the index asks may be busy
        "for pause in 5 30 0; do "
        f"{uv} pip install -q -p toolbox --index-url {layout.index}/+simple/ flit twine hatch uv pip && exit; "
        "sleep $pause; done; exit 1"
    )
    assert said.rc == 0, said.stderr
    host.check_output("mkdir -p /root/outside/flit && cp %s /root/outside/ca.pem", layout.ca)
    machine = Machine(host, layout)
    for name in ("trusted", "hatched"):
        made = machine(f"test -e {name}-1.0.tar.gz || python3 -c '{MAKE}' {name} 1.0")
        assert made.rc == 0, made.stderr
    flit = machine(FLIT_PROJECT)
    assert flit.rc == 0, flit.stderr
    first = machine("export REQUESTS_CA_BUNDLE=$HOME/ca.pem; " + machine.ask("twine"))
    assert first.rc == 0, first.stdout + first.stderr
    return machine


@pytest.fixture
def in_the_store(machine: Machine) -> Iterator[None]:
    """Put the CA into the system's store as the guide says, for a while."""
    assert len(STORE) == 2
    said = machine(" && ".join(STORE))
    assert said.rc == 0, said.stdout + said.stderr
    yield
    said = machine(f"rm {STORE[0].split()[-1]} && update-ca-certificates --fresh")
    assert said.rc == 0, said.stdout + said.stderr


@pytest.mark.parametrize(("tool", "way"), WAYS)
def test_trusts_the_ca_as_the_guide_says(request: pytest.FixtureRequest, machine: Machine, tool: str, way: str) -> None:
    command = machine.ask(tool)
    clean = "rm -rf got client .config flit/dist; "
    refused = machine(clean + command)
    assert refused.rc != 0
    assert re.search("certificate|SSL|No matching distribution", refused.stdout + refused.stderr)
    if tool == "uv":
        request.getfixturevalue("in_the_store")
    if re.match("[A-Z_]+=", way):
        # by its whole path, because flit is run in a directory of its own
        prepare = f"export {way.replace('=ca.pem', '=$HOME/ca.pem')}"
    elif tool == "uv":
        prepare = f"mkdir -p .config/uv && echo '{way}' >.config/uv/uv.toml"
    else:
        prepare = way.replace("…", "$HOME")
    said = machine(f"{clean}{prepare}; {command}")
    assert said.rc == 0, said.stdout + said.stderr


@pytest.fixture
def other_index(host: Host, machine: Machine) -> Iterator[str]:
    """Serve a package from another index, whose CA is in the system's store."""
    script = (
        MAKE_OTHER
        + f"python3 -c '{MAKE}' other 1.0\nfor file in *; do echo \"<a href=$file>$file</a>\"; done >index.html"
    )
    said = machine(script)
    assert said.rc == 0, said.stderr
    machine("cp /opt/other/ca.pem /usr/local/share/ca-certificates/other.crt && update-ca-certificates")
    started = host.check_output(f"setsid python3 -c '{OTHER}' >/dev/null 2>&1 & echo $!")
    yield "https://localhost:8443/simple/"
    host.check_output(f"kill {started}")
    host.check_output("rm /usr/local/share/ca-certificates/other.crt && update-ca-certificates --fresh")


@pytest.mark.usefixtures("in_the_store")
def test_one_ca_alone_takes_others_from_uv(machine: Machine, other_index: str) -> None:
    both = (
        f"uv pip install -q --no-cache --no-deps --target both --index {other_index} "
        f"--default-index {machine.index}/+simple/ trusted other"
    )
    said = machine(f"rm -rf both; SSL_CERT_FILE=ca.pem {both}")
    assert said.rc != 0
    assert "UnknownIssuer" in said.stderr
    said = machine(f"UV_SYSTEM_CERTS=true {both} && ls both")
    assert said.rc == 0, said.stderr
    assert {"other.py", "trusted.py"} <= set(said.stdout.split())


def test_colleagues_file_is_read(machine: Machine) -> None:
    text = textwrap.dedent(PYPIRC).replace("devpi1.example.com", "packages.example.com").replace("alice", "team")
    written = machine(f"cat >.pypirc <<'END'\n{text}\nEND\n/root/toolbox/bin/python -c '{NAMES}'")
    assert written.rc == 0, written.stderr
    for known in json.loads(written.stdout):
        assert re.fullmatch(r"https://upload\.pypi\.\w+/legacy/", known.pop("pypi"))
        assert known == {
            "testpypi": "https://test.pypi.org/legacy/",
            "team-dev": machine.index,
        }
    said = machine(
        'export REQUESTS_CA_BUNDLE=$HOME/ca.pem; TWINE_PASSWORD="$PASSWORD" twine upload --non-interactive '
        "--repository team-dev trusted-1.0*"
    )
    assert said.rc == 0, said.stdout + said.stderr


def test_info_tells_what_nginx_leaves_open(host: Host, layout: Layout) -> None:
    options = f"url={layout.url} ca_path={layout.ca}"
    command = ["ansible", "-i", str(INVENTORY), host.backend.get_hostname(), "-m", "wheelhouse.devpi.devpi_info"]
    said = subprocess.run([*command, "-a", options], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "team/dev" in said.stdout
    assert "serverdir" not in said.stdout
    told = " ".join((said.stdout + said.stderr).split())
    assert "devpi_proxy_networks names those who may read it" in told
    assert "correct url if no devpi-server is behind it" in told
