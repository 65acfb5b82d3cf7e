"""Measures the deployment beside the hand-made procedure and writes bench/results and the table in the README.

Both sides run in turn in new containers of one image. What is measured of each:

* fresh: seconds of the whole deployment, from the bare host to the configured client (by-hand.sh prints its own times);
* again: seconds and tasks of the playbook on the finished host, which has no counterpart by hand;
* ready: seconds from starting the stopped server to the first answer of GET /+api;
* peak: MB of memory that the server has had at the most since its start, as the kernel counts it (VmHWM).

Usage, from the checkout, by script/bench: deploy.py ROUNDS
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
IMAGE = "devpi-test:bookworm-systemd"
BUNDLE = "/opt/test-ca/bundle.pem"
SYSTEMD = [
    *("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--cgroupns", "private"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"),  # noqa: S108 - in the container
]
# devpi-web makes a new server download the names of all of its mirror's projects. By hand nothing keeps it from that,
# and a benchmark must not do it, so that side's server is told to stay offline. It only saves that side work.
OFFLINE = (
    "mkdir /etc/xdg/devpi-server; "
    "printf 'devpi-server:\\n  offline-mode: true\\n' >/etc/xdg/devpi-server/devpi-server.yml"
)


def run(*command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it printed; show it where the program fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if check and done.returncode:
        sys.exit(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


class Host:
    """A container with systemd, to deploy to once.

    :param name: of the container; one that is left of an earlier run is removed.
    :param program: the supervisor program of the server.
    :param options: of docker run.
    """

    def __init__(self, name: str, program: str, *options: str) -> None:
        self.name = name
        self.program = program
        self.options = options
        self.bundle = [f"--env=PIP_CERT={BUNDLE}"] if (ROOT / ".cache/ca/bundle.pem").exists() else []

    def __enter__(self) -> Host:
        """Start it and wait until it has booted."""
        run("docker", "rm", "--force", self.name, check=False)
        volumes = ["--volume", f"{ROOT}/.cache/ca:/opt/test-ca:ro", "--volume", f"{ROOT}/bench:/bench:ro"]
        options = [*SYSTEMD, *volumes, *self.options]
        run("docker", "run", "--detach", "--name", self.name, *options, IMAGE, "/lib/systemd/systemd")
        self.shell("until systemctl is-system-running >/dev/null 2>&1; do sleep 0.2; done")
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        run("docker", "rm", "--force", self.name)

    def shell(self, script: str) -> str:
        return run("docker", "exec", *self.bundle, self.name, "bash", "-euo", "pipefail", "-c", script).stdout

    def ready(self) -> float:
        """Return the seconds from a start of the stopped server to its first answer."""
        self.shell(f"supervisorctl stop {self.program}")
        probe = (
            "import time, urllib.request as u\n"
            "while True:\n"
            "  try: u.urlopen('http://127.0.0.1:3141/+api', timeout=2); break\n"
            "  except OSError: time.sleep(0.05)\n"
        )
        # supervisorctl itself waits for startsecs, so it runs beside the probe.
        script = (
            f"supervisorctl start {self.program} >/dev/null & s=$(date +%s.%N); "
            f'python3 -c "{probe}"; e=$(date +%s.%N); wait; echo $s $e'
        )
        start, end = map(float, self.shell(script).split())
        return end - start

    def peak(self) -> float:
        """Return the server's peak memory in MB."""
        pid = self.shell(f"supervisorctl pid {self.program}").strip()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", self.shell(f"cat /proc/{pid}/status"))[0]) / 1000


def by_hand(number: int) -> dict[str, float]:
    with Host(f"devpi-bench-by-hand-{number}", "ubuntu_devpi_server") as host:
        host.shell(OFFLINE)
        said = host.shell("/bench/by-hand.sh")
        times = [float(each) for each in re.findall(r"^(?:start|client)\t([0-9.]+)$", said, re.MULTILINE)]
        return {"fresh": times[1] - times[0], "ready": host.ready(), "peak": host.peak()}


def ours(number: int) -> dict[str, float]:
    with Host(f"devpi-bench-ours-{number}", "devpi") as host:
        fresh, _recap = playbook(host)
        again, recap = playbook(host)
        found = re.search(r"ok=(\d+)\s+changed=(\d+)", recap)
        if not found or found[2] != "0":
            sys.exit(f"the second run changed something:\n{recap}")
        return {"fresh": fresh, "again": again, "tasks": int(found[1]), "ready": host.ready(), "peak": host.peak()}


def playbook(host: Host, groups: tuple[str, ...] = ("devpi",), **variables: object) -> tuple[float, str]:
    """Run site.yml on the host, in these groups and with these variables, and return its seconds and its output."""
    own = {
        "ansible_connection": "community.docker.docker",
        "ansible_user": "root",
        # as inventory/localhost names one
        "ansible_python_interpreter": "/usr/bin/python3",
        "devpi_ca_bundle": BUNDLE if host.bundle else "",
        **variables,
    }
    inventory = {group: {"hosts": {host.name: own}} for group in groups}
    file = ROOT / ".cache" / "bench-inventory.json"
    file.write_text(json.dumps(inventory), encoding="utf-8")
    begun = time.monotonic()
    said = run("ansible-playbook", "-i", str(file), "playbooks/site.yml", cwd=ROOT, env=environment())
    return time.monotonic() - begun, said.stdout


def environment() -> dict[str, str]:
    path = f"{ROOT}/.venv-test/bin:{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "ANSIBLE_COLLECTIONS_PATH": f"{ROOT}/.venv-test/collections",
        "ANSIBLE_NOCOLOR": "1",
    }


ROWS = (
    ("fresh", "fresh deployment, s", 0.6, ""),
    ("again", "second run, s", None, "≤ 8"),
    ("tasks", "second run, tasks on the host", None, "≤ 16"),
    ("ready", "start to ready, s", None, "≤ 3"),
    ("peak", "peak memory of the server, MB", None, "≤ 160"),
)


def table(hand: dict[str, float], mine: dict[str, float]) -> str:
    lines = ["| | by hand | wheelhouse.devpi | ratio | to reach |", "| --- | ---: | ---: | ---: | ---: |"]
    for key, label, ratio, bound in ROWS:
        there = f"{hand[key]:.1f}" if key in hand else "-"
        here = f"{mine[key]:.0f}" if key == "tasks" else f"{mine[key]:.1f}"
        share = f"{mine[key] / hand[key]:.2f}" if key in hand else "-"
        lines.append(f"| {label} | {there} | {here} | {share} | {f'ratio ≤ {ratio}' if ratio else bound} |")
    return "\n".join(lines)


def machine() -> str:
    memory = int(re.findall(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"))[0]) // 1_000_000
    model = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return (
        f"{os.cpu_count()} cores ({model[0] if model else platform.machine()}), {memory} GB, "
        f"Linux {platform.release()}, containers of Debian 12, {time.strftime('%Y-%m-%d')}"
    )


def plot(sides: dict[str, list[dict[str, float]]]) -> None:
    shown = [row for row in ROWS if row[0] in ("fresh", "ready", "peak")]
    figure, axes = plt.subplots(1, len(shown), figsize=(9, 3), layout="constrained")
    for axis, (key, label, *_rest) in zip(axes, shown, strict=True):
        for place, rounds in enumerate(sides.values()):
            values = [each[key] for each in rounds]
            axis.bar(place, statistics.median(values), color=("#9aa5b1", "#2f6f4f")[place], width=0.6)
            axis.plot([place] * len(values), values, "k.", markersize=4)
        axis.set_xticks(range(len(sides)), list(sides))
        axis.set_title(label, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "deploy.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Measure, and write what was found."""
    rounds = int(sys.argv[1])
    sides: dict[str, list[dict[str, float]]] = {"by hand": [], "wheelhouse.devpi": []}
    for number in range(1, rounds + 1):
        for side, measure in (("by hand", by_hand), ("wheelhouse.devpi", ours)):
            figures = measure(number)
            sides[side].append(figures)
            print(
                f"round {number}, {side}: " + ", ".join(f"{key} {value:.1f}" for key, value in figures.items()),
                flush=True,
            )
    hand, mine = ({key: statistics.median(each[key] for each in done) for key in done[0]} for done in sides.values())
    text = table(hand, mine)
    caption = f"Medians of {rounds} rounds in turn, each in a new container. Measured on {machine()}."
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "deploy.md").write_text(
        f"# Deployment beside the hand-made procedure\n\n{text}\n\n{caption}\n\n![Plot](deploy.svg)\n", encoding="utf-8"
    )
    (RESULTS / "deploy.json").write_text(json.dumps(sides, indent=2) + "\n", encoding="utf-8")
    plot(sides)
    readme = ROOT / "README.md"
    between = re.compile(r"(<!-- bench:begin -->\n).*?(<!-- bench:end -->)", re.DOTALL)
    new = between.sub(lambda found: f"{found[1]}{text}\n\n{caption}\n{found[2]}", readme.read_text(encoding="utf-8"))
    readme.write_text(new, encoding="utf-8")
    print(f"\n{text}\n\n{caption}")


if __name__ == "__main__":
    main()
