"""Drafts: one that a live run holds stays, one that a killed run left goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._draft import draft_of, remove_leftovers

# Another run, which holds its draft until its standard input is closed, and then puts it in place.
ANOTHER = """
import sys
from pathlib import Path
from ansible_collections.wheelhouse.devpi.plugins.module_utils._draft import draft_of
path = Path(sys.argv[1])
with draft_of(path, directory=sys.argv[2] == "directory") as draft:
    print(draft.path, flush=True)
    sys.stdin.read()
    draft.path.rename(path)
"""


@pytest.fixture
def another():
    """Return what starts another run, and returns it with its draft."""
    started = []

    def start(path, kind):
        command = [sys.executable, "-c", ANOTHER, str(path), kind]
        run = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ROOT}
        )
        started.append(run)
        return run, Path(run.stdout.readline().strip())

    yield start
    for each in started:
        each.communicate()


ROOT = next(path for path in sys.path if Path(path, "ansible_collections/wheelhouse").is_dir())
KINDS = pytest.mark.parametrize("kind", ["file", "directory"])


@KINDS
def test_a_draft_becomes_what_it_is_for(tmp_path, kind):
    with draft_of(tmp_path / "a", directory=kind == "directory") as draft:
        assert draft.path.parent == tmp_path
        assert draft.path.stat().st_mode & 0o077 == 0
        draft.path.rename(tmp_path / "a")
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@KINDS
def test_a_draft_that_is_not_renamed_goes(tmp_path, kind):
    with pytest.raises(ValueError), draft_of(tmp_path / "a", directory=kind == "directory"):
        raise ValueError
    assert list(tmp_path.iterdir()) == []


@KINDS
def test_the_draft_of_a_live_run_stays(tmp_path, another, kind):
    run, theirs = another(tmp_path / "a", kind)
    remove_leftovers(tmp_path / "a")
    with draft_of(tmp_path / "a", directory=kind == "directory") as ours:
        assert theirs.exists()
        assert theirs != ours.path
    run.communicate()
    assert run.returncode == 0
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@KINDS
def test_the_draft_of_a_killed_run_goes(tmp_path, another, kind):
    run, theirs = another(tmp_path / "a", kind)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert theirs.exists()
    remove_leftovers(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_what_has_such_a_name_and_is_no_draft_stays(tmp_path):
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".a.link.draft").symlink_to("precious")
    os.mkfifo(tmp_path / ".a.pipe.draft")
    (tmp_path / ".ab.x1.draft").write_text("of another file")
    before = sorted(tmp_path.iterdir())
    remove_leftovers(tmp_path / "a")
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "precious").read_text() == "x"


def test_many_at_once_leave_a_whole_file_and_nothing_else(tmp_path):
    failed = []

    def write(text):
        try:
            for _round in range(50):
                with draft_of(tmp_path / "a") as draft:
                    os.write(draft.descriptor, text.encode())
                    draft.path.replace(tmp_path / "a")
        except Exception as error:
            failed.append(error)

    texts = [str(number) * 1000 for number in range(8)]
    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() in texts
