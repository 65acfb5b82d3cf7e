"""The earlier deployment, what people put there, and the upgrade, each done once."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import testinfra

from molecule.conftest import LAYOUTS, PLAYBOOK, PROJECT, Api, Run, Shell, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

# What hosts are upgraded from: the last commit whose roles were one module each. Name a later one when no host was
# deployed by those any more.
EARLIER = "e3df7dea98745e090fa7951a95086431870463b9"
NAME = "devpi-upgrade"
LAYOUT = LAYOUTS[NAME]
EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
# A person whom the inventory does not name
PERSON, PASSWORD = "ada", "Canary7f3-ada"
# What was published, by the path of its index
PACKAGES = {"/team/dev": "kept", "/ada/stable": "steady"}

# Runs on the host until its standard input ends: asks as fast as a person's tools would, and prints what failed.
WATCH = """
import json, ssl, sys, threading, time, urllib.error, urllib.request
paths, seen, over = sys.argv[1:], [], threading.Event()

def watch(path):
    while not over.wait(0.05):
        start = time.monotonic()
        try:
            urllib.request.urlopen("https://packages.example.com" + path, timeout=30).read()
            said = 200
        except urllib.error.HTTPError as error:
            said = error.code
        except OSError as error:
            said = str(error)
        seen.append([path, start, time.monotonic(), said])

threads = [threading.Thread(target=watch, args=(path,)) for path in paths]
[thread.start() for thread in threads]
sys.stdin.read()
over.set()
[thread.join() for thread in threads]
print(json.dumps(seen))
"""


class Changes(NamedTuple):
    """What a run said, and the roles whose tasks changed something, as the callback plugin record noted them."""

    run: Run
    roles: list[str]


@dataclass(frozen=True)
class State:
    """What must be after an upgrade as it was before it."""

    users: dict[str, Any]
    packages: dict[str, list[tuple[str, str]]]
    passwords: dict[str, str]
    token: str
    data: str
    authority: str
    logins: dict[str, int]


class Old(NamedTuple):
    """The host after the earlier deployment and what people did there."""

    state: State
    files: str
    # starts of the server's process, as supervisor counts them
    starts: int
    environment: str
    nginx: str
    # a token of the login before, for which nobody types the password again for ten hours
    session: str


class Upgraded(NamedTuple):
    """The runs of the working tree's collection, and what was seen meanwhile."""

    check: Changes
    files_after_check: str
    first: Changes
    second: Changes
    # path, start and end in seconds, status or error
    watched: list[tuple[str, float, float, int | str]]


def earlier_collection(checkout: Path, into: Path) -> Path:
    """Build and install the collection as of the earlier commit; return what ANSIBLE_COLLECTIONS_PATH has to be."""
    git = ["git", "-c", f"safe.directory={checkout}", "-C", str(checkout)]
    archive = subprocess.run([*git, "archive", EARLIER], capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.fail(
            f"commit {EARLIER}, which hosts are upgraded from, is not in this clone; type 'git fetch --unshallow' "
            f"and run again. git said: {archive.stderr.decode().strip()}",
            pytrace=False,
        )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(into / "checkout", filter="data")
    collections = into / "collections"
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections)}
    galaxy = ["ansible-galaxy", "collection"]
    build = [*galaxy, "build", "--output-path", str(into)]
    subprocess.run(build, cwd=into / "checkout", env=environment, check=True)
    (tarball,) = into.glob("*.tar.gz")
    install = [*galaxy, "install", "--offline", str(tarball), "-p", str(collections)]
    subprocess.run(install, cwd=into, env=environment, check=True)
    return collections


def deploy(collections: Path, *options: str) -> Changes:
    """Deploy with the scenario's inventory and the collection that lies there."""
    command = ["ansible-playbook", "-i", str(EPHEMERAL / "inventory"), "--limit", NAME, *options, str(PLAYBOOK)]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    last = json.loads((EPHEMERAL / "runs.jsonl").read_text("utf-8").splitlines()[-1])
    return Changes(Run(done.returncode, said), sorted({task.split(" : ")[0] for task in last["changed"][NAME]}))


def state(host: Host) -> State:
    """Look at everything that belongs to somebody."""
    api = Api(host, LAYOUT)
    packages = {}
    for index, name in PACKAGES.items():
        page = api("GET", f"{index}/+simple/{name}/", accept="application/vnd.pypi.simple.v1+json")
        files = json.loads(page.text)["files"]
        packages[index] = sorted((file["filename"], fetched(host, f"{index}/+simple/{name}/", file)) for file in files)
    whose = "stat --format '%n %U:%G %a'"
    return State(
        users=api("GET", "/", user="root").result,
        packages=packages,
        passwords={
            name: host.check_output(f"{whose} {path} && sha256sum <{path}")
            for name in ("root", "team")
            for path in [f"/etc/devpi/credentials/{name}"]
        },
        token=host.check_output(f"{whose} /root/ci.token && sha256sum </root/ci.token"),
        data=host.check_output(f"cd {LAYOUT.server_dir} && sha256sum .secret .nodeinfo && find +files -type f | sort"),
        authority=host.check_output("cd /etc/ssl/devpi && sha256sum *"),
        logins={
            "root": api("GET", "/+api", user="root").status,
            "team": api("GET", "/+api", user="team").status,
            PERSON: api("POST", "/+login", {"user": PERSON, "password": PASSWORD}).status,
        },
    )


def fetched(host: Host, page: str, file: dict[str, Any]) -> str:
    """Return the digest of what is served as this file of the page, read through nginx."""
    url = os.path.normpath(page + file["url"].split("#")[0]) if file["url"].startswith("..") else file["url"]
    content = "import ssl, sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())"
    url = LAYOUT.url + url if url.startswith("/") else url
    return host.check_output(f"{LAYOUT.trust} python3 -c %s %s | sha256sum | cut -d' ' -f1", content, url)


def starts(host: Host) -> int:
    """Return how often supervisor has started the server's process."""
    return int(host.check_output("grep -c \"spawned: 'devpi' with pid\" /var/log/supervisor/supervisord.log"))


def files(target: Target) -> str:
    """Return the host's files but for logs and what SQLite keeps beside a database while it is open."""
    changing = ("/var/log/", "/var/lib/devpi/.sqlite-", "/var/lib/nginx/")
    return "\n".join(line for line in target.files().splitlines() if not line.startswith(changing))


@pytest.fixture(scope="session")
def old(target: Callable[[str], Target], tmp_path_factory: pytest.TempPathFactory) -> Old:
    """Deploy the earlier commit, and do there what people do."""
    host, shell = testinfra.get_host(f"docker://{NAME}"), Shell(testinfra.get_host(f"docker://{NAME}"), LAYOUT)
    deploy(earlier_collection(PROJECT, tmp_path_factory.mktemp("earlier")))
    devpi = f"{LAYOUT.venv}/bin/devpi"
    for script in (
        # an account and an index that the inventory does not know
        f"export HOME=/root/by-hand; mkdir -p $HOME; {devpi} use {LAYOUT.url} && "
        f'{devpi} login root --password "$(cat /etc/devpi/credentials/root)" && '
        f"{devpi} user -c {PERSON} email=ada@example.com password={PASSWORD} && "
        f"{devpi} index -c {PERSON}/stable bases=team/dev volatile=False title='What ada keeps'",
        # her repository in a file that we merge into
        f"printf '\\n[ada]\\nrepository = {LAYOUT.url}/ada/stable\\nusername = {PERSON}\\n' >>~/.pypirc",
        f"python3 -m venv tools && tools/bin/pip install -q --index-url {LAYOUT.index}/+simple/ flit",
        *(project(name, "1.0") for name in PACKAGES.values()),
        f"cd kept && ~/tools/bin/flit publish --repository {LAYOUT.section}",
        f"cd steady && ~/tools/bin/flit build && TWINE_PASSWORD={PASSWORD} {LAYOUT.venv}/bin/twine upload "
        f"--non-interactive --repository-url {LAYOUT.url}/ada/stable/ -u {PERSON} dist/*",
        install("before"),
    ):
        said = shell(script)
        assert said.rc == 0, said.stdout + said.stderr
    session = Api(host, LAYOUT)("POST", "/+login", {"user": PERSON, "password": PASSWORD}).result["password"]
    nginx = host.check_output("cat /run/nginx.pid")
    environment = host.check_output("readlink -f %s", LAYOUT.venv)
    return Old(state(host), files(target(NAME)), starts(host), environment, nginx, session)


def project(name: str, version: str) -> str:
    """Return the commands that write a project for flit."""
    about = '[build-system]\\nrequires = ["flit_core >=3.2,<5"]\\nbuild-backend = "flit_core.buildapi"\\n'
    about += f'[project]\\nname = "{name}"\\nauthors = [{{name = "Someone"}}]\\ndynamic = ["version", "description"]\\n'
    module = f'"""A package."""\\n__version__ = "{version}"\\n'
    return f"mkdir -p {name} && cd {name} && printf '{about}' >pyproject.toml && printf '{module}' >{name}.py"


def install(environment: str) -> str:
    """Return the commands that install by pip what was published, into a new environment."""
    names = " ".join(PACKAGES.values())
    return (
        f"python3 -m venv {environment} && {environment}/bin/pip install -q --no-cache-dir --index-url "
        f"{LAYOUT.url}/ada/stable/+simple/ {names} && cd / && "
        f"~/{environment}/bin/python -c 'import kept, steady; print(kept.__version__, steady.__version__)'"
    )


@pytest.fixture(scope="session")
def upgraded(old: Old, target: Callable[[str], Target]) -> Upgraded:
    """Run the working tree's collection as a check, twice in earnest, and watch the server meanwhile."""
    installed = PROJECT / ".cache" / "collections"
    check = deploy(installed, "--check")
    files_after_check = files(target(NAME))
    paths = ["/+api", "/team/dev", "/team/dev/+simple/kept/"]
    watching = ["docker", "exec", "-i", "-e", f"SSL_CERT_FILE={LAYOUT.ca}", NAME, "python3", "-c", WATCH, *paths]
    with subprocess.Popen(watching, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        first = deploy(installed)
        watched = json.loads(watcher.communicate("")[0])
    return Upgraded(check, files_after_check, first, deploy(installed), watched)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what holds for every host come last, when this one is upgraded."""
    items.sort(key=lambda item: item.path.parent.name == "_shared")
