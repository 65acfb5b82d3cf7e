"""Where something may be made, and with whose rights."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _paths

if TYPE_CHECKING:
    from pathlib import Path

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.mark.parametrize("path", ["/srv/devpi", "/opt/devpi/venv", "/var/lib/devpi", "/home/ubuntu/.devpi/server"])
def test_own_places_are_fit(path: str) -> None:
    assert _paths.unfit(path) == ""


@pytest.mark.parametrize(
    "path",
    [
        *("", "srv/devpi", "~/devpi", "./x", "/", "//", "/etc", "/home", "/var/lib", "/usr/local/bin", "/var/log"),
        *("/srv/../etc", "/srv/devpi/", "/srv//devpi", "/srv/./devpi", "/srv/devpi/..", "//srv/devpi"),
        *("/srv/de\nvpi", "/srv/de\x00vpi", "/proc/self/root", "/sys/x", "/dev/x"),
    ],
)
def test_others_are_refused_with_the_way_out(path: str) -> None:
    assert ";" in _paths.unfit(path)


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that only root can change, whatever lies above it."""
    return tmp_path_factory.mktemp("room")


@pytest.fixture
def only_room(room: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take what lies above the room for the system's, so that a test is about what is in it."""
    above = {str(parent) for parent in room.parents}
    monkeypatch.setattr(_paths, "SYSTEM_DIRECTORIES", _paths.SYSTEM_DIRECTORIES | above)
    return room


@AS_ROOT
def test_what_only_root_can_change_is_roots_to_make(only_room: Path) -> None:
    assert _paths.exposed(str(only_room / "a" / "b")) is None
    assert _paths.keeper_of(str(only_room / "a")) is None


@AS_ROOT
def test_what_lies_in_somebodys_directory_is_made_with_the_rights_of_that_account(only_room: Path) -> None:
    home = only_room / "home"
    home.mkdir(0o700)
    os.chown(home, NOBODY, -1)
    keeper = _paths.keeper_of(str(home / "a" / "b"))
    assert keeper is not None
    assert keeper.pw_uid == NOBODY


@AS_ROOT
def test_a_directory_for_everybody_is_nobodys_place(only_room: Path) -> None:
    shared = only_room / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(_paths.PathError, match="others can put something else"):
        _paths.keeper_of(str(shared / "a"))


@AS_ROOT
def test_what_root_made_in_a_sticky_directory_stays_roots(only_room: Path) -> None:
    shared = only_room / "shared"
    (shared / "ours").mkdir(parents=True)
    shared.chmod(0o1777)
    assert _paths.exposed(str(shared / "ours" / "a")) is None
    assert _paths.exposed(str(shared / "absent")) == shared


@AS_ROOT
def test_links_lead_to_what_their_target_is(only_room: Path) -> None:
    home = only_room / "home"
    home.mkdir(0o700)
    os.chown(home, NOBODY, -1)
    (only_room / "link").symlink_to("home")
    (only_room / "round").symlink_to("round")
    assert _paths.exposed(str(only_room / "link" / "a")) == home
    assert _paths.exposed(str(only_room / "round" / "a")) is not None


@AS_ROOT
def test_an_account_may_replace_what_is_its_own(only_room: Path) -> None:
    home = only_room / "home"
    home.mkdir(0o700)
    os.chown(home, NOBODY, -1)
    assert _paths.exposed(str(home / "file")) == home
    assert _paths.exposed(str(home / "file"), NOBODY) is None
    assert _paths.exposed(str(home / "file"), pwd.getpwnam("daemon").pw_uid) == home
    home.chmod(0o777)
    assert _paths.exposed(str(home / "file"), NOBODY) == home


@AS_ROOT
def test_no_command_is_advised_on_what_another_account_could_put_there(only_room: Path) -> None:
    home = only_room / "home"
    home.mkdir(0o700)
    os.chown(home, NOBODY, -1)
    (home / "link").symlink_to("/etc")
    (only_room / "a b").mkdir()
    (only_room / "ours").symlink_to("a b")
    assert _paths.command_for("chown devpi:", home / "link") == ""
    assert _paths.command_for("chown devpi:", home / "link" / "below") == ""
    # The account can replace nothing on the way to its own directory, and root's links lead where root let them.
    assert _paths.command_for("chown devpi:", home) == f"chown devpi: {home}"
    assert _paths.command_for("chmod o+x", only_room / "ours") == f"chmod o+x '{only_room}/a b'"
    nobody = pwd.getpwnam("nobody")
    assert _paths.command_as(nobody, "chmod 600", home / "a b") == f"runuser -u nobody -- chmod 600 '{home}/a b'"
    assert _paths.link_at(home / "link") == "/etc"
    assert _paths.link_at(home) == ""


@AS_ROOT
def test_what_others_could_have_put_there_is_looked_at_with_no_more_than_their_rights(only_room: Path) -> None:
    home, shared = only_room / "home", only_room / "shared"
    home.mkdir(0o700)
    os.chown(home, NOBODY, -1)
    shared.mkdir()
    shared.chmod(0o1777)
    for path, seen_as in (
        (only_room / "x", 0),
        (home / "x", NOBODY),
        (home / "x" / "y", NOBODY),
        (shared / "x", NOBODY),
    ):
        with _paths.rights_at(str(path)):
            assert os.geteuid() == seen_as
    assert os.geteuid() == 0


def test_nobody_is_told_to_close_a_directory_of_the_system() -> None:
    with pytest.raises(_paths.PathError) as refused:
        _paths.keeper_of("/var/tmp/devpi")  # noqa: S108 - it is refused
    assert "chmod" not in str(refused.value)
