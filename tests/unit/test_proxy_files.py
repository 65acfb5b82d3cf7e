"""The scripts of role proxy: certificates that strict clients take, sites that nginx accepts, and files it may read."""

from __future__ import annotations

import grp
import os
import pwd
import re
import socket
import ssl
import stat
import subprocess
import threading
from pathlib import Path

import pytest

FILES = Path(__file__).parents[2] / "roles" / "proxy" / "files"
NAMES = ("DNS:index.example.com", "IP:192.0.2.10", "IP:2001:db8::1")
USER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name
PLAYED_NGINX = """#!/bin/sh
directory=$(dirname "$4")
grep -q broken "$4" "$directory"/conf.d/*.conf || exit 0
echo "[emerg] broken in $directory/x.conf" >&2
exit 1
"""


def run(script, *arguments):
    """Run one of the scripts, and return the names of the files that it printed."""
    program = ["python3"] if script.endswith(".py") else ["sh"]
    done = subprocess.run([*program, FILES / script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [path.rsplit("/", 1)[1] for path in done.stdout.split()]


def refused(script, *arguments):
    """Return what one of the scripts says when it fails."""
    program = ["python3"] if script.endswith(".py") else ["sh"]
    done = subprocess.run([*program, FILES / script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr


def handshake(directory, name):
    """Let Python, with all the strictness that OpenSSL has, verify the server's certificate for the name."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "server.pem")
    client = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve():
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join()


@pytest.fixture
def made(tmp_path):
    assert run("certificate.sh", tmp_path, *NAMES) == ["ca.pem", "server.pem"]
    return tmp_path


@pytest.mark.parametrize("name", [name.split(":", 1)[1] for name in NAMES])
def test_strict_clients_trust_the_certificate_for_its_names(made, name):
    handshake(made, name)


def test_clients_trust_it_for_no_other_name(made):
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'other\.example\.com'"):
        handshake(made, "other.example.com")


def test_keys_are_for_the_owner_alone(made):
    modes = {path.name: path.stat().st_mode & 0o777 for path in made.iterdir()}
    assert modes == {"ca.key": 0o600, "ca.pem": 0o644, "server.pem": 0o600}
    (made / "ca.key").chmod(0o644)
    assert run("certificate.sh", "--check", made, *NAMES) == ["ca.key"]
    assert run("certificate.sh", made, *NAMES) == ["ca.key"]
    assert (made / "ca.key").stat().st_mode & 0o777 == 0o600


def test_second_time_changes_nothing(made):
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    assert run("certificate.sh", made, *NAMES) == []
    assert run("certificate.sh", made, "IP:2001:DB8:0::1", "DNS:Index.Example.Com", "IP:192.0.2.10") == []
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


@pytest.mark.parametrize("names", [NAMES[:2], [*NAMES, "DNS:other.example.com"], ["DNS:other.example.com"]])
def test_other_names_mean_another_certificate_of_the_same_authority(made, names):
    before = (made / "ca.pem").read_bytes()
    assert run("certificate.sh", "--check", made, *names) == ["server.pem"]
    assert run("certificate.sh", made, *names) == ["server.pem"]
    assert (made / "ca.pem").read_bytes() == before
    handshake(made, names[-1].split(":", 1)[1])
    assert run("certificate.sh", made, *names) == []


@pytest.mark.parametrize(
    ("file", "command", "mended"),
    [
        ("server.pem", "-CA ca.pem -CAkey ca.key -set_serial 7 -days 89", ["server.pem"]),
        ("ca.pem", "-signkey ca.key -days 909", ["ca.pem", "server.pem"]),
    ],
)
def test_what_runs_out_is_renewed_with_the_key_of_the_authority(made, file, command, mended):
    key = (made / "ca.key").read_bytes()
    (made / "names").write_text("subjectAltName=DNS:index.example.com,IP:192.0.2.10,IP:2001:db8::1")
    key_file = "ca.key" if file == "ca.pem" else "server.pem"
    short = f"openssl req -new -key {key_file} -subj /CN=x | openssl x509 -req {command} -extfile names >short"
    subprocess.run(["sh", "-c", short], cwd=made, check=True, capture_output=True)
    rest = "" if file == "ca.pem" else re.search(r"-----BEGIN PRIVATE.*", (made / file).read_text(), re.DOTALL)[0]
    (made / file).write_text((made / "short").read_text() + rest)
    assert run("certificate.sh", "--check", made, *NAMES) == mended
    assert run("certificate.sh", made, *NAMES) == mended
    assert (made / "ca.key").read_bytes() == key
    assert run("certificate.sh", made, *NAMES) == []


@pytest.mark.parametrize("lost", ["ca.pem", "server.pem", "ca.key"])
def test_lost_or_spoilt_files_are_mended(made, lost):
    (made / lost).unlink()
    run("certificate.sh", made, *NAMES)
    handshake(made, "index.example.com")
    if lost != "ca.key":
        (made / lost).write_text("half of a fi")
        run("certificate.sh", made, *NAMES)
        handshake(made, "index.example.com")
    assert run("certificate.sh", made, *NAMES) == []


def test_directory_that_is_to_come_is_predicted(tmp_path):
    assert run("certificate.sh", "--check", tmp_path / "tls", *NAMES) == ["ca.pem", "server.pem"]
    assert not (tmp_path / "tls").exists()


def test_what_openssl_says_is_told_and_nothing_is_left(tmp_path):
    (tmp_path / "ca.key").write_text("no key")
    assert "ca.key" in refused("certificate.sh", tmp_path, *NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["ca.key"]


def test_inner_word_is_random_and_roots_alone(tmp_path):
    words = set()
    for name in ("one", "two"):
        run("inner-word.sh", tmp_path / name)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        text = (tmp_path / name).read_text()
        words.add(re.fullmatch(r'map "" \$devpi_inner_word \{ default "([0-9a-f]{64})"; \}\n', text)[1])
    assert len(words) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.fixture
def files(tmp_path):
    """Return the directory of the release files of a server that has some."""
    deep = tmp_path / "server" / "+files" / "u" / "i"
    deep.mkdir(parents=True)
    (deep / "release").write_text("x")
    (deep / "release").chmod(0o600)
    for path in (deep, deep.parent, deep.parents[1]):
        path.chmod(0o700)
    return deep.parents[1]


def open_files(top, *check):
    return run("release_files.py", *check, top.parent, USER, GROUP)


def test_release_files_are_opened_to_the_group_and_links_are_not_followed(files, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("not a release")
    outside.chmod(0o600)
    (files / "u" / "link").symlink_to(outside)
    os.mkfifo(files / "pipe", 0o600)
    assert open_files(files, "--check") == ["+files"]
    assert files.stat().st_mode & 0o7777 == 0o700
    assert open_files(files) == ["+files"]
    paths = (files, files / "u" / "i", files / "u" / "i" / "release", files / "pipe", outside)
    assert [path.stat().st_mode & 0o7777 for path in paths] == [0o2750, 0o2750, 0o640, 0o600, 0o600]
    assert open_files(files) == []


def test_directory_that_is_not_there_is_made(tmp_path):
    (tmp_path / "server").mkdir()
    top = tmp_path / "server" / "+files"
    assert open_files(top, "--check") == ["+files"]
    assert not top.exists()
    assert open_files(top) == ["+files"]
    assert stat.filemode(top.stat().st_mode) == "drwxr-s---"


def test_account_that_is_to_come_is_predicted(tmp_path):
    assert run("release_files.py", "--check", tmp_path, "nobodys-account", GROUP) == ["+files"]


@pytest.mark.parametrize("kind", ["link", "pipe", "file"])
def test_what_is_no_directory_is_refused_and_not_followed(files, kind):
    outside = files.rename(files.with_name("outside"))
    if kind == "link":
        files.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(files)
    else:
        files.write_text("")
    assert "is a link or no directory" in refused("release_files.py", files.parent, USER, GROUP)
    assert (outside / "u" / "i" / "release").stat().st_mode & 0o7777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_others_stays_as_it_is(files):
    os.chown(files / "u", 65534, 65534)
    open_files(files)
    assert ((files / "u").stat().st_mode & 0o7777, (files / "u").stat().st_gid) == (0o700, 65534)
    os.chown(files.parent, 65534, 65534)
    assert "belongs to uid 65534" in refused("release_files.py", files.parent, USER, GROUP)


@pytest.fixture
def etc(tmp_path):
    """Return a copy of the script that tries sites, with an nginx that is played and its directory."""
    etc, program = tmp_path / "etc" / "nginx", tmp_path / "bin" / "nginx"
    (etc / "conf.d").mkdir(parents=True)
    (etc / "nginx.conf").write_text(f"include {etc}/conf.d/*.conf;\n")
    (etc / "conf.d" / "devpi.conf").write_text("works\n")
    program.parent.mkdir()
    program.write_text(PLAYED_NGINX)
    program.chmod(0o755)
    script = (FILES / "try-site.sh").read_text().replace("PATH=", f"PATH={program.parent}:")
    # which a run that was killed has left
    (tmp_path / "run" / "wheelhouse.devpi.nginx" / "conf.d").mkdir(parents=True)
    (tmp_path / "run" / "wheelhouse.devpi.nginx" / "conf.d" / "left.conf").write_text("broken\n")
    script = script.replace("/run/", f"{tmp_path}/run/")
    (tmp_path / "try-site.sh").write_text(script.replace("/etc/nginx/", f"{etc}/"))
    return etc


@pytest.mark.parametrize("content", ["new", "broken"])
def test_site_is_tried_beside_the_one_that_is_there(etc, tmp_path, content):
    (tmp_path / "site").write_text(content)
    command = ["sh", tmp_path / "try-site.sh", tmp_path / "site"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (content == "broken")
    assert (etc / "conf.d" / "devpi.conf").read_text() == "works\n"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["wheelhouse.devpi.lock"]
    if content == "broken":
        assert "nginx rejects the new configuration and keeps running with the old one" in done.stderr
        assert f"[emerg] broken in {etc}/x.conf" in done.stderr
