"""The site in the oldest nginx that the collection supports: people read, publish and are refused as elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from molecule.conftest import PLAYBOOK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.host import Host

    from molecule.conftest import Layout, Shell

ONLY_ON = "devpi-bullseye"
INVENTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "inventory")
# Runs on the host, where the passwords are kept, and prints what was answered to each of the requests, in their order.
ASK = r"""
import base64, http.client, json, ssl, sys
name, source, requests = json.loads(sys.argv[1])
asked = []
for who, method, path, project in requests:
    headers, body = {"Accept": "application/json"}, None
    if who:
        user, _colon, password = who.partition(":")
        password = password or open("/etc/devpi/credentials/" + user).read().strip()
        headers["Authorization"] = "Basic " + base64.b64encode((user + ":" + password).encode()).decode()
    if project:
        headers["Content-Type"] = "multipart/form-data; boundary=7f3"
        fields = {":action": "file_upload", "name": project, "version": "1.0"}
        head = '--7f3\r\nContent-Disposition: form-data; name="'
        body = "".join(f'{head}{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
        body += f'{head}content"; filename="{project}-1.0.tar.gz"\r\n\r\nx\r\n--7f3--\r\n'
    connection = http.client.HTTPSConnection(
        name, timeout=60, source_address=(source, 0), context=ssl.create_default_context())
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    asked.append([answer.status, answer.headers.get("Retry-After", "")])
print(json.dumps(asked))
"""


class Said(NamedTuple):
    """An answer."""

    status: int
    retry_after: str


def ask(host: Host, layout: Layout, *requests: tuple[str, str, str, str], source: str = "127.0.0.1") -> list[Said]:
    """Send requests to nginx, each who asks (``user`` or ``user:password``), method, path and project to upload."""
    asked = json.dumps([layout.url.removeprefix("https://"), source, requests])
    said = host.run(f"{layout.trust} python3 -c %s %s", ASK, asked)
    assert said.rc == 0, said.stderr
    return [Said(*each) for each in json.loads(said.stdout)]


def deploy(*options: str) -> None:
    command = ["ansible-playbook", "-i", str(INVENTORY), "--limit", ONLY_ON, *options, str(PLAYBOOK)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", params=["open", "private"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """Deploy with reading that needs no login, as it is, and then with reading that does."""
    if request.param == "private":
        deploy("-e", '{"devpi_private": true}')
    yield request.param
    if request.param == "private":
        deploy()


@pytest.fixture(scope="module")
def published(shell: Shell, layout: Layout, mode: str) -> str:
    """Publish a project with flit by the name in ~/.pypirc, and return its own name."""
    name = f"by{mode}"
    about = '[build-system]\\nrequires = ["flit_core >=3.2,<4"]\\nbuild-backend = "flit_core.buildapi"\\n'
    about += f'[project]\\nname = "{name}"\\nauthors = [{{name = "x"}}]\\ndynamic = ["version", "description"]\\n'
    login = "PIP_INDEX_URL=https://team:$FLIT_PASSWORD@packages.example.com/team/dev/+simple/"
    said = shell(
        f"test -e flit || {{ python3 -m venv flit && {login} flit/bin/pip install -q flit; }}; "
        # on a host that was looked at before it is there
        f"test ! -e {name}/dist || exit 0; mkdir -p {name} && "
        f'cd {name} && printf \'{about}\' >pyproject.toml && printf \'"""x"""\\n__version__ = "1.0"\\n\' >{name}.py && '
        f"~/flit/bin/flit publish --repository {layout.section}"
    )
    assert said.rc == 0, said.stdout + said.stderr
    return name


def test_nginx_is_the_oldest(host: Host) -> None:
    assert "nginx/1.18." in host.run("nginx -v").stderr


def test_nginx_accepts_the_site(host: Host, mode: str) -> None:
    assert mode
    said = host.run("nginx -q -t")
    # Its table of variables is slower than it could be, says this release of a private site. What mends it may stand
    # in a file of the host's own, and twice nginx would refuse it.
    told = [line for line in said.stderr.splitlines() if "variables_hash" not in line]
    assert (said.rc, said.stdout, told) == (0, "", [])


@pytest.mark.parametrize("path", ["/team/dev", "/team/dev/+simple/{name}/", "/team/dev/{name}/1.0", "/"])
def test_who_reads(host: Host, layout: Layout, mode: str, published: str, path: str) -> None:
    path = path.format(name=published)
    stranger, team, root = ask(host, layout, *((who, "GET", path, "") for who in ("", "team", "root")))
    assert (stranger.status, team.status, root.status) == (200 if mode == "open" else 401, 200, 200)


def test_pip_installs_what_flit_published(shell: Shell, layout: Layout, mode: str, published: str) -> None:
    install = f"pip install -q --no-cache-dir --index-url {layout.index}/+simple/ {published}"
    stranger = shell(f"rm -rf by-pip; python3 -m venv by-pip; by-pip/bin/{install} </dev/null")
    assert (stranger.rc == 0) == (mode == "open"), stranger.stderr
    netrc = (
        f"umask 077; echo machine packages.example.com login team password $FLIT_PASSWORD >.netrc; by-pip/bin/{install}"
    )
    said = shell(f"{netrc} && cd / && ~/by-pip/bin/python -c 'import {published}'; rm ~/.netrc")
    assert said.rc == 0, said.stderr


def test_who_uploads(host: Host, layout: Layout, mode: str) -> None:
    requests = [(who, "POST", "/team/dev/", f"asked{mode}") for who in ("", "team:wrong", "root", "team")]
    said = ask(host, layout, *requests)
    assert [each.status for each in said] == [401, 401, 403, 200]


def test_who_guesses_has_to_wait_and_hears_how_long(host: Host, layout: Layout, mode: str) -> None:
    # where all may read, a password is looked at here and at the login alone
    guesses = [(f"root:{mode}-{number}", "GET", "/+api", "") for number in range(30)]
    # from an address of its own, so that others of this host go on
    said = ask(host, layout, *guesses, source="127.0.0.7")
    assert said[-1].status == 429, [each.status for each in said]
    assert 0 < int(said[-1].retry_after) <= 60
    assert [each.status for each in ask(host, layout, ("", "GET", "/+api", ""))] == [200]
