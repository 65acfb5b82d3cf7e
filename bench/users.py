"""Measures how long a server full of users takes to declare, and writes bench/results/users.*.

Every user has two indexes, the second on top of the first, and a password hash that was made elsewhere. Each side gets
new servers of its own on loopback, with small argon2 values, and the sides run in turn:

* bare: the same requests by one kept connection, with nothing in between: what the server itself needs;
* module: wheelhouse.devpi.devpi_users, whole declaration in one call, as a process of its own, Python's start included;
* again: the same call with nothing to change;
* loop: devpi_user and devpi_index, one call for each object, by ansible-playbook's loop;
* command line: the devpi client, one command for each object.

The last two are run on a part (PART users) and extrapolated in proportion, which is said beside their figures.

Usage, from the checkout, by script/bench: users.py ROUNDS
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from deploy import RESULTS, ROOT, machine

SIZES = (10, 100, 1000, 5000)
SHOWN = 1000  # the size of the comparison with the loop and the command line
PART = 20
VENV = ROOT / ".cache" / "devpi"
COLLECTIONS = ROOT / ".venv-test" / "collections"
PASSWORD = secrets.token_urlsafe(12)


def make_venv() -> None:
    """Install devpi from the lock of role venv, where the tests have not done so already."""
    lock = str(ROOT / "roles" / "venv" / "files" / "devpi.lock")
    uv = str(ROOT / ".venv-test" / "bin" / "uv")
    if not VENV.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)], check=True)
    python = str(VENV / "bin" / "python")
    subprocess.run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, lock], check=True)


def password_hash() -> str:
    """Return the hash of PASSWORD as devpi-server keeps it."""
    code = "import sys, argon2; print(argon2.PasswordHasher().hash(sys.stdin.read()))"
    return subprocess.check_output([VENV / "bin" / "python", "-c", code], input=PASSWORD, text=True).strip()


def declaration(count: int, hashed: str) -> list[dict[str, Any]]:
    """Return `count` users with two indexes each."""
    return [
        {
            "name": (name := f"user{number:04}"),
            "email": f"{name}@example.com",
            "password_hash": hashed,
            "indexes": [
                {"name": "production", "volatile": False},
                {"name": "dev", "bases": [f"{name}/production"]},
            ],
        }
        for number in range(count)
    ]


class Server:
    """A new devpi-server on loopback, which ends with the block."""

    def __enter__(self) -> Server:
        """Initialise it, start it, and wait until it answers."""
        self._directory = tempfile.TemporaryDirectory(prefix="devpi-bench-")
        home = Path(self._directory.name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = home / "log"
        small = {"ARGON2_MEMORY_COST": "65536", "ARGON2_TIME_COST": "3", "ARGON2_PARALLELISM": "4"}
        environment = {
            **os.environ,
            **{f"DEVPISERVER_{name}": value for name, value in small.items()},
            "DEVPISERVER_ROOT_PASSWD": PASSWORD,
            "PYTHONWARNINGS": "ignore",
        }
        programs = VENV / "bin"
        for command in (
            [programs / "devpi-gen-secret", "--secretfile", home / "secret"],
            [programs / "devpi-init", "--serverdir", home / "server"],
        ):
            subprocess.run(command, check=True, capture_output=True, env=environment)
        options = ["--serverdir", home / "server", "--secretfile", home / "secret", "--offline-mode"]
        options += ["--host=127.0.0.1", f"--port={self.port}", "--restrict-modify=root", "--indexer-backend=null"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [programs / "devpi-server", *options], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        for _attempt in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        sys.exit(f"devpi-server does not answer:\n{self._log.read_text()[-2000:]}")

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
        self._directory.cleanup()

    def requests(self) -> int:
        """Return how many requests it has answered so far."""
        return len(re.findall(r"\[req\d+\] [A-Z]+ /", self._log.read_text()))


def bare(users: list[dict[str, Any]]) -> float:
    """Return the seconds of the requests alone."""
    with Server() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)

        def ask(method: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json", **headers})
            with connection.getresponse() as response:
                content = response.read()
                if response.status not in (200, 201):
                    sys.exit(f"{method} {path}: {response.status} {content!r}")
                return json.loads(content)

        begun = time.monotonic()
        token = ask("POST", "/+login", {"user": "root", "password": PASSWORD}, {})["result"]["password"]
        headers = {"X-Devpi-Auth": base64.b64encode(f"root:{token}".encode()).decode()}
        for user in users:
            body = {"email": user["email"], "password": None, "pwhash": user["password_hash"]}
            ask("PUT", f"/{user['name']}", body, headers)
            for index in user["indexes"]:
                body = {"type": "stage", **{key: value for key, value in index.items() if key != "name"}}
                ask("PUT", f"/{user['name']}/{index['name']}", body, headers)
        return time.monotonic() - begun


def run_module(server: Server, users: list[dict[str, Any]]) -> dict[str, float]:
    """Return seconds, peak memory in MB and number of requests of one call of devpi_users."""
    arguments = {"url": server.url, "username": "root", "password": PASSWORD, "users": users}
    given = Path(tempfile.mkstemp(prefix="devpi-bench-")[1])
    given.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    asked = server.requests()
    environment = {**os.environ, "PYTHONPATH": str(COLLECTIONS)}
    command = [sys.executable, str(ROOT / "plugins" / "modules" / "devpi_users.py")]
    begun = time.monotonic()
    with given.open() as arguments_file, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=arguments_file, stdout=said, stderr=said, env=environment)
        # The kernel counts what this process had when it started that one as the peak of that one too (ru_maxrss), but
        # not here.
        memory = 0
        while process.poll() is None:
            peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            memory = max(memory, int(peak[1])) if peak else memory
            time.sleep(0.01)
        seconds = time.monotonic() - begun
        said.seek(0)
        content = said.read().decode()
    given.unlink()
    if process.returncode:
        sys.exit(f"devpi_users failed:\n{content[:3000]}")
    return {
        "seconds": seconds,
        "memory": memory / 1000,
        "requests": server.requests() - asked,
        "changed": json.loads(content)["changed"],
    }


def module(users: list[dict[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the figures of the call that creates everything, and of the one that finds nothing to change."""
    with Server() as server:
        created, again = run_module(server, users), run_module(server, users)
    if not created["changed"] or again["changed"]:
        sys.exit("devpi_users did not create once and for all")
    return created, again


LOOP = """
- hosts: localhost
  connection: local
  gather_facts: false
  module_defaults:
    group/wheelhouse.devpi.devpi: {{url: {url}, username: root, password: {password}}}
  tasks:
    - wheelhouse.devpi.devpi_user:
        name: "{{{{ item.name }}}}"
        email: "{{{{ item.email }}}}"
        password_hash: "{{{{ item.password_hash }}}}"
      loop: "{{{{ users }}}}"
      loop_control: {{label: "{{{{ item.name }}}}"}}
    - wheelhouse.devpi.devpi_index:
        name: "{{{{ item.0.name }}}}/{{{{ item.1.name }}}}"
        volatile: "{{{{ item.1.volatile | default(omit) }}}}"
        bases: "{{{{ item.1.bases | default(omit) }}}}"
      loop: "{{{{ users | subelements('indexes') }}}}"
      loop_control: {{label: "{{{{ item.0.name }}}}/{{{{ item.1.name }}}}"}}
"""


def loop(users: list[dict[str, Any]]) -> float:
    """Return the seconds of one task for each object."""
    with Server() as server, tempfile.TemporaryDirectory() as directory:
        play = Path(directory, "loop.yml")
        play.write_text(LOOP.format(url=server.url, password=PASSWORD))
        variables = Path(directory, "users.json")
        variables.write_text(json.dumps({"users": users, "ansible_python_interpreter": sys.executable}))
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_PIPELINING": "1"}
        command = [ROOT / ".venv-test" / "bin" / "ansible-playbook", "-i", "localhost,", "-e", f"@{variables}", play]
        begun = time.monotonic()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - begun
    if done.returncode:
        sys.exit(f"the loop failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return seconds


def command_line(users: list[dict[str, Any]]) -> float:
    """Return the seconds of one devpi command for each object; the server makes the hashes of the passwords."""
    with Server() as server, tempfile.TemporaryDirectory() as home:

        def devpi(*arguments: str) -> None:
            command = [VENV / "bin" / "devpi", *arguments, "--clientdir", home]
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})

        devpi("use", server.url)
        devpi("login", "root", f"--password={PASSWORD}")
        begun = time.monotonic()
        for user in users:
            name = user["name"]
            devpi("user", "-c", name, f"password={PASSWORD}", f"email={user['email']}")
            devpi("index", "-c", f"{name}/production", "volatile=False")
            devpi("index", "-c", f"{name}/dev", f"bases={name}/production")
        return time.monotonic() - begun


def measured(rounds: int) -> dict[int, list[dict[str, float]]]:
    hashed = password_hash()
    found: dict[int, list[dict[str, float]]] = {}
    for size in SIZES:
        users = declaration(size, hashed)
        # Once is enough, and long enough, for the largest
        for number in range(1 if size > SHOWN else rounds):
            figures = {"bare": bare(users)}
            created, again = module(users)
            figures |= {"module": created["seconds"], "memory": created["memory"], "again": again["seconds"]}
            figures |= {"requests": created["requests"], "requests again": again["requests"]}
            found.setdefault(size, []).append(figures)
            print(
                f"{size} users, round {number + 1}: " + ", ".join(f"{k} {v:.1f}" for k, v in figures.items()),
                flush=True,
            )
    part = declaration(PART, hashed)
    for number in range(rounds):
        for name, side in (("loop", loop), ("command line", command_line)):
            found[SHOWN][number][name] = side(part) / PART * SHOWN
            print(f"{name}, round {number + 1}: {found[SHOWN][number][name]:.0f} s, extrapolated", flush=True)
    return found


def table(medians: dict[int, dict[str, float]]) -> str:
    lines = [
        "| users (with two indexes each) | bare requests, s | devpi_users, s | ratio | nothing to change, s "
        "| requests then | memory, MB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size, each in medians.items():
        ratio = each["module"] / each["bare"]
        lines.append(
            f"| {size} | {each['bare']:.1f} | {each['module']:.1f} | {ratio:.2f} | {each['again']:.2f} "
            f"| {each['requests again']:.0f} | {each['memory']:.0f} |"
        )
    shown = medians[SHOWN]
    lines += ["", f"| {SHOWN} users with two indexes each | s | devpi_users is faster by |", "| --- | ---: | ---: |"]
    for name, label in (
        ("module", "one call of devpi_users"),
        ("loop", f"a loop of devpi_user and devpi_index (measured on {PART}, extrapolated)"),
        ("command line", f"a loop of the devpi command line (measured on {PART}, extrapolated)"),
    ):
        lines.append(f"| {label} | {shown[name]:.0f} | {shown[name] / shown['module']:.0f} |")
    return "\n".join(lines)


def plot(medians: dict[int, dict[str, float]]) -> None:
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for key, label in (
        ("bare", "bare requests"),
        ("module", "devpi_users"),
        ("again", "devpi_users, nothing to change"),
    ):
        axis.plot(list(medians), [each[key] for each in medians.values()], "o-", label=label)
    for key, label in (("loop", "loop of modules"), ("command line", "loop of the command line")):
        axis.plot([SHOWN], [medians[SHOWN][key]], "^", label=f"{label} (extrapolated)")
    axis.set(xscale="log", yscale="log", xlabel="users, each with two indexes", ylabel="seconds")
    axis.legend(fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "users.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Measure, and write what was found."""
    rounds = int(sys.argv[1])
    make_venv()
    found = measured(rounds)
    medians = {
        size: {key: statistics.median(each[key] for each in done) for key in done[0]} for size, done in found.items()
    }
    text = table(medians)
    caption = (
        f"Medians of {rounds} rounds in turn ({SIZES[-1]} users: one), each on a new server. "
        f"Measured on {machine().replace(', containers of Debian 12', '')}."
    )
    (RESULTS / "users.md").write_text(f"# Declaring many users\n\n{text}\n\n{caption}\n\n![Plot](users.svg)\n", "utf-8")
    (RESULTS / "users.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    plot(medians)
    print(f"\n{text}\n\n{caption}")


if __name__ == "__main__":
    main()
