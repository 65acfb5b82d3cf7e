"""The filter devpi_password_hash; that devpi-server takes its hashes is shown by the integration test."""

from __future__ import annotations

import base64
import sys

import argon2
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.wheelhouse.devpi.plugins.filter.devpi_password_hash import FilterModule

hashed = FilterModule().filters()["devpi_password_hash"]


@pytest.mark.parametrize("password", ["CANARY", "ü %$'\"\\ 日本", "x" * 500])
def test_it_is_the_hash_that_argon2_makes_by_default(password: str) -> None:
    made = hashed(password, salt="salt of the team")
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert argon2.PasswordHasher().verify(made, password)
    # Of 16 bytes of salt, among others
    assert not argon2.PasswordHasher().check_needs_rehash(made)
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        argon2.PasswordHasher().verify(made, password + "x")


def test_the_salt_alone_decides_whether_two_hashes_are_the_same() -> None:
    assert hashed("CANARY", salt="12345678") == hashed("CANARY", salt="12345678")
    assert hashed("CANARY", salt="12345678") != hashed("CANARY", salt="12345679")
    assert hashed("CANARY", salt="12345678") != hashed("CANARX", salt="12345678")
    # bytes count: four letters of two
    assert base64.b64decode(hashed("CANARY", salt="üüüü").split("$")[4] + "==") == "üüüü".encode()


def test_without_a_salt_a_random_one_is_taken() -> None:
    first, second = hashed("CANARY"), hashed("CANARY")
    assert first != second
    salts = {base64.b64decode(each.split("$")[4] + "==") for each in (first, second)}
    assert [len(each) for each in salts] == [16, 16]
    assert argon2.PasswordHasher().verify(first, "CANARY")


@pytest.mark.parametrize(
    ("password", "salt", "message"),
    [
        ("", "12345678", "the password is empty"),
        (7, "12345678", "the password is of type int and not a text; put it in quotes"),
        (None, "12345678", "the password is of type NoneType"),
        ("CANARY\n", "12345678", "the filter trim takes it off"),
        ("CANARY\x9f", "12345678", "another control character"),
        ("CANARY" * 700, "12345678", "the password has 4200 characters, and devpi-server takes no more than 4096"),
        ("CANARY\ud800", "12345678", "the password holds half a character"),
        ("CANARY", "1234567", "salt has 7 bytes; give at least 8"),
        ("CANARY", "", "salt has 0 bytes"),
        ("CANARY", 12345678, "salt is of type int and not a text"),
        ("CANARY", "team-CANARY", "salt holds the password"),
    ],
)
def test_what_is_refused_shows_no_password(password: object, salt: object, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message) as error:
        hashed(password, salt=salt)
    assert "CANARY" not in str(error.value)


def test_a_missing_library_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argon2.low_level", None)
    with pytest.raises(AnsibleFilterError, match="pip install argon2-cffi"):
        hashed("CANARY", salt="12345678")
