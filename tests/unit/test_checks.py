"""The declared tree: what is refused, with which words, and in which order indexes come."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.wheelhouse.devpi.plugins.module_utils._checks import open_upload_problems
from ansible_collections.wheelhouse.devpi.plugins.module_utils._checks import problems as check
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import (
    FORBIDDEN_IN_NAMES,
    USER_OPTIONS,
    User,
    order,
    parse,
    secrets_in,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._plan import differs
from ansible_collections.wheelhouse.devpi.plugins.module_utils._session import FRESH_SERVER
from hypothesis import given, settings
from hypothesis import strategies as st

EXISTING: dict[str, Any] = {
    "root": {"indexes": {"pypi": {"type": "mirror", "volatile": False, "mirror_url": "http://up/"}}},
    "bob": {
        "indexes": {
            "dev": {"type": "stage", "volatile": True, "bases": ["bob/prod"]},
            "prod": {"type": "stage", "volatile": False, "bases": []},
        }
    },
}


def declared(*users: dict[str, Any]) -> list[User]:
    spec = {"users": {"type": "list", "elements": "dict", "options": USER_OPTIONS}}
    result = ArgumentSpecValidator(spec).validate({"users": list(users)})
    assert not result.error_messages
    return parse(result.validated_parameters["users"], "devpi_users")


def problems(
    users: list[dict[str, Any]], existing: dict[str, Any], version: tuple[int, ...] | None = None
) -> list[str]:
    return check(declared(*users), existing, version)


def index(**keys: object) -> list[dict[str, Any]]:
    return [{"name": "alice", "indexes": [{"name": "dev", **keys}]}]


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([{"name": "a b"}], "devpi_users[0] (a b): user name 'a b' is not allowed; use letters, digits and - . @ _"),
        ([{"name": "+alice"}], "user name '+alice' is not allowed"),
        ([{"name": "alice/dev"}], "user name 'alice/dev' is not allowed"),
        ([{"name": "x\u0085"}], "is not allowed"),
        ([{"name": ".."}], "stands for a directory"),
        ([{"name": ""}], "the user's name is empty"),
        ([{"name": "alice", "password": "a\nb"}], "devpi_users[0] (alice): the password holds a newline"),
        (
            [{"name": "alice", "password": "x" * 4097}],
            "devpi_users[0] (alice): the password has 4097 characters, and devpi-server takes no more than 4096; give",
        ),
        (
            [{"name": "alice"}, {"name": "alice"}],
            "devpi_users[1] (alice): this user is declared by devpi_users[0] (alice)",
        ),
        ([{"name": "root", "state": "absent"}], "root cannot be deleted"),
        ([{"name": "bob", "state": "absent"}], "deletes indexes dev, prod with all packages; set force: true"),
        ([{**index()[0], "state": "absent"}], "belongs to a user who is declared absent"),
        (index(name="+x"), "devpi_users[0].indexes[0] (alice/+x): index name '+x' is not allowed"),
        ([{"name": "alice", "indexes": [{"name": "d"}, {"name": "d"}]}], "(alice/d): this index is declared by"),
        (index(bases=["bob/nothing"]), "base bob/nothing neither exists nor is declared"),
        (index(bases=["bob/pord"]), "base bob/pord neither exists nor is declared; did you mean bob/prod?"),
        (index(bases="pypi"), "base 'pypi' is not of the form user/index"),
        (index(bases=["bob/dev", "bob/dev"]), "bases names bob/dev twice"),
        (index(bases=["alice/dev"]), "bases form a cycle, alice/dev → alice/dev"),
        (
            index(acl_upload=["alcie"]),
            "acl_upload holds 'alcie', a user who neither exists nor is declared; did you mean alice?",
        ),
        (index(acl_upload=[":AUTHENTICTED:"]), "devpi knows :ANONYMOUS: and :AUTHENTICATED:"),
        (index(mirror_whitelist=["*"]), "dependency confusion"),
        (index(mirror_whitelist=["foo*"]), "mirror_whitelist holds 'foo-', which is not the name of a project"),
        (index(mirror_url="http://up/"), "mirror_url is a key of mirrors only"),
        (index(type="mirror"), "a mirror needs a mirror_url"),
        (index(type="mirror", mirror_url="up"), "mirror_url does not start with http:// or https://"),
        (index(type="mirror", mirror_url="http://up/", bases=[]), "bases is not a key of a mirror"),
        (index(type="mirror", mirror_url="http://up/", mirror_cache_expiry=-1), "mirror_cache_expiry -1 is negative"),
        (index(options={"bases": []}), "options holds bases, which has an option of its own; write it beside options"),
        (
            index(options={"remote_url": "http://up/"}),
            "options holds remote_url, which has an option of its own; write mirr",
        ),
        (index(type="mirorr"), "type 'mirorr' is spelt nearly like one of devpi's own; did you mean mirror?"),
        (index(type="a b"), "type 'a b' is not the name of a type"),
        (index(type="constrained", mirror_url="http://up/"), "mirror_url is a key of mirrors only"),
        (index(type="constrained", bases=["bob/nothing"]), "base bob/nothing neither exists nor is declared"),
        ([{"name": "bob", "indexes": [{"name": "dev", "type": "constrained"}]}], "and the index is a stage, which"),
        (index(custom_data={"a": [-(2**31) - 1]}), "custom_data.a[0] is -2147483649, and devpi-server cannot store"),
        (index(custom_data={"a": -(2**31) - 1}), "custom_data.a is -2147483649, and devpi-server cannot store"),
        ([{"name": "alice", "custom_data": {"a": -(2**31) - 1}}], "(alice): custom_data.a is -2147483649, and"),
        (index(options={"x": [-(2**31) - 1]}), "x[0] is -2147483649, and devpi-server cannot store"),
        (index(title="\ud800"), "title holds half a character"),
        (index(custom_data=[{"\ud800": 1}]), "a key of custom_data[0] holds half a character"),
        (index(options={"constraints": None}), "options.constraints is null"),
        ([{"name": "bob", "indexes": [{"name": "dev", "type": "mirror"}]}], "and the index is a stage"),
        ([{"name": "bob", "indexes": [{"name": "prod", "state": "absent"}]}], "this index is not volatile"),
        ([{"name": "bob", "indexes": [{"name": "prod", "state": "absent"}]}], "bob/prod is a base of bob/dev"),
        (
            [
                {
                    "name": "bob",
                    "indexes": [
                        {"name": "prod", "state": "absent", "force": True},
                        {"name": "x", "bases": ["bob/prod"]},
                    ],
                }
            ],
            "base bob/prod is declared absent",
        ),
    ],
)
def test_refused_with_place_and_way_out(users: list[Any], message: str) -> None:
    found = problems(users, EXISTING)
    assert any(message in each for each in found), found


def test_all_problems_come_in_one_go_each_with_its_place() -> None:
    users = [
        {"name": "alice", "indexes": [{"name": "prod"}, {"name": "dev", "bases": ["alice/prod", "x/y"]}]},
        {"name": "d d", "indexes": [{"name": "b/c"}]},
    ]
    assert [each.split(":")[0] for each in problems(users, EXISTING)] == [
        "devpi_users[1] (d d)",
        "devpi_users[1].indexes[0] (d d/b/c)",
        "devpi_users[0].indexes[1] (alice/dev)",
    ]


def test_a_cycle_across_declared_and_existing_indexes_is_named_once() -> None:
    users = [{"name": "bob", "indexes": [{"name": "prod", "bases": ["alice/dev"]}]}, *index(bases=["bob/dev"])]
    assert [each for each in problems(users, EXISTING) if "cycle" in each] == [
        "devpi_users[0].indexes[0] (bob/prod): bases form a cycle, bob/prod → alice/dev → bob/dev → bob/prod; "
        "remove one from the other's bases"
    ]


def test_nothing_is_wrong_with_what_devpi_takes() -> None:
    users = [
        {"name": "root", "indexes": [{"name": "pypi", "mirror_no_project_list": "yes", "mirror_url": "http://up/"}]},
        {"name": "ü.b@c-d_e", "password": "", "email": None},
        {"name": "carol", "indexes": [{"name": "c", "type": "constrained", "options": {"constraints": ["pip"]}}]},
        *index(
            bases="bob/dev, root/pypi",
            acl_upload="alice,:authenticated:,:ldap-group",
            mirror_whitelist=["*"],
            accept_dependency_confusion=True,
        ),
        {"name": "bob", "indexes": [{"name": "prod", "state": "absent", "force": True}, {"name": "dev", "bases": []}]},
    ]
    assert problems(users, EXISTING) == []


def test_without_a_server_root_pypi_can_be_built_upon_where_it_is_declared() -> None:
    root = {"name": "root", "indexes": [{"name": "pypi", "type": "mirror"}]}
    assert problems([root, *index(bases=["root/pypi"])], FRESH_SERVER) == []
    [problem] = problems(index(bases=["root/pypi"]), FRESH_SERVER)
    assert "base root/pypi neither exists nor is declared" in problem


def test_a_key_that_the_server_is_too_old_for_is_refused() -> None:
    users = index(type="mirror", mirror_url="http://up/", mirror_provides_core_metadata=True)
    assert (
        "needs devpi-server 6.20 or newer, and the server is 6.15.0" in problems(users, EXISTING, version=(6, 15, 0))[0]
    )
    assert problems(users, EXISTING, version=(6, 20, 3)) == []


def test_no_message_holds_a_password() -> None:
    mirror = {"name": "m", "type": "mirror", "mirror_url": "u:CANARY@up"}
    found = problems([{"name": "alice", "password": "CANARY\n", "indexes": [mirror]}], EXISTING)
    assert len(found) == 2
    assert "CANARY" not in "".join(found)


@pytest.mark.parametrize(
    ("users", "secrets"),
    [
        ([{"name": "a", "password": "S1", "update_password": "always", "note": "n"}, "x"], {"S1"}),
        ([{"name": "a", "pasword": "S1", "Passwd": ["S2", {"x": "S3"}]}], {"S1", "S2", "S3"}),
        ({"alice": {"password": "S1"}}, {"S1"}),
        ([{"indexes": [{"mirror_url": "https://u:S1@up/"}]}, {"mirror_url": "https://[u"}], {"S1"}),
        (["{'name': 'a', 'password': 'S1'}"], {"{'name': 'a', 'password': 'S1'}"}),
        (None, set()),
    ],
)
def test_secrets_are_found_in_whatever_was_declared(users: object, secrets: set[str]) -> None:
    assert secrets_in(users) == secrets


def test_the_password_is_not_in_the_representation() -> None:
    assert "CANARY" not in repr(declared({"name": "alice", "password": "CANARY"}))


@pytest.mark.parametrize(
    ("key", "value", "observed", "expected"),
    [
        ("bases", ["a/b", "c/d"], {"bases": ["c/d", "a/b"]}, True),
        ("acl_upload", ["a", "b"], {"acl_upload": ["b", "a"]}, False),
        ("mirror_whitelist", [], {}, False),
        ("title", "", {}, False),
        ("title", "", {"title": "x"}, True),
        ("custom_data", {"a": 1, "b": True}, {"custom_data": {"b": True, "a": 1}}, False),
        ("custom_data", {"a": 1}, {"custom_data": {"a": True}}, True),
        ("mirror_no_project_list", False, {}, False),
        ("mirror_cache_expiry", 60, {}, True),
        ("mirror_whitelist_inheritance", "intersection", {}, True),
    ],
)
def test_what_counts_as_a_difference(key: str, value: object, observed: dict[str, Any], expected: bool) -> None:
    assert differs(key, value, observed) is expected


def test_values_are_brought_into_the_servers_spelling() -> None:
    [user] = declared(
        *index(mirror_whitelist="Foo_Bar, a.b", acl_upload=[":anonymous:", "Bob"], mirror_cache_expiry="60")
    )
    assert user.indexes[0].keys == {
        "mirror_whitelist": ["foo-bar", "a-b"],
        "acl_upload": [":ANONYMOUS:", "Bob"],
        "mirror_cache_expiry": 60,
    }


@settings(deadline=None)
@given(st.text(max_size=8))
def test_the_rule_for_names_is_the_servers(name: str) -> None:
    """devpi-server's own words: any ASCII symbol besides -.@_ is blocked."""
    blocked = any(ord(each) < 128 and not (each.isalnum() or each in "-.@_") for each in name)
    assert bool(FORBIDDEN_IN_NAMES.search(name)) is blocked


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(0, 7), max_size=3, unique=True), min_size=1, max_size=8))
def test_bases_come_first_or_a_cycle_is_named(graph: list[list[int]]) -> None:
    names = [str(number) for number in range(len(graph))]
    users = declared(
        {
            "name": "u",
            "indexes": [
                {"name": name, "bases": [f"u/{base}" for base in bases if base < len(graph)]}
                for name, bases in zip(names, graph)
            ],
        }
    )
    indexes = {each.path: each for each in users[0].indexes}
    ordered, cycles = order(indexes, {})
    if cycles:
        for cycle in cycles:
            assert cycle[0] == cycle[-1]
            assert all(base in indexes[path].keys["bases"] for path, base in zip(cycle, cycle[1:]))
    else:
        assert sorted(each.path for each in ordered) == sorted(indexes)
        position = {each.path: number for number, each in enumerate(ordered)}
        assert all(position[base] < position[path] for path, each in indexes.items() for base in each.keys["bases"])


def test_stages_that_open_uploads_to_everybody_are_named() -> None:
    users = declared(
        {
            "name": "alice",
            "indexes": [
                {"name": "closed", "acl_upload": ["alice", ":AUTHENTICATED:"]},
                {"name": "unsaid"},
                {"name": "open", "acl_upload": ["alice", ":anonymous:"]},
            ],
        },
        {
            "name": "bob",
            "indexes": [{"name": "results", "acl_upload": [], "acl_toxresult_upload": [":ANONYMOUS:"]}],
        },
    )
    way = "holds ':ANONYMOUS:', and nginx lets nobody upload without a login; name who may, or use ':AUTHENTICATED:'"
    assert [problem.replace(" for all devpi users", "") for problem in open_upload_problems(users)] == [
        f"devpi_users[0].indexes[2] (alice/open): acl_upload {way}",
        f"devpi_users[1].indexes[0] (bob/results): acl_toxresult_upload {way}",
    ]
    assert open_upload_problems([]) == []


def test_index_that_is_to_go_opens_nothing() -> None:
    users = declared(
        {"name": "alice", "indexes": [{"name": "dev", "state": "absent", "acl_upload": [":ANONYMOUS:"]}]},
        {"name": "bob", "state": "absent", "indexes": [{"name": "dev", "acl_upload": [":ANONYMOUS:"]}]},
    )
    assert open_upload_problems(users) == []
