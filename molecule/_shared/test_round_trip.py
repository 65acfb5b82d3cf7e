"""As the person, with nothing but ~/.pypirc: build a package, publish it by name, find it, install it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from molecule.conftest import Api, Layout, Shell

PROJECT = """
mkdir -p collab/latexhelper
cd collab/latexhelper
cat >latexhelper.py <<'MODULE'
\"\"\"Help with LaTeX.\"\"\"

__version__ = "0.1"
MODULE
cat >pyproject.toml <<'TOML'
[build-system]
requires = ["flit_core >=3.2,<5"]
build-backend = "flit_core.buildapi"

[project]
name = "latexhelper"
authors = [{name = "Someone"}]
dynamic = ["version", "description"]
TOML
"""


@pytest.fixture(scope="module")
def published(shell: Shell, layout: Layout) -> str:
    """Publish latexhelper 0.1; the value is the index's address for installers."""
    index = f"{layout.index}/+simple/"
    # flit itself and uv come from upstream, through the index. Where upstream fails once, pip passes over the project
    # in silence and finds nothing that fits. The second time tells a slow upstream from a broken index.
    install = f"tools/bin/pip install -q --index-url {index} flit uv"
    tools = f"python3 -m venv tools && {{ {install} || {install}; }}"
    for script in (tools, PROJECT, f"cd collab/latexhelper && ~/tools/bin/flit publish --repository {layout.section}"):
        said = shell(script)
        assert said.rc == 0, said.stdout + said.stderr
    return index


def test_pip_installs_it(shell: Shell, published: str) -> None:
    said = shell(
        f"python3 -m venv by-pip && by-pip/bin/pip install -q --index-url {published} latexhelper iniconfig "
        "&& cd / && ~/by-pip/bin/python -c 'import latexhelper, iniconfig; print(latexhelper.__version__)'"
    )
    assert said.stdout.strip() == "0.1", said.stderr


def test_uv_installs_it(shell: Shell, published: str) -> None:
    said = shell(
        "tools/bin/uv venv -q by-uv "
        f"&& tools/bin/uv pip install -q -p by-uv --index-url {published} latexhelper iniconfig "
        "&& cd / && ~/by-uv/bin/python -c 'import latexhelper, iniconfig; print(latexhelper.__version__)'"
    )
    assert said.stdout.strip() == "0.1", said.stderr


@pytest.mark.usefixtures("published")
def test_web_page_shows_it(api: Api, layout: Layout) -> None:
    page = api("GET", f"/{layout.user}/dev/latexhelper", accept="text/html")
    assert page.status == 200
    assert (
        "latexhelper-0.1-py" in page.text + api("GET", f"/{layout.user}/dev/latexhelper/0.1", accept="text/html").text
    )


@pytest.mark.usefixtures("published")
def test_strangers_cannot_publish(shell: Shell, layout: Layout) -> None:
    said = shell(
        f"cd collab/latexhelper && FLIT_INDEX_URL={layout.index}/ FLIT_USERNAME=mallory FLIT_PASSWORD=mallory "
        "~/tools/bin/flit publish"
    )
    assert said.rc != 0
    assert "401" in said.stdout + said.stderr or "403" in said.stdout + said.stderr


@pytest.fixture
def releases_only(api: Api, layout: Layout) -> Iterator[None]:
    """Where the index is declared volatile, make it one for releases for a while; elsewhere it is to be one already."""
    if not layout.volatile:
        yield
        return
    index = f"/{layout.user}/dev"
    assert api("PATCH", index, {"volatile": False}, user="root").status == 200
    yield
    assert api("PATCH", index, {"volatile": True}, user="root").status == 200


@pytest.mark.usefixtures("published", "releases_only")
def test_other_content_under_the_same_version_is_refused(api: Api, shell: Shell, layout: Layout) -> None:
    before = api("GET", f"/{layout.user}/dev/latexhelper").result
    said = shell(
        "cd collab/latexhelper && echo 'OTHER = True' >>latexhelper.py && "
        f"~/tools/bin/flit publish --repository {layout.section}"
    )
    assert said.rc != 0
    assert "409" in said.stdout + said.stderr
    assert api("GET", f"/{layout.user}/dev/latexhelper").result == before
    assert list(before) == ["0.1"]
