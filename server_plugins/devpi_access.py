# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of devpi-server: limits password guesses, keeps a token to its indexes, and gives a reason for each refusal.

devpi-server by itself checks as many passwords as it is sent, and shows the first page with all users to each token.
nginx in front of it asks at ``/+authcheck`` whether somebody may read or write. The answer has the reason in the header
``X-Devpi-Access-Reason`` and the seconds to wait in ``X-Devpi-Access-Wait``. The server believes nginx which address a
request came from only at the socket that devpi_nginx_socket opens for it.
"""

import base64
import hashlib
import ipaddress
import json
import math
import secrets
import socket
import threading
import time
from urllib.parse import urlsplit

from devpi_common.metadata import splitbasename
from devpi_common.validation import normalize_name
from devpi_nginx_socket import FROM_NGINX
from passlib.exc import PasswordSizeError
from pluggy import HookimplMarker
from pyramid.httpexceptions import HTTPTooManyRequests
from pyramid.interfaces import ISecurityPolicy
from pyramid.response import Response

hookimpl = HookimplMarker("devpiserver")

# Wrong passwords that one address may send in a minute. The same one again counts for less: it is a machine whose
# password was changed, and no guess.
GUESSES = 10
AGAIN = 0.05
# Whose guesses are known at a time; then those that have been quiet for the longest are forgotten.
ADDRESSES = 10_000
TOKEN_USER = "__token__ is not a user here: give the name of the devpi user as the user and the token as the password"  # noqa: S105 - a message
WRONG_PATH = "a token that is bound to indexes or projects reads these alone"
NO_WRITING = "this token may read and nothing else"
TOO_LONG = "a password has 4096 characters at the most"
PUSHED_HOME = "a release is not pushed to an address of the server's own host"
# devpi-server itself takes a login with any method.
LOGIN_METHODS = ("GET", "HEAD", "POST")
# The address that asks and what nginx wants to know, in what the request of /+authcheck hands on
ADDRESS = "X-Devpi-Access-Address"
WANTED = "X-Devpi-Access"

_answering = threading.local()


class Guesses:
    """Counts the wrong passwords of each address, and forgets them as time goes by."""

    def __init__(self):
        self._lock = threading.Lock()
        self._salt = secrets.token_bytes(16)
        self._known = {}

    def wait(self, address):
        """Return for how many seconds no password from this address is checked."""
        with self._lock:
            level = self._level(address)
        return math.ceil((level - GUESSES + 1) * 60 / GUESSES) if level > GUESSES - 1 else 0

    def add(self, address, words):
        """Count a wrong password.

        :param address: that sent it.
        :param words: user and password; of these only a digest is kept.
        """
        digest = hashlib.blake2b(words.encode("utf-8", "replace"), key=self._salt, digest_size=16).digest()
        with self._lock:
            level = self._level(address)
            _level, _time, digests = self._known.pop(address, (0, 0, ()))
            cost = AGAIN if digest in digests else 1
            digests = (*[each for each in digests if each != digest], digest)[-2 * GUESSES :]
            self._known[address] = (min(level + cost, GUESSES), time.monotonic(), digests)
            while len(self._known) > ADDRESSES:
                del self._known[next(iter(self._known))]

    def _level(self, address):
        level, seen, _digests = self._known.get(address, (0, 0, ()))
        return max(0, level - (time.monotonic() - seen) * GUESSES / 60)


_guesses = Guesses()


@hookimpl
def devpiserver_pyramid_configure(config, pyramid_config):
    """Register the tween, outside of the one that begins and ends the transaction.

    :param config: of the server.
    :param pyramid_config: of its web application.
    """
    pyramid_config.add_tween(
        "devpi_access.tween_access",
        under="devpi_server.views.tween_request_logging",
        over="devpi_server.views.tween_keyfs_transaction",
    )


def tween_access(handler, registry):
    """Return what answers a request in the place of `handler`, or refuses it with a reason."""

    def answer(request):
        address = address_of(request)
        request.headers[ADDRESS] = address
        _answering.reason = ""
        asked = request.path_info == "/+authcheck"
        if user_of(request) == "__token__":
            return refused(401, TOKEN_USER, WWW_Authenticate='Basic realm="devpi"')
        if request.path_info in ("/+login", "/+logout") and request.method not in LOGIN_METHODS:
            return refused(405, "a login is sent with POST", Allow=", ".join(LOGIN_METHODS))
        if request.method == "PUSH" and leads_home(request):
            return refused(403, PUSHED_HOME)
        login = request.path_info == "/+login" and request.method == "POST"
        words = login_words(request) if login else ""
        if login and _guesses.wait(address):
            return too_many(address, asked)
        try:
            response = handler(request)
        except PasswordSizeError:
            _guesses.add(address, "a long one")
            return refused(401, TOO_LONG, WWW_Authenticate='Basic realm="devpi"')
        if response.status_code == 429:
            return too_many(address, asked)
        if login and response.status_code == 401:
            _guesses.add(address, words)
        if asked and response.status_code == 403 and _answering.reason:
            return refused(403, _answering.reason)
        if asked and response.status_code == 200:
            response.headers["X-Devpi-Access-Known"] = "yes"
        return response

    return answer


def refused(status, reason, **headers):
    """Return an answer with the reason in the status line too, because many tools show nothing else."""
    response = Response(f"{reason[0].upper()}{reason[1:]}.\n", content_type="text/plain", charset="utf-8")
    response.status = f"{status} {reason}"
    response.headers["X-Devpi-Access-Reason"] = reason
    response.headers["Cache-Control"] = "no-store"
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    return response


def too_many(address, asked):
    """Return the answer to an address that has to wait; for nginx, which understands only 403, it is a 403."""
    seconds = str(max(1, _guesses.wait(address)))
    reason = f"too many wrong passwords came from {address}, wait {seconds} seconds"
    return refused(403 if asked else 429, reason, Retry_After=seconds, X_Devpi_Access_Wait=seconds)


def address_of(request):
    """Return who asks: an address, or an account of this host."""
    address = request.headers.get("X-Real-IP", "") if request.environ.get(FROM_NGINX) else request.remote_addr or ""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "an unknown address"
    if parsed.is_loopback:
        # All accounts have this address, and one must not keep the others waiting.
        return account_at(parsed, request.environ.get("REMOTE_PORT", "")) or str(parsed)
    # Whoever has one address of IPv6 has 2**64.
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def account_at(address, port):
    """Return the account at the other end of a connection within this host; nothing if the kernel does not tell."""
    words = [address.packed[at : at + 4][::-1].hex() for at in range(0, len(address.packed), 4)]
    try:
        end = f"{''.join(words)}:{int(port):04x}".upper()
        with open("/proc/net/tcp" if address.version == 4 else "/proc/net/tcp6", encoding="ascii") as table:
            for line in table:
                columns = line.split()
                if columns[1] == end:
                    return f"account {columns[7]} of this host"
    except (OSError, ValueError):
        pass
    return ""


def leads_home(request):
    """Return whether a release is pushed to this host, whose programs may trust it, or to a link-local address."""
    try:
        host = urlsplit(json.loads(request.body)["posturl"]).hostname
        found = {each[4][0].partition("%")[0] for each in socket.getaddrinfo(host, None)}
    except (KeyError, TypeError, ValueError, OSError):
        # to another index of the same server, or to no address
        return False
    return any(is_home(ipaddress.ip_address(each)) for each in found)


def is_home(address):
    """Return whether an address is this host's own or link-local, where a cloud may keep credentials."""
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_link_local or address.is_unspecified


def user_of(request):
    """Return the user whose name comes with a password or token; empty where none does."""
    kind, _space, basic = request.headers.get("Authorization", "").partition(" ")
    for coded in (basic if kind.lower() == "basic" else "", request.headers.get("X-Devpi-Auth", "")):
        try:
            user, colon, _password = base64.b64decode(coded.strip()).decode("utf-8", "replace").partition(":")
        except ValueError:
            continue
        if colon:
            return user
    return ""


def login_words(request):
    """Return the login that was sent. A long one is not read, because nobody has a long password."""
    return request.body[:10_000].decode("utf-8", "replace") if (request.content_length or 0) < 100_000 else ""


def is_guess(request, credentials):
    """Return whether the second of a pair is a password, and neither a token nor a login of the server's own."""
    if credentials is None or not credentials[1] or is_token(request, credentials[1]):
        return False
    try:
        # One that has run out, too, was signed by this server.
        request.registry.getUtility(ISecurityPolicy).auth.serializer.loads(credentials[1])
    except Exception:  # of any kind: it is not signed, then
        return True
    return False


def is_token(request, text):
    """Return whether it has the form of a token. devpi-tokens then checks it, and no password is checked."""
    try:
        request.devpi_token_utility.deserialize(text)
    except Exception:  # of any kind, and where that plugin is not installed
        return False
    return True


@hookimpl(tryfirst=True)
def devpiserver_get_identity(request, credentials):
    """Refuse to check a password from an address that has to wait."""
    _answering.credentials = credentials
    if is_guess(request, credentials) and _guesses.wait(request.headers.get(ADDRESS, "")):
        _answering.credentials = None
        raise HTTPTooManyRequests


@hookimpl
def devpiserver_identity_loaded(request, credential_plugin_name, identity_plugin_name, identity):
    """Count a password that was wrong."""
    credentials = getattr(_answering, "credentials", None)
    if identity is None and is_guess(request, credentials):
        _guesses.add(request.headers.get(ADDRESS, ""), f"{credentials[0]}:{credentials[1]}")
    _answering.credentials = None


@hookimpl(optionalhook=True)
def devpiserver_authcheck_unauthorized(request):
    """Answer nginx that nobody may write without a login, whatever an index allows.

    :param request: the one that nginx asks about.
    """
    if request.headers.get(WANTED) == "write" and not request.authenticated_userid:
        return True
    return None


@hookimpl(optionalhook=True)
def devpiserver_authcheck_forbidden(request):
    """Answer nginx that a bound token may read only its indexes, and of these only its projects.

    :param request: the one that nginx asks about.
    """
    identity = request.identity
    if not hasattr(identity, "token"):
        return None
    try:
        restrictions = identity.restrictions
        allowed = [set(each.value) for each in restrictions.get("allowed", ())]
        projects = [set(map(normalize_name, each.value)) for each in restrictions.get("projects", ())]
        bound = bool(projects or restrictions.get("indexes"))
    except Exception:  # a restriction that was added by another program
        allowed, projects, bound = [], [], True
    if request.headers.get(WANTED) == "write" and allowed and not set.intersection(*allowed) - {"pkg_read"}:
        return _forbidden(NO_WRITING)
    if bound and not (request.context.username and request.context.index):
        return _forbidden(WRONG_PATH)
    if projects and request.matched_route.name.endswith(("/+f/{relpath:.*}", "/+e/{relpath:.*}")):
        name = request.path_info.rsplit("/", 1)[1]
        name = name[: -len(".metadata")] if name.endswith(".metadata") else name
        try:
            project = normalize_name(splitbasename(name, checkarch=False)[0])
        except ValueError:
            project = ""
        if any(project not in each for each in projects):
            return _forbidden(WRONG_PATH)
    return None


def _forbidden(reason):
    _answering.reason = reason
    return True
