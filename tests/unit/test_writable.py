"""Places that cannot be written are found out, and nothing is left in them."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _writable

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount file systems")


def test_what_can_be_written_is_no_problem_and_is_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("x")
    before = tmp_path.stat().st_mtime_ns
    places = {str(tmp_path / "file"): "a", str(tmp_path / "new"): "b", str(tmp_path / "a/b/c"): "c"}
    assert _writable.problems(places) == []
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert tmp_path.stat().st_mtime_ns == before


@AS_ROOT
def test_a_read_only_file_system_is_named_with_the_way_out(tmp_path):
    mounted = tmp_path / "etc"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(mounted)], check=True)
    try:
        (problem,) = _writable.problems({f"{mounted}/xdg/devpi-server.yml": "the configuration of devpi-server"})
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    assert problem.startswith(f"the configuration of devpi-server goes to {mounted}/xdg/devpi-server.yml, and ")
    assert "read-only; mount it for writing" in problem


@AS_ROOT
def test_a_file_that_is_mounted_read_only_is_named(tmp_path):
    for name in ("real", "place"):
        (tmp_path / name).write_text("x")
    subprocess.run(["mount", "--bind", str(tmp_path / "real"), str(tmp_path / "place")], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path / "place")], check=True)
        (problem,) = _writable.problems({str(tmp_path / "place"): "it"})
    finally:
        subprocess.run(["umount", str(tmp_path / "place")], check=True)
    assert "read-only; " in problem


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    (problem,) = _writable.problems({str(tmp_path / "file" / "below"): "it"})
    assert "is not a directory; move that away" in problem


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EIO])
def test_an_error_is_a_sentence_with_the_path_and_the_way_out(number):
    said = _writable.sentence(OSError(number, os.strerror(number), "/etc/a"))
    assert said.startswith(f"/etc/a could not be written or read ({os.strerror(number)}): ")
    assert ";" in said


@AS_ROOT
def test_place_that_an_account_may_have_led_elsewhere_is_looked_at_with_its_rights(monkeypatch):
    nobody = pwd.getpwnam("nobody")
    home = Path(tempfile.mkdtemp())
    seen = []
    monkeypatch.setattr(_writable, "_try_to_write", lambda path: seen.append((path.name, os.geteuid())) or errno.EACCES)
    try:
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        (home / ".pypirc").symlink_to("/root")
        assert _writable.problems({str(home / ".pypirc"): "what points at the index"}) == []
        assert len(_writable.problems({"/etc/devpi": "passwords"})) == 1
    finally:
        shutil.rmtree(home)
    assert seen == [(".pypirc", nobody.pw_uid), ("devpi", 0)]
