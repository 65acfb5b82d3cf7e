# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of the plugin devpi-tokens: as declared, as the server lists them, and as the secret that is shown once.

A token's restrictions are texts such as ``expires=1826997414`` or ``indexes=team/dev,team/release``. The server stores
nothing else of a token but its id, so a token that is made for a file carries a mark among them: a ``not_before`` that
is negative, at random, and so restricts nothing. A token that replaces one takes over its mark. So the tokens that have
the mark of a file's token, and are not that token, were left by runs that were killed.
"""

from __future__ import annotations

import base64
import contextlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Iterable, Iterator, Mapping

from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client, ClientError, RequestFailed
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import FORBIDDEN_IN_NAMES, PROJECT_NAME

# What devpi-server asks for where a token may be used; it never lets one change users.
PERMISSIONS = [
    "del_entry",
    "del_project",
    "del_verdata",
    "index_create",
    "index_delete",
    "index_modify",
    "pkg_read",
    "toxresult_upload",
    "upload",
]
LISTS = ("allowed", "indexes", "projects")
NO_EFFECT = "not_before=-"
# Longer than what a person would write
MARK = re.compile(r"not_before=(-[0-9]{15,19})")
# What stands in the draft of a file before its token is made
DRAFT_TEXT = re.compile(rf"(.+) ({MARK.pattern})")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?")
CLOCK_TOLERANCE = 300  # seconds by which a clock may be set, or two clocks differ


class TokenError(ValueError):
    """Options that cannot be used, a file that cannot, or a server without the plugin; the message says the way out."""


@dataclass(frozen=True)
class Token:
    """A token without its secret.

    :param restrictions: those that the server stores, and those that somebody added later.
    """

    user: str
    id: str
    restrictions: tuple[str, ...]

    @property
    def marks(self) -> set[str]:
        """Return the marks among the restrictions; the server stores at most one."""
        return {restriction for restriction in self.restrictions if MARK.fullmatch(restriction)}


def new_mark() -> str:
    """Return a mark that no other token has."""
    return f"not_before={-(1 << 62) - secrets.randbits(62)}"


def read_draft(text: str) -> Token | None:
    """Return what the draft of a file tells of a token; None where it tells nothing.

    :param text: the token's secret or, before the token is made, its user and mark.
    """
    with contextlib.suppress(TokenError):
        return read_secret(text)
    match = DRAFT_TEXT.fullmatch(text)
    return Token(match[1], "", (match[2],)) if match else None


def read_secret(secret: str) -> Token:
    """Return whose token the secret is and what it may do. Whether it is valid, only the server knows.

    :param secret: ``devpi-`` and, in base64, the binary form of a macaroon, version 2.
    :raises TokenError: it is nothing of the kind, or not whole.
    """
    body = secret[len("devpi-") :] if secret.startswith("devpi-") else ""
    try:
        data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        packets = list(_packets(data[1:]))
        names = [content.decode() for kind, content in packets if kind == 2]
    except (IndexError, ValueError):
        data, packets, names = b"", [], []
    if data[:1] != b"\x02" or not names or packets[-1][0] != 6 or len(packets[-1][1]) != 32:
        raise TokenError("this is not a token of devpi-tokens, or not the whole of one")
    user, _dash, token_id = names[0].rpartition("-")
    return Token(user, token_id, tuple(names[1:]))


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each field's type and content; a type of 0 ends a section and has no content."""
    at = 0
    while at < len(data):
        kind = data[at]
        at += 1
        if kind == 0:
            continue
        length = shift = 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if at + length > len(data):
            raise IndexError
        yield kind, data[at : at + length]
        at += length


# Seconds; later times are none that a calendar could show.
LONGEST_DURATION = 1000 * 366 * 24 * 3600
# As many digits Python reads only where a limit of its own allows it.
LONGEST_NUMBER = 20


def duration(text: str, option: str) -> int:
    """Return the seconds that a text such as ``90d`` means."""
    match = re.fullmatch(r"([0-9]+)\s*([smhdw])", text.strip())
    if not match:
        raise TokenError(f"{option}: {text!r} is not a duration; write it as 90d, with the unit s, m, h, d or w")
    digits = match[1].lstrip("0") or "0"
    seconds = int(digits) * UNITS[match[2]] if len(digits) < LONGEST_NUMBER else LONGEST_DURATION + 1
    if seconds > LONGEST_DURATION:
        way = "write never" if option == "expires" else "give a shorter one"
        raise TokenError(f"{option}: {text!r} is longer than 1000 years; {way}")
    return seconds


def moment(text: str, option: str) -> int:
    """Return the seconds since 1970 of a text such as ``2030-01-31T12:00:00Z``; without a zone it is UTC."""
    try:
        if not TIME.fullmatch(text.strip()):
            raise ValueError(text)
        read = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        seconds = int((read if read.tzinfo else read.replace(tzinfo=timezone.utc)).timestamp())
    except (ValueError, OverflowError):
        seconds = -1
    if seconds < 0:
        raise TokenError(f"{option}: {text!r} is not a time; write it as 2030-01-31 or 2030-01-31T12:00:00Z")
    return seconds


def iso(seconds: int) -> str:
    """Return the time as ``2030-01-31T12:00:00Z``, or the number where no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def describe(restrictions: Iterable[str]) -> dict[str, Any]:
    """Return the restrictions for a person to read: lists, and times in UTC. The mark is left out."""
    description: dict[str, Any] = {}
    for restriction in restrictions:
        name, _equals, value = restriction.partition("=")
        if restriction.startswith(NO_EFFECT):
            continue
        if name in LISTS:
            description[name] = sorted({_project(each) if name == "projects" else each for each in value.split(",")})
        elif name in ("expires", "not_before") and re.fullmatch(r"\d+", value):
            description[name] = iso(int(value))
        else:
            description[name] = value
    return description


def _project(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Declared:
    """A token as it should be.

    :param lists: each list that restricts it.
    :param expires: as it was given, for a person to read.
    :param lifetime: of a new token in seconds; None where it ends at a moment, or never.
    :param ends: the moment; None where it has a lifetime, or never ends.
    :param renew_before: how long before its end, in seconds, a token with a lifetime is replaced.
    """

    user: str
    lists: Mapping[str, tuple[str, ...]]
    expires: str
    lifetime: int | None
    ends: int | None
    not_before: int | None
    renew_before: int

    def restrictions(self, now: int, mark: str = "") -> dict[str, Any]:
        """Return what the server is to store of a new token. A declared ``not_before`` leaves no room for a mark."""
        body: dict[str, Any] = {name: list(each) for name, each in self.lists.items()}
        body["expires"] = "never"
        if self.lifetime is not None or self.ends is not None:
            body["expires"] = self.ends if self.lifetime is None else now + self.lifetime
        if self.not_before is not None:
            body["not_before"] = self.not_before
        elif mark:
            body["not_before"] = int(mark.partition("=")[2])
        return body

    def describe(self) -> dict[str, Any]:
        """Return what a new token will be restricted to, in the same words at any time."""
        description: dict[str, Any] = {name: list(each) for name, each in self.lists.items()}
        description["expires"] = f"in {self.expires}" if self.lifetime is not None else "never"
        for name, seconds in (("expires", self.ends), ("not_before", self.not_before)):
            if seconds is not None:
                description[name] = iso(seconds)
        return description

    def flaw(self, token: Token, now: int) -> str:
        """Return why the token is not as declared, or nothing where it is."""
        actual = describe(token.restrictions)
        wanted = self.describe()
        names = [restriction.partition("=")[0] for restriction in token.restrictions]
        expires, wanted_expires = actual.pop("expires", "never"), wanted.pop("expires")
        if actual != wanted or len(names) != len(set(names)):
            return "it is restricted otherwise"
        ends = next((each.partition("=")[2] for each in token.restrictions if each.startswith("expires=")), "never")
        if self.lifetime is None:
            return "" if expires == wanted_expires else "it expires at another time"
        left = int(ends) - now if re.fullmatch(r"\d+", ends) else None
        if left is None or left > self.lifetime + CLOCK_TOLERANCE:
            return "it expires later than declared"
        if left <= 0:
            return "it is expired"
        return "it expires soon" if left <= self.renew_before else ""


def declared_token(params: Mapping[str, Any], now: int) -> Declared:
    """Return the token that a module's options declare.

    :raises TokenError: with all that is wrong with them, a sentence each.
    """
    problems = []
    values: dict[str, int | None] = {"lifetime": None, "ends": None, "not_before": None, "renew_before": 0}

    def take(name: str, read: Any, option: str) -> None:
        try:
            values[name] = read(params[option], option)
        except TokenError as error:
            problems.append(str(error))

    if params["expires"] != "never":
        ends = bool(TIME.fullmatch(params["expires"].strip()))
        take("ends" if ends else "lifetime", moment if ends else duration, "expires")
    if params["not_before"] is not None:
        take("not_before", moment, "not_before")
    if params["path"] is not None:
        take("renew_before", duration, "renew_before")
    lists = {name: params[name] for name in LISTS if params[name] is not None}
    problems += [
        f"{name} is empty, so the token could do nothing; leave {name} out where it is not to be restricted"
        for name, given in lists.items()
        if not given
    ]
    problems += [
        f"indexes: {index!r} is not an index; write it as user/index"
        for index in lists.get("indexes", [])
        if index.count("/") != 1 or not all(each and not FORBIDDEN_IN_NAMES.search(each) for each in index.split("/"))
    ]
    problems += [
        f"projects: {project!r} is not the name of a project"
        for project in lists.get("projects", [])
        if not PROJECT_NAME.fullmatch(project)
    ]
    lifetime, ends_at, renew_before = values["lifetime"], values["ends"], values["renew_before"] or 0
    if lifetime is not None and renew_before >= lifetime:
        problems.append(
            f"renew_before: {params['renew_before']} is not shorter than expires: {params['expires']}, so each run "
            "would make a new token; give a shorter renew_before"
        )
    end = now + lifetime if lifetime is not None else ends_at
    if end is not None and end <= max(now, values["not_before"] or 0):
        problems.append(
            f"expires: {params['expires']} ends before the token can be used; give a later time, or an earlier "
            "not_before"
        )
    if problems:
        raise TokenError("\n".join(problems))
    return Declared(
        user=params["user"],
        lists={
            name: tuple(sorted({_project(each) if name == "projects" else each for each in given}))
            for name, given in lists.items()
        },
        expires=params["expires"],
        lifetime=lifetime,
        ends=ends_at,
        not_before=values["not_before"],
        renew_before=renew_before,
    )


class NoSuchUser(ClientError):  # noqa: N818 - named for what happened, as those of the client
    """The server has no user of this name."""


def describe_tokens(tokens: Iterable[Token]) -> list[dict[str, Any]]:
    """Return the tokens as a module returns them."""
    return [{"id": token.id, **describe(token.restrictions)} for token in tokens]


class TokenApi:
    """The tokens of one user on one server.

    :param client: as somebody who may manage them.
    """

    def __init__(self, client: Client, user: str) -> None:
        self.client = client
        self.user = user
        self.changed = False

    def login(self) -> None:
        """Log in, after a look without a login, where a server that has the plugin denies what another does not know.

        :raises TokenError: the server hasn't the plugin.
        """
        try:
            self.client.get_json(f"/{self.user}/+tokens")
        except RequestFailed as error:
            if error.status == 404:
                raise TokenError(
                    f"the devpi-server at {self.client.url} has no plugin devpi-tokens; install it with "
                    "'devpi_venv_tokens: true' of the role wheelhouse.devpi.venv and restart the server. "
                    "Nothing was changed."
                ) from None
            if error.status not in (401, 403):
                raise
        self.client.login()

    def fetch(self) -> list[Token]:
        """Return the user's tokens by their ids.

        :raises NoSuchUser: there is none of this name.
        """
        try:
            listed = self.client.get_json(f"/{self.user}/+tokens")["tokens"]
        except RequestFailed as error:
            if error.status != 404:
                raise
            raise NoSuchUser(
                f"the devpi-server at {self.client.url} has no user {self.user}; make the user first, or correct user"
            ) from None
        return [
            Token(self.user, token_id, tuple(listed[token_id].get("restrictions", ()))) for token_id in sorted(listed)
        ]

    def accepts(self, secret: str) -> bool:
        """Whether the server takes the token, as it does not after a change of its own secret."""
        try:
            status = self.client.with_token(self.user, secret).get_json("/+api")["authstatus"]
        except RequestFailed as error:
            if error.status != 403:
                raise
            return False
        return bool(status[0] == "ok")

    def create(self, body: Mapping[str, Any]) -> str:
        """Return the secret of a new token."""
        secret = str(self.client.post(f"/{self.user}/+token-create", body).result["token"])
        self.changed = True
        return secret

    def revoke(self, token_id: str) -> None:
        """Have the server forget the token, if it knows it."""
        try:
            self.client.delete(f"/{self.user}/+tokens/{token_id}")
        except RequestFailed as error:
            if error.status != 404:
                raise
        self.changed = True
