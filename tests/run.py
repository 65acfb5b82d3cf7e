"""Runs the steps of script/test, which has made the environment that this runs in.

A step is a list of checks: a check is one program, and its log is shown only when it fails. What is counted at the end
is the tests of the JUnit reports that pytest wrote, and one for every check that has no such report.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.request
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "script"))
from _tarball import copy_of_checkout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
LOGS = CACHE / "logs"
BIN = ROOT / ".venv-test" / "bin"
# Where the checkout has the name by which Python and Ansible import a collection; script/_setup makes it for .venv too
TREE = ROOT / ".venv-test" / "collections"
# The tarball's content, installed: what the scenarios run
INSTALLED = CACHE / "collections"
# The commit on which a whole run has passed, for script/release
PASSED = CACHE / "passed"
# The supported releases of ansible-core, each with a Python that it runs on
CORES = {"2.19": "3.11", "2.20": "3.12", "2.21": "3.13", "2.22": "3.13"}
# The longest early, so that two at a time end together
SCENARIOS = (
    "proxy",
    "default",
    "faults",
    "hostile",
    "platforms",
    "newcomer",
    "web",
    "remote",
    "howto",
    "upgrade",
    "roles",
)

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))},
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "PYTHONPATH": str(TREE),
    "ANSIBLE_COLLECTIONS_PATH": str(TREE),
    "LC_ALL": "C.UTF-8",
    "NO_COLOR": "1",
    "ANSIBLE_NOCOLOR": "1",
}


@dataclass
class Check:
    """One program that passes when it exits with 0.

    With `report` it leaves JUnit files under CACHE that match this pattern; then at least one test must have run, for a
    run that found no tests shows nothing.
    """

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    directory: Path = ROOT
    report: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def log(self) -> Path:
        """The file that takes everything the program prints."""
        return LOGS / (self.name.replace(" ", "-").replace("/", "-") + ".log")

    def run(self) -> None:
        """Run the program, count, and print one line; after a failure also the end of the log."""
        for report in self._reports():
            report.unlink()
        start = time.monotonic()
        with self.log.open("wb") as log:
            code = subprocess.run(
                self.command,
                cwd=self.directory,
                env={**ENVIRONMENT, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        for report in self._reports():
            self._count(report)
        if self.report and code == 0 and not self.passed:
            code = 1
            with self.log.open("a", encoding="utf-8") as log_text:
                log_text.write("\nIt ended well, but no test has run.\n")
        if code and not self.failed:
            self.failed += 1
        elif not self.report:
            self.passed += 1
        self._tell(time.monotonic() - start)

    def _reports(self) -> list[Path]:
        return sorted(CACHE.glob(self.report)) if self.report else []

    def _count(self, report: Path) -> None:
        for suite in ET.parse(report).iter("testsuite"):  # noqa: S314 - our own tools wrote it
            tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            self.failed += bad
            self.skipped += skipped
            self.passed += tests - skipped - bad

    def _tell(self, seconds: float) -> None:
        counts = f"{self.passed} passed" if self.report else ""
        if self.skipped:
            counts += f", {self.skipped} skipped"
        if not self.failed:
            say(f"  ok      {self.name:<34} {seconds:6.1f} s  {counts}".rstrip())
            return
        lines = self.log.read_text("utf-8", "replace").splitlines()
        shown = "\n".join(f"  | {line}" for line in lines[-150:])
        more = f"  | ... {len(lines) - 150} lines before\n" if len(lines) > 150 else ""
        where = self.log.relative_to(ROOT)
        say(f"  FAILED  {self.name:<34} {seconds:6.1f} s  {counts}\n{more}{shown}\n  | all of it: {where}")


def say(text: str) -> None:
    """Print a line at once, in one piece: two scenarios may speak at the same time."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def pytest(name: str, *arguments: str, **environment: str) -> Check:
    """Return a check that runs pytest on the controller."""
    report = f"reports/{name.replace(' ', '-')}.xml"
    command = ["pytest", *arguments, "--junitxml", str(CACHE / report), "-o", "cache_dir=.cache/pytest"]
    return Check(name, command, environment=environment, report=report)


def static() -> Iterator[Check]:
    """Nothing is run: style, types, and what the linters know."""
    yield Check("ruff check", ["ruff", "check", "."])
    yield Check("ruff format", ["ruff", "format", "--check", "."])
    yield Check("mypy", ["mypy", "-p", "ansible_collections.wheelhouse.devpi.plugins"], {"MYPYPATH": str(TREE)})
    scripts = ["tests/run.py", *(f"script/{name}.py" for name in ("_release", "_tables", "_tarball"))]
    yield Check("mypy of the scripts", ["mypy", *scripts], {"MYPYPATH": str(ROOT / "script")})
    yield Check("yamllint", ["yamllint", "--strict", "."])
    yield Check("ansible-lint", ["ansible-lint", "--offline", "--profile", "production", "--strict"])
    # both ask git for the files, and take those of .venv-test too where git does not answer
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": str(ROOT)}
    yield Check("reuse", ["reuse", "lint", "--lines"], trust)
    # Every module, plugin, option and role that the documentation names has to exist. The check makes a copy of the
    # collection, and must find no other one.
    strict = ["--plugin-docs", "--check-extra-docs-refs", "--disallow-unknown-collection-refs"]
    alone = {"ANSIBLE_COLLECTIONS_PATH": "", "PYTHONPATH": ""}
    yield Check("antsibull-docs", ["antsibull-docs", "lint-collection-docs", *strict, "."], {**trust, **alone})


def unit() -> Iterator[list[Check]]:
    """Code alone, without a server."""
    yield unit_tests("unit")


def unit_tests(name: str, **environment: str) -> list[Check]:
    """Return the checks of tests/unit; the two files that take half the time are beside the rest."""
    long = ("tests/unit/test_variables.py", "tests/unit/test_devpi_preflight.py")
    rest = ("tests/unit", *(f"--ignore={file}" for file in long))
    return [pytest(f"{name} variables", *long, **environment), pytest(name, *rest, **environment)]


def build() -> Iterator[Check]:
    """Build what users install, and check that; then make a release of a copy."""
    yield Check("antsibull-changelog", ["antsibull-changelog", "lint"])
    yield from install()
    for tarball in map(str, (CACHE / "tarball").glob("*.tar.gz")):
        yield pytest("content of the tarball", "tests/tarball", DEVPI_TEST_TARBALL=tarball)
        # it writes its result to the directory that it runs in
        yield Check("galaxy-importer", [sys.executable, "-m", "galaxy_importer.main", tarball], directory=CACHE)
    yield pytest("release", "tests/release")


def install() -> Iterator[Check]:
    """Build the tarball of the working tree and install it where the scenarios look for the collection."""
    # Scenarios newcomer and remote deploy from it, as from a clone.
    copy_of_checkout(CACHE / "checkout")
    shutil.rmtree(CACHE / "tarball", ignore_errors=True)
    yield from build_and_install("", CACHE / "tarball", INSTALLED)


def build_and_install(name: str, tarballs: Path, collections: Path, **environment: str) -> Iterator[Check]:
    """Build the tarball of the working tree in one directory, and install it in another."""
    shutil.rmtree(collections, ignore_errors=True)
    command = [sys.executable, str(ROOT / "script" / "_tarball.py"), str(tarballs)]
    yield Check(f"{name} ansible-galaxy build".strip(), command, environment)
    for tarball in tarballs.glob("*.tar.gz"):
        command = ["ansible-galaxy", "collection", "install", "--offline", str(tarball), "-p", str(collections)]
        # neither path may lead to the checkout, or the collection counts as installed already
        outside = {**environment, "ANSIBLE_COLLECTIONS_PATH": str(collections), "PYTHONPATH": ""}
        yield Check(f"{name} ansible-galaxy install".strip(), command, outside)


def docs() -> Iterator[Check]:
    """Build the documentation site, and read it in a browser."""
    yield Check("site", [str(ROOT / "script" / "docs")])
    yield from ground()
    yield pytest("site in a browser", "tests/docs")


def sanity() -> Iterator[Check]:
    """Ansible's own checks, and target smoke."""
    check = ansible_test("ansible-test sanity", CACHE / "sanity", interpreters())
    yield check
    command = ["ansible-test", "integration", "--local", "--color", "no"]
    yield Check("ansible-test integration", command, check.environment, directory=check.directory, report=check.report)


def ansible_test(name: str, place: Path, path: list[str], *options: str) -> Check:
    """Return the check that runs ansible-test sanity on a clean copy, under the path that it insists on."""
    copy = place / "ansible_collections" / "wheelhouse" / "devpi"
    copy_of_checkout(copy)
    # or ansible-test asks the repository around the copy, which ignores all of it, and finds nothing to test
    subprocess.run(["git", "init", "--quiet", str(copy)], check=True)
    (copy / ".git" / "info" / "exclude").write_text("/tests/output/\n")
    home = place / "home"
    downloads = home / ".ansible" / "test" / "cache"
    downloads.mkdir(parents=True, exist_ok=True)
    # ansible-test downloads this script, unpinned; ours takes pip from the requirements' index instead
    for version in ("24.2", "25.2"):
        target = downloads / f"get_pip_{version.replace('.', '_')}.py"
        target.write_text((ROOT / "tests" / "get_pip.py").read_text().replace("PIP_VERSION", version))
    environment = {"HOME": str(home), "PYTHONPATH": "", "PATH": ":".join(path)}
    command = ["ansible-test", "sanity", "--venv", "--color", "no", "--junit", *options]
    report = str((copy / "tests" / "output" / "junit" / "*.xml").relative_to(CACHE))
    return Check(name, command, environment, directory=copy, report=report)


def integration() -> Iterator[Check | list[Check]]:
    """The modules against real servers: the role's lock on the newest Python and on 3.8, devpi-server 7, and tokens."""
    files = ROOT / "roles" / "venv" / "files"
    lock, tokens = files / "devpi.lock", files / "devpi-tokens.lock"
    dry = ["uv", "pip", "install", "--dry-run", "--require-hashes", "--python-version", "3.8", "--target"]
    yield Check("lock resolves for Python 3.8", [*dry, str(CACHE / "nothing"), "-r", str(lock), "-r", str(tokens)])
    python_3_8 = shutil.which("python3.8", path=":".join(interpreters()))
    if not python_3_8:
        say("  --      no Python 3.8 on PATH or of pyenv's: the lock was resolved for it, not installed")
    servers: dict[str, tuple[str | None, list[Path]]] = {
        "devpi": (sys.executable, [lock]),
        "devpi of Python 3.8": (python_3_8, [lock]),
        "devpi 7": (sys.executable, [ROOT / "requirements" / "devpi7.txt"]),
        "devpi with tokens": (sys.executable, [lock, tokens]),
    }
    folder = "tests/integration"
    # It loads plugins as Ansible does, and not as Python.
    alone = f"{folder}/test_release.py"
    # It makes environments of its own.
    role_venv = f"{folder}/test_role_venv.py"
    with_tokens = (
        "test_devpi_token.py",
        "test_devpi_token_info.py",
        "test_bound_tokens.py",
        "test_examples.py and devpi_token",
    )
    of_6 = ("test_server_scripts.py", "test_server_plugins.py", "test_server_settings.py")
    others = [f"--ignore={file}" for file in (alone, role_venv)]
    most = [folder, *(f"--ignore={folder}/{file}" for file in with_tokens[:-1]), *others]
    # What does not depend on the server is tested once; what the roles install is 6.
    chosen = {
        "devpi": most,
        "devpi of Python 3.8": [*most, "-m", "not once"],
        "devpi 7": [*most, "-m", "not once", *(f"--ignore={folder}/{file}" for file in of_6)],
        "devpi with tokens": [folder, *others, "-k", " or ".join(with_tokens)],
    }
    tests = [pytest("role venv", role_venv)]
    for name, (python, locks) in servers.items():
        if not python:
            continue
        venv = CACHE / name.replace(" ", "-")
        yield Check(f"{name} venv", ["uv", "venv", "--clear", "--python", python, str(venv)])
        sync = ["uv", "pip", "sync", "--require-hashes", "--python", str(venv / "bin" / "python"), *map(str, locks)]
        yield Check(f"{name} lock installs", sync)
        tests.append(pytest(f"{name} integration", *chosen[name], DEVPI_TEST_VENV=str(venv)))
        # The lookup runs where Ansible does. It reads pages, which devpi-server 7 writes in another way than 6.
        if name in ("devpi", "devpi 7"):
            tests.append(pytest(f"{name} lookup", alone, DEVPI_TEST_VENV=str(venv)))
    yield tests


def interpreters() -> list[str]:
    """Return the directories of PATH with those of pyenv's interpreters in the place of its shims.

    A shim exists for each version that is installed, and fails for those that are not switched on.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    path = [directory for directory in os.environ["PATH"].split(":") if not directory.startswith(str(pyenv))]
    return [str(BIN), *map(str, sorted(pyenv.glob("versions/3.*/bin"))), *path]


def ground() -> Iterator[Check]:
    """Make sure of what containers start from."""
    yield Check("container engine", [str(ROOT / "script" / "_engine")])
    yield Check("images", [str(ROOT / "script" / "_images")])


def molecule(scenarios: list[str]) -> Iterator[Check | list[Check]]:
    """Whole hosts in containers, made from the installed tarball."""
    needed = []
    for check in chain(ground(), install()):
        needed.append(check)
        yield check
    if any(check.failed for check in needed):
        # nothing to stand on; the step has failed already
        return
    yield [
        Check(
            f"molecule {scenario}",
            ["molecule", "test", "--scenario-name", scenario],
            # strict mode: a scenario's --limit is not for the playbooks that create and destroy its containers
            {"MOLECULE_ANSIBLE_ARGS_STRICT_MODE": "1", "MOLECULE_COMMAND_BORDERS": "0", "PYTHONPATH": ""},
            report=f"reports/molecule-{scenario}.xml",
        )
        for scenario in scenarios
    ]


def matrix(cores: list[str], complete: bool, rows: list[str]) -> Iterator[Check | list[Check]]:
    """Each ansible-core in an environment of its own; a row of what passed is added for each.

    What this machine lacks for one of them is left out and named, or, with `complete`, fails.
    """
    needed = list(ground())
    yield from needed
    if any(check.failed for check in needed):
        # no core can be deployed with; the step has failed already
        return
    for core in cores:
        python = f"Python {CORES[core]}"
        if not complete and not has_python(CORES[core]):
            say(f"  --      this machine has no {python} for ansible-core {core}")
            rows.append(f"  ansible-core {core}: not had here: {python}")
            continue
        left_out: list[tuple[str, str]] = []
        ran: list[Check] = []
        for item in of_core(core, complete, left_out):
            ran += item if isinstance(item, list) else [item]
            yield item
            if len(ran) <= 4 and any(check.failed for check in ran):
                # without an environment, or the collection in it, there is nothing to go on with
                break
        results = []
        for check in ran:
            count = check.passed if check.report else "ok"
            results.append(f"{check.name.partition(' ')[2]} {'FAILED' if check.failed else count}")
        results += [f"not had here: what sanity's {test} needs from {host}" for test, host in left_out]
        rows.append(f"  ansible-core {versions(core)}: {', '.join(results)}")


def of_core(core: str, complete: bool, left_out: list[tuple[str, str]]) -> Iterator[Check | list[Check]]:
    """Return what is run with one ansible-core; the first four make the environment and the collection in it.

    Unless all is to be run, `left_out` gets the sanity tests that cannot run here, and the host that each lacks.
    """
    place = CACHE / "matrix" / core
    venv = place / "venv"
    path = f"{venv / 'bin'}:{ENVIRONMENT['PATH']}"
    shutil.rmtree(venv, ignore_errors=True)
    make = ["uv", "venv", "--no-python-downloads", "--python", CORES[core], str(venv)]
    yield Check(f"{core} venv", make, {"PATH": ":".join(interpreters())})
    lock = str(ROOT / "requirements" / f"matrix-{core}.txt")
    yield Check(
        f"{core} lock", ["uv", "pip", "sync", "--require-hashes", "--python", str(venv / "bin" / "python"), lock]
    )
    shutil.rmtree(place / "tarball", ignore_errors=True)
    yield from build_and_install(core, place / "tarball", place / "collections", PATH=path)
    if not complete:
        left_out += unreachable_sanity(venv)
    skip = [option for test, host in left_out for option in ("--skip-test", test)]
    sanity = ansible_test(f"{core} sanity", place / "sanity", [str(venv / "bin"), *interpreters()[1:]], *skip)
    # The connection to the container is not in ansible-core: it is taken from the package ansible of the tests.
    installed = f"{place / 'collections'}:{sysconfig.get_path('purelib')}"
    environment = {"PATH": path, "PYTHONPATH": "", "ANSIBLE_COLLECTIONS_PATH": installed, "DEVPI_TEST_CORE": core}
    yield [
        sanity,
        pytest(f"{core} docs and syntax", "tests/matrix/test_documentation.py", **environment),
        pytest(f"{core} deployment", "tests/matrix/test_deployment.py", **environment),
    ]
    yield unit_tests(f"{core} unit", PATH=path)


def has_python(version: str) -> bool:
    """Whether uv finds this Python on the machine."""
    command = ["uv", "python", "find", "--system", "--no-python-downloads", version]
    environment = {**ENVIRONMENT, "PATH": ":".join(interpreters())}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def unreachable_sanity(venv: Path) -> list[tuple[str, str]]:
    """Return the sanity tests of an environment that need an archive of a host that is not reached, and the host."""
    found = []
    for file in venv.glob("lib/*/site-packages/ansible_test/_data/requirements/sanity.*.txt"):
        for url, host in re.findall(r" @ (https://([^/\s]+)/[^\s#]+)", file.read_text("utf-8")):
            try:
                with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20):  # noqa: S310
                    pass
            except OSError:
                test = file.name.split(".")[1]
                say(f"  --      sanity's {test} is left out, for {host} does not answer")
                found.append((test, host))
    return found


def versions(core: str) -> str:
    """Return the versions of an ansible-core and its Python, as far as there is an environment with them."""
    command = "import ansible, platform; print(f'{ansible.__version__} on Python {platform.python_version()}')"
    python = str(CACHE / "matrix" / core / "venv" / "bin" / "python")
    try:
        return subprocess.run([python, "-c", command], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return core


def run_step(checks: Iterator[Check | list[Check]]) -> list[Check]:
    """Run the checks one after the other, and those that come as a list two at a time."""
    done: list[Check] = []
    for item in checks:
        group = item if isinstance(item, list) else [item]
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(Check.run, group))
        done += group
    return done


def has_history() -> bool:
    """Whether the checkout holds the commit that scenario upgrade begins with; a shallow clone does not."""
    conftest = (ROOT / "molecule" / "upgrade" / "conftest.py").read_text(encoding="utf-8")
    commit = re.findall(r'^EARLIER = "([0-9a-f]{40})"$', conftest, re.MULTILINE)[0]
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "cat-file", "-e", f"{commit}^{{commit}}"]
    found = subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    if not found:
        say(f"NOT RUN: molecule upgrade, for this clone has no commit {commit}; type 'git fetch --unshallow' for it")
    return found


def main() -> int:
    """Run the steps that the command line names."""
    steps: dict[str, Callable[[], Iterator[Check | list[Check]]]] = {
        "static": static,
        "unit": unit,
        "build": build,
        "docs": docs,
        "sanity": sanity,
        "integration": integration,
    }
    usage = "script/test [--keep-going] [--complete] [NAME...]"
    parser = argparse.ArgumentParser(prog="script/test", usage=usage)
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("--complete", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    known = (*steps, "molecule", *SCENARIOS, "matrix", *(f"matrix-{core}" for core in CORES))
    for name in arguments.names:
        if name not in known:
            parser.error(f"there is no step or scenario {name!r}; there are {', '.join(known)}")

    scenarios = [name for name in SCENARIOS if name in arguments.names]
    if not arguments.names or "molecule" in arguments.names:
        scenarios = [name for name in SCENARIOS if name != "upgrade" or has_history()]
    plan: dict[str, Iterator[Check | list[Check]]] = {
        name: step() for name, step in steps.items() if not arguments.names or name in arguments.names
    }
    if scenarios:
        plan["molecule"] = molecule(scenarios)
    rows: list[str] = []
    cores = [core for core in CORES if {"matrix", f"matrix-{core}"} & set(arguments.names)]
    if cores:
        plan["matrix"] = matrix(cores, arguments.complete, rows)

    for directory in (LOGS, CACHE / "reports"):
        directory.mkdir(parents=True, exist_ok=True)

    commit = clean_commit()
    if not arguments.names:
        PASSED.unlink(missing_ok=True)
    summary = []
    done: list[Check] = []
    start = time.monotonic()
    for number, (name, checks) in enumerate(plan.items()):
        say(f"== {name}")
        before = time.monotonic()
        ran = run_step(checks)
        done += ran
        bad = [check.name for check in ran if check.failed]
        result = f"failed: {', '.join(bad)}" if bad else "passed"
        summary.append(f"  {name:<12} {time.monotonic() - before:6.0f} s  {result}")
        if bad and not arguments.keep_going:
            summary += [f"  {later:<12}           not run" for later in list(plan)[number + 1 :]]
            break

    passed, failed, skipped = (sum(getattr(check, key) for check in done) for key in ("passed", "failed", "skipped"))
    say("== summary")
    for line in (*summary, *rows):
        say(line)
    say(f"  {'all':<12} {time.monotonic() - start:6.0f} s" + (f"  {skipped} skipped" if skipped else ""))
    say(f"{passed} passed, {failed} failed")
    if not arguments.names and "upgrade" in scenarios and not failed and commit and commit == clean_commit():
        PASSED.write_text(f"{commit}\n", encoding="utf-8")
    return 1 if failed else 0


def clean_commit() -> str:
    """Return the commit that the checkout is, or nothing where it has changes beside it."""
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    changes, commit = (
        subprocess.run([*git, *command], capture_output=True, text=True, check=True).stdout.strip()
        for command in (("status", "--porcelain"), ("rev-parse", "HEAD"))
    )
    return "" if changes else commit


if __name__ == "__main__":
    sys.exit(main())
