"""What serving.py has done on a host: releases published, an uploader and a reader beside a load, several pips.

Usage: inside.py publish|fresh|pips PLACE [ARGUMENT...], where PLACE is the JSON of serving.Place. It prints JSON.
"""

from __future__ import annotations

import base64
import concurrent.futures
import http.client
import io
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
import zipfile
from pathlib import Path
from typing import Any

HOME = Path("/opt/bench")
PIP = HOME / "venv" / "bin" / "pip"
UPLOADS = 10
BETWEEN = 0.87  # seconds, so that the uploads come at all parts of a second


class Index:
    """An index, asked by one kept connection."""

    def __init__(self, place: dict[str, Any]) -> None:
        self.url = urllib.parse.urlsplit(place["url"])
        self.path = f"/{place['user']}/dev/"
        pair = f"{place['user']}:{Path(place['password_file']).read_text(encoding='utf-8').strip()}"
        self.authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        # only where it is asked for: to check it with every request is what the server by hand is slowest at
        login = f"{pair}@" if place["private"] else ""
        self.for_pip = f"{self.url.scheme}://{login}{self.url.netloc}{self.path}+simple/"
        self.ca = place["ca"]
        if self.url.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca)
            self.connection = http.client.HTTPSConnection(self.url.netloc, context=context, timeout=60)
        else:
            self.connection = http.client.HTTPConnection(self.url.netloc, timeout=60)

    def ask(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        self.connection.request("GET", path, headers=headers)
        with self.connection.getresponse() as answer:
            return answer.status, answer.read()

    def upload(self, name: str, version: str, size: int) -> None:
        """Publish a wheel of that size, of noise."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as wheel:
            wheel.writestr(f"{name}.bin", os.urandom(size - 600))
            about = f"{name}-{version}.dist-info"
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
        mark = uuid.uuid4().hex
        fields = {":action": "file_upload", "name": name, "version": version, "metadata_version": "2.1"}
        parts = [f'name="{field}"\r\n\r\n{value}'.encode() for field, value in fields.items()]
        parts.append(f'name="content"; filename="{wheel_of(name, version)}"\r\n\r\n'.encode() + content.getvalue())
        start = f"--{mark}\r\nContent-Disposition: form-data; ".encode()
        body = b"".join(start + part + b"\r\n" for part in parts) + f"--{mark}--\r\n".encode()
        headers = {"Authorization": self.authorization, "Content-Type": f"multipart/form-data; boundary={mark}"}
        self.connection.request("POST", self.path, body, headers)
        with self.connection.getresponse() as answer:
            said = answer.read()
            if answer.status != 200:
                sys.exit(f"{name} {version} was not accepted: {answer.status} {said!r}")


def wheel_of(name: str, version: str) -> str:
    return f"{name}-{version}-py3-none-any.whl"


def write_headers(name: str, headers: dict[str, str]) -> None:
    lines = "".join(f"{key}: {value}\n" for key, value in headers.items())
    (HOME / f"headers-{name}").write_text(lines, encoding="utf-8")


def publish(place: dict[str, Any], projects: str) -> object:
    """Publish the projects, [NAME, VERSIONS, SIZE] each, and return the path of each wheel.

    For wrk, it leaves files of the headers that this machine's pip sends.
    """
    index = Index(place)
    for name, versions, size in json.loads(projects):
        for number in range(versions):
            index.upload(name, f"1.{number}", size)
    code = "from pip._internal.network.session import user_agent; print(user_agent())"
    agent = subprocess.check_output([PIP.with_name("python"), "-c", code], text=True).strip()
    page = {
        "User-Agent": agent,
        "Accept": "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
        "Accept-Encoding": "gzip, deflate",
        "Cache-Control": "max-age=0",
    }
    file = {"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "identity"}
    os.umask(0o077)
    write_headers("page", page)
    write_headers("file", file)
    write_headers("private", {**file, "Authorization": index.authorization})
    paths = {}
    for name, *_rest in json.loads(projects):
        where = f"{index.path}+simple/{name}/"
        _status, said = index.ask(where, {**page, "Accept-Encoding": "identity", "Authorization": index.authorization})
        for each in json.loads(said)["files"]:
            path = urllib.parse.urlsplit(urllib.parse.urljoin(where, each["url"])).path
            status, content = index.ask(path, {**file, "Authorization": index.authorization})
            if status != 200 or not zipfile.is_zipfile(io.BytesIO(content)):
                sys.exit(f"GET {path}: {status}, and no wheel")
            paths[each["filename"]] = path
    return paths


def fresh(place: dict[str, Any], project: str, first: str) -> object:
    """Upload releases of the project, and read its page over and over, beside a load on it; return what was seen.

    :param first: the number of the first release.
    """
    load = subprocess.Popen(
        [
            *("wrk", "--threads=2", "--connections=16", "--duration=60s", "--script=/bench/wrk.lua"),
            f"{place['url']}/{place['user']}/dev/+simple/{project}/",
        ],
        env={**os.environ, "HEADERS": str(HOME / "headers-page"), "AGENTS": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.5)
    seen = watched(place, project, int(first))
    # it stops, and says what it counted
    load.send_signal(signal.SIGINT)
    counted = json.loads(load.communicate()[0].splitlines()[-1])
    return {**seen, "requests": counted["requests"] / counted["seconds"], "errors": counted["errors"]}


def watched(place: dict[str, Any], project: str, first: int) -> dict[str, Any]:
    """Upload and read, as above."""
    headers = dict(line.split(": ", 1) for line in (HOME / "headers-page").read_text(encoding="utf-8").splitlines())
    headers["Accept-Encoding"] = "identity"
    accepted: dict[str, float] = {}
    seen: dict[str, float] = {}
    stale = broken = answers = 0
    over = threading.Event()

    def upload() -> None:
        index = Index(place)
        for number in range(first, first + UPLOADS):
            index.upload(project, f"2.{number}", 20_000)
            accepted[wheel_of(project, f"2.{number}")] = time.monotonic()
            time.sleep(BETWEEN)
        time.sleep(1)
        over.set()

    uploader = threading.Thread(target=upload, daemon=True)
    uploader.start()
    index = Index(place)
    while uploader.is_alive() and not over.is_set():
        due = {name for name, when in accepted.copy().items() if when < time.monotonic() - 1}
        status, said = index.ask(f"{index.path}+simple/{project}/", headers)
        now = time.monotonic()
        answers += 1
        try:
            there = {each["filename"] for each in json.loads(said)["files"]} if status == 200 else set()
        except ValueError:
            there = set()
        if not there:
            broken += 1
            continue
        for name in there & accepted.keys():
            seen.setdefault(name, now - accepted[name])
        stale += bool(due - there)
        time.sleep(0.005)
    missing = UPLOADS - len(seen)
    return {"seconds": [*seen.values()], "answers": answers, "stale": stale, "broken": broken + missing}


def pips(place: dict[str, Any], clients: str, names: str) -> object:
    """Return the seconds in which so many pips at once download all the projects, and how many failed."""
    index = Index(place)
    os.umask(0o077)
    configuration = HOME / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = {index.for_pip}\n", encoding="utf-8")
    environment = {**os.environ, "PIP_CONFIG_FILE": str(configuration), "PIP_CERT": index.ca or ""}
    options = ["--quiet", "--disable-pip-version-check", "--retries=0", "--no-deps", "--no-cache-dir"]
    wanted = json.loads(names)

    def download(number: int) -> bool:
        directory = HOME / f"got-{number}"
        shutil.rmtree(directory, ignore_errors=True)
        command = [PIP, "download", *options, "--dest", directory, *wanted]
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr[-500:], file=sys.stderr)
        return done.returncode == 0 and len(list(directory.glob("*.whl"))) == len(wanted)

    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(int(clients)) as pool:
        failed = [*pool.map(download, range(int(clients)))].count(False)
    return {"seconds": time.monotonic() - begun, "failed": failed}


if __name__ == "__main__":
    does = {"publish": publish, "fresh": fresh, "pips": pips}
    print(json.dumps(does[sys.argv[1]](json.loads(sys.argv[2]), *sys.argv[3:])))
