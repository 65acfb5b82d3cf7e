"""What role server writes for devpi-server, read by the real one."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._server_settings import DECIDED, FREE
from conftest import CHECKOUT, Devpi, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

RENDER = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - ansible.builtin.include_vars: "{{ collection }}/{{ item }}"
      loop: [common/defaults/main.yml, common/vars/main.yml, server/defaults/main.yml, server/vars/main.yml]
    - ansible.builtin.include_vars: "{{ given }}"
    - ansible.builtin.template:
        src: "{{ collection }}/server/templates/devpi-server.yml.j2"
        dest: "{{ target }}"
        mode: "0600"
"""
# Runs with the Python of devpi-server.
READ = """
import json, sys
from devpi_server.config import load_config_file
print(json.dumps(load_config_file(sys.argv[1])))
"""
PAGE = b"<html><head><title>Manual</title></head><body>How it is used.</body></html>"


def rendered(directory: Path, **variables: object) -> Path:
    """Return the configuration that role server writes with these variables."""
    playbook, given, target = (directory / name for name in ("render.yml", "given.json", "devpi-server.yml"))
    playbook.write_text(RENDER)
    given.write_text(json.dumps({"devpi_url": "http://127.0.0.1:3141", **variables}))
    extra = {"collection": str(CHECKOUT / "roles"), "given": str(given), "target": str(target)}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(playbook)]
    environment = {**Devpi.environment(), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [*command, "-e", json.dumps(extra)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def program(name: str) -> Path:
    return Path(os.environ["DEVPI_TEST_VENV"], "bin", name)


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devpi]:
    """Run a server with the settings of role server, and with one stage, team/dev."""
    directory = tmp_path_factory.mktemp("documented")
    config = rendered(directory)
    with serve(directory, "--offline-mode", "--configfile", str(config)) as devpi:
        devpi.make("team/dev")
        yield devpi


def upload_docs(devpi: Devpi, project: str, version: str, archive: bytes, filename: str) -> int:
    """Upload documentation as `devpi upload --with-docs` does, and return the status of the answer."""
    boundary = "7f3canary"
    fields = {":action": "doc_upload", "name": project, "version": version}
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    body = "".join(f'{head}{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    body += f'{head}content"; filename="{filename}"\r\nContent-Type: application/zip\r\n\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return answer(devpi, "POST", "/team/dev/", body.encode() + archive + f"\r\n--{boundary}--\r\n".encode(), headers)[0]


def answer(
    devpi: Devpi, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Ask as root for exactly this path, which no client puts in order first."""
    pair = base64.b64encode(f"root:{devpi.token()}".encode()).decode()
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", urlsplit(devpi.url).port, timeout=30)
    ) as connection:
        connection.request(method, path, body, {"X-Devpi-Auth": pair, "Accept": "text/html", **(headers or {})})
        said = connection.getresponse()
        return said.status, said.read()


def zipped(*members: tuple[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)
    return content.getvalue()


def tarred(*links: tuple[str, str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, target, kind in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = len(PAGE) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(PAGE) if member.size else None)
    return content.getvalue()


def outside(devpi: Devpi) -> set[str]:
    """Return the paths below the test's directory and of /, but those where releases and the locks of documents lie."""
    top = devpi.log.parent.parent
    inside = (devpi.log.parent / "server" / "+files", devpi.log.parent / "server" / "team" / "dev")
    below = (
        path for path in top.rglob("*") if path.name.find("canary") >= 0 or not set(inside) & {path, *path.parents}
    )
    return {str(path) for path in (*below, *Path("/").iterdir()) if not path.name.startswith((".sqlite", "log"))}


def test_ordinary_documentation_is_shown(documented: Devpi) -> None:
    archive = zipped(("index.html", PAGE), ("chapters/first.html", PAGE), ("_static/style.css", b"p { color: red }"))
    assert upload_docs(documented, "shown", "1.0", archive, "shown-1.0.doc.zip") == 200
    for version in ("1.0", "latest", "stable"):
        assert answer(documented, "GET", f"/team/dev/shown/{version}/+doc/index.html") == (200, PAGE)
        assert answer(documented, "GET", f"/team/dev/shown/{version}/+doc/chapters/first.html") == (200, PAGE)
        assert answer(documented, "GET", f"/team/dev/shown/{version}/+d/index.html")[0] == 200
    status, page = answer(documented, "GET", "/team/dev/shown/1.0")
    assert status == 200
    assert b"shown/1.0/+d/index.html" in page


def test_no_archive_writes_outside(documented: Devpi) -> None:
    before = outside(documented)
    directory = documented.log.parent
    climbing = [(f"{'../' * depth}canary-{depth}", PAGE) for depth in range(1, 12)]
    absolute = [(f"{directory}/canary-absolute", PAGE), (f"/{directory}/canary-twice", PAGE)]
    windows = [("..\\..\\..\\canary-windows", PAGE), (f"x/{'../' * 7}canary-late", PAGE)]
    index = ("index.html", PAGE)
    up = "../" * 6
    archives = {
        "climb": zipped(index, *climbing, *windows),
        "absolute": zipped(index, *absolute),
        "secret": zipped(index, (f"{up}secret", b"known"), (f"{up}server/.nodeinfo", b"{}")),
        "tar": tarred(("index.html", "", tarfile.REGTYPE), (f"{up}canary-tar", "", tarfile.REGTYPE)),
        "links": tarred(
            ("index.html", "", tarfile.REGTYPE),
            ("up", up, tarfile.SYMTYPE),
            ("up/canary-through", "", tarfile.REGTYPE),
            ("hard", f"{directory}/secret", tarfile.LNKTYPE),
        ),
        "broken": b"PK\x03\x04 nothing of the kind",
    }
    secret = (directory / "secret").read_bytes()
    for project, archive in archives.items():
        upload_docs(documented, project, "1.0", archive, f"{project}-1.0.doc.zip")
        for path in ("+doc/index.html", "+d/index.html", "+doc/up/canary-through", "+doc/hard"):
            assert secret not in answer(documented, "GET", f"/team/dev/{project}/1.0/{path}")[1]
        answer(documented, "GET", f"/team/dev/{project}/1.0")
        answer(documented, "DELETE", f"/team/dev/{project}/1.0")
    assert outside(documented) <= before | {str(directory / "server" / "team")}
    assert (directory / "secret").read_bytes() == secret


def test_no_address_reads_outside(documented: Devpi) -> None:
    directory = documented.log.parent
    assert upload_docs(documented, "asked", "1.0", zipped(("index.html", PAGE)), "asked-1.0.doc.zip") == 200
    # the secret lies six directories above, and what the server keeps beside its database five
    climbing = ["../" * depth for depth in range(1, 9)]
    climbing += [dots * depth for depth in (5, 6) for dots in ("..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c")]
    aims = [f"{prefix}{name}" for prefix in climbing for name in ("secret", "server/.nodeinfo", ".nodeinfo")]
    aims += [f"{slash}{directory}/secret".replace("//", slash * 2) for slash in ("/", "%2f")]
    aims += [f"{slash}etc/passwd" for slash in ("/", "%2f", "//")]
    secrets = [(directory / "secret").read_bytes(), (directory / "server" / ".nodeinfo").read_bytes(), b"root:x:0:0"]
    for view in ("+doc", "+d"):
        for aim in aims:
            said = answer(documented, "GET", f"/team/dev/asked/1.0/{view}/{aim}")[1]
            assert not any(secret in said for secret in secrets), (view, aim)


@pytest.mark.parametrize("version", ["../../../canary-version", "..", "1.0/../../canary", "%2e%2e", "/canary-version"])
def test_no_version_leads_outside(documented: Devpi, version: str) -> None:
    before = outside(documented)
    upload_docs(documented, "versioned", version, zipped(("index.html", PAGE)), "versioned-1.0.doc.zip")
    answer(documented, "GET", f"/team/dev/versioned/{version}/+doc/index.html")
    answer(documented, "DELETE", "/team/dev/versioned?force")
    assert outside(documented) <= before | {str(documented.log.parent / "server" / "team")}


def test_every_option_is_classified() -> None:
    """An option that is neither free nor decided by the roles would be refused as unknown."""
    said = subprocess.run([program("devpi-server"), "--help"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"--([a-z0-9][a-z0-9-]+)", said.split("options:", 1)[-1]))
    assert {"host", "keep-docs-packed", "secretfile"} <= options
    # --help calls them a group
    assert options - {*FREE, *DECIDED, "host"} == set()


def test_values_are_read_as_they_were_given(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "theme": "/srv/a theme: #1, 'x' \"y\" {z} [w] !tag &a *b %d | > - ? @ `",
        "logger-cfg": "null",
        "trusted-proxy": "0x10",
        "trusted-proxy-headers": "x-forwarded-for " * 20 + "end",
        "max-request-body-size": 2**40,
        "offline-mode": True,
        "debug": "no",
        "file-replication-skip-indexes": "ümläut/dev, all",
    }
    names = "ten\tants"
    config = rendered(tmp_path, devpi_server_options=given, devpi_server_dir="/srv/de: vpi #1", devpi_url=names)
    reading = [program("python"), "-W", "ignore", "-c", READ, config]
    read = json.loads(subprocess.run(reading, capture_output=True, text=True, check=True).stdout)
    expected = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}
    assert {key: read[key] for key in given} == expected
    assert (read["serverdir"], read["outside-url"]) == ("/srv/de: vpi #1", names)
    assert (read["keep-docs-packed"], read["indexer-backend"], read["threads"]) == ("true", "null", "32")


@pytest.mark.once
@pytest.mark.parametrize("outside_url", ["http://packages.example/", "http://packages.example/x", "packages.example"])
def test_an_unfit_address_keeps_nobody_out_who_asks_on_loopback(tmp_path: Path, outside_url: str) -> None:
    with serve(tmp_path, "--offline-mode", f"--outside-url={outside_url}") as devpi:
        users = [{"name": "team", "password": "CANARY-team", "indexes": [{"name": "dev"}]}]
        arguments = {"url": devpi.url, "password": devpi.root_password, "users": users}
        result = devpi.run("devpi_users", arguments)
        assert "msg" not in result.values, result["msg"]
        assert result["changed"] is True
        assert devpi.run("devpi_users", arguments)["changed"] is False
