"""The client over TLS and through a proxy, against servers with certificates that the tests make."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _client
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import BadOption, Client, Unreachable
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority with its files in one directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self.name, self.key).add_extension(x509.BasicConstraints(True, None), critical=True)
        # Python 3.13 trusts no chain without these.
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
        own = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        builder = builder.add_extension(own, critical=False)
        self.bundle = directory / f"{name}.pem"
        self.bundle.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        day = datetime.timedelta(days=1)
        return builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)

    def issue(self, name: str, *addresses: str) -> tuple[Path, Path]:
        """Return the files of a certificate for the addresses, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(authority, critical=False)
        if addresses:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(each)) for each in addresses])
            builder = builder.add_extension(names, critical=False)
        certificate, key_file = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        certificate.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        key_file.write_bytes(key.private_bytes(*form))
        return certificate, key_file


class Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = json.dumps({"result": {"root": {}}}).encode()
        self.send_response(200)
        self.send_header("X-Devpi-Server-Version", "6.20.3")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """A handshake that is refused is what a test wants."""


Serve = Callable[..., str]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Return what starts a server with a certificate, and returns its port."""
    monkeypatch.setattr(_client, "RETRY_AFTER", (0.0, 0.0))
    servers = []

    def start(certificate: Path, key: Path, clients: Path | None = None) -> int:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(clients) if clients else None)
        context.load_cert_chain(certificate, key)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
        server = Quiet(("127.0.0.1", 0), type("Handler", (Handler,), {"asked": []}))
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_certificate_of_ones_own_authority_needs_its_bundle(authority: Authority, serve: Serve) -> None:
    url = f"https://127.0.0.1:{serve(*authority.issue('server', '127.0.0.1'))}"
    with pytest.raises(Unreachable, match=r"certificate of 127\.0\.0\.1 is not trusted .* as ca_path"):
        Client(url, "root").get_json("/")
    assert Client(url, "root", ca_path=str(authority.bundle)).get_json("/") == {"root": {}}
    assert Client(url, "root", validate_certs=False).get_json("/") == {"root": {}}


def test_a_certificate_for_another_address_is_refused(authority: Authority, serve: Serve) -> None:
    url = f"https://127.0.0.1:{serve(*authority.issue('server', '192.0.2.1'))}"
    with pytest.raises(Unreachable, match="IP address mismatch"):
        Client(url, "root", ca_path=str(authority.bundle)).get_json("/")


def test_a_server_that_asks_for_a_certificate_gets_the_clients(
    authority: Authority, serve: Serve, tmp_path: Path
) -> None:
    certificate, key = authority.issue("client")
    url = f"https://127.0.0.1:{serve(*authority.issue('server', '127.0.0.1'), clients=authority.bundle)}"
    with pytest.raises(Unreachable):
        Client(url, "root", ca_path=str(authority.bundle)).get_json("/")
    options = {"ca_path": str(authority.bundle), "client_cert": str(certificate), "client_key": str(key)}
    assert Client(url, "root", **options).get_json("/") == {"root": {}}
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    assert Client(url, "root", ca_path=str(authority.bundle), client_cert=str(both)).get_json("/") == {"root": {}}


def test_a_key_that_is_not_the_certificates_is_refused_beforehand(authority: Authority) -> None:
    certificate, _key = authority.issue("client")
    _certificate, other = authority.issue("other")
    with pytest.raises(BadOption, match="client_key cannot be used"):
        Client("https://127.0.0.1:1", "root", client_cert=str(certificate), client_key=str(other))


def test_what_is_no_loopback_goes_through_the_proxy_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "RETRY_AFTER", (0.0, 0.0))
    asked: list[str] = []
    with Quiet(("127.0.0.1", 0), type("Handler", (Handler,), {"asked": asked})) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert Client("http://devpi.invalid:3141", "root").get_json("/") == {"root": {}}
        assert asked == ["http://devpi.invalid:3141/"]
        with pytest.raises(Unreachable, match=r"name devpi\.invalid is not known"):
            Client("http://devpi.invalid:3141", "root", proxy=False).get_json("/")
        proxy.shutdown()
    assert len(asked) == 1
