"""The module devpi_token_info against a real devpi-server that has the plugin devpi-tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Devpi, Result


@pytest.fixture
def devpi(devpi: Devpi) -> Devpi:
    """Return a server with the plugin, the users ci and other, and the index ci/dev."""
    plugins = devpi.ask("GET", "/+status")["versioninfo"]
    assert "devpi-tokens" in plugins, f"DEVPI_TEST_VENV names an environment without devpi-tokens: {plugins}"
    for user in ("ci", "other"):
        devpi.ask("PUT", f"/{user}", {"password": f"CANARY-{user}"}, devpi.token())
    devpi.ask("PUT", "/ci/dev", {}, devpi.token())
    return devpi


def run(devpi: Devpi, check: bool = False, **options: object) -> Result:
    arguments = {"url": devpi.url, "password": devpi.root_password, "user": "ci", **options}
    result = devpi.run("devpi_token_info", arguments, check)
    for secret in (devpi.root_password, "CANARY"):
        assert secret not in result.output
    return result


def tokens(devpi: Devpi, user: str) -> Any:
    return devpi.ask("GET", f"/{user}/+tokens", None, devpi.token())["tokens"]


def make(devpi: Devpi, user: str, **restrictions: object) -> str:
    """Make a token as the plugin's own client does; return its id."""
    before = set(tokens(devpi, user))
    devpi.ask("POST", f"/{user}/+token-create", restrictions, devpi.token())
    [made] = set(tokens(devpi, user)) - before
    return str(made)


def test_all_tokens_of_the_user_and_no_others(devpi: Devpi) -> None:
    restrictions = {"allowed": ["upload", "pkg_read"], "expires": "never", "projects": ["Foo_Bar"]}
    full = make(devpi, "ci", **restrictions, indexes=["ci/dev"], not_before=9)
    marked = make(devpi, "ci", not_before=-5, expires=1_900_000_000)
    others = make(devpi, "other", expires="never")
    before = [tokens(devpi, user) for user in ("ci", "other")]
    told = {
        full: {
            "id": full,
            "allowed": ["pkg_read", "upload"],
            "projects": ["foo-bar"],
            "indexes": ["ci/dev"],
            "expires": "never",
            "not_before": "1970-01-01T00:00:09Z",
        },
        marked: {"id": marked, "expires": "2030-03-17T17:46:40Z"},
    }
    for check in (True, False):
        result = run(devpi, check)
        assert result["changed"] is False
        assert result["tokens"] == [told[each] for each in sorted(told)]
        assert [each["id"] for each in run(devpi, check, user="other")["tokens"]] == [others]
    assert [tokens(devpi, user) for user in ("ci", "other")] == before
    assert run(devpi, user="root")["tokens"] == []


def test_users_list_their_own_where_the_server_lets_them_change(devpi: Devpi) -> None:
    result = run(devpi, username="ci", password="CANARY-ci")
    assert "ci may not do that; log in as a user whom the server's restrict-modify names" in result["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"user": "nobody-here"}, "has no user nobody-here; make the user first"),
        ({"user": "ci/dev"}, "user: user name 'ci/dev' is not allowed"),
        ({"user": ""}, "user: the user's name is empty"),
        ({"password": "CANARY"}, "the server does not accept the password given for root"),
        ({"url": "http://127.0.0.1:9"}, "nothing listens there"),
        ({"state": "listed"}, "state"),
        ({"path": "/etc/ci/token"}, "path"),
    ],
)
def test_what_cannot_be_told(devpi: Devpi, options: dict[str, Any], message: str) -> None:
    predicted, real = (run(devpi, check, **options) for check in (True, False))
    assert real["failed"]
    assert message in real["msg"]
    assert predicted.values == real.values
