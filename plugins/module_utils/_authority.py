# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate authority of the host's own, and the server's certificate that it signs; openssl does the work."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from ansible_collections.wheelhouse.devpi.plugins.module_utils._kept_file import KeptFile
from ansible_collections.wheelhouse.devpi.plugins.module_utils._programs import system_environment

DAY = 86400
CA_DAYS = 7300
# Some clients take no certificate that is valid for longer than 825 days, whoever signed it.
CERTIFICATE_DAYS = 820
RENEW_DAYS = 90
CONFIGURATION = """
[req]
distinguished_name = subject
prompt = no
[subject]
CN = devpi on {host}
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


class AuthorityError(Exception):
    """openssl could not do what it was asked for; the message says what that was."""


class Authority:
    """The files ``ca.pem`` for clients, ``ca.key``, and ``server.pem`` with certificate and key in one.

    :param directory: where they are, 0755 and root's.
    :param names: the host names and addresses that the certificate is for.
    """

    def __init__(self, directory: str, names: list[str]) -> None:
        self._directory = Path(directory)
        self._names = names
        self._ca = self._directory / "ca.pem"
        self._ca_key = self._directory / "ca.key"
        self._server = self._directory / "server.pem"

    def converge(self, check_mode: bool) -> list[str]:
        """Make what is missing, runs out or is for other names; return the paths that are or would be changed."""
        changed = []
        if not self._ca_holds():
            changed.append(str(self._ca))
            if not check_mode:
                self._make_ca()
        if changed or not self._certificate_holds():
            changed.append(str(self._server))
            if not check_mode:
                self._make_certificate()
        for path, mode in ((self._ca, 0o644), (self._ca_key, 0o600), (self._server, 0o600)):
            if path.exists() and str(path) not in changed:
                file = _kept(path, path.read_text(encoding="ascii"), mode)
                if file.differs:
                    changed.append(str(path))
                    if not check_mode:
                        file.write()
        return changed

    def _ca_holds(self) -> bool:
        # It has to outlive the certificates that it signs.
        lasts = str((CERTIFICATE_DAYS + RENEW_DAYS) * DAY)
        return (
            self._ca.exists()
            and self._ca_key.exists()
            and _succeeds("x509", "-in", str(self._ca), "-noout", "-checkend", lasts)
        )

    def _certificate_holds(self) -> bool:
        path = str(self._server)
        return (
            self._server.exists()
            and _succeeds("verify", "-CAfile", str(self._ca), path)
            and _succeeds("x509", "-in", path, "-noout", "-checkend", str(RENEW_DAYS * DAY))
            and _alternative_names(path) == {_canonical(name) for name in self._names}
        )

    def _make_ca(self) -> None:
        """Keep the key where there is one: clients who know the CA then know the new one's signatures too."""
        if not self._ca_key.exists():
            # It is another CA's from now on, for a run that is killed here as well.
            with suppress(FileNotFoundError):
                self._ca.unlink()
            _kept(self._ca_key, _new_key(), 0o600).write()
        with tempfile.TemporaryDirectory() as scratch:
            configuration = self._configuration(scratch)
            command = ["req", "-x509", "-new", "-key", str(self._ca_key), "-days", str(CA_DAYS), "-sha256"]
            made = _openssl(*command, "-config", configuration, "-extensions", "authority")
        _kept(self._ca, made, 0o644).write()

    def _make_certificate(self) -> None:
        key = _new_key()
        with tempfile.TemporaryDirectory() as scratch:
            configuration = self._configuration(scratch)
            key_file, request = Path(scratch, "key"), Path(scratch, "request")
            key_file.touch(0o600)
            key_file.write_text(key, encoding="ascii")
            request.write_text(
                _openssl("req", "-new", "-key", str(key_file), "-config", configuration), encoding="ascii"
            )
            command = ["x509", "-req", "-in", str(request), "-CA", str(self._ca), "-CAkey", str(self._ca_key)]
            command += ["-set_serial", str(secrets.randbits(127)), "-days", str(CERTIFICATE_DAYS), "-sha256"]
            made = _openssl(*command, "-extfile", configuration, "-extensions", "server")
        # In one file, so that nobody ever sees the one without the other.
        _kept(self._server, made + key, 0o600).write()

    def _configuration(self, scratch: str) -> str:
        path = Path(scratch, "configuration")
        host = os.uname().nodename[:50]
        path.write_text(CONFIGURATION.format(host=host, names=",".join(map(_canonical, self._names))), encoding="ascii")
        return str(path)


def _kept(path: Path, text: str, mode: int) -> KeptFile:
    return KeptFile(str(path), text, mode, (os.geteuid(), os.getegid()), conceals=lambda _line: True)


def _canonical(name: str) -> str:
    """Return the name as openssl's configuration has it, ``DNS:…`` or ``IP:…``."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name.lower()}"


def _alternative_names(certificate: str) -> set[str]:
    said = _openssl("x509", "-in", certificate, "-noout", "-ext", "subjectAltName")
    return {_canonical(name) for name in re.findall(r"(?:DNS|IP Address):([^,\s]+)", said)}


def _new_key() -> str:
    return _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["openssl", *arguments]
    # OPENSSL_CONF or a PATH with conda's openssl in it may be what the person's shell has.
    return subprocess.run(
        command, env=system_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _openssl(*arguments: str) -> str:
    done = _run(*arguments)
    if done.returncode != 0:
        raise AuthorityError(f"openssl {' '.join(arguments)} exited with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _succeeds(*arguments: str) -> bool:
    return _run(*arguments).returncode == 0
