"""The directory where a server listens for nginx, made for real below a directory of the test's."""

from __future__ import annotations

import os
import pwd
import stat

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _socket_directory
from ansible_collections.wheelhouse.devpi.plugins.module_utils._socket_directory import (
    SocketDirectory,
    SocketDirectoryError,
)

ME = pwd.getpwuid(os.geteuid())


@pytest.fixture
def path(tmp_path, monkeypatch):
    # /tmp is everybody's
    monkeypatch.setattr(_socket_directory, "exposed", lambda _path: None)
    return tmp_path / "sockets"


def directory(path, account=ME):
    return SocketDirectory(str(path), account, os.getegid())


def test_it_is_made_once_and_mended(path):
    assert directory(path).keep(check_mode=True) == [str(path)]
    assert not path.exists()
    assert directory(path).keep(check_mode=False) == [str(path)]
    assert stat.filemode(path.stat().st_mode) == "drwx--s---"
    assert directory(path).keep(check_mode=False) == []
    path.chmod(0o777)
    assert directory(path).keep(check_mode=True) == [str(path)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    assert directory(path).keep(check_mode=False) == [str(path)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o2710


def test_account_that_is_to_come_is_predicted(path):
    assert directory(path, None).keep(check_mode=True) == [str(path)]


@pytest.mark.parametrize("what", ["file", "link", "pipe"])
def test_anything_else_is_left_alone(path, tmp_path, what):
    (tmp_path / "precious").mkdir(mode=0o700)
    if what == "file":
        path.write_text("precious")
    elif what == "link":
        path.symlink_to(tmp_path / "precious")
    else:
        os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(SocketDirectoryError, match=f"{path} is no directory of this server's sockets.*move it away"):
        directory(path).keep(check_mode=False)
    assert path.lstat() == before
    assert stat.S_IMODE((tmp_path / "precious").stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes what others could replace")
def test_place_that_others_can_change_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(SocketDirectoryError, match=f"lies in {tmp_path / 'open'}, where another account"):
        directory(tmp_path / "open" / "sockets").keep(check_mode=False)
