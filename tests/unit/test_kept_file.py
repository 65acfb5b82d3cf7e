"""KeptFile: what it leaves on the disk, and that its diff shows no secret."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as
from ansible_collections.wheelhouse.devpi.plugins.module_utils._kept_file import KeptFile
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import PathError

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
ME = (os.geteuid(), os.getegid())


def kept(path, text, mode=0o640, conceals=lambda _line: False):
    return KeptFile(str(path), text, mode, ME, conceals)


def test_a_new_file_appears_with_its_directories(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    file = kept(path, "x\n")
    assert file.differs
    file.write()
    assert path.read_text() == "x\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.parent.stat().st_mode & 0o777 == 0o755
    assert [each.name for each in path.parent.iterdir()] == ["file"]
    assert not kept(path, "x\n").differs


def test_what_does_not_validate_replaces_nothing_and_leaves_no_draft(tmp_path):
    path = tmp_path / "file"
    path.write_text("old\n")
    seen = []

    def refuse(draft):
        seen.append(Path(draft).read_text())
        raise ValueError

    with pytest.raises(ValueError):
        kept(path, "new\n").write(refuse)
    assert seen == ["new\n"]
    assert path.read_text() == "old\n"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_the_draft_of_a_killed_run_goes(tmp_path):
    (tmp_path / ".file.x1.draft").write_text("half")
    kept(tmp_path / "file", "x\n").write()
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_pipe_in_its_place_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "file")
    with pytest.raises(PathError, match="is no file; move it away"):
        kept(tmp_path / "file", "x\n")


def test_two_runs_at_once_leave_each_others_drafts_alone(tmp_path):
    path = tmp_path / "file"

    def meanwhile(draft):
        kept(path, "of the other run\n").write()
        assert Path(draft).read_text() == "of this run\n"

    kept(path, "of this run\n").write(meanwhile)
    assert path.read_text() == "of this run\n"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@AS_ROOT
@pytest.mark.parametrize("mode", [0o700, 0o1777])
def test_root_writes_nothing_where_another_account_can_replace_it(tmp_path, mode):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(mode)
    os.chown(theirs, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(PathError, match=f"lies in {theirs}, .*; give {theirs} to root"):
        kept(theirs / "file", "x\n").write()
    assert list(theirs.iterdir()) == []
    # With the rights of that account it may do what that account may.
    with acting_as(pwd.getpwnam("nobody")), pytest.raises(PermissionError):
        kept(tmp_path / "file", "x\n").write()


def test_only_the_mode_is_mended_without_asking_for_validation(tmp_path):
    path = tmp_path / "file"
    path.write_text("x\n")
    path.chmod(0o666)
    file = kept(path, "x\n")
    assert file.differs
    assert not file.text_differs
    assert "mode to 0640" in file.diff()["prepared"]
    file.write(lambda _draft: pytest.fail("validated"))
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "line",
    [
        "  storage: pg8000:host=db,password=CANARY",
        "  proxy: http://user:CANARY@proxy.example:8080",
        '  ldap_password: "two CANARY words"',
        "  api_key = CANARY",
    ],
)
def test_the_diff_shows_no_secret_of_either_side(tmp_path, line):
    path = tmp_path / "file"
    path.write_text("port: 1\n" + line + "\n")
    shown = kept(path, "port: 2\n" + line.replace("CANARY", "other-CANARY") + "\n").diff()["prepared"]
    assert "CANARY" not in shown
    assert "-port: 1" in shown
    assert "+port: 2" in shown


def test_a_path_is_no_secret_and_a_hidden_change_is_told(tmp_path):
    path = tmp_path / "file"
    path.write_text("secretfile: /a\npassword: one\n")
    assert "+secretfile: /b" in kept(path, "secretfile: /b\npassword: one\n").diff()["prepared"]
    assert "a value that is not shown changed" in kept(path, "secretfile: /a\npassword: two\n").diff()["prepared"]


def test_concealed_lines_keep_their_name(tmp_path):
    shown = kept(tmp_path / "file", "environment=A=CANARY\n", conceals=lambda line: line.startswith("env")).diff()
    assert "+environment=********" in shown["prepared"]


def test_only_a_newline_ends_a_concealed_line(tmp_path):
    shown = kept(tmp_path / "file", "environment=A=x\u2028CANARY\n", conceals=lambda line: line.startswith("env"))
    assert shown.diff()["prepared"].splitlines()[2:] == ["@@ -0,0 +1 @@", "+environment=********"]
