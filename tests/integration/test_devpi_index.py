"""The module devpi_index against a real devpi-server."""

from __future__ import annotations

import urllib.error
from typing import TYPE_CHECKING, Any

import pytest
from conftest import HASH

if TYPE_CHECKING:
    from conftest import Devpi, Result

# What a server sets where a new stage is given nothing
STAGE = {
    "type": "stage",
    "volatile": True,
    "bases": [],
    "acl_upload": ["ann"],
    "acl_toxresult_upload": ["ann"],
    "mirror_whitelist": [],
    "mirror_whitelist_inheritance": "intersection",
}
UPSTREAM = "http://127.0.0.1:9/simple/"


@pytest.fixture
def ann(devpi: Devpi) -> Devpi:
    """Return the server with the users ann and bob."""
    make(devpi, "ann", "bob")
    return devpi


def make(devpi: Devpi, *paths: str, **keys: Any) -> None:
    """Make users and indexes by hand."""
    for path in paths:
        body = keys if "/" in path else {"password": None, "pwhash": HASH}
        devpi.ask("PUT", f"/{path}", body, devpi.token())


def arguments(devpi: Devpi, name: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"url": devpi.url, "password": devpi.root_password, "name": name, **options}


def keep(devpi: Devpi, name: str, **options: Any) -> Result:
    """Run in check mode, for real, and again; return the real run's result."""
    return devpi.check_real_again("devpi_index", arguments(devpi, name, options))


def refused(devpi: Devpi, name: str, **options: Any) -> str:
    """Run in check mode and for real, where both are to fail alike and to change nothing; return the message."""
    before = devpi.tree()
    predicted, real = (devpi.run("devpi_index", arguments(devpi, name, options), check) for check in (True, False))
    assert real["failed"]
    assert predicted.values == real.values
    assert devpi.tree() == before
    for secret in (devpi.root_password, "CANARY"):
        assert secret not in real.output
    return str(real["msg"])


@pytest.mark.parametrize("kind", [{"type": "stage"}, {"type": "local"}, {}])
def test_a_stage(ann: Devpi, kind: dict[str, str]) -> None:
    result = keep(ann, "ann/dev", **kind)
    keys = ["acl_toxresult_upload", "type"]
    assert result["changes"] == [{"user": "ann", "index": "dev", "action": "create", "settings": keys}]
    assert ann.index("ann/dev") == STAGE
    for other in ({"type": "stage"}, {"type": "local"}, {}):
        assert keep(ann, "ann/dev", **other)["changed"] is False


def test_who_may_upload_may_upload_test_results(ann: Devpi) -> None:
    def testers() -> list[str]:
        return sorted(ann.index("ann/dev")["acl_toxresult_upload"])

    keep(ann, "ann/dev", acl_upload=["bob", "ann"])
    assert testers() == ["ann", "bob"]
    # with those who may upload they change
    keep(ann, "ann/dev", acl_upload=["bob"])
    assert testers() == ["bob"]
    # the server's own default is what indexes have that nobody declared so far
    make_again = {"acl_toxresult_upload": [":ANONYMOUS:"]}
    ann.ask("PATCH", "/ann/dev", make_again, ann.token())
    result = keep(ann, "ann/dev", title="t")
    assert testers() == ["bob"]
    assert result["diff"]["before"]["ann/dev"] == make_again
    assert result["diff"]["after"]["ann/dev"] == {"acl_toxresult_upload": ["bob"], "title": "t"}
    # what somebody set by hand stays, and so does what is declared
    ann.ask("PATCH", "/ann/dev", {"acl_toxresult_upload": []}, ann.token())
    keep(ann, "ann/dev", acl_upload=["ann"])
    assert testers() == []
    keep(ann, "ann/dev", acl_toxresult_upload=[":anonymous:"])
    assert testers() == [":ANONYMOUS:"]


def test_a_strangers_test_results_are_refused(ann: Devpi) -> None:
    keep(ann, "ann/dev", acl_upload=["root"])
    digest = ann.upload("ann/dev", "thing", "1.0", "thing-1.0-py3-none-any.whl")
    links = ann.ask("GET", "/ann/dev/thing")["1.0"]["+links"]
    path = next(link["href"] for link in links).removeprefix(ann.url)
    assert digest[:3] in path
    with pytest.raises(urllib.error.HTTPError) as refusal:
        ann.ask("POST", path, {"testenvs": {}})
    assert refusal.value.code in {401, 403}
    assert len(ann.ask("GET", "/ann/dev/thing")["1.0"]["+links"]) == 1
    ann.ask("POST", path, {"testenvs": {}}, ann.token())
    assert len(ann.ask("GET", "/ann/dev/thing")["1.0"]["+links"]) == 2


def test_a_stage_with_every_key(ann: Devpi) -> None:
    make(ann, "bob/one", "bob/two")
    options: dict[str, Any] = {
        "volatile": False,
        "title": "Development",
        "description": "What is new",
        "custom_data": ["x", {"y": None}],
        "bases": ["bob/two", "bob/one", "root/pypi"],
        "acl_upload": [":authenticated:", "bob", ":developers"],
        "acl_toxresult_upload": [],
        "mirror_whitelist": ["Foo_Bar", "baz"],
        "mirror_whitelist_inheritance": "union",
    }
    if ann.is_7:
        assert "index ann/dev: mirror_whitelist names baz, foo-bar, and" in refused(ann, "ann/dev", **options)
        options["mirror_whitelist"] = []
    keep(ann, "ann/dev", **options)
    assert ann.index("ann/dev") == {
        "type": "stage",
        **options,
        "acl_upload": [":AUTHENTICATED:", "bob", ":developers"],
        "mirror_whitelist": [] if ann.is_7 else ["foo-bar", "baz"],
    }


OLD_WORDS: dict[str, Any] = {
    "type": "mirror",
    "mirror_url": UPSTREAM,
    "mirror_web_url_fmt": "http://127.0.0.1:9/{name}",
    "mirror_cache_expiry": 60,
    "mirror_use_external_urls": True,
    "mirror_no_project_list": True,
}
NEW_WORDS: dict[str, Any] = {
    "type": "remote",
    "remote_url": UPSTREAM,
    "remote_web_url_fmt": "http://127.0.0.1:9/{name}",
    "remote_refresh_delay": "60",
    "remote_use_external_urls": "yes",
    "remote_no_project_list": "yes",
}


@pytest.mark.parametrize(("words", "others"), [(OLD_WORDS, NEW_WORDS), (NEW_WORDS, OLD_WORDS)])
def test_a_mirror_with_every_key_in_the_words_of_both(
    ann: Devpi, words: dict[str, Any], others: dict[str, Any]
) -> None:
    own = {"volatile": False, "title": "Upstream", "description": "Theirs", "custom_data": {"a": 1}}
    keep(ann, "ann/up", **words, **own)
    assert ann.index("ann/up") == {**OLD_WORDS, **own}
    assert keep(ann, "ann/up", **others, **own)["changed"] is False
    result = keep(ann, "ann/up", remote_refresh_delay=5, mirror_no_project_list=False)
    assert result["diff"] == {
        "before": {"ann/up": {"mirror_cache_expiry": 60, "mirror_no_project_list": True}},
        "after": {"ann/up": {"mirror_cache_expiry": 5, "mirror_no_project_list": False}},
    }
    assert ann.index("ann/up") == {**OLD_WORDS, **own, "mirror_cache_expiry": 5, "mirror_no_project_list": False}


@pytest.mark.parametrize(
    ("key", "since"), [("mirror_ignore_serial_header", (6, 17)), ("mirror_provides_core_metadata", (6, 20))]
)
def test_keys_that_not_every_server_knows(ann: Devpi, key: str, since: tuple[int, int]) -> None:
    mirror = {"type": "mirror", "mirror_url": UPSTREAM}
    if not ann.is_7 and ann.version() >= since:
        keep(ann, "ann/up", **mirror, **{key: True})
        assert ann.index("ann/up")[key] is True
    else:
        problem = "is not a key of devpi-server 7" if ann.is_7 else f"needs devpi-server {since[0]}.{since[1]} or newer"
        assert f"index ann/up: {key} {problem}" in refused(ann, "ann/up", **mirror, **{key: True})


def test_keys_can_be_changed_and_the_rest_stays(ann: Devpi) -> None:
    make(ann, "ann/dev", title="Old", bases=["root/pypi"], acl_upload=["ann", "bob"], acl_toxresult_upload=["bob"])
    before = ann.tree()
    result = keep(ann, "ann/dev", title="", acl_upload=["bob", "ann"], volatile=False)
    assert result["changes"] == [{"user": "ann", "index": "dev", "action": "update", "settings": ["title", "volatile"]}]
    assert result["diff"] == {
        "before": {"ann/dev": {"title": "Old", "volatile": True}},
        "after": {"ann/dev": {"title": "", "volatile": False}},
    }
    after = ann.tree()
    assert after["ann"]["indexes"].pop("dev") == {**before["ann"]["indexes"].pop("dev"), "title": "", "volatile": False}
    assert after == before


def test_the_order_of_bases_counts(ann: Devpi) -> None:
    make(ann, "bob/one", "bob/two")
    for bases in (["bob/one", "bob/two"], ["bob/two", "bob/one"], ["bob/one"], []):
        assert keep(ann, "ann/dev", bases=bases)["changed"] is True
        assert ann.index("ann/dev")["bases"] == bases


def test_everything_upstream_needs_an_acknowledgement(ann: Devpi) -> None:
    message = refused(ann, "ann/dev", mirror_whitelist=["*"])
    assert "index ann/dev: mirror_whitelist '*' lets anyone" in message
    assert "accept_dependency_confusion: true" in message
    keep(ann, "ann/dev", mirror_whitelist=["*"], accept_dependency_confusion=True)
    assert ann.index("ann/dev")["mirror_whitelist"] == ["*"]
    keep(ann, "ann/dev", mirror_whitelist=[])
    assert ann.index("ann/dev") == STAGE


def test_keys_of_plugins(ann: Devpi) -> None:
    result = keep(ann, "ann/dev", options={"house_rule": ["a", 1]}, title="t")
    assert result["changes"][0]["settings"] == ["acl_toxresult_upload", "house_rule", "title", "type"]
    assert ann.index("ann/dev") == {**STAGE, "house_rule": ["a", 1], "title": "t"}
    keep(ann, "ann/dev", options={"house_rule": "b"})
    assert ann.index("ann/dev") == {**STAGE, "house_rule": "b", "title": "t"}
    keep(ann, "ann/dev", title="")
    assert ann.index("ann/dev") == {**STAGE, "house_rule": "b", "title": ""}


def test_keys_of_a_plugin_that_is_gone_stay(ann: Devpi) -> None:
    make(ann, "ann/dev", house_rule="b", acl_toxresult_upload=["ann"])
    ann.without_plugin.touch()
    try:
        keep(ann, "ann/dev", title="t")
    finally:
        ann.without_plugin.unlink()
    assert ann.index("ann/dev") == {**STAGE, "house_rule": "b", "title": "t"}


def test_an_index_of_a_plugins_type(ann: Devpi) -> None:
    make(ann, "bob/one")
    result = keep(ann, "ann/house", type="house", bases=["bob/one"], options={"house_guests": ["a", {"b": 1}]})
    created = {"user": "ann", "index": "house", "action": "create"}
    assert result["changes"] == [{**created, "settings": ["acl_toxresult_upload", "bases", "house_guests", "type"]}]
    house = {**STAGE, "type": "house", "bases": ["bob/one"], "house_guests": ["a", {"b": 1}]}
    assert ann.index("ann/house") == house
    assert keep(ann, "ann/house", options={"house_guests": ["a", {"b": 1}]})["changed"] is False
    result = keep(ann, "ann/house", options={"house_guests": ["c"], "house_rule": "d"}, title="t")
    assert result["diff"]["before"] == {"ann/house": {"house_guests": ["a", {"b": 1}]}}
    house = {**house, "house_guests": ["c"], "house_rule": "d", "title": "t"}
    assert ann.index("ann/house") == house
    # what the plugin defines stays where nothing is said of it
    keep(ann, "ann/house", bases=[])
    assert ann.index("ann/house") == {**house, "bases": []}
    keep(ann, "bob/on-top", bases=["ann/house"])
    keep(ann, "ann/house", state="absent", force=True)


def test_a_type_that_no_plugin_has_is_named(ann: Devpi) -> None:
    result = ann.run("devpi_index", arguments(ann, "ann/dev", {"type": "jail"}))
    assert result["failed"]
    assert result["msg"].startswith(f"PUT {ann.url}/ann/dev: devpi-server ")
    assert "unknown index type 'jail'" in result["msg"]
    assert (result["changed"], result["changes"]) == (False, [])
    assert ann.tree()["ann"]["indexes"] == {}


def test_a_key_that_no_plugin_knows_is_named(ann: Devpi) -> None:
    result = ann.run("devpi_index", arguments(ann, "ann/dev", {"options": {"no_such_key": 1}}))
    assert result["failed"]
    assert result["msg"].startswith(f"PUT {ann.url}/ann/dev: devpi-server ")
    assert "answered 400" in result["msg"]
    assert "no_such_key=1" in result["msg"]
    assert (result["changed"], result["changes"]) == (False, [])
    assert ann.tree()["ann"]["indexes"] == {}


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("dev", {}, "name 'dev' is not an index; write it as user/index, for example alice/dev"),
        ("ann/", {}, "name 'ann/' is not an index"),
        ("/dev", {}, "name '/dev' is not an index"),
        ("ann/dev/x", {}, "name 'ann/dev/x' is not an index"),
        ("ann/d v", {}, "index ann/d v: index name 'd v' is not allowed"),
        ("ant/dev", {}, "index ant/dev: there is no user ant; did you mean ann?"),
        ("zzz/dev", {}, "index zzz/dev: there is no user zzz; make the user first"),
        ("ann/dev", {"bases": ["bob/nothing"]}, "index ann/dev: base bob/nothing neither exists nor is declared"),
        ("ann/dev", {"bases": ["root/pypy"]}, "base root/pypy neither exists nor is declared; did you mean root/pypi?"),
        ("ann/dev", {"bases": ["pypi"]}, "base 'pypi' is not of the form user/index"),
        ("ann/dev", {"bases": ["root/pypi"] * 2}, "bases names root/pypi twice"),
        ("ann/dev", {"bases": ["ann/dev"]}, "bases form a cycle, ann/dev → ann/dev"),
        ("ann/old", {"bases": ["ann/top"]}, "bases form a cycle, ann/old → ann/top → ann/middle → ann/old"),
        ("ann/dev", {"acl_upload": ["bop"]}, "acl_upload holds 'bop', a user who neither exists nor is declared"),
        ("ann/dev", {"acl_toxresult_upload": [":ALL:"]}, "acl_toxresult_upload holds ':ALL:'; devpi knows"),
        ("ann/dev", {"mirror_whitelist": [""]}, "mirror_whitelist holds '', which is not the name of a project"),
        ("ann/dev", {"mirror_url": UPSTREAM}, "mirror_url is a key of mirrors only; set type: mirror, or drop it"),
        ("ann/dev", {"remote_url": UPSTREAM}, "mirror_url is a key of mirrors only; set type: mirror, or drop it"),
        ("ann/up", {"bases": []}, "index ann/up: bases is not a key of a mirror; drop it"),
        ("ann/up", {"type": "stage"}, "type stage is declared and the index is a mirror, which devpi cannot change"),
        ("ann/old", {"type": "remote", "remote_url": UPSTREAM}, "type mirror is declared and the index is a stage"),
        ("ann/new", {"type": "mirror"}, "index ann/new: a mirror needs a mirror_url"),
        ("ann/up", {"mirror_url": "ftp://127.0.0.1/"}, "mirror_url does not start with http:// or https://"),
        ("ann/up", {"mirror_cache_expiry": -1}, "mirror_cache_expiry -1 is negative"),
        ("ann/dev", {"options": {"title": "t"}}, "options holds title, which has an option of its own"),
        ("ann/dev", {"options": {"house_rule": None}}, "options.house_rule is null"),
        ("ann/dev", {"custom_data": ["\ud800"]}, "custom_data[0] holds half a character"),
        ("ann/dev", {"volatil": True}, "module: volatil."),
        ("ann/dev", {"purge": "users"}, "module: purge."),
        ("ann/dev", {"type": "mirorr"}, "type 'mirorr' is spelt nearly like one of devpi's own; did you mean mirror?"),
        ("ann/old", {"type": "house"}, "type house is declared and the index is a stage, which devpi cannot change"),
        ("ann/dev", {"type": "house", "mirror_url": UPSTREAM}, "mirror_url is a key of mirrors only; set type: mirror"),
        ("ann/dev", {"options": {"remote_url": UPSTREAM}}, "options holds remote_url, which has an option of its own"),
    ],
)
def test_what_cannot_be_is_refused(ann: Devpi, name: str, options: dict[str, Any], problem: str) -> None:
    make(ann, "ann/old")
    make(ann, "ann/middle", bases=["ann/old"])
    make(ann, "ann/top", bases=["ann/middle", "root/pypi"])
    kind, key = ("remote", "remote_url") if ann.is_7 else ("mirror", "mirror_url")
    make(ann, "ann/up", **{"type": kind, key: UPSTREAM})
    assert problem in refused(ann, name, **options)


def test_absent(ann: Devpi) -> None:
    assert keep(ann, "ann/dev", state="absent")["changed"] is False
    make(ann, "ann/dev", acl_upload=["root"])
    ann.upload("ann/dev", "thing", "1.0", "thing-1.0.tar.gz")
    result = keep(ann, "ann/dev", state="absent")
    assert result["changes"] == [{"user": "ann", "index": "dev", "action": "delete", "settings": []}]
    assert ann.tree()["ann"]["indexes"] == {}


def test_absent_where_not_even_the_user_is_there(devpi: Devpi) -> None:
    assert keep(devpi, "nobody/dev", state="absent")["changed"] is False


def test_absent_needs_force_where_something_would_be_lost(ann: Devpi) -> None:
    make(ann, "ann/production", volatile=False, acl_upload=["root"])
    make(ann, "bob/dev", bases=["ann/production"])
    ann.upload("ann/production", "thing", "1.0", "thing-1.0.tar.gz")
    message = refused(ann, "ann/production", state="absent")
    assert "index ann/production: this index is not volatile, so its packages are meant to stay" in message
    assert "index ann/production: ann/production is a base of bob/dev" in message
    assert "set force: true" in message
    keep(ann, "ann/production", state="absent", force=True)
    assert ann.tree()["ann"]["indexes"] == {}
    assert set(ann.tree()["bob"]["indexes"]) == {"dev"}


def test_the_password_of_an_upstream_is_in_no_output(ann: Devpi) -> None:
    for password in ("CANARY-1", "CANARY-2"):
        url = f"http://u:{password}@127.0.0.1:9/simple/"
        result = keep(ann, "ann/up", type="mirror", mirror_url=url, mirror_no_project_list=True)
        assert result["diff"]["after"]["ann/up"]["mirror_url"].startswith("http://u:********@127.0.0.1:9/simple/")
        assert ann.index("ann/up")["mirror_url"] == url
    assert result["diff"] == {
        "before": {"ann/up": {"mirror_url": "http://u:********@127.0.0.1:9/simple/"}},
        "after": {"ann/up": {"mirror_url": "http://u:********@127.0.0.1:9/simple/ (another password)"}},
    }
    keep(ann, "ann/up", state="absent")


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_password_is_refused_before_anything_is_changed(ann: Devpi, check: bool) -> None:
    before = ann.tree()
    result = ann.run("devpi_index", arguments(ann, "ann/dev", {"username": "bob", "password": "CANARY"}), check)
    assert result["failed"]
    assert result["msg"].startswith(f"POST {ann.url}/+login: the server does not accept the password given for bob")
    assert "CANARY" not in result.output
    assert ann.tree() == before


@pytest.mark.parametrize("check", [True, False])
def test_a_server_that_does_not_answer(ann: Devpi, check: bool) -> None:
    result = ann.run("devpi_index", arguments(ann, "ann/dev", {"url": "http://127.0.0.1:9"}), check)
    assert result["failed"]
    assert result["msg"].startswith("GET http://127.0.0.1:9/: nothing listens there")
    assert ann.root_password not in result.output
