"""From a simple page to files and releases, and the newest of them that fits."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.wheelhouse.devpi.plugins.lookup import release as lookup
from ansible_collections.wheelhouse.devpi.plugins.lookup.release import NoRelease, choose, preferred
from ansible_collections.wheelhouse.devpi.plugins.module_utils._releases import (
    files,
    is_index,
    normalised,
    releases,
    version_in,
)
from ansible_collections.wheelhouse.devpi.plugins.modules.devpi_info import masked
from packaging.specifiers import SpecifierSet

PAGE_URL = "http://127.0.0.1:3141/team/dev/+simple/latex-helper/"


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("latex_helper-1.0-py3-none-any.whl", "1.0"),
        ("Latex.Helper-1.0-2-cp311-cp311-manylinux_2_17_x86_64.whl", "1.0"),
        ("latex_helper-1.0-py3.8.egg", "1.0"),
        ("latex_helper-1.0.tar.gz", "1.0"),
        ("latex-helper-1.0rc1.zip", "1.0rc1"),
        ("Latex_Helper-1.0-1.tar.bz2", "1.0-1"),
        ("latex_helper-1.0+local.1.tgz", "1.0+local.1"),
        ("latex_helper_more-1.0-py3-none-any.whl", None),
        ("latex-helper-more-1.0.tar.gz", "more-1.0"),
        ("other-1.0.tar.gz", None),
        ("latex_helper.whl", None),
        ("latex_helper.tar.gz", None),
        ("latex_helper-1.0.win32.exe", None),
        ("latex_helper-1.0.tar.gz.asc", None),
    ],
)
def test_the_version_in_the_name_of_a_file(filename: str, version: str | None) -> None:
    assert version_in(filename, "latex-helper") == version


def test_one_spelling_of_a_name() -> None:
    assert {normalised(each) for each in ("Latex_Helper", "latex.helper", "LATEX--helper")} == {"latex-helper"}


@pytest.mark.parametrize("text", ["team/dev", "a.b@c/d-e_f", "ü/ö"])
def test_what_can_be_an_index(text: str) -> None:
    assert is_index(text)


@pytest.mark.parametrize(
    "text", ["", "dev", "/dev", "team/", "team/dev/", "/team/dev", "team/dev?x=", "team/a b", "+f/x", "team/+api"]
)
def test_what_cannot(text: str) -> None:
    assert not is_index(text)


def entry(filename: str, url: str = "", **more: object) -> dict[str, Any]:
    return {"filename": filename, "url": url or f"../../+f/ab/{filename}", "hashes": {"sha256": "ab"}, **more}


def page(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"meta": {"api-version": "1.0"}, "name": "latex-helper", "files": list(entries)}


@pytest.mark.parametrize(
    ("url", "absolute", "index"),
    [
        ("../../+f/ab/x.whl", "http://127.0.0.1:3141/team/dev/+f/ab/x.whl", "team/dev"),
        ("../../../production/+f/ab/x.whl", "http://127.0.0.1:3141/team/production/+f/ab/x.whl", "team/production"),
        ("../../../../root/pypi/+e/http/x.whl", "http://127.0.0.1:3141/root/pypi/+e/http/x.whl", "root/pypi"),
        ("https://u:CANARY@x.example/p/team/dev/+f/ab/x.whl", "https://x.example/p/team/dev/+f/ab/x.whl", "team/dev"),
        ("../../../%C3%BC/+f/ab/x.whl", "http://127.0.0.1:3141/team/%C3%BC/+f/ab/x.whl", "team/ü"),
        ("https://x.example/x.whl", "https://x.example/x.whl", None),
    ],
)
def test_where_a_file_is(url: str, absolute: str, index: str | None) -> None:
    [file] = files(page(entry("latex_helper-1.0-py3-none-any.whl", url)), PAGE_URL)
    assert (file["url"], file["index"]) == (absolute, index)


def test_what_a_page_tells_of_a_file() -> None:
    more = {"requires-python": ">=3.8", "size": 7, "yanked": "broken"}
    one, other = files(page(entry("latex_helper-1.0.zip", **more), entry("x.zip", hashes={})), PAGE_URL)
    assert one == {
        "filename": "latex_helper-1.0.zip",
        "version": "1.0",
        "index": "team/dev",
        "url": "http://127.0.0.1:3141/team/dev/+f/ab/latex_helper-1.0.zip",
        "sha256": "ab",
        "size": 7,
        "requires_python": ">=3.8",
        "yanked": "broken",
    }
    absent = {"version": None, "sha256": None, "size": None, "requires_python": None, "yanked": False}
    assert {key: other[key] for key in absent} == absent


def found(*names: str, **more: object) -> list[dict[str, Any]]:
    return releases(files(page(*(entry(name, **more) for name in names)), PAGE_URL))


def test_releases_the_newest_first() -> None:
    names = [f"latex_helper-{version}.zip" for version in ("1.9", "1.10", "0.dev1", "odd", "1.10.post1", "1.10rc1")]
    names += ["latex_helper-1.10-py3-none-any.whl", "latex_helper-1.10-rc1.tar.gz", "README"]
    there = found(*names)
    assert [each["version"] for each in there] == ["1.10.post1", "1.10", "1.10rc1", "1.9", "0.dev1", "odd"]
    files_of = {each["version"]: [file["filename"] for file in each["files"]] for each in there}
    assert files_of["1.10"] == ["latex_helper-1.10-py3-none-any.whl", "latex_helper-1.10.zip"]
    assert files_of["1.10rc1"] == ["latex_helper-1.10-rc1.tar.gz", "latex_helper-1.10rc1.zip"]


def version_of(there: list[dict[str, Any]], specifier: str, prereleases: bool = False) -> str:
    return str(choose(there, SpecifierSet(specifier), prereleases)["version"])


ALL = [
    f"latex_helper-{version}.zip" for version in ("3.0.dev1", "2.0rc1", "1.2", "1.1.post1", "1.1", "0.9+local", "odd")
]


@pytest.mark.parametrize(
    ("specifier", "version"),
    [
        ("", "1.2"),
        ("<1.2", "1.1.post1"),
        ("==1.1", "1.1"),
        ("<1", "0.9+local"),
        ("==0.9", "0.9+local"),
        (">=1.0rc1", "1.2"),
        (">1.2,>=2.0rc1", "3.0.dev1"),
        ("~=2.0rc1", "2.0rc1"),
        ("===2.0rc1", "2.0rc1"),
    ],
)
def test_the_newest_that_fits(specifier: str, version: str) -> None:
    assert version_of(found(*ALL), specifier) == version


def test_pre_releases_where_they_are_wanted() -> None:
    assert version_of(found(*ALL), "", prereleases=True) == "3.0.dev1"
    assert version_of(found(*ALL), "<3", prereleases=True) == "2.0rc1"


@pytest.mark.parametrize(
    ("specifier", "message"),
    [
        (">4", "no release fits; there are 3.0.dev1, 2.0rc1, 1.2, 1.1.post1, 1.1, 0.9\\+local"),
        (
            ">1.2",
            r"only pre-releases fit \(3.0.dev1, 2.0rc1\); set prereleases=true to accept them; there are 3.0.dev1, ",
        ),
        ("===odd", "no release fits"),
    ],
)
def test_nothing_fits(specifier: str, message: str) -> None:
    with pytest.raises(NoRelease, match=message):
        version_of(found(*ALL), specifier)


def test_an_error_names_the_newest_versions_alone() -> None:
    there = found(*(f"latex_helper-1.{number}.zip" for number in range(25)))
    with pytest.raises(NoRelease, match=r"there are 1\.24, .*, 1\.5 and 5 older ones$"):
        version_of(there, ">2")
    with pytest.raises(NoRelease, match=r"no release fits; there are no releases$"):
        version_of([], ">2")


def test_a_yanked_release_only_where_it_is_pinned() -> None:
    yanked, sound = found("latex_helper-2.0.zip", yanked=True), found("latex_helper-1.0.zip")
    there = yanked + sound
    assert version_of(there, "") == "1.0"
    assert version_of(there, "==2.0") == version_of(there, "===2.0") == "2.0"
    for specifier in (">1", "==2.*", "!=1.0"):
        with pytest.raises(NoRelease, match=r"everything that fits was yanked \(2\.0\)"):
            version_of(there, specifier)
    half = releases(files(page(entry("latex_helper-3.0.zip", yanked="no"), entry("latex_helper-3.0.tar.gz")), PAGE_URL))
    assert version_of(half + there, "") == "3.0"
    assert preferred(half[0]["files"], "sdist")["filename"] == "latex_helper-3.0.tar.gz"


@pytest.mark.parametrize(
    ("tags", "prefer", "chosen"),
    [
        (["py3-none-any.whl", ".tar.gz"], "wheel", "py3-none-any.whl"),
        (["py3-none-any.whl", ".tar.gz"], "sdist", ".tar.gz"),
        (["py3-none-any.whl"], "sdist", "py3-none-any.whl"),
        ([".tar.gz", ".zip"], "wheel", ".tar.gz"),
        (["cp311-cp311-linux_x86_64.whl", "py2-none-any.whl", "py3-none-any.whl"], "wheel", "py3-none-any.whl"),
        (["cp311-cp311-linux_x86_64.whl", "py2.py3-none-any.whl"], "wheel", "py2.py3-none-any.whl"),
        (
            ["cp312-cp312-linux_x86_64.whl", "cp311-cp311-linux_x86_64.whl", ".zip"],
            "wheel",
            "cp311-cp311-linux_x86_64.whl",
        ),
        (["any.whl", "cp311-cp311-linux_x86_64.whl"], "wheel", "any.whl"),
    ],
)
def test_the_file_to_install(tags: list[str], prefer: str, chosen: str) -> None:
    def name(tag: str) -> str:
        return f"latex_helper-1.0{tag}" if tag.startswith(".") else f"latex_helper-1.0-{tag}"

    [release] = found(*map(name, tags))
    assert preferred(release["files"], prefer)["filename"] == name(chosen)


def test_an_ansible_without_its_dependency_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "MISSING", ImportError("No module named 'packaging'"))
    with pytest.raises(AnsibleError, match="packaging is missing, which ansible-core depends on"):
        lookup.LookupModule().run(["tool"])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://u:CANARY@x/simple/", "http://u:********@x/simple/"),
        ("http://u:CAN@RY@x/simple/", "http://u:********@x/simple/"),
        ("http://CANARY@x/", "http://********@x/"),
        ("http://CANARY:@x/", "http://********@x/"),
        ("http://:CANARY@x/", "http://:********@x/"),
        ("HTTPS://u:CANARY@x", "HTTPS://u:********@x"),
        ("a http://u:CANARY@x b@c https://u:CANARY@y", "a http://u:********@x b@c https://u:********@y"),
        ("http://x/simple/@y", "http://x/simple/@y"),
        ("team@example.com", "team@example.com"),
        ({"a": ["http://u:CANARY@x"], "b": 7, "c": None}, {"a": ["http://u:********@x"], "b": 7, "c": None}),
    ],
)
def test_passwords_in_addresses_are_masked(value: object, shown: object) -> None:
    assert masked(value) == shown
