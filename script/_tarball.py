"""Builds the collection's tarball: the same files make the same bytes, on each day and with each ansible-core.

Usage: script/_tarball.py DIRECTORY; prints the tarball's path. `ansible-galaxy` has to be on PATH.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# The time of every file: the first day that a zip archive, as the wheel is one, can name
THEN = 315532800


class BuildError(Exception):
    """There is no tarball, for a reason that ansible-galaxy tells."""


def copy_of_checkout(target: Path) -> None:
    """Copy what git tracks, and what it would if asked, to a fresh `target`."""
    shutil.rmtree(target, ignore_errors=True)
    # a checkout that belongs to someone else, as in many CI jobs, is still ours to read
    listing = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def build() -> tuple[str, bytes]:
    """Build the tarball of the checkout's files, and return its name and what it is."""
    with tempfile.TemporaryDirectory() as scratch:
        copy, built = Path(scratch, "checkout"), Path(scratch, "built")
        copy_of_checkout(copy)
        command = ["ansible-galaxy", "collection", "build", "--output-path", str(built)]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"'ansible-galaxy collection build' ended with {done.returncode}:\n{done.stderr}".rstrip())
        [tarball] = built.iterdir()
        return tarball.name, same_bytes(tarball)


def same_bytes(tarball: Path) -> bytes:
    """Return the tarball without what depends on the day, on the builder's account, and on the ansible-core."""
    with tarfile.open(tarball) as archive:
        members = {member.name: member for member in archive.getmembers()}
        contents = {name: archive.extractfile(member) for name, member in members.items() if member.isfile()}
        files = {name: file.read() for name, file in contents.items() if file}
    # Cores list the files in different orders.
    listing = json.loads(files["FILES.json"])
    listing["files"].sort(key=lambda entry: entry["name"])
    files["FILES.json"] = dumped(listing)
    manifest = json.loads(files["MANIFEST.json"])
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(files["FILES.json"]).hexdigest()
    files["MANIFEST.json"] = dumped(manifest)
    # Galaxy reads these two first.
    first = ("MANIFEST.json", "FILES.json")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in (*first, *sorted(members.keys() - set(first))):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.mtime = members[name].type, members[name].mode, THEN
            entry.size = len(files.get(name, b""))
            archive.addfile(entry, io.BytesIO(files.get(name, b"")))
    # 31: with the header of gzip, to which zlib, unlike Python's gzip, writes neither a time nor a name
    packer = zlib.compressobj(level=9, wbits=31)
    return packer.compress(buffer.getvalue()) + packer.flush()


def dumped(value: dict[str, Any]) -> bytes:
    """Return what a file of JSON holds, its keys in order."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def main() -> None:
    """Build into the directory that the command line names."""
    name, content = build()
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(content)
    sys.stdout.write(f"{directory / name}\n")


if __name__ == "__main__":
    main()
