"""The module devpi_user against a real devpi-server."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import HASH, HASHED

if TYPE_CHECKING:
    from conftest import Devpi, Result

ANN: dict[str, Any] = {
    "name": "ann",
    "user_password": "CANARY-ann",
    "email": "ann@example.com",
    "title": "Ann",
    "description": "She",
    "custom_data": {"room": 7},
}


def arguments(devpi: Devpi, options: dict[str, Any]) -> dict[str, Any]:
    return {"url": devpi.url, "password": devpi.root_password, **options}


def keep(devpi: Devpi, **options: Any) -> Result:
    """Run in check mode, for real, and again; return the real run's result."""
    return devpi.check_real_again("devpi_user", arguments(devpi, options))


def refused(devpi: Devpi, **options: Any) -> str:
    """Run in check mode and for real, where both are to fail alike and to change nothing; return the message."""
    before = devpi.tree()
    predicted, real = (devpi.run("devpi_user", arguments(devpi, options), check) for check in (True, False))
    assert real["failed"]
    assert predicted.values == real.values
    assert devpi.tree() == before
    for secret in (devpi.root_password, "CANARY", HASH):
        assert secret not in real.output
    return str(real["msg"])


def make(devpi: Devpi, *paths: str, **keys: Any) -> None:
    """Make users and indexes by hand."""
    for path in paths:
        body = keys if "/" in path else {"password": None, "pwhash": HASH}
        devpi.ask("PUT", f"/{path}", body, devpi.token())


def test_a_user_with_every_key(devpi: Devpi) -> None:
    result = keep(devpi, **ANN)
    assert result["changes"] == [
        {"user": "ann", "action": "create", "settings": ["custom_data", "description", "email", "password", "title"]}
    ]
    assert result["diff"]["after"]["ann"]["password"] == "(given)"
    ann = devpi.tree()["ann"]
    assert {key: ann[key] for key in ("email", "title", "description", "custom_data")} == {
        "email": "ann@example.com",
        "title": "Ann",
        "description": "She",
        "custom_data": {"room": 7},
    }
    assert devpi.takes("ann", "CANARY-ann")


def test_keys_can_be_changed_and_emptied_and_the_rest_stays(devpi: Devpi) -> None:
    keep(devpi, **ANN)
    make(devpi, "ann/dev", title="t")
    before = devpi.tree()
    result = keep(devpi, name="ann", email="", title="Ann B.", custom_data=[1, {"a": None}])
    assert result["diff"] == {
        "before": {"ann": {"email": "ann@example.com", "title": "Ann", "custom_data": {"room": 7}}},
        "after": {"ann": {"email": "", "title": "Ann B.", "custom_data": [1, {"a": None}]}},
    }
    after = devpi.tree()
    assert after["ann"].pop("email", "") == ""
    del before["ann"]["email"], before["ann"]["title"], before["ann"]["custom_data"]
    assert after["ann"].pop("title") == "Ann B."
    assert after["ann"].pop("custom_data") == [1, {"a": None}]
    after["ann"].pop("modified", None)
    before["ann"].pop("modified", None)
    assert after == before
    assert devpi.takes("ann", "CANARY-ann")


def test_root_may_be_described(devpi: Devpi) -> None:
    keep(devpi, name="root", email="root@example.com")
    assert devpi.tree()["root"]["email"] == "root@example.com"
    keep(devpi, name="root", email="")
    assert devpi.takes("root", devpi.root_password)


def test_update_password_on_create(devpi: Devpi) -> None:
    keep(devpi, **ANN)
    for options in ({}, {"update_password": "on_create"}):
        assert keep(devpi, name="ann", user_password="CANARY-new", **options)["changed"] is False
        assert devpi.takes("ann", "CANARY-ann")


def test_update_password_always(devpi: Devpi) -> None:
    keep(devpi, **ANN)
    result = keep(devpi, name="ann", user_password="CANARY-new", update_password="always")
    assert result["changes"] == [{"user": "ann", "action": "update", "settings": ["password"]}]
    assert result["diff"] == {"before": {"ann": {"password": "(another)"}}, "after": {"ann": {"password": "(given)"}}}
    assert devpi.takes("ann", "CANARY-new")
    assert not devpi.takes("ann", "CANARY-ann")


def test_a_password_is_generated_and_kept_on_the_host(devpi: Devpi, tmp_path: Path) -> None:
    directory = tmp_path / "credentials"
    result = keep(devpi, name="ann", credentials_dir=str(directory))
    file = directory / "ann"
    assert result["generated"] == {"ann": str(file)}
    assert [each.name for each in directory.iterdir()] == ["ann"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_text()[:-1]
    assert password not in result.output
    assert devpi.takes("ann", password)


def test_a_password_that_somebody_changed_becomes_the_kept_one_again(devpi: Devpi, tmp_path: Path) -> None:
    make(devpi, "ann")
    options = {"name": "ann", "credentials_dir": str(tmp_path), "update_password": "always"}
    tmp_path.chmod(0o700)
    assert keep(devpi, **options)["generated"] == {"ann": str(tmp_path / "ann")}
    password = (tmp_path / "ann").read_text()[:-1]
    assert devpi.takes("ann", password)
    devpi.ask("PATCH", "/ann", {"password": "CANARY-other"}, devpi.token())
    result = keep(devpi, **options)
    assert result["generated"] == {}
    assert result["diff"]["after"] == {"ann": {"password": "(kept on this host)"}}
    assert devpi.takes("ann", password)


def test_a_password_may_come_as_its_hash(devpi: Devpi) -> None:
    result = keep(devpi, name="ann", password_hash=HASH)
    assert result["diff"]["after"] == {"ann": {"password": "(given as a hash)"}}
    assert devpi.takes("ann", HASHED)
    devpi.ask("PATCH", "/ann", {"password": "CANARY-other"}, devpi.token())
    assert keep(devpi, name="ann", password_hash=HASH)["changed"] is False
    assert devpi.takes("ann", "CANARY-other")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "user ann: the user is to be created and has no password; give one as user_password, or name a"),
        ({"user_password": "CANARY\n"}, "user ann: the password holds a newline"),
        ({"user_password": ""}, "user ann: the user is to be created and has no password"),
        ({"password_hash": "CANARY"}, "user ann: password_hash is not an argon2 hash"),
        (
            {"password_hash": HASH, "user_password": "CANARY"},
            "user ann: user_password and password_hash exclude each other; give only one of them",
        ),
        (
            {"password_hash": HASH, "update_password": "always"},
            "user ann: update_password: always compares, and a server shows no hash to compare with; "
            "give user_password, or leave update_password at on_create",
        ),
        ({"user_password": "CANARY", "custom_data": -(2**40)}, "devpi-server cannot store numbers below"),
        ({"name": "a b", "user_password": "CANARY"}, "user a b: user name 'a b' is not allowed"),
        ({"name": "", "user_password": "CANARY"}, "the user's name is empty"),
        ({"name": "root", "state": "absent", "force": True}, "root cannot be deleted"),
    ],
)
def test_what_cannot_be_is_refused(devpi: Devpi, options: dict[str, Any], problem: str) -> None:
    assert problem in refused(devpi, **{"name": "ann", **options})


def test_absent(devpi: Devpi) -> None:
    assert keep(devpi, name="ann", state="absent")["changed"] is False
    make(devpi, "ann")
    result = keep(devpi, name="ann", state="absent")
    assert result["changes"] == [{"user": "ann", "action": "delete", "settings": []}]
    assert set(devpi.tree()) == {"root"}


def test_absent_with_indexes_needs_force(devpi: Devpi) -> None:
    make(devpi, "ann", "bob", "ann/dev")
    make(devpi, "ann/production", volatile=False, acl_upload=["root"])
    make(devpi, "bob/dev", bases=["ann/production"])
    devpi.upload("ann/production", "thing", "1.0", "thing-1.0.tar.gz")
    message = refused(devpi, name="ann", state="absent")
    assert "user ann: deleting this user deletes indexes dev, production with all packages" in message
    assert "user ann: ann/production is a base of bob/dev" in message
    assert "set force: true" in message
    keep(devpi, name="ann", state="absent", force=True)
    assert set(devpi.tree()) == {"root", "bob"}


def test_where_the_connection_comes_from(devpi: Devpi, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "root").write_text(devpi.root_password + "\n")
    options = {"name": "ann", "user_password": "CANARY", "url": devpi.url, "credentials_dir": str(tmp_path)}
    assert devpi.run("devpi_user", options)["changed"] is True
    assert devpi.takes("ann", "CANARY")
    environment = {"DEVPI_URL": devpi.url, "DEVPI_USERNAME": "root", "DEVPI_PASSWORD": devpi.root_password}
    result = devpi.run("devpi_user", {"name": "bob", "user_password": "CANARY"}, environment=environment)
    assert result["changed"] is True
    assert devpi.takes("bob", "CANARY")
    nobody = devpi.run("devpi_user", {"name": "cid", "user_password": "CANARY", "url": devpi.url})
    assert nobody["failed"]
    assert f"the password of root on {devpi.url} is needed and was not given" in nobody["msg"]
    for output in (result.output, nobody.output):
        assert "CANARY" not in output
        assert devpi.root_password not in output


def test_a_user_may_change_the_own_password_and_nothing_else(devpi: Devpi) -> None:
    keep(devpi, **ANN)
    own = {"username": "ann", "password": "CANARY-ann", "name": "ann"}
    result = devpi.run("devpi_user", {"url": devpi.url, **own, "email": "other@example.com"})
    assert result["failed"]
    assert result["changes"] == []
    assert "ann may not do that; log in as a user whom the server's restrict-modify names" in result["msg"]
    assert devpi.tree()["ann"]["email"] == "ann@example.com"
    options = {"user_password": "CANARY-new", "update_password": "always"}
    result = devpi.run("devpi_user", {"url": devpi.url, **own, **options})
    if devpi.version()[:2] == (6, 15):
        # It has no permission for this apart from all else that a user may be changed in.
        assert "ann may not do that" in result["msg"]
        return
    assert result["changed"] is True
    assert devpi.takes("ann", "CANARY-new")
    assert devpi.run("devpi_user", {"url": devpi.url, **own, **options})["changed"] is False


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_password_is_refused_before_anything_is_changed(devpi: Devpi, tmp_path: Path, check: bool) -> None:
    before = devpi.tree()
    directory = tmp_path / "credentials"
    options = {"name": "ann", "password": "CANARY", "credentials_dir": str(directory)}
    result = devpi.run("devpi_user", arguments(devpi, options), check)
    assert result["failed"]
    assert result["msg"].startswith(f"POST {devpi.url}/+login: the server does not accept the password given for root")
    assert "CANARY" not in result.output
    assert devpi.tree() == before
    assert not directory.exists()


@pytest.mark.parametrize("check", [True, False])
def test_a_server_that_does_not_answer(devpi: Devpi, check: bool) -> None:
    result = devpi.run("devpi_user", arguments(devpi, {**ANN, "url": "http://127.0.0.1:9"}), check)
    assert result["failed"]
    assert result["msg"].startswith("GET http://127.0.0.1:9/: nothing listens there")
    assert "CANARY" not in result.output
    assert devpi.root_password not in result.output


@pytest.mark.parametrize("key", ["pasword", "indexes", "users", "purge"])
def test_a_key_that_does_not_exist(devpi: Devpi, key: str) -> None:
    message = refused(devpi, **ANN, **{key: "CANARY" if key == "pasword" else True})
    assert f"module: {key}." in message
