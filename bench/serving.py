"""Measures how fast packages are served, beside the hand-made procedure, and writes bench/results/serving.*.

Four servers run in three new containers of one image, and each case is measured on all of them in turn:

* by hand: devpi-server alone, as by-hand.sh starts it, without TLS;
* wheelhouse.devpi: devpi-server behind nginx, by https, without limits for one address, which wrk is;
* private: the same with devpi_private, every reader with a password, and pip also with a token;
* nginx alone: the same nginx with a copy of the files, by https with the same settings: what can be reached at all.

wrk asks on the host itself, as pip does: with pip's own headers. A run that has an error, an answer other than 2xx or a
short one fails the benchmark, except by hand. It fails too where a figure does not reach what it is to reach: a share
of what nginx alone does, because the ratio to by hand is another one on each processor.

Usage, from the checkout, by script/bench: serving.py ROUNDS
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from deploy import OFFLINE, RESULTS, Host, machine, playbook

SECONDS = 3
SMALL, LARGE = 20_000, 50_000_000
PROJECTS = [["shelf", 20, 2_000], ["fresh", 20, 2_000], ["small", 1, SMALL], ["large", 1, LARGE]]
DOWNLOADED = [f"part{number:02}" for number in range(40)]
PIPS = 8
NAMES = ("packages.example.com", "static.example.com")
HAND, OURS, PRIVATE, ALONE = "by hand", "wheelhouse.devpi", "private", "nginx alone"
# The same server as PRIVATE, read as CI reads it
TOKEN = "private, with a token"
READING = {
    "user": "team",
    "path": "/etc/devpi/credentials/reading.token",
    "indexes": ["team/dev"],
    "allowed": ["pkg_read"],
}
# As nginx.conf of Debian is, and as the site says that the release files' server is
STATIC = """
mkdir -p /srv/static
install -m 0644 {small} {large} /srv/static
{{
  echo 'server {{ server_name static.example.com; root /srv/static;'
  grep -E '^    (listen .*:443 |ssl_|keepalive_)' /etc/nginx/conf.d/devpi.conf
  echo '}}'
}} >/etc/nginx/conf.d/static.conf
nginx -s reload
"""


@dataclass(frozen=True)
class Place:
    """An index, as inside.py is told of it."""

    url: str
    user: str
    password_file: str
    ca: str | None = None
    private: bool = False


@dataclass(frozen=True)
class Case:
    """What wrk asks for, and what is to come of it.

    :param figure: requests or MB, both a second, or p99, in milliseconds.
    :param asked: page, small or large.
    :param share: of what nginx alone does with files, which is to be reached; for p99 not to be passed.
    :param beside: the label of the case whose figure of nginx alone that is; this one's where it is empty.
    :param agents: how many User-Agents take turns; 0 for one, pip's.
    """

    label: str
    figure: str
    asked: str
    connections: int
    share: float
    beside: str = ""
    private: bool = False
    agents: int = 0

    @property
    def sides(self) -> list[str]:
        """The sides on which it is measured."""
        if self.private:
            return [PRIVATE]
        return [HAND, OURS, *([] if self.beside else [ALONE])]


FILES = Case("small wheel (20 kB), 16 connections, requests/s", "requests", "small", 16, 0.9)
CROWD = Case("small wheel, 200 connections, p99 in ms", "p99", "small", 200, 1.2)
CASES = [
    Case("simple page, 16 connections, requests/s", "requests", "page", 16, 1.0, FILES.label),
    Case("simple page, 50 kinds of clients, requests/s", "requests", "page", 50, 1.0, FILES.label, agents=50),
    FILES,
    Case("large wheel (50 MB), 16 connections, MB/s", "MB", "large", 16, 0.9),
    Case("simple page, 200 connections, p99 in ms", "p99", "page", 200, 1.2, CROWD.label),
    CROWD,
    # by hand nothing is private
    Case("private small wheel, 16 connections, requests/s", "requests", "small", 16, 0.6, FILES.label, private=True),
]


class Side:
    """One of the servers, which has its releases."""

    def __init__(self, host: Host, place: Place, projects: list[list[Any]]) -> None:
        self._host = host
        self._place = place
        # wrk looks the port of https up in what netbase has
        host.shell(
            "DEBIAN_FRONTEND=noninteractive apt-get -qq update && "
            "DEBIAN_FRONTEND=noninteractive apt-get -qq install wrk netbase python3-venv >/dev/null && "
            "python3 -m venv /opt/bench/venv"
        )
        wheels = self.inside("publish", json.dumps(projects))
        self.paths = {name: wheels.get(f"{name}-1.0-py3-none-any.whl") for name in ("small", "large")}
        self.paths["page"] = f"/{place.user}/dev/+simple/shelf/"

    def inside(self, does: str, *arguments: str) -> Any:
        """Have inside.py do something."""
        words = " ".join(f"'{each}'" for each in (does, json.dumps(asdict(self._place)), *arguments))
        return json.loads(self._host.shell(f"python3 /bench/inside.py {words}"))

    def read_with(self, password_file: str) -> Side:
        """Return the same side for those who log in with what is in that file."""
        other = copy.copy(self)
        other._place = replace(self._place, password_file=password_file)
        return other

    def measure(self, case: Case) -> Any:
        """Put the load on, and return what wrk counted."""
        headers = "page" if case.asked == "page" else "private" if case.private else "file"
        options = f"--threads 2 --connections {case.connections} --duration {SECONDS}s"
        # a large file may take its time
        options += f" --timeout {SECONDS if case.asked == 'large' else 2}s --script /bench/wrk.lua"
        url = self._place.url + self.paths[case.asked]
        wait_until_idle()
        said = self._host.shell(f"HEADERS=/opt/bench/headers-{headers} AGENTS={case.agents} wrk {options} {url}")
        counted = json.loads(said.splitlines()[-1])
        size = {"small": SMALL, "large": LARGE}.get(case.asked, 0)
        if counted["bytes"] < counted["requests"] * size:
            counted["errors"] += counted["requests"]
        counted["MB"] = counted["bytes"] / counted["seconds"] / 1e6
        counted["requests"] /= counted["seconds"]
        return counted


class Alone(Side):
    """nginx without a server behind it, on the host of another side."""

    def __init__(self, side: Side) -> None:
        self._host = side._host
        self._place = Place("https://static.example.com", "", "")
        files = {name: f"/var/lib/devpi/+files{side.paths[name]}" for name in ("small", "large")}
        self._host.shell(STATIC.format(**files))
        self.paths = {name: "/" + path.rsplit("/", 1)[1] for name, path in files.items()}


def deployed(name: str, stack: contextlib.ExitStack, *, private: bool) -> Host:
    """Return a new host with nginx in front."""
    names = [f"--add-host={each}:127.0.0.1" for each in NAMES]
    host = stack.enter_context(Host(name, "devpi", *names))
    variables = {"devpi_proxy_names": [NAMES[0]], "devpi_proxy_request_rate": 0, "devpi_proxy_connections": 0}
    # as by hand: see OFFLINE
    variables |= {"devpi_server_options": {"offline-mode": True}, "devpi_private": private}
    if private:
        variables["devpi_tokens"] = [READING]
    playbook(host, ("devpi", "devpi_proxy"), **variables)
    return host


def sides(stack: contextlib.ExitStack) -> dict[str, Side]:
    """Deploy and publish."""
    hand = stack.enter_context(Host("devpi-bench-serving-by-hand", "ubuntu_devpi_server"))
    hand.shell(OFFLINE)
    hand.shell("/bench/by-hand.sh")
    hand.shell("echo somepassword >/root/password")
    downloaded = [[name, 1, SMALL] for name in DOWNLOADED]
    found = {HAND: Side(hand, Place("http://127.0.0.1:3141", "pbernatchez", "/root/password"), PROJECTS + downloaded)}
    place = Place(f"https://{NAMES[0]}", "team", "/etc/devpi/credentials/team", "/etc/ssl/devpi/ca.pem")
    found[OURS] = Side(deployed("devpi-bench-serving", stack, private=False), place, PROJECTS)
    found[ALONE] = Alone(found[OURS])
    private = deployed("devpi-bench-serving-private", stack, private=True)
    place = replace(place, private=True)
    found[PRIVATE] = Side(private, place, [["small", 1, SMALL], *downloaded])
    found[TOKEN] = found[PRIVATE].read_with(str(READING["path"]))
    return found


def measured(rounds: int) -> list[dict[str, Any]]:
    """Return what each round found."""
    found = []
    with contextlib.ExitStack() as stack:
        servers = sides(stack)
        for number in range(1, rounds + 1):
            here: dict[str, Any] = {}
            for case in CASES:
                here[case.label] = {side: servers[side].measure(case) for side in case.sides}
                say(number, case.label, here[case.label])
            here["pip"] = {
                side: servers[side].inside("pips", str(PIPS), json.dumps(DOWNLOADED)) for side in (HAND, PRIVATE, TOKEN)
            }
            say(number, "pip", here["pip"])
            here["fresh"] = servers[OURS].inside("fresh", "fresh", str(1000 * number))
            say(number, "fresh", here["fresh"])
            found.append(here)
    return found


def wait_until_idle() -> None:
    """Wait until the machine has nothing to do.

    A server goes on with what it was asked when nobody waits for it any more, and that would slow down the next side.
    """
    for _dummy in range(100):
        before = busy()
        time.sleep(0.25)
        if busy() - before < 0.05:
            return
    sys.exit("This machine is busy with something else, so nothing can be measured.")


def busy() -> float:
    """Return the seconds for which the processors have worked since the boot."""
    user, nice, system = map(int, Path("/proc/stat").read_text(encoding="utf-8").split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def say(number: int, what: str, figures: Any) -> None:
    print(f"round {number}, {what}: {json.dumps(figures)}", flush=True)


@dataclass
class Row:
    """A line of the table."""

    label: str
    hand: float | None
    mine: float
    reach: str
    reached: bool
    alone: float | None = None
    share: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours to the figure by hand."""
        return self.mine / self.hand if self.hand else None


def rows(found: list[dict[str, Any]]) -> list[Row]:
    """Return the medians beside what they are to reach.

    A share is the median of those of the rounds: what slows a round down slows both of its sides.
    """

    def median(label: str, side: str, figure: str) -> float:
        return statistics.median(each[label][side][figure] for each in found)

    table: list[Row] = []
    for case in CASES:
        hand = median(FILES.label if case.private else case.label, HAND, case.figure)
        mine = median(case.label, PRIVATE if case.private else OURS, case.figure)
        beside = case.beside or case.label
        alone = median(beside, ALONE, case.figure)
        share = statistics.median(
            each[case.label][PRIVATE if case.private else OURS][case.figure] / each[beside][ALONE][case.figure]
            for each in found
        )
        less = case.figure == "p99"
        reached = share <= case.share if less else share >= case.share
        reach = f"share {'≤' if less else '≥'} {case.share}"
        table.append(Row(case.label, hand, mine, reach, reached, alone, share))
    hand = median("pip", HAND, "seconds")
    for side, how in ((PRIVATE, "a password"), (TOKEN, "a token")):
        label = f"{PIPS} pips at once, {len(DOWNLOADED)} private projects each, with {how}, s"
        table.append(Row(label, hand, median("pip", side, "seconds"), "", True))
    worst = max(second for each in found for second in each["fresh"]["seconds"])
    table.append(Row("a release is in the page under load after at most, s", None, worst, "≤ 1", worst <= 1))
    wrong = sum(each["fresh"]["stale"] + each["fresh"]["broken"] for each in found)
    answers = sum(each["fresh"]["answers"] for each in found)
    table.append(Row(f"stale or broken among {answers} answers meanwhile", None, wrong, "0", not wrong))
    by_hand, errors = (sum(errors_of(each, own) for each in found) for own in (False, True))
    table.append(Row("errors of wrk and pip", by_hand, errors, "0", not errors))
    return table


def errors_of(found: dict[str, Any], own: bool) -> int:
    """Return the errors of a round, ours or by hand."""
    count = found["fresh"]["errors"] if own else 0
    for label, sides in found.items():
        if label != "fresh":
            for side, each in sides.items():
                count += (side != HAND) is own and each.get("errors", each.get("failed"))
    return count


def shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def table(found: list[Row]) -> str:
    lines = [
        f"| | {HAND} | {OURS} | ratio | {ALONE} | share | to reach | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in found:
        ratio = None if row.label.startswith("errors") else row.ratio
        cells = [row.label, *map(shown, (row.hand, row.mine, ratio, row.alone, row.share)), row.reach]
        lines.append(f"| {' | '.join(cells)} | {'' if row.reached else '**missed**'} |")
    return "\n".join(lines)


def plot(found: list[dict[str, Any]]) -> None:
    figure, axes = plt.subplots(2, 4, figsize=(13, 6), layout="constrained")
    colours = {HAND: "#9aa5b1", OURS: "#2f6f4f", PRIVATE: "#2f6f4f", ALONE: "#d9a441"}
    axes.flat[-1].set_axis_off()
    for axis, case in zip(axes.flat, CASES, strict=False):
        bars = {side: [each[case.label][side][case.figure] for each in found] for side in case.sides}
        if case.private:
            bars = {HAND: [each[FILES.label][HAND][case.figure] for each in found], **bars}
        for place, (side, values) in enumerate(bars.items()):
            axis.bar(place, statistics.median(values), color=colours[side], width=0.6)
            axis.plot([place] * len(values), values, "k.", markersize=4)
        axis.set_xticks(range(len(bars)), [side.replace(".", ".\n") for side in bars], fontsize=8)
        axis.set_yscale("log")
        axis.set_title(case.label.replace(", ", "\n", 1), fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "serving.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Measure, and write what was found."""
    rounds = int(sys.argv[1])
    found = measured(rounds)
    judged = rows(found)
    text = table(judged)
    caption = (
        f"Medians of {rounds} rounds in turn, {SECONDS} s of wrk each; freshness and errors of all rounds. By hand "
        "there is no TLS and nothing is private, so the private file is beside the plain one; pages are beside nginx "
        "alone with small files. "
        f"Measured on {machine()}."
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "serving.md").write_text(f"# Serving packages\n\n{text}\n\n{caption}\n\n![Plot](serving.svg)\n", "utf-8")
    (RESULTS / "serving.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    plot(found)
    print(f"\n{text}\n\n{caption}")
    missed = [row.label for row in judged if not row.reached]
    if missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
