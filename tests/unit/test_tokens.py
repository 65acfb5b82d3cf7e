"""What a token's secret tells, and when a token is as declared."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tokens import (
    CLOCK_TOLERANCE,
    Token,
    TokenError,
    declared_token,
    describe,
    duration,
    iso,
    moment,
    new_mark,
    read_draft,
    read_secret,
)

# Made by devpi-tokens 1.1.0 for a user who no longer exists.
SECRET = "devpi-AgEAAgtjaS1KcFc4RHhNNQACEmV4cGlyZXM9MTgyNjk5NzQxNAAABiAACgdTewnPr-9f3szpRpCW1OChhEPRzgb9bFffxLI2gQ"
NOW = 1_900_000_000


def stored(body: dict[str, Any]) -> tuple[str, ...]:
    """Return the restrictions that the server lists for what was sent."""
    return tuple(f"{name}={','.join(each) if isinstance(each, list) else each}" for name, each in sorted(body.items()))


OPTIONS: dict[str, Any] = {
    "user": "ci",
    "path": "/etc/ci/token",
    "allowed": None,
    "indexes": None,
    "projects": None,
    "expires": "90d",
    "renew_before": "30d",
    "not_before": None,
}


def test_a_secret_tells_whose_it_is_and_what_it_may_do() -> None:
    assert read_secret(SECRET) == Token("ci", "JpW8DxM5", ("expires=1826997414",))


def test_a_name_with_dashes_and_a_restriction_longer_than_127_bytes() -> None:
    projects = "projects=" + ",".join(f"project-{number}" for number in range(30))
    long = bytes([2, 0x80 | len(projects) & 0x7F, len(projects) >> 7]) + projects.encode()
    packed = b"\x02\x02\x0ete-am-JpW8DxM5\x00" + long + b"\x00\x00\x06\x20" + bytes(32)
    token = read_secret("devpi-" + base64.urlsafe_b64encode(packed).decode())
    assert token == Token("te-am", "JpW8DxM5", (projects,))


@pytest.mark.parametrize("length", range(len(SECRET)))
def test_no_part_of_a_secret_is_taken_for_the_whole(length: int) -> None:
    with pytest.raises(TokenError):
        read_secret(SECRET[:length])


@pytest.mark.parametrize(
    "text", ["", "devpi-", SECRET[6:], "pypi-" + SECRET[6:], "devpi-ä", "devpi-AgEAAg", "devpi-AA"]
)
def test_what_is_no_secret(text: str) -> None:
    with pytest.raises(TokenError):
        read_secret(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90d", 7776000), ("8 h", 28800), ("2w", 1209600), ("5m", 300), ("0s", 0)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text, "expires") == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5h", "1y", "1d2h", "never"])
def test_no_durations(text: str) -> None:
    with pytest.raises(TokenError, match="renew_before: "):
        duration(text, "renew_before")


@pytest.mark.parametrize(
    "text",
    [
        "2030-03-17T17:46:40Z",
        "2030-03-17 17:46:40",
        "2030-03-17T17:46:40",
        "2030-03-17T19:46:40+02:00",
        "2030-03-17 17:46:40+00:00",
    ],
)
def test_times(text: str) -> None:
    assert moment(text, "expires") == NOW
    assert iso(NOW) == "2030-03-17T17:46:40Z"


@pytest.mark.parametrize("text", ["1900000000", "2030-02-30", "1969-12-31", "2030-03-17T25:00", "20300317", "tomorrow"])
def test_no_times(text: str) -> None:
    with pytest.raises(TokenError, match="not_before: "):
        moment(text, "not_before")


def test_what_is_shown_of_restrictions() -> None:
    restrictions = ["allowed=upload", f"expires={NOW}", "not_before=-5", "projects=Foo_Bar,baz", "later=x", '{"v": 1}']
    assert describe(restrictions) == {
        "allowed": ["upload"],
        "expires": "2030-03-17T17:46:40Z",
        "projects": ["baz", "foo-bar"],
        "later": "x",
        '{"v": 1}': "",
    }
    assert describe(["expires=never"]) == {"expires": "never"}
    assert describe([f"expires={10**30}"]) == {"expires": str(10**30)}


def test_what_is_sent_is_what_the_server_lists() -> None:
    declared = declared_token(
        {**OPTIONS, "allowed": ["upload", "pkg_read"], "projects": ["Foo_Bar"], "not_before": "2030-03-01"}, NOW
    )
    body = declared.restrictions(NOW, new_mark())
    assert body == {
        "allowed": ["pkg_read", "upload"],
        "projects": ["foo-bar"],
        "expires": NOW + 7776000,
        "not_before": 1898553600,
    }
    assert stored(body) == (
        "allowed=pkg_read,upload",
        f"expires={NOW + 7776000}",
        "not_before=1898553600",
        "projects=foo-bar",
    )
    assert declared.flaw(Token("ci", "x", stored(body)), NOW) == ""


def test_a_mark_restricts_nothing_and_is_never_the_same() -> None:
    declared = declared_token(OPTIONS, NOW)
    marks = {new_mark() for _each in range(50)}
    assert len(marks) == 50
    for mark in marks:
        token = Token("ci", "x", stored(declared.restrictions(NOW, mark)))
        assert token.marks == {mark}
        assert int(mark[len("not_before=") :]) < 0
        assert declared.flaw(token, NOW) == ""
    assert "not_before" not in declared.restrictions(NOW)


@pytest.mark.parametrize("restriction", ["not_before=-5", "not_before=1580428800", "not_before=", "expires=never"])
def test_what_a_person_writes_is_no_mark(restriction: str) -> None:
    assert Token("ci", "x", (restriction,)).marks == set()
    assert read_draft(f"ci {restriction}") is None


def test_what_a_draft_tells() -> None:
    mark = new_mark()
    assert read_draft(f"ci {mark}") == Token("ci", "", (mark,))
    assert read_draft(SECRET) == read_secret(SECRET)


@pytest.mark.parametrize("text", ["", "ci", "ci ", new_mark(), f"ci {new_mark()} x", '{"user": "ci"}', SECRET[:-9]])
def test_drafts_that_tell_nothing(text: str) -> None:
    assert read_draft(text) is None


@pytest.mark.parametrize(
    ("options", "restrictions", "flaw"),
    [
        ({}, ["expires={90d}"], ""),
        ({}, ["expires={31d}"], ""),
        ({}, ["expires={30d}"], "it expires soon"),
        ({"renew_before": "40d"}, ["expires={31d}"], "it expires soon"),
        ({}, ["expires={0d}"], "it is expired"),
        ({}, ["expires={91d}"], "it expires later than declared"),
        ({}, ["expires=never"], "it expires later than declared"),
        ({}, [], "it expires later than declared"),
        ({"expires": "never"}, ["expires=never"], ""),
        ({"expires": "never"}, ["expires={90d}"], "it expires at another time"),
        ({"expires": "2030-03-20"}, ["expires=1900195200"], ""),
        ({"expires": "2030-03-20"}, ["expires=1900195201"], "it expires at another time"),
        ({"allowed": ["upload"]}, ["allowed=upload", "expires={90d}"], ""),
        ({"allowed": ["upload"]}, ["expires={90d}"], "it is restricted otherwise"),
        ({}, ["allowed=upload", "expires={90d}"], "it is restricted otherwise"),
        ({"indexes": ["a/b", "a/c"]}, ["expires={90d}", "indexes=a/b"], "it is restricted otherwise"),
        ({"projects": ["a.b", "A_B"]}, ["expires={90d}", "projects=a--b"], ""),
        ({"not_before": "2030-03-17"}, ["expires={90d}", "not_before=1899936000"], ""),
        ({"not_before": "2030-03-17"}, ["expires={90d}", "not_before=-3"], "it is restricted otherwise"),
        ({}, ["expires={90d}", "not_before=3"], "it is restricted otherwise"),
        ({}, ["expires={90d}", "expires={80d}"], "it is restricted otherwise"),
        ({}, ["expires={90d}", "not_before=-3", "not_before=-4"], "it is restricted otherwise"),
        ({}, ["expires={90d}", "later=x"], "it is restricted otherwise"),
    ],
)
def test_flaws(options: dict[str, Any], restrictions: list[str], flaw: str) -> None:
    days = {f"{number}d": NOW + number * 86400 for number in (0, 30, 31, 80, 90, 91)}
    token = Token("ci", "x", tuple(restriction.format(**days) for restriction in restrictions))
    assert declared_token({**OPTIONS, **options}, NOW).flaw(token, NOW) == flaw


def test_a_clock_that_was_set_back_makes_no_new_token() -> None:
    declared = declared_token(OPTIONS, NOW)
    token = Token("ci", "x", stored(declared.restrictions(NOW, new_mark())))
    assert declared.flaw(token, NOW - CLOCK_TOLERANCE) == ""
    assert declared.flaw(token, NOW - CLOCK_TOLERANCE - 1) == "it expires later than declared"


def test_without_a_path_nothing_is_renewed() -> None:
    assert declared_token({**OPTIONS, "path": None, "expires": "1h"}, NOW).lifetime == 3600
    with pytest.raises(TokenError, match="renew_before: 30d is not shorter than expires: 1h"):
        declared_token({**OPTIONS, "expires": "1h"}, NOW)
