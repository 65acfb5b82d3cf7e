"""What README and guides say of people's own tools, run over plain http with the tools that the registry has today."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from molecule.conftest import readme_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testinfra.backend.base import CommandResult
    from testinfra.host import Host

    from molecule.conftest import Api, Layout, Shell

PUBLISH = readme_rows("publish")
INSTALL = readme_rows("install")
PROJECT = """
rm -rf ~/made/{name}
mkdir -p ~/made/{name}
cd ~/made/{name}
cat >{name}.py <<'MODULE'
"A tool was here."
__version__ = "1.0"
MODULE
cat >pyproject.toml <<'TOML'
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"
[project]
name = "{name}"
dynamic = ["version", "description"]
TOML
"""
# What the two tools themselves make of the file
NAMES = """
import json
from flit.upload import get_repositories
from twine.utils import get_config
flit = {name: repository.url for name, repository in get_repositories().items()}
twine = {name: repository["repository"] for name, repository in get_config("~/.pypirc").items()}
print(json.dumps([flit, twine]))
"""


class Tools:
    """The person's tools, in an environment of their own."""

    def __init__(self, shell: Shell, layout: Layout) -> None:
        self._shell = shell
        self._layout = layout

    def __call__(self, script: str) -> CommandResult:
        """Run the shell commands with the tools on PATH, before those of the server's environment."""
        return self._shell(
            f'export SOURCE_DATE_EPOCH=1500000000; PATH="$HOME/toolbox/bin:{self._layout.venv}/bin:$PATH"; {script}'
        )

    def project(self, name: str) -> CommandResult:
        """Make a project of this name, and build it into its directory dist."""
        said = self(PROJECT.format(name=name) + "flit build")
        assert said.rc == 0, said.stdout + said.stderr
        return said

    def readme(self, command: str) -> str:
        """Return a command of the README as it is typed on this host."""
        command = command.replace("alice", self._layout.user).replace("…", '"$FLIT_PASSWORD"')
        if command.startswith("devpi login"):
            # it asks
            command = f'printf "%s\\n" "$FLIT_PASSWORD" | {command}'
        return command


@pytest.fixture(scope="module")
def tools(shell: Shell, layout: Layout) -> Tools:
    uv = f"{layout.venv}/bin/uv"
    said = shell(
        f"{uv} venv -q --clear toolbox && "
        # the registry that the index asks may be busy
        "for pause in 5 30 0; do "
        f"{uv} pip install -q -p toolbox --index-url {layout.index}/+simple/ flit twine hatch uv pip && exit; "
        "sleep $pause; done; exit 1"
    )
    assert said.rc == 0, said.stderr
    return Tools(shell, layout)


def files(api: Api, layout: Layout, project: str) -> set[str]:
    """Return the names of the project's files on the index."""
    found = api("GET", f"/{layout.user}/dev/{project}")
    if found.status != 200:
        return set()
    links = [link for version in found.result.values() for link in version.get("+links", [])]
    return {link["href"].rsplit("/", 1)[1] for link in links if link["rel"] == "releasefile"}


@pytest.mark.parametrize("tool", PUBLISH)
def test_published_as_the_readme_says(tools: Tools, api: Api, layout: Layout, tool: str) -> None:
    name = f"by_{tool}"
    tools.project(name)
    if tool == "flit":
        # it builds by itself
        tools(f"rm -r made/{name}/dist")
    commands = [tools.readme(command) for command in PUBLISH[tool] if not command.startswith("/")]
    said = tools(f"cd made/{name} && " + " && ".join(commands))
    assert said.rc == 0, said.stdout + said.stderr
    assert files(api, layout, name.replace("_", "-")) == {f"{name}-1.0-py2.py3-none-any.whl", f"{name}-1.0.tar.gz"}
    # flit prints where the package is
    for link in re.findall(r"Package is at (\S+)", said.stdout + said.stderr):
        assert "//" not in link.partition("://")[2]
        assert api("GET", link.partition(layout.url)[2], accept="text/html").status == 200
    assert ("Package is at" in said.stdout + said.stderr) == (tool == "flit")


@pytest.mark.parametrize("tool", INSTALL)
def test_installed_as_the_readme_says(tools: Tools, api: Api, layout: Layout, tool: str) -> None:
    if not files(api, layout, "by-flit"):
        test_published_as_the_readme_says(tools, api, layout, "flit")
    [command] = INSTALL[tool]
    package = "by_flit iniconfig"
    said = tools(
        f"python3 -m venv --clear got-{tool} && . got-{tool}/bin/activate && "
        f"{tools.readme(command).replace('PACKAGE', package)} && cd / && "
        "python -c 'import by_flit, iniconfig; print(by_flit.__version__)'"
    )
    assert said.stdout.splitlines()[-1:] == ["1.0"], said.stdout + said.stderr


def test_names_that_the_tools_know_are_known_still(tools: Tools, layout: Layout) -> None:
    said = tools(f"toolbox/bin/python -c '{NAMES}'")
    assert said.rc == 0, said.stderr
    for known in json.loads(said.stdout):
        assert re.fullmatch(r"https://upload\.pypi\.\w+/legacy/", known.pop("pypi"))
        assert known == {
            "testpypi": "https://test.pypi.org/legacy/",
            layout.section: layout.index,
        }


def test_hatch_takes_no_url_from_the_file(tools: Tools, layout: Layout) -> None:
    tools.project("no_url")
    said = tools(f'cd made/no_url && HATCH_INDEX_AUTH="$FLIT_PASSWORD" hatch publish --no-prompt -r {layout.section}')
    assert said.rc != 0
    assert "missing an 'http://' or 'https://' protocol" in said.stdout + said.stderr


def test_uv_takes_nothing_from_the_file(tools: Tools, api: Api, layout: Layout) -> None:
    tools.project("no_user")
    said = tools(
        f'cd made/no_user && UV_PUBLISH_PASSWORD="$FLIT_PASSWORD" uv publish --publish-url {layout.index} </dev/null'
    )
    assert said.rc != 0
    assert files(api, layout, "no-user") == set()


def test_flit_asks_for_the_password(tools: Tools, api: Api, layout: Layout) -> None:
    tools.project("asked")
    # It throws away what was typed before it asks.
    typed = '(while sleep 1; do printf "%s\\n" "$FLIT_PASSWORD" || exit; done)'
    publish = f"env -u FLIT_PASSWORD flit publish --repository {layout.section}"
    said = tools(f"cd made/asked && {typed} | script --quiet --return --command '{publish}' /dev/null")
    assert said.rc == 0, said.stderr
    assert len(files(api, layout, "asked")) == 2


def test_same_file_is_taken_again(tools: Tools, layout: Layout) -> None:
    tools.project("again")
    upload = f'cd made/again && TWINE_PASSWORD="$FLIT_PASSWORD" twine upload --non-interactive -r {layout.section}'
    for _dummy in range(2):
        said = tools(f"{upload} dist/*")
        assert said.rc == 0, said.stdout + said.stderr
    said = tools(f"{upload} --skip-existing dist/*")
    assert said.rc != 0
    assert "does not have support for the following features: --skip-existing" in " ".join(said.stdout.split())
    publish = tools.readme(PUBLISH["uv"][0])
    said = tools(f"cd made/again && {publish} --check-url {layout.index}/+simple/")
    assert said.rc == 0, said.stderr
    assert said.stderr.count("already exists, skipping") == 2


@pytest.fixture
def another_name(host: Host) -> Iterator[str]:
    """Give this host a name that pip does not take for its own."""
    host.check_output("cp /etc/hosts /root/hosts && echo 127.0.0.1 index.example.com >>/etc/hosts")
    yield "index.example.com"
    host.check_output("cat /root/hosts >/etc/hosts")


def test_pip_trusts_other_names_when_told(tools: Tools, layout: Layout, another_name: str) -> None:
    url = layout.index.replace("127.0.0.1", another_name)
    download = f"pip download -q --no-cache-dir --no-deps --dest other --index-url {url}/+simple/ iniconfig"
    refused = tools(download)
    assert refused.rc != 0
    assert "No matching distribution found" in refused.stderr
    said = tools(f"{download} --trusted-host {another_name}")
    assert said.rc == 0, said.stderr
