"""What is decided about releases without asking a server."""

from __future__ import annotations

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._packages import outdated, releases, spellings
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

VERSIONS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["1.0", "1.1", "2"]),
    st.sampled_from(["", "a1", "rc2"]),
    st.sampled_from(["", ".post1"]),
    st.sampled_from(["", ".dev2", ".dev10", "-DEV3"]),
)


@given(st.sets(VERSIONS | st.sampled_from(["latest", "1.0.dev1.x"])), st.integers(0, 5))
def test_the_newest_development_releases_stay(versions: set[str], keep: int) -> None:
    gone = outdated(versions, keep)
    development = [each for each in versions if each not in ("latest", "1.0.dev1.x") and Version(each).is_devrelease]
    assert set(gone) <= set(development)
    kept = set(development) - set(gone)
    assert len(kept) == min(keep, len(development))
    assert all(Version(old) < Version(new) for old in gone for new in kept)
    assert sorted(gone, key=Version) == gone


@pytest.mark.parametrize(
    ("version", "same"),
    [
        ("1.0.DEV3", ["1.0-dev3", "1.0.dev3"]),
        ("1", ["1.0"]),
        ("latest", ["latest"]),
        ("Latest", []),
        ("", []),
        ("1.0.dev", []),
    ],
)
def test_spellings(version: str, same: list[str]) -> None:
    assert spellings(version, ["1.0.dev3", "1.0", "1.0-dev3", "latest", "1.0rc1"]) == same


def test_files_of_each_release_in_every_dialect() -> None:
    digest = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
    place = "http://127.0.0.1/devpi/ann/dev/+f/3fc/4ccfe745870e2"
    of_6_15 = {"rel": "releasefile", "hash_spec": f"sha256={digest}", "href": f"{place}/a-1.whl"}
    of_6_20 = {**of_6_15, "hashes": {"sha256": digest}, "href": f"{place}/a-1%2Bb.whl"}
    of_7 = {"rel": "doczip", "relpath": "+f/3fc/4ccfe745870e2/a-1.doc.zip", "href": f"{place}/a-1.doc.zip"}
    old = {"rel": "releasefile", "hash_spec": "md5=3fc4ccfe745870e2c0d99f71f30ff065", "href": f"{place}/a-1.zip"}
    test_result = {"rel": "toxresult", "href": f"{place}/a-1.whl.toxresult-0"}
    links = [of_6_15, of_6_20, of_7, old, test_result]
    assert releases({"1": {"name": "a", "+links": links}, "2": {"name": "a"}}) == {
        "1": {"a-1.whl": digest, "a-1+b.whl": digest, "a-1.doc.zip": digest[:16], "a-1.zip": digest[:16]},
        "2": {},
    }
