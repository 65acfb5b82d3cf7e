"""Versions and specifiers, held against the library that pip itself uses."""

from __future__ import annotations

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pep440 import SpecifierError, parse, specifiers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaging import specifiers as reference
from packaging.version import InvalidVersion
from packaging.version import Version as Reference

# Few numbers, so that versions meet each other.
NUMBER = st.sampled_from(["0", "1", "2", "10", "01"])
SEPARATOR = st.sampled_from(["", ".", "-", "_"])


def suffix(*words: str) -> st.SearchStrategy[str]:
    spelled = st.builds("".join, st.tuples(SEPARATOR, st.sampled_from(words), SEPARATOR, st.just("") | NUMBER))
    return st.just("") | spelled


PUBLIC = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "", "v"]),
        st.sampled_from(["", "", "0!", "1!"]),
        st.lists(NUMBER, min_size=1, max_size=3).map(".".join),
        suffix("a", "b", "c", "rc", "alpha", "BETA", "pre", "preview"),
        suffix("post", "rev", "r") | NUMBER.map("-{}".format),
        suffix("dev", "DEV"),
    ),
)
LOCAL = st.just("") | st.lists(st.sampled_from(["1", "2", "a", "b1"]), min_size=1, max_size=3).map(
    lambda parts: "+" + ".".join(parts)
)
VERSION = st.builds("{}{}".format, PUBLIC, LOCAL)
# Mostly no versions at all.
NEARLY = st.text("019.-_+!*vabcrdeopst ", max_size=9)
CLAUSE = st.builds(
    "{}{}{}".format,
    st.sampled_from(["==", "!=", "<=", ">=", "<", ">", "~=", "===", "== ", "="]),
    VERSION | NEARLY,
    st.sampled_from(["", "", ".*"]),
)


@settings(max_examples=500)
@given(VERSION | NEARLY)
def test_what_is_a_version_and_its_normal_form(text: str) -> None:
    version = parse(text)
    try:
        expected = Reference(text)
    except InvalidVersion:
        assert version is None
        return
    assert version is not None
    assert str(version) == str(expected)
    assert version.is_dev == expected.is_devrelease
    assert version.is_prerelease == expected.is_prerelease


@settings(max_examples=1000)
@given(VERSION, VERSION)
def test_order(one: str, other: str) -> None:
    left, right = parse(one), parse(other)
    assert left is not None
    assert right is not None
    assert (left.key < right.key) == (Reference(one) < Reference(other))
    assert (left.key == right.key) == (Reference(one) == Reference(other))


def test_an_order_that_no_library_is_asked_for() -> None:
    ordered = ["1.dev0", "1.0a1.dev1", "1.0a2", "1.0a10", "1.0b1", "1.0rc1", "1.0", "1.0+a", "1.0+5", "1.0.post1.dev1"]
    ordered += ["1.0.post1", "1.0.1", "1.9", "1.10", "1!0.1"]
    assert sorted(ordered, key=version_key, reverse=True) == ordered[::-1]


def version_key(text: str) -> tuple[object, ...]:
    version = parse(text)
    assert version is not None
    return version.key


@settings(max_examples=1500)
@given(CLAUSE, VERSION)
def test_one_clause(clause: str, version: str) -> None:
    # The library takes an === with nothing after it, which no version ever fulfils.
    assume(clause.strip() != "===")
    try:
        expected = reference.Specifier(clause)
    except reference.InvalidSpecifier:
        with pytest.raises(SpecifierError):
            specifiers(f">=0,{clause}")
        return
    [ours] = specifiers(clause)
    assert (ours.operator, ours.version) == (expected.operator, expected.version)
    assert ours.matches(version) == expected.contains(version, prereleases=True)


@pytest.mark.parametrize(
    ("text", "version", "fulfilled"),
    [
        ("", "1.0.dev1", True),
        (">=1.2, <2, !=1.4.*", "1.3", True),
        (">=1.2, <2, !=1.4.*", "1.4.2", False),
        ("<2", "2.0rc1", False),
        ("==1.*", "1.0.dev3", True),
        ("==1.0", "1.0+local", True),
        ("~=1.4.2", "1.5", False),
        ("~=1.4.2", "1.4.10", True),
        ("===1.0-Final", "1.0-final", True),
        (">=1", "not-a-version", False),
        ("!=1", "not-a-version", False),
    ],
)
def test_all_clauses_have_to_be_fulfilled(text: str, version: str, fulfilled: bool) -> None:
    assert all(each.matches(version) for each in specifiers(text)) is fulfilled


@pytest.mark.parametrize("text", ["1.0", "=>1", ">=1.0.*", "~=1", ">1+a", "==1.0a1.*", ">=", ">=a;b"])
def test_what_is_no_specifier_is_named(text: str) -> None:
    with pytest.raises(SpecifierError) as error:
        specifiers(text)
    assert repr(text) in str(error.value)
