"""Starts a real devpi-server on loopback and runs the modules against it.

``DEVPI_TEST_VENV`` names a virtual environment with devpi-server.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import module_process
import pytest

CHECKOUT = Path(__file__).parents[2]
# script/_setup puts a link to the checkout there.
COLLECTIONS = Path(sys.prefix, "collections")
sys.path.insert(0, str(COLLECTIONS))

# A password and what argon2-cffi's PasswordHasher().hash makes of it
HASHED = "CANARY-hashed"
HASH = "$argon2id$v=19$m=65536,t=3,p=4$Pc5AM45pmgSBVHF/9k8UnQ$TSO0htlmgKSB76eMvxqQQZynjwec/+TlULmk1XqhOXQ"


@dataclass(frozen=True)
class Result:
    """What a module's run printed, whole and parsed."""

    output: str
    values: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        """Return one of the values."""
        return self.values[key]

    @property
    def warnings(self) -> list[str]:
        return [each["event"]["msg"] for each in self.values.get("warnings", [])]


# What the collection's own translation is held against. An index of devpi-server 7 with any other word fails the test.
RULES = {("block type:remote if local_exists",): [], ("allow all",): ["*"]}
TRUST = {"none": "intersection", "type:not remote": "union"}
WORDS = {
    **{key: key for key in ("volatile", "title", "description", "custom_data", "house_rule")},
    "remote_url": "mirror_url",
    "remote_web_url_fmt": "mirror_web_url_fmt",
    "remote_refresh_delay": "mirror_cache_expiry",
    "remote_use_external_urls": "mirror_use_external_urls",
    "remote_no_project_list": "mirror_no_project_list",
}


def in_words_of_6(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an index of devpi-server 7 as 6 would show it."""
    config = dict(config)
    kind = config.pop("type")
    if kind == "remote":
        return {"type": "mirror", **{WORDS[key]: value for key, value in config.items()}}
    whitelist = RULES[tuple(config.pop("project_inheritance_rules"))]
    trust = TRUST[config.pop("trust_inheritance_rules_from", "none")]
    kind = "stage" if kind == "local" else kind
    return {"type": kind, **config, "mirror_whitelist": whitelist, "mirror_whitelist_inheritance": trust}


@functools.cache
def login(url: str, user: str, password: str) -> str:
    """Return a token, asked for once: a login costs 0.2 s and holds for hours."""
    return str(Devpi(url, password, Path()).ask("POST", "/+login", {"user": user, "password": password})["password"])


@dataclass(frozen=True)
class Devpi:
    """A running devpi-server, asked without the collection's own client."""

    url: str
    root_password: str
    log: Path

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        # or a server that was given an unfit address of its own sends each request for / away
        headers["X-Outside-URL"] = self.url
        if token:
            headers["X-Devpi-Auth"] = base64.b64encode(f"root:{token}".encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return json.load(response).get("result")

    @functools.lru_cache(maxsize=16)  # noqa: B019 - there are few servers
    def version(self) -> tuple[int, ...]:
        with urllib.request.urlopen(self.url + "/+api", timeout=30) as response:  # noqa: S310 - loopback
            return tuple(map(int, re.findall(r"\d+", response.headers["X-Devpi-Server-Version"])[:3]))

    @property
    def is_7(self) -> bool:
        return self.version()[0] == 7

    def tree(self) -> dict[str, Any]:
        """Return all users with all indexes, in the words of devpi-server 6."""
        tree = dict(self.ask("GET", "/"))
        if self.is_7:
            for user in tree.values():
                user["indexes"] = {name: in_words_of_6(config) for name, config in user["indexes"].items()}
        return tree

    @property
    def without_plugin(self) -> Path:
        """Return the file which, where it exists, makes the plugin of the tests one that is not there."""
        return self.log.with_name("without-plugin")

    def index(self, path: str) -> dict[str, Any]:
        user, name = path.split("/")
        return dict(self.tree()[user]["indexes"][name])

    def takes(self, user: str, password: str) -> bool:
        try:
            self.ask("POST", "/+login", {"user": user, "password": password})
        except urllib.error.HTTPError as error:
            assert error.code == 401
            return False
        return True

    def token(self) -> str:
        return login(self.url, "root", self.root_password)

    def requests(self) -> list[str]:
        """Return what the server was asked so far, as ``GET /``."""
        return re.findall(r"\[req\d+\] ([A-Z]+ \S+)", self.log.read_text())

    def reset(self) -> None:
        """Delete everybody but root, and what root has but root/pypi."""
        token = self.token()
        for name, user in self.tree().items():
            for index, config in user["indexes"].items():
                if f"{name}/{index}" == "root/pypi":
                    continue
                if not config["volatile"]:
                    self.ask("PATCH", f"/{name}/{index}", {"volatile": True}, token)
                self.ask("DELETE", f"/{name}/{index}", None, token)
            if name != "root":
                self.ask("DELETE", f"/{name}", None, token)

    def make(self, path: str, **settings: object) -> None:
        """Make an index, and its user where that is missing; a mirror where the settings name an upstream."""
        token = self.token()
        user = path.split("/", maxsplit=1)[0]
        if user not in self.tree():
            self.ask("PUT", f"/{user}", {"password": "CANARY"}, token)
        seven = self.is_7
        upstream = settings.pop("mirror_url", None)
        if upstream is None:
            settings = {"type": "local" if seven else "stage", "acl_upload": ["root"], **settings}
        else:
            kind, prefix = ("remote", "remote") if seven else ("mirror", "mirror")
            settings = {"type": kind, f"{prefix}_url": upstream, f"{prefix}_no_project_list": True, **settings}
        self.ask("PUT", f"/{path}", settings, token)

    def upload(self, index: str, project: str, version: str, filename: str, **fields: str) -> str:
        """Upload a release file, whose content is its name, and return the SHA-256 of that."""
        fields = {":action": "file_upload", "name": project, "version": version, **fields}
        boundary = secrets.token_hex(8)
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
        body = "".join(f'{head}{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
        body += f'{head}content"; filename="{filename}"\r\n\r\n{filename}\r\n--{boundary}--\r\n'
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "X-Devpi-Auth": base64.b64encode(f"root:{self.token()}".encode()).decode(),
        }
        request = urllib.request.Request(f"{self.url}/{index}/", body.encode(), headers)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            assert response.status == 200
        return hashlib.sha256(filename.encode()).hexdigest()

    def run(
        self,
        module: str,
        arguments: Mapping[str, Any],
        check: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a module as Ansible would on this machine, with --diff."""
        return self.start(module, arguments, check, environment)()

    def start(
        self,
        module: str,
        arguments: Mapping[str, Any],
        check: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Callable[[], Result]:
        """Start a module as ``run`` does, and return what waits for its result."""
        arguments = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}
        wait = module_process.start(module, arguments, {**self.environment(), **(environment or {})})

        def finish() -> Result:
            stdout, stderr = wait()
            assert stdout, stderr
            return Result(stdout + stderr, json.loads(stdout))

        return finish

    def check_real_again(self, module: str, arguments: Mapping[str, Any]) -> Result:
        """Run a module in check mode, for real, and again; return the real run's result."""
        before = self.tree()
        predicted = self.run(module, arguments, check=True)
        assert self.tree() == before, "check mode changed something"
        real = self.run(module, arguments)
        assert not real.values.get("failed"), real["msg"]
        assert predicted.values == real.values
        after = self.tree()
        assert real["changed"] is (after != before or bool(self.passwords_set(real)))
        again = self.run(module, arguments)
        assert again["changed"] is False, again["diff"]
        assert again["diff"] == {"before": {}, "after": {}}
        assert self.tree() == after
        for result in (predicted, real, again):
            for secret in (self.root_password, "CANARY", HASH):
                assert secret not in result.output
        return real

    @staticmethod
    def passwords_set(result: Result) -> list[str]:
        """Return whose passwords the run says that it set: the tree does not show them."""
        return [change["user"] for change in result["changes"] if "password" in change["settings"]]

    @staticmethod
    def command(module: str) -> list[str]:
        return [sys.executable, str(CHECKOUT / "plugins" / "modules" / f"{module}.py")]

    @staticmethod
    def environment() -> dict[str, str]:
        """Return an environment in which the collection is found and nothing of the caller's names a server."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("DEVPI_", "ANSIBLE_"))}
        return {**inherited, "PYTHONPATH": str(COLLECTIONS), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}


class Upstream(ThreadingHTTPServer):
    """What mirrors mirror: simple pages (PEP 691), and a list of what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), UpstreamHandler)
        self.pages: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[str] = []

    def url(self, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.server_port}/simple/"


class UpstreamHandler(BaseHTTPRequestHandler):
    server: Upstream

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        project = self.path.removeprefix("/simple/").rstrip("/")
        files = self.server.pages.get(project)
        page = {"meta": {"api-version": "1.0"}, "name": project, "files": files}
        data = b"" if files is None else json.dumps(page).encode()
        self.send_response(404 if files is None else 200)
        self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


def lay_server_plugins(directory: Path) -> str:
    """Lay the plugins of role venv into a directory, as their wheel installs them; return its path."""
    spec = importlib.util.spec_from_file_location("backend", CHECKOUT / "server_plugins" / "backend.py")
    assert spec
    assert spec.loader
    backend = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(backend)
    directory.mkdir(exist_ok=True)
    wheel = directory / backend.build_wheel(str(directory))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    wheel.unlink()
    return str(directory)


@contextmanager
def serve(directory: Path, *options: str, init: tuple[str, ...] = (), plugins: str = "") -> Iterator[Devpi]:
    """Run a new devpi-server, with options for it and for devpi-init, and the plugins of a directory."""
    venv = os.environ.get("DEVPI_TEST_VENV")
    if not venv or not Path(venv, "bin", "devpi-server").exists():
        pytest.fail(f"DEVPI_TEST_VENV ({venv}) names no virtual environment with devpi-server; script/test makes one")
    directory.chmod(0o700)
    password = secrets.token_urlsafe(12)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    small = {"ARGON2_MEMORY_COST": "65536", "ARGON2_TIME_COST": "3", "ARGON2_PARALLELISM": "4"}
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("DEVPI")},
        **{f"DEVPISERVER_{key}": value for key, value in small.items()},
        "DEVPISERVER_ROOT_PASSWD": password,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT / "tests" / "integration" / "plugin"), plugins])),
        "HOUSE_RULE_IS_GONE": str(directory / "without-plugin"),
        "PYTHONWARNINGS": "ignore",
    }
    programs = Path(venv, "bin")
    server, secret, log = directory / "server", directory / "secret", directory / "log"
    for command in (
        [programs / "devpi-gen-secret", "--secretfile", secret],
        [programs / "devpi-init", "--serverdir", server, *init],
    ):
        subprocess.run(command, env=environment, check=True, capture_output=True)
    command = [programs / "devpi-server", "--serverdir", server, "--secretfile", secret, *options]
    command += ["--host", "127.0.0.1", "--port", str(port), "--restrict-modify", "root"]
    # Without devpi-web there is no such option, and no indexer.
    if (programs / "devpi-clear-search-index").exists():
        command += ["--indexer-backend", "null"]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    devpi = Devpi(f"http://127.0.0.1:{port}", password, log)
    try:
        for _attempt in range(600):
            if process.poll() is not None:
                pytest.fail(f"devpi-server ended: {log.read_text()[-2000:]}")
            # Not by an answer: a server with an unfit address of its own sends whoever asks elsewhere.
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"devpi-server does not listen: {log.read_text()[-2000:]}")
        yield devpi
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def running_devpi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devpi]:
    with serve(tmp_path_factory.mktemp("devpi"), "--offline-mode") as devpi:
        yield devpi


@pytest.fixture
def devpi(running_devpi: Devpi) -> Devpi:
    running_devpi.reset()
    return running_devpi


@pytest.fixture(scope="session")
def running_mirroring_devpi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devpi]:
    # Without root/pypi, since its upstream is the real one.
    with serve(tmp_path_factory.mktemp("mirroring"), init=("--no-root-pypi",)) as devpi:
        yield devpi


@pytest.fixture
def mirroring_devpi(running_mirroring_devpi: Devpi) -> Devpi:
    """Return a server that asks the upstreams of its mirrors."""
    running_mirroring_devpi.reset()
    return running_mirroring_devpi


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as each:
        threading.Thread(target=each.serve_forever, args=(0.01,), daemon=True).start()
        yield each
        each.shutdown()
