"""Authority: certificates that a strict client takes, made anew when they must be and at no other time."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _authority
from ansible_collections.wheelhouse.devpi.plugins.module_utils._authority import Authority, AuthorityError

NAMES = ("index.example.com", "192.0.2.10", "2001:db8::1")


def converged(directory, names=NAMES, check_mode=False):
    """Converge, and return the names of the files that were changed."""
    changed = Authority(str(directory), list(names)).converge(check_mode)
    return [path.rsplit("/", 1)[1] for path in changed]


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
    assert converged(tmp_path / "tls") == ["ca.pem", "server.pem"]
    return tmp_path / "tls"


@pytest.mark.parametrize("name", NAMES)
def test_strict_clients_trust_it_for_its_names(made, name):
    handshake(made, name)


def test_clients_trust_it_for_no_other_name(made):
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'other\.example\.com'"):
        handshake(made, "other.example.com")


def test_keys_are_for_the_owner_alone(made):
    modes = {path.name: path.stat().st_mode & 0o777 for path in made.iterdir()}
    assert modes == {"ca.key": 0o600, "ca.pem": 0o644, "server.pem": 0o600}
    (made / "ca.key").chmod(0o644)
    assert converged(made) == ["ca.key"]
    assert (made / "ca.key").stat().st_mode & 0o777 == 0o600


def test_second_time_changes_nothing(made):
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    assert converged(made) == []
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


@pytest.mark.parametrize("names", [NAMES[:2], [*NAMES, "other.example.com"], ["other.example.com"]])
def test_other_names_mean_another_certificate_of_the_same_ca(made, names):
    before = (made / "ca.pem").read_bytes()
    assert converged(made, names, check_mode=True) == ["server.pem"]
    assert converged(made, names) == ["server.pem"]
    assert (made / "ca.pem").read_bytes() == before
    handshake(made, names[-1])
    assert converged(made, names) == []


def test_order_and_case_of_names_mean_nothing(made):
    assert converged(made, ["2001:DB8:0::1", "Index.Example.Com", "192.0.2.10"]) == []


def test_certificate_that_runs_out_is_renewed(made, monkeypatch):
    monkeypatch.setattr(_authority, "RENEW_DAYS", _authority.CERTIFICATE_DAYS + 1)
    assert converged(made, check_mode=True) == ["server.pem"]


def test_ca_that_runs_out_is_renewed_with_its_key(made, monkeypatch):
    key, certificate = (made / "ca.key").read_bytes(), (made / "ca.pem").read_bytes()
    monkeypatch.setattr(_authority, "CERTIFICATE_DAYS", _authority.CA_DAYS)
    assert converged(made) == ["ca.pem", "server.pem"]
    assert (made / "ca.key").read_bytes() == key
    assert (made / "ca.pem").read_bytes() != certificate


@pytest.mark.parametrize("lost", ["ca.pem", "server.pem", "ca.key"])
def test_lost_or_spoilt_files_are_mended(made, lost):
    (made / lost).unlink()
    converged(made)
    handshake(made, NAMES[0])
    if lost != "ca.key":
        (made / lost).write_text("half of a fi")
        converged(made)
        handshake(made, NAMES[0])
    assert converged(made) == []


def test_check_mode_makes_nothing(tmp_path):
    assert converged(tmp_path / "tls", check_mode=True) == ["ca.pem", "server.pem"]
    assert not (tmp_path / "tls").exists()


def test_what_openssl_says_is_told(tmp_path):
    (tmp_path / "ca.key").write_text("no key")
    with pytest.raises(AuthorityError, match=r"openssl req -x509 .* exited with"):
        converged(tmp_path)
    assert subprocess.run(["ls", "-A", tmp_path], capture_output=True, text=True, check=True).stdout == "ca.key\n"
