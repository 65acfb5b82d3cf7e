"""Files that somebody put in the way: none makes a run wait, and none fills the memory."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._reading import LIMIT, UnfitFile, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def impatience() -> Iterator[None]:
    """End a test that waits for ever."""
    signal.alarm(5)
    yield
    signal.alarm(0)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * LIMIT)
    assert read_file(str(path)) == b"x" * LIMIT
    (tmp_path / "link").symlink_to("file")
    assert read_file(str(tmp_path / "link")) == b"x" * LIMIT
    with pytest.raises(UnfitFile, match=r"^a link$"):
        read_file(str(tmp_path / "link"), follow=False)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read_file("file", directory=directory, follow=False) == b"x" * LIMIT
    finally:
        os.close(directory)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    os.mkfifo(path)
    with pytest.raises(UnfitFile, match=r"^a named pipe$"):
        read_file(str(path))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(UnfitFile, match=r"^a socket$"):
            read_file(str(path))
    path.unlink()
    for target, name in (("/dev/zero", "a device"), ("/", "a directory")):
        path.symlink_to(target)
        with pytest.raises(UnfitFile, match=rf"^{name}$"):
            read_file(str(path))
        path.unlink()
    with pytest.raises(FileNotFoundError):
        read_file(str(path))


def test_a_file_without_an_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(UnfitFile, match=f"^larger than {LIMIT} bytes$"):
        read_file(str(path))
