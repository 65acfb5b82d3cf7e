"""script/release on a copy: what it refuses, what a release is, and that nothing is left of one that fails."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
VERSION = "9.8.7"
FRAGMENT = "---\nbugfixes:\n  - devpi_users - the change that this release is made for.\n"


class Checkout:
    """A repository with the files of this one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *arguments: str) -> str:
        git = ["git", "-c", "user.name=Tester", "-c", "user.email=tester@example.com", *arguments]
        return subprocess.run(git, cwd=self.root, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self) -> None:
        """Commit all, as one on which the tests have passed."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "All")
        self.tests_passed_on(self.git("rev-parse", "HEAD"))

    def tests_passed_on(self, commit: str) -> None:
        (self.root / ".cache").mkdir(exist_ok=True)
        (self.root / ".cache" / "passed").write_text(f"{commit}\n", "utf-8")

    def release(self, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "script/_release.py", *arguments]
        environment = {
            **os.environ,
            "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"],
            **{
                f"GIT_{who}_{what}": "tester@example.com"
                for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def state(self) -> object:
        """Return all that a release changes, and what else lies about."""
        names = self.git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
        files = {name: (self.root / name).read_bytes() for name in names if (self.root / name).is_file()}
        return files, self.git("show-ref"), self.git("status", "--porcelain", "--branch")

    def program(self, name: str, script: str) -> str:
        """Put a program before the one of this name, and return the directory for PATH."""
        file = self.root.parent / "programs" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        file.chmod(0o755)
        return str(file.parent)

    def hook(self, name: str, script: str) -> None:
        file = self.root / ".git" / "hooks" / name
        file.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        file.chmod(0o755)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the files of the working tree, one fragment, and no more of the history."""
    root = tmp_path_factory.mktemp("original") / "checkout"
    listing = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("changelogs/fragments/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    (root / "changelogs" / "fragments").mkdir()
    (root / "changelogs" / "fragments" / "one.yml").write_text(FRAGMENT, "utf-8")
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", str(root)], check=True)
    Checkout(root).commit()
    return root


@pytest.fixture
def checkout(original: Path, tmp_path: Path) -> Checkout:
    """Return a copy that one test may change."""
    shutil.copytree(original, tmp_path / "checkout", symlinks=True)
    return Checkout(tmp_path / "checkout")


@pytest.fixture(scope="module")
def released(original: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    """Return a copy in which a release was made, and what was printed."""
    root = tmp_path_factory.mktemp("released") / "checkout"
    shutil.copytree(original, root, symlinks=True)
    said = Checkout(root).release(VERSION)
    assert (said.returncode, said.stderr) == (0, "")
    return Checkout(root), said.stdout


def tarball(checkout: Checkout) -> Path:
    return checkout.root / ".cache" / "release" / f"wheelhouse-devpi-{VERSION}.tar.gz"


# --- what is refused ----------------------------------------------------------------------------------------------


def refusal(checkout: Checkout, version: str = VERSION) -> list[str]:
    """Return the problems that are named, after nothing was changed."""
    before = checkout.state()
    said = checkout.release(version)
    assert (said.returncode, said.stdout) == (1, "")
    assert checkout.state() == before
    first, *problems = said.stderr.splitlines()
    assert first == "Nothing was changed:"
    return problems


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0-rc.1", "1.00.0", "1.0.0\n", "", "--help", "one"])
def test_version_that_is_none(original: Path, version: str) -> None:
    problem = "\n".join(refusal(Checkout(original), version))
    assert problem == f"  - '{version}' cannot be the version of a release: type three numbers, as in 1.0.0."


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9"])
def test_version_that_is_not_higher(original: Path, version: str) -> None:
    [problem] = refusal(Checkout(original), version)
    assert f"{version} is not higher than 0.1.0, the last release in changelogs/changelog.yaml" in problem


def test_versions_are_ordered_as_numbers(checkout: Checkout) -> None:
    changelog = checkout.root / "changelogs" / "changelog.yaml"
    changelog.write_text(changelog.read_text("utf-8").replace("  0.1.0:\n", "  0.10.0:\n"), "utf-8")
    checkout.commit()
    [problem] = refusal(checkout, "0.9.0")
    assert "0.9.0 is not higher than 0.10.0" in problem


def test_tag_that_exists(checkout: Checkout) -> None:
    checkout.git("tag", VERSION)
    assert refusal(checkout) == [f"  - The tag {VERSION} exists already: type a higher version."]


def test_another_branch(checkout: Checkout) -> None:
    checkout.git("switch", "--quiet", "--create", "mine")
    assert refusal(checkout) == ["  - The checkout is on the branch mine: type 'git switch main'."]


def test_no_branch(checkout: Checkout) -> None:
    checkout.git("switch", "--quiet", "--detach")
    assert refusal(checkout) == ["  - The checkout is on no branch: type 'git switch main'."]


def test_changes_without_a_commit(checkout: Checkout) -> None:
    (checkout.root / "galaxy.yml").open("a").write("# mine\n")
    (checkout.root / "mine.txt").write_text("mine\n")
    [problem] = refusal(checkout)
    assert "The checkout has changes without a commit (galaxy.yml, mine.txt): commit them" in problem


def test_tests_that_never_passed(checkout: Checkout) -> None:
    (checkout.root / ".cache" / "passed").unlink()
    commit = checkout.git("rev-parse", "HEAD")[:12]
    assert refusal(checkout) == [f"  - The tests have not passed on this commit, {commit}: type 'script/test'."]


def test_tests_that_passed_on_an_earlier_commit(checkout: Checkout) -> None:
    before = checkout.git("rev-parse", "HEAD")
    checkout.git("commit", "--quiet", "--allow-empty", "--message", "Untested")
    [problem] = refusal(checkout)
    assert f"{checkout.git('rev-parse', 'HEAD')[:12]}; they passed on {before[:12]}: type 'script/test'." in problem


def test_no_fragment(checkout: Checkout) -> None:
    (checkout.root / "changelogs" / "fragments" / "one.yml").unlink()
    checkout.commit()
    [problem] = refusal(checkout)
    assert "changelogs/fragments has no fragment" in problem


def test_all_problems_are_named_at_once(checkout: Checkout) -> None:
    checkout.git("switch", "--quiet", "--create", "mine")
    (checkout.root / "changelogs" / "fragments" / "one.yml").unlink()
    assert len(refusal(checkout, "0.1.0")) == 4


# --- a release ------------------------------------------------------------------------------------------------------


def test_version_is_the_same_everywhere(released: tuple[Checkout, str]) -> None:
    root = released[0].root
    assert f"\nversion: {VERSION}\n" in (root / "galaxy.yml").read_text("utf-8")
    assert f'\nversion = "{VERSION}"\n' in (root / "server_plugins" / "pyproject.toml").read_text("utf-8")
    files = root / "roles" / "venv" / "files"
    [wheel] = files.glob("*.whl")
    assert wheel.name == f"devpi_wheelhouse-{VERSION}-py3-none-any.whl"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert f"devpi-wheelhouse=={VERSION} --hash=sha256:{digest}" in (files / "devpi-wheelhouse.lock").read_text("utf-8")


def test_changelog_has_the_fragment(released: tuple[Checkout, str]) -> None:
    root = released[0].root
    releases = yaml.safe_load((root / "changelogs" / "changelog.yaml").read_text("utf-8"))["releases"]
    assert releases[VERSION]["changes"] == yaml.safe_load(FRAGMENT)
    assert "the change that this release is made for" in (root / "CHANGELOG.md").read_text("utf-8")
    assert list((root / "changelogs" / "fragments").glob("*.yml")) == []


def test_tag_names_the_tarball_and_is_on_the_commit(released: tuple[Checkout, str]) -> None:
    checkout, said = released
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.git("log", "-1", "--format=%s") == f"Release {VERSION}"
    assert checkout.git("rev-parse", f"{VERSION}^{{commit}}") == checkout.git("rev-parse", "main")
    assert checkout.git("cat-file", "-t", VERSION) == "tag"
    digest = hashlib.sha256(tarball(checkout).read_bytes()).hexdigest()
    message = checkout.git("tag", "--list", "--format=%(contents)", VERSION)
    assert message.split("\n\n") == [f"wheelhouse.devpi {VERSION}", f"{digest}  {tarball(checkout).name}"]
    for word in (digest, str(tarball(checkout)), f"git push --atomic origin main {VERSION}"):
        assert word in said


def test_same_commit_makes_the_same_bytes_later_and_elsewhere(released: tuple[Checkout, str], tmp_path: Path) -> None:
    checkout = released[0]
    clone = tmp_path / "clone"
    checkout.git("clone", "--quiet", ".", str(clone))
    for file in clone.rglob("*.md"):
        os.utime(file, (1e9, 1e9))
    command = [sys.executable, "script/_tarball.py", str(tmp_path)]
    environment = {**os.environ, "TZ": "Asia/Tokyo"}
    subprocess.run(command, cwd=clone, env=environment, umask=0o077, capture_output=True, check=True)
    assert (tmp_path / tarball(checkout).name).read_bytes() == tarball(checkout).read_bytes()


def test_tarball_has_the_version_and_nothing_of_the_builder(released: tuple[Checkout, str]) -> None:
    with tarfile.open(tarball(released[0])) as archive:
        members = archive.getmembers()
    assert f"roles/venv/files/devpi_wheelhouse-{VERSION}-py3-none-any.whl" in {member.name for member in members}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert len({member.mtime for member in members}) == 1


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def url(released: tuple[Checkout, str]) -> Iterator[str]:
    """Return where a file server has the tarball."""
    file = tarball(released[0])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(file.parent)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{file.name}"
    server.shutdown()
    server.server_close()


def test_galaxy_client_installs_it_from_a_server(url: str, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path),
        "ANSIBLE_GALAXY_CACHE_DIR": str(tmp_path / "cache"),
    }

    def ansible(*command: str) -> str:
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    ansible("ansible-galaxy", "collection", "install", url, "--collections-path", str(tmp_path))
    assert f"wheelhouse.devpi {VERSION}" in " ".join(ansible("ansible-galaxy", "collection", "list").split())
    ansible("ansible-galaxy", "collection", "verify", "--offline", "wheelhouse.devpi")
    assert "WHEELHOUSE.DEVPI.DEVPI_USERS" in ansible("ansible-doc", "wheelhouse.devpi.devpi_users").upper()
    ansible("ansible-playbook", "--inventory", "localhost,", "--syntax-check", "wheelhouse.devpi.site")


# --- its publication ------------------------------------------------------------------------------------------------


def workflow_step(name: str) -> str:
    """Return what a step of the workflow that publishes runs."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
    [step] = [step for step in workflow["jobs"]["publish"]["steps"] if step.get("id") == name]
    return str(step["run"])


def run_step(checkout: Path, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-e", "-c", workflow_step(name)]
    environment = {**os.environ, "TAG": VERSION, **environment}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def clone(released: tuple[Checkout, str], tmp_path: Path) -> Path:
    """Return a clone of what was pushed, with the tarball that was built there."""
    released[0].git("clone", "--quiet", ".", str(tmp_path / "clone"))
    target = tmp_path / "clone" / ".cache" / "release"
    target.mkdir(parents=True)
    shutil.copy(tarball(released[0]), target)
    return tmp_path / "clone"


def test_workflow_takes_the_tarball_of_the_release(clone: Path) -> None:
    said = run_step(clone, "compare")
    assert (said.returncode, said.stdout) == (0, f"wheelhouse-devpi-{VERSION}.tar.gz: OK\n"), said.stderr


def test_workflow_takes_no_other_tarball(clone: Path) -> None:
    with tarball(Checkout(clone)).open("ab") as file:
        file.write(b"x")
    assert run_step(clone, "compare").returncode != 0


def test_workflow_takes_no_tag_without_a_tarball(clone: Path, released: tuple[Checkout, str]) -> None:
    released[0].git("tag", "9.9.9")
    shutil.copy(tarball(Checkout(clone)), clone / ".cache" / "release" / "wheelhouse-devpi-9.9.9.tar.gz")
    assert run_step(clone, "compare", TAG="9.9.9").returncode != 0


def test_workflow_takes_no_tag_beside_main(original: Path, clone: Path) -> None:
    # its main has no release
    Checkout(clone).git("push", "--quiet", str(original), VERSION)
    Checkout(clone).git("remote", "set-url", "origin", str(original))
    said = run_step(clone, "compare")
    Checkout(original).git("tag", "--delete", VERSION)
    assert (said.returncode, said.stderr) == (1, f"The tag {VERSION} is not on main.\n")


class Galaxy(BaseHTTPRequestHandler):
    """As much of Galaxy's API as a publication needs."""

    asked: list[tuple[str, str, bytes]]

    def do_GET(self) -> None:
        done = {"state": "completed", "finished_at": "2026-01-01T00:00:00Z", "messages": [], "id": "1"}
        self.answer(200, done if "imports" in self.path else {"available_versions": {"v3": "v3/"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, self.headers["Authorization"], body))
        self.answer(202, {"task": f"http://{self.headers['Host']}/api/v3/imports/collections/1/"})

    def answer(self, status: int, told: dict[str, object]) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


def test_workflow_publishes_the_tarball_with_the_token(clone: Path, tmp_path: Path) -> None:
    handler = type("Handler", (Galaxy,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    said = run_step(clone, "publish", GALAXY_TOKEN="canary", ANSIBLE_GALAXY_SERVER=f"{url}/api/", TMPDIR=str(tmp_path))
    server.shutdown()
    server.server_close()
    assert said.returncode == 0, said.stdout + said.stderr
    [(path, authorization, body)] = handler.asked
    assert (path, authorization) == ("/api/v3/artifacts/collections/", "Token canary")
    assert hashlib.sha256(tarball(Checkout(clone)).read_bytes()).hexdigest().encode() in body
    assert "canary" not in said.stdout + said.stderr
    assert [file.stat().st_mode & 0o077 for file in tmp_path.glob("tmp.*")] == [0]


def test_workflow_publishes_nothing_before_all_tests_passed() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
    assert workflow["jobs"]["tests"] == {"uses": "./.github/workflows/tests.yml"}
    assert workflow["jobs"]["publish"]["needs"] == "tests"
    assert "if" not in workflow["jobs"]["publish"]
    tests = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    assert "workflow_call" in tests["on"]


# --- a release that fails -------------------------------------------------------------------------------------------


def failure(checkout: Checkout, path: str = "") -> str:
    """Return why a release failed, after it left everything as it was."""
    before = checkout.state()
    said = checkout.release(VERSION, path=path)
    assert (said.returncode, said.stdout) == (1, "")
    assert checkout.state() == before
    assert not tarball(checkout).exists()
    assert said.stderr.endswith(f"There is no release {VERSION}: the checkout is as it was before.\n")
    return said.stderr


def test_nothing_is_left_where_the_changelog_fails(checkout: Checkout) -> None:
    path = checkout.program("antsibull-changelog", "touch changelogs/half; echo no changelog today >&2; exit 3")
    said = failure(checkout, path)
    assert "'antsibull-changelog release' ended with 3:\nno changelog today" in said


def test_nothing_is_left_where_the_tarball_fails(checkout: Checkout) -> None:
    path = checkout.program("ansible-galaxy", "echo no tarball today >&2; exit 5")
    assert "'ansible-galaxy collection build' ended with 5:\nno tarball today" in failure(checkout, path)


def test_nothing_is_left_where_the_tarball_differs(checkout: Checkout) -> None:
    real = shutil.which("ansible-galaxy")
    checkout.program("antsibull-changelog", "touch changelogs/written")
    path = checkout.program("ansible-galaxy", f'date +%N >>README.md; exec {real} "$@"')
    assert "The tarball was built twice and is not the same" in failure(checkout, path)


def test_nothing_is_left_where_the_commit_is_refused(checkout: Checkout) -> None:
    checkout.hook("pre-commit", "echo not today >&2; exit 1")
    path = checkout.program("antsibull-changelog", "touch changelogs/written")
    assert "not today" in failure(checkout, path)


def test_nothing_is_left_where_the_tag_is_refused(checkout: Checkout) -> None:
    checkout.hook("reference-transaction", f'[ "$1" != prepared ] || ! grep -q refs/tags/{VERSION}')
    path = checkout.program("antsibull-changelog", "touch changelogs/written")
    assert "'git tag --annotate" in failure(checkout, path)


def test_nothing_is_left_where_it_is_ended(checkout: Checkout) -> None:
    before = checkout.state()
    path = checkout.program("antsibull-changelog", "kill -TERM $PPID; sleep 5")
    assert checkout.release(VERSION, path=path).returncode == 1
    assert checkout.state() == before
