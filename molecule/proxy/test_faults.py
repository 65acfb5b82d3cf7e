"""What befalls a host in use: a server that is killed, a disk that is full, requests that make no sense."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from molecule.proxy.conftest import NAME, Said, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testinfra.host import Host

    from molecule.conftest import Layout
    from molecule.proxy.conftest import Outside

# An index of these tests' own, without bases: nobody else is asked for what is not there.
INDEX = "/team/faults"
ONLY_ON = "devpi-proxy-12"
AS_PIP = ("User-Agent: pip/25.0", "Accept: application/vnd.pypi.simple.v1+json")


@dataclass
class Release:
    """A wheel of noise, and its way to the index."""

    outside: Outside
    authorization: str
    name: str
    size: int = 20_000
    content: bytes = field(init=False)

    def __post_init__(self) -> None:
        wheel = io.BytesIO()
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{self.name}.bin", os.urandom(self.size))
            about = f"{self.name}-1.0.dist-info"
            archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {self.name}\nVersion: 1.0\n")
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
        self.content = wheel.getvalue()

    @property
    def file(self) -> str:
        """Return the wheel's name."""
        return f"{self.name}-1.0-py3-none-any.whl"

    def upload(self) -> Said:
        fields = {":action": "file_upload", "name": self.name, "version": "1.0", "metadata_version": "2.1"}
        parts = [f'name="{key}"\r\n\r\n{value}'.encode() for key, value in fields.items()]
        parts.append(f'name="content"; filename="{self.file}"\r\n\r\n'.encode() + self.content)
        start = b"--mark\r\nContent-Disposition: form-data; "
        body = b"".join(start + part + b"\r\n" for part in parts) + b"--mark--\r\n"
        lines = [
            *(f"POST {INDEX}/ HTTP/1.1", f"Host: {NAME}", "Connection: close", self.authorization),
            *("Content-Type: multipart/form-data; boundary=mark", f"Content-Length: {len(body)}"),
        ]
        with self.outside.connect() as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
            return answer(connection)

    def links(self) -> list[str]:
        """Return the paths that its page shows, once nothing older than now can be in the cache."""
        time.sleep(1.1)
        page = f"{INDEX}/+simple/{self.name}/"
        said = self.outside.send(page, *AS_PIP)
        if said.status == 404:
            return []
        assert said.status == 200
        return [f"{INDEX}/+f/" + each["url"].split("/+f/")[1].split("#")[0] for each in json.loads(said.text)["files"]]

    def is_served(self) -> bool:
        paths = self.links()
        assert [path.rsplit("/", 1)[1] for path in paths] == [self.file]
        return self.outside.send(paths[0]).body == self.content


def basic(host: Host, user: str) -> str:
    """Return the header by which the host's own user says who they are."""
    password = host.check_output(f"cat /etc/devpi/credentials/{user}")
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def authorization(host: Host, outside: Outside) -> Iterator[str]:
    """Make the index, and return the header of who may upload to it."""
    root = basic(host, "root")
    outside.send(INDEX, root, method="DELETE")
    body = json.dumps({"type": "stage", "bases": [], "volatile": True})
    length = f"Content-Length: {len(body)}"
    said = outside.send(INDEX, root, "Content-Type: application/json", length, method="PUT", body=body)
    assert said.status == 200, said.text
    yield basic(host, "team")
    assert outside.send(INDEX, root, method="DELETE").status == 201


def wait_until_served(outside: Outside) -> None:
    for _dummy in range(300):
        if outside.send("/+api", "Accept: application/json").status == 200:
            return
        time.sleep(0.1)
    pytest.fail("the server does not answer")


@pytest.mark.usefixtures("published")
def test_readers_do_not_notice_that_the_server_is_killed(
    host: Host, layout: Layout, outside: Outside, authorization: str
) -> None:
    page = "/team/dev/+simple/front/"
    before = outside.send(page, *AS_PIP)
    assert before.status == 200
    release = Release(outside, authorization, "killed")
    answers: list[tuple[float, bool]] = []
    over = threading.Event()

    def read() -> None:
        for _dummy in range(400):
            if over.is_set():
                return
            begun = time.monotonic()
            try:
                said = outside.send(page, *AS_PIP)
                whole = (said.status, said.body) == (200, before.body)
            except OSError:
                whole = False
            answers.append((begun, whole))
            # three of them stay within what one address may ask
            time.sleep(0.05)

    readers = [threading.Thread(target=read) for _dummy in range(3)]
    for reader in readers:
        reader.start()
    try:
        time.sleep(1.5)
        pid = host.check_output(f"supervisorctl pid {layout.program}")
        host.check_output(f"kill -9 {pid}")
        killed = time.monotonic()
        tried = []
        while not tried or tried[-1][0] != 200:
            begun = time.monotonic()
            tried.append((release.upload().status, time.monotonic() - begun))
            assert begun < killed + 60, tried
            time.sleep(0.1)
        back = time.monotonic()
        time.sleep(1.5)
    finally:
        over.set()
        for reader in readers:
            reader.join()
    assert host.check_output(f"supervisorctl pid {layout.program}") != pid
    # somebody did ask while there was no server
    meanwhile = [whole for begun, whole in answers if killed < begun < back]
    assert len(meanwhile) > 20
    assert all(whole for _begun, whole in answers), [whole for _begun, whole in answers].count(False)
    refused = tried[:-1]
    assert refused
    assert {status for status, _seconds in refused} <= {502, 503, 504}, tried
    assert max(seconds for _status, seconds in refused) < 2, tried
    assert release.is_served()


@pytest.fixture
def small_disk(host: Host, layout: Layout, outside: Outside, authorization: str) -> Iterator[str]:
    """Put a copy of the server's data, with the index, on a disk of its own that has hardly any room."""
    assert authorization
    directory = layout.server_dir
    host.check_output(f"supervisorctl stop {layout.program}")
    used = int(host.check_output(f"du -sm {directory}").split()[0])
    mode = host.check_output(f"stat -c %a {directory}")
    try:
        assert not host.mount_point(directory).exists
        host.check_output(
            f"mkdir -p /opt/copy && mount -t tmpfs -o size={used + 4}m,mode={mode} none /opt/copy && "
            f"cp -a {directory}/. /opt/copy && mount --move /opt/copy {directory}"
        )
        host.check_output(f"supervisorctl start {layout.program}")
        wait_until_served(outside)
        yield directory
    finally:
        host.run(f"supervisorctl stop {layout.program}")
        # nginx may have a file of it open still
        host.run(f"umount /opt/copy; umount --lazy {directory}")
        assert not host.mount_point(directory).exists
        host.check_output(f"supervisorctl start {layout.program}")
        wait_until_served(outside)


@pytest.mark.parametrize("filler", ["", "head -c 100M /dev/zero >filler"], ids=["too large", "no room at all"])
def test_upload_to_a_full_disk_leaves_nothing(
    host: Host, outside: Outside, authorization: str, small_disk: str, filler: str
) -> None:
    host.run(f"cd {small_disk} && {filler or 'true'} 2>/dev/null")
    # of a name that no page of before can have
    name, size = ("fulldisk", 20_000) if filler else ("narrowdisk", 12_000_000)
    release = Release(outside, authorization, name, size=size)
    find = f"find {small_disk}/+files -type f | sort"
    before = host.check_output(find).split()
    begun = time.monotonic()
    refused = release.upload()
    assert refused.status == 507, refused.text
    assert "has no room left on its disk, and nothing of this was stored" in refused.text
    assert time.monotonic() - begun < 20
    assert release.links() == []
    listed = outside.send(f"{INDEX}/{name}", "Accept: application/json", authorization)
    assert listed.status == 404, listed.text
    assert host.check_output(find).split() == before
    # room is made, and nothing else
    host.check_output(f"mount -o remount,size=200m {small_disk} && rm -f {small_disk}/filler")
    accepted = release.upload()
    assert accepted.status == 200, accepted.text
    assert release.is_served()


def test_malformed_requests_do_no_harm(
    host: Host,
    layout: Layout,
    outside: Outside,
    authorization: str,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    def processes() -> tuple[str, list[str]]:
        server = host.check_output(f"supervisorctl pid {layout.program}")
        # without nginx's loader of caches, which ends by itself
        nginx = "cat /run/nginx.pid; pgrep -P $(cat /run/nginx.pid) -f 'worker process'"
        return server, sorted(host.check_output(nginx).split())

    def token(user: str) -> str:
        password = host.check_output(f"cat /etc/devpi/credentials/{user}")
        body = json.dumps({"user": user, "password": password})
        headers = ("Accept: application/json", "Content-Type: application/json", f"Content-Length: {len(body)}")
        said = outside.send("/+login", *headers, method="POST", body=body)
        return base64.b64encode(f"{user}:{json.loads(said.text)['result']['password']}".encode()).decode()

    before = processes()
    script = Path(__file__).with_name("malformed.py").read_text(encoding="utf-8")
    given = json.dumps({"index": INDEX, "team": token("team"), "root": token("root")})
    command = ["docker", "exec", "--interactive", host.backend.get_hostname(), "python3", "-c", script]
    done = subprocess.run(
        [*command, "2026", "10000", "300"], input=given, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for what in ("statuses", "failures"):
        record_testsuite_property(f"{what} on {command[3]}", json.dumps(said[what], sort_keys=True))
    assert said["sent"] >= 10_000, said
    assert processes() == before
    # not one led to a server that did not answer any more
    assert not {"502", "503", "504", "nothing at all"} & said["statuses"].keys(), said["failures"]
    # Documentation that is no archive spoils the pages of its project and index, for as long as it is there.
    outside.send(f"{INDEX}/x", authorization, method="DELETE")
    for path in ("/", "/team", INDEX):
        assert outside.send(path, "Accept: text/html", "User-Agent: Mozilla/5.0").status == 200, path
    release = Release(outside, authorization, "afterwards")
    accepted = release.upload()
    assert accepted.status == 200, accepted.text
    assert release.is_served()
