"""Makes a release. script/release runs it, and says what that is."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import _tarball
import yaml

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
# tests/run.py writes the commit there on which a whole run has passed
PASSED = ROOT / ".cache" / "passed"
TARBALLS = ROOT / ".cache" / "release"
# All that a release changes
CHANGED = ("CHANGELOG.md", "changelogs", "galaxy.yml", "roles/venv/files", "server_plugins/pyproject.toml")
NUMBER = r"(0|[1-9][0-9]*)"


class ReleaseError(Exception):
    """A step has not done what it should."""


def git(*arguments: str) -> str:
    """Return what git prints."""
    return run("git", *arguments).strip()


def run(*command: str) -> str:
    """Return what a program prints, or fail with what it printed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"'{' '.join(command)}' ended with {done.returncode}:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def problems(version: str) -> list[str]:
    """Return all that is in the way of this release."""
    found = []
    if not re.fullmatch(rf"{NUMBER}\.{NUMBER}\.{NUMBER}", version):
        found.append(f"'{version}' cannot be the version of a release: type three numbers, as in 1.0.0.")
    else:
        releases = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text("utf-8"))["releases"]
        last = max(releases, key=numbers)
        if numbers(version) <= numbers(last):
            found.append(
                f"{version} is not higher than {last}, the last release in changelogs/changelog.yaml: "
                "type a higher version."
            )
        if git("tag", "--list", version):
            found.append(f"The tag {version} exists already: type a higher version.")
    branch = git("branch", "--show-current")
    if branch != BRANCH:
        where = f"on the branch {branch}" if branch else "on no branch"
        found.append(f"The checkout is {where}: type 'git switch {BRANCH}'.")
    changes = run("git", "status", "--porcelain").splitlines()
    if changes:
        names = ", ".join(change[3:] for change in changes)
        found.append(f"The checkout has changes without a commit ({names}): commit them, or type 'git stash -u'.")
    commit = git("rev-parse", "HEAD")
    passed = PASSED.read_text("utf-8").strip() if PASSED.exists() else ""
    if passed != commit:
        last_time = f"; they passed on {passed[:12]}" if passed else ""
        found.append(f"The tests have not passed on this commit, {commit[:12]}{last_time}: type 'script/test'.")
    if not list((ROOT / "changelogs" / "fragments").glob("*.y*ml")):
        found.append(
            "changelogs/fragments has no fragment, so the changelog would say nothing of this release: "
            "write one for each change that a user notices."
        )
    return found


def numbers(version: str) -> list[int]:
    """Return what orders versions."""
    return [int(number) for number in version.split(".")]


def write_version(version: str) -> None:
    """Write the version where people keep it by hand."""
    for name, line, new in (
        ("galaxy.yml", r"^version: .*$", f"version: {version}"),
        ("server_plugins/pyproject.toml", r'^version = ".*"$', f'version = "{version}"'),
    ):
        path = ROOT / name
        text, count = re.subn(line, new, path.read_text("utf-8"), flags=re.MULTILINE)
        if count != 1:
            raise ReleaseError(f"{name} has {count} lines with a version, in place of one.")
        path.write_text(text, "utf-8")


def build() -> tuple[str, bytes]:
    """Build the tarball twice, and return its name and what it is where that is the same."""
    name, content = _tarball.build()
    if _tarball.build() != (name, content):
        raise ReleaseError("The tarball was built twice and is not the same: something writes into it what changes.")
    return name, content


def release(version: str) -> tuple[Path, str]:
    """Make the release, and return its tarball, with the digest."""
    write_version(version)
    run("script/wheel")
    run("antsibull-changelog", "release")
    name, content = build()
    digest = hashlib.sha256(content).hexdigest()
    git("add", "--all", "--", *CHANGED)
    git("commit", "--message", f"Release {version}")
    # The workflow that publishes compares what it builds with this.
    message = f"wheelhouse.devpi {version}\n\n{digest}  {name}"
    git("tag", "--annotate", "--message", message, version)
    TARBALLS.mkdir(parents=True, exist_ok=True)
    (TARBALLS / name).write_bytes(content)
    return TARBALLS / name, digest


def put_back(commit: str, version: str) -> None:
    """Give the checkout back what it was at a commit, when it was clean and without the tag."""
    if git("tag", "--list", version):
        git("tag", "--delete", version)
    git("reset", "--quiet", commit)
    git("restore", "--", *CHANGED)
    git("clean", "--force", "--quiet", "-d", "--", *CHANGED)


def main() -> int:
    """Make the release that the command line names, or say why not."""
    if len(sys.argv) != 2:
        sys.stderr.write("Usage: script/release VERSION, three numbers as in 1.0.0\n")
        return 2
    version = sys.argv[1]
    found = problems(version)
    if found:
        sys.stderr.write("\n".join(["Nothing was changed:", *(f"  - {problem}" for problem in found)]) + "\n")
        return 1
    # A terminal that closes is no reason to leave half a release behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    before = git("rev-parse", "HEAD")
    try:
        tarball, digest = release(version)
    except BaseException as error:
        put_back(before, version)
        if not isinstance(error, (ReleaseError, _tarball.BuildError)):
            raise
        sys.stderr.write(f"{error}\nThere is no release {version}: the checkout is as it was before.\n")
        return 1
    sys.stdout.write(
        f"Release {version} is made, on this machine alone.\n"
        f"  commit   {git('rev-parse', 'HEAD')} on {BRANCH}\n"
        f"  tag      {version}\n"
        f"  tarball  {tarball}\n"
        f"  sha256   {digest}\n"
        f"Look at it with 'git show', then publish it:\n"
        f"  git push --atomic origin {BRANCH} {version}\n"
        f"Or take it back, as long as it is not pushed:\n"
        f"  git tag --delete {version} && git reset --hard HEAD~1\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
