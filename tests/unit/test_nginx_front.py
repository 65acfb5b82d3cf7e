"""nginx_front with an nginx that is played: what it leaves when nginx says no, and when it tells it to reload."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import stat
import subprocess
import time

import pytest
from ansible_collections.wheelhouse.devpi.plugins.modules import nginx_front

PLAYED = """#!/bin/sh
case "$*" in
"-q -t") if grep -q broken "$SITE" "$CERTIFICATE"; then echo "[emerg] it is broken" >&2; exit 1; fi ;;
"-s reload") echo reload >>"$CALLS" ;;
*) echo start >>"$CALLS" ;;
esac
"""
USER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name


class Played:
    """The files, and one process that stands for nginx's worker."""

    def __init__(self, directory):
        self.site = directory / "conf.d" / "devpi.conf"
        self.certificate = directory / "server.pem"
        self.calls = directory / "calls"
        self.example = directory / "default"
        self.server = directory / "server"
        self.site.parent.mkdir()
        self.server.mkdir()
        self.certificate.write_text("certificate and key\n")
        self.calls.touch()
        self.worker = None
        self._workers_of = 0
        self._seen = 0
        self.deaf = False

    def told(self):
        """Return what nginx was told since the last time."""
        lines = self.calls.read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        return new

    def workers(self):
        """Begin a new worker where nginx was told to, unless it doesn't hear."""
        count = len(self.calls.read_text().splitlines())
        if count and (self.worker is None or count > self._workers_of) and not (self.deaf and self.worker):
            self.end()
            self.worker = subprocess.Popen(["sleep", "60"])
            self._workers_of = count
        return [self.worker.pid] if self.worker else []

    def end(self):
        if self.worker:
            self.worker.kill()
            self.worker.wait()


@pytest.fixture
def nginx(tmp_path, monkeypatch):
    played = Played(tmp_path)
    program = tmp_path / "bin" / "nginx"
    program.parent.mkdir()
    program.write_text(PLAYED)
    program.chmod(0o755)
    monkeypatch.setattr(nginx_front, "SYSTEM_PROGRAMS", {"PATH": f"{program.parent}:{os.environ['PATH']}"})
    for name, path in (("SITE", played.site), ("CERTIFICATE", played.certificate), ("CALLS", played.calls)):
        monkeypatch.setenv(name, str(path))
    for name in ("NGINX", "LOGROTATE", "OPENSSL"):
        monkeypatch.setattr(nginx_front, name, program)
    monkeypatch.setattr(nginx_front, "EXAMPLE_SITE", played.example)
    monkeypatch.setattr(nginx_front, "ERROR_LOG", played.calls)
    monkeypatch.setattr(nginx_front, "START", ["nginx"])
    monkeypatch.setattr(nginx_front, "_workers", played.workers)
    yield played
    played.end()


@pytest.fixture
def front(nginx, capsys):
    def call(site="works\n", check=False, **options):
        from ansible.module_utils.testing import patch_module_args  # noqa: PLC0415

        parameters = {"site": site, "path": str(nginx.site), "names": ["index.example.com"], "group": GROUP}
        parameters.update(certificate=str(nginx.certificate), key=str(nginx.certificate))
        parameters.update(server_dir=str(nginx.server), server_user=USER, _ansible_check_mode=check, **options)
        with patch_module_args(parameters), pytest.raises(SystemExit):
            nginx_front.main()
        said = json.loads(capsys.readouterr().out)
        # the worker is there when nginx has been told, and what is written next is newer
        nginx.workers()
        time.sleep(0.03)
        return said

    return call


def test_it_starts_once_and_reloads_for_what_is_new(nginx, front):
    predicted = front(check=True)
    assert not nginx.site.exists()
    first = front()
    assert (first["action"], first["made"]) == (predicted["action"], predicted["made"])
    assert nginx.told() == ["start"]
    assert front()["changed"] is False
    assert front("new\n", check=True)["action"] == "reloaded"
    assert nginx.told() == []
    assert front("new\n")["action"] == "reloaded"
    assert nginx.told() == ["reload"]
    assert nginx.site.read_text() == "new\n"
    assert front("new\n")["changed"] is False
    assert [path.name for path in nginx.site.parent.iterdir()] == ["devpi.conf"]


def test_inner_word_is_made_once_and_is_roots_alone(nginx, front, tmp_path):
    file = tmp_path / "inner.conf"
    assert str(file) in front(check=True, inner_file=str(file))["made"]
    assert not file.exists()
    said = front(inner_file=str(file))
    assert str(file) in said["made"]
    word = re.fullmatch(r'map "" \$devpi_inner_word \{ default "([0-9a-f]{64})"; \}\n', file.read_text())[1]
    assert word not in json.dumps(said)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert front(inner_file=str(file))["changed"] is False
    assert word in file.read_text()


def test_a_new_certificate_under_the_old_name_is_taken_up(nginx, front):
    front()
    nginx.told()
    nginx.certificate.write_text("another\n")
    assert front()["action"] == "reloaded"
    assert nginx.told() == ["reload"]
    assert front()["changed"] is False


def test_a_site_that_nginx_does_not_accept_gives_way_to_the_one_before(nginx, front):
    front()
    nginx.told()
    failed = front("broken\n")
    assert "nginx does not accept its configuration" in failed["msg"]
    assert "it is broken" in failed["msg"]
    assert nginx.site.read_text() == "works\n"
    assert nginx.told() == []
    assert [path.name for path in nginx.site.parent.iterdir()] == ["devpi.conf"]


def test_a_first_site_that_nginx_does_not_accept_goes(nginx, front):
    assert "is as it was before" in front("broken\n")["msg"]
    assert list(nginx.site.parent.iterdir()) == []


def test_a_broken_certificate_changes_nothing(nginx, front):
    front()
    nginx.told()
    nginx.certificate.write_text("broken\n")
    assert "it goes on as before" in front()["msg"]
    assert nginx.told() == []
    assert nginx.site.read_text() == "works\n"


def test_a_run_that_was_killed_before_the_test_still_knows_what_worked(nginx, front):
    front()
    nginx.told()
    nginx.site.write_text("broken\n")
    (nginx.site.parent / "devpi.conf.former").write_text("works\n")
    assert "is as it was before" in front("broken\n")["msg"]
    assert nginx.site.read_text() == "works\n"
    # and where it was killed after the file and before the reload, the next one makes up for it
    nginx.site.write_text("newer\n")
    (nginx.site.parent / "devpi.conf.former").write_text("works\n")
    assert front("newer\n")["action"] == "reloaded"
    assert nginx.told() == ["reload"]
    assert [path.name for path in nginx.site.parent.iterdir()] == ["devpi.conf"]


def test_an_nginx_that_keeps_its_old_workers_is_an_error(nginx, front, monkeypatch):
    front()
    monkeypatch.setattr(nginx_front.time, "sleep", lambda _seconds: None)
    nginx.deaf = True
    assert "goes on with its old workers" in front("new\n")["msg"]
    assert nginx.site.read_text() == "works\n"


@pytest.mark.parametrize("manage", ["package", "site"])
def test_the_example_site_goes_once_and_only_with_a_package_of_ours(nginx, front, manage):
    nginx.example.symlink_to("/etc/nginx/sites-available/default")
    front(manage=manage)
    assert nginx.example.is_symlink() == (manage == "site")
    if manage == "package":
        nginx.example.symlink_to("/etc/nginx/sites-available/default")
        front("new\n", manage=manage)
        assert nginx.example.is_symlink()


def test_release_files_are_opened_to_the_group_and_links_are_not_followed(nginx, front, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("not a release")
    outside.chmod(0o600)
    deep = nginx.server / "+files" / "u" / "i"
    deep.mkdir(parents=True)
    (deep / "release").write_text("x")
    (deep / "link").symlink_to(outside)
    for path in (nginx.server / "+files", deep.parent, deep):
        path.chmod(0o700)
    (deep / "release").chmod(0o600)
    assert str(nginx.server / "+files") in front()["made"]
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (nginx.server / "+files", deep, deep / "release")}
    assert modes == {"+files": 0o2750, "i": 0o2750, "release": 0o640}
    assert outside.stat().st_mode & 0o777 == 0o600
    assert front()["changed"] is False


def test_an_unknown_group_is_named(front):
    assert "'nobodys-group' is no group" in front(group="nobodys-group")["msg"]


@pytest.mark.parametrize("kind", ["link", "pipe", "file"])
def test_what_is_no_directory_is_refused_and_not_followed(nginx, front, tmp_path, kind):
    outside = tmp_path / "outside"
    outside.mkdir(0o700)
    (outside / "release").write_text("x")
    (outside / "release").chmod(0o600)
    top = nginx.server / "+files"
    if kind == "link":
        top.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(top)
    else:
        top.write_text("")
    assert "is a link or no directory" in front()["msg"]
    assert outside.stat().st_mode & 0o7777 == 0o700
    assert (outside / "release").stat().st_mode & 0o7777 == 0o600
    assert not nginx.site.exists()


def test_a_pipe_among_the_release_files_keeps_nobody_waiting(nginx, front):
    top = nginx.server / "+files"
    top.mkdir(0o700)
    os.mkfifo(top / "pipe", 0o600)
    front()
    assert (top / "pipe").stat().st_mode & 0o7777 == 0o600
    assert top.stat().st_mode & 0o7777 == 0o2750


def test_what_belongs_to_others_stays_as_it_is(nginx, front, tmp_path):
    if os.geteuid() == 0:
        theirs = nginx.server / "+files" / "theirs"
        theirs.mkdir(parents=True, mode=0o700)
        os.chown(theirs, 65534, 65534)
        front()
        assert (theirs.stat().st_mode & 0o7777, theirs.stat().st_gid) == (0o700, 65534)
        os.chown(nginx.server, 65534, 65534)
    said = front(server_user="nobody") if os.geteuid() != 0 else front()
    assert "belongs to uid" in said["msg"]
