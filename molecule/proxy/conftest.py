"""A client outside the hosts, which says to nginx word for word what a test wants said."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import socket
import ssl
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

    from molecule.conftest import Layout, Shell

NAME = "packages.example.com"
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "inventory")
# A wheel and a source distribution, made of nothing but what an index looks at
MAKE = """
import io, sys, tarfile, zipfile
name, version = sys.argv[1:]
text = f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
with zipfile.ZipFile(f"{name}-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{name}.py", "")
    wheel.writestr(f"{name}-{version}.dist-info/METADATA", text)
    wheel.writestr(f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
    wheel.writestr(f"{name}-{version}.dist-info/RECORD", "")
with tarfile.open(f"{name}-{version}.tar.gz", "w:gz") as sdist:
    for file in ("PKG-INFO", "pyproject.toml"):
        member = tarfile.TarInfo(f"{name}-{version}/{file}")
        member.size = len(text) if file == "PKG-INFO" else 0
        sdist.addfile(member, io.BytesIO(text.encode()))
"""


@dataclass
class Said:
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


@dataclass
class Outside:
    """Requests from the machine that runs the tests to one host's own address."""

    address: str
    ca: Path

    def connect(self) -> ssl.SSLSocket:
        """Return a connection, TLS verified against the CA alone."""
        context = ssl.create_default_context(cafile=str(self.ca))
        return context.wrap_socket(socket.create_connection((self.address, 443), timeout=30), server_hostname=NAME)

    def send(self, path: str, *headers: str, method: str = "GET", host: str = NAME, body: str = "") -> Said:
        """Send one request; `path` and `headers` go out as they are."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        with self.connect() as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
            return answer(connection, method)

    def redirect(self, path: str) -> tuple[int, str]:
        """Ask port 80, and return the status and where it leads."""
        plain = http.client.HTTPConnection(self.address, 80, timeout=30)
        plain.request("GET", path, headers={"Host": NAME})
        said = plain.getresponse()
        return said.status, said.headers["Location"]


def answer(connection: socket.socket, method: str = "GET") -> Said:
    """Read one answer."""
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return Said(response.status, response.headers, response.read())


def basic(user: str, password: str) -> str:
    """Return the header by which somebody says who they are."""
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def logged_in(host: Host, outside: Outside, user: str) -> str:
    """Log in once, for a password is compared anew each time, and return the header of that login."""
    password = host.check_output(f"cat /etc/devpi/credentials/{user}")
    body = json.dumps({"user": user, "password": password}).encode()
    said = send(outside, "/+login", "Accept: application/json", "Content-Type: application/json", body=body)
    assert said.status == 200, said.text
    return basic(user, json.loads(said.text)["result"]["password"])


def address(container: str) -> str:
    """Return the container's own address."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    command = ["docker", "inspect", "--format", form, container]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def form(fields: dict[str, str], name: str, content: bytes) -> tuple[str, bytes]:
    """Return the header of a form's content, and the form."""
    parts = [f'name="{key}"\r\n\r\n{value}'.encode() for key, value in fields.items()]
    parts.append(f'name="content"; filename="{name}"\r\n\r\n'.encode() + content)
    start = b"--mark\r\nContent-Disposition: form-data; "
    return (
        "Content-Type: multipart/form-data; boundary=mark",
        b"".join(start + part + b"\r\n" for part in parts) + b"--mark--\r\n",
    )


def packed(files: dict[str, str]) -> bytes:
    """Return an archive of these files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as into:
        for name, content in files.items():
            # of 1980, so that it is the same whenever it is made
            into.writestr(zipfile.ZipInfo(name), content)
    return archive.getvalue()


def release(name: str) -> tuple[str, bytes]:
    """Return the form that uploads version 1.0 of a project."""
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    wheel = packed({f"{name}-1.0.dist-info/METADATA": about})
    fields = {":action": "file_upload", "name": name, "version": "1.0", "metadata_version": "2.1"}
    return form(fields, f"{name}-1.0-py3-none-any.whl", wheel)


def send(outside: Outside, path: str, *headers: str, method: str = "POST", body: bytes = b"") -> Said:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {NAME}", "Connection: close", *headers]
    with outside.connect() as connection:
        connection.sendall(("\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode() + body)
        return answer(connection, method)


class Runs:
    """Runs of the playbook against one host."""

    def __init__(self, host: Host) -> None:
        self.container = host.backend.get_hostname()

    def command(self, variables: dict[str, object]) -> list[str]:
        playbook = PROJECT / "molecule" / "_shared" / "converge.yml"
        return [
            *("ansible-playbook", "-i", str(INVENTORY), "--limit", self.container),
            *("-e", json.dumps(variables), str(playbook)),
        ]

    def __call__(self, *options: str, **variables: object) -> tuple[int, int, str]:
        """Return the exit status, how many tasks changed something, and all that was said."""
        done = subprocess.run([*self.command(variables), *options], capture_output=True, text=True, check=False)
        changed = re.search(r"changed=(\d+)", done.stdout)
        return done.returncode, int(changed[1]) if changed else -1, done.stdout + done.stderr


@pytest.fixture(scope="module")
def deploy(host: Host) -> Runs:
    runs = Runs(host)
    code, changed, said = runs()
    assert (code, changed) == (0, 0), said
    return runs


@pytest.fixture(scope="module")
def outside(host: Host, layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Outside:
    ca = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.write_text(host.file(layout.ca).content_string)
    return Outside(address(host.backend.get_hostname()), ca)


@pytest.fixture(scope="module")
def published(shell: Shell, layout: Layout) -> dict[str, str]:
    """Publish a wheel and a source distribution with twine; the value is the path on the server of each, by name."""
    said = shell(
        f"mkdir -p made && cd made && (test -e front-1.0.tar.gz || python3 -c '{MAKE}' front 1.0) && "
        f"TWINE_PASSWORD=$FLIT_PASSWORD {layout.venv}/bin/twine upload --non-interactive -r {layout.section} front-1.0*"
    )
    assert said.rc == 0, said.stdout + said.stderr
    page = shell(
        f"python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], "
        'headers={"Accept": "application/vnd.pypi.simple.v1+json"})).read().decode())'
        f"' {layout.index}/+simple/front/"
    )
    assert page.rc == 0, page.stderr
    links = json.loads(page.stdout)["files"]
    return {each["filename"]: f"/{layout.user}/dev/+f/" + each["url"].split("/+f/")[1].split("#")[0] for each in links}


def serves(outside: Outside) -> bool:
    return outside.send("/+api", "Accept: application/json").status == 200


def nginx_workers(host: Host) -> set[str]:
    return set(host.check_output("pgrep -f 'nginx: worker process$' || true").split())
