"""What the guides say of a token: which tools take it for a password, and how the devpi client does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from molecule.conftest import readme_rows

if TYPE_CHECKING:
    from testinfra.backend.base import CommandResult
    from testinfra.host import Host

    from molecule.conftest import Api, Layout, Shell

PUBLISH = readme_rows("publish")
TOKEN = "/etc/devpi/credentials/team.token"
WHEEL = """
import sys, zipfile
name = sys.argv[1]
with zipfile.ZipFile(f"/root/{name}-1-py3-none-any.whl", "w") as wheel:
    info = f"{name}-1.dist-info"
    for path, text in (
        (f"{name}.py", ""),
        (f"{info}/METADATA", f"Metadata-Version: 2.1\\\\nName: {name}\\\\nVersion: 1\\\\n"),
        (f"{info}/WHEEL", "Wheel-Version: 1.0\\\\nRoot-Is-Purelib: true\\\\nTag: py3-none-any\\\\n"),
        (f"{info}/RECORD", ""),
    ):
        wheel.writestr(zipfile.ZipInfo(path), text)
"""


FLIT_PROJECT = """
mkdir -p token_flit
cd token_flit
export SOURCE_DATE_EPOCH=1500000000
cat >token_flit.py <<'MODULE'
"A tool was here."
__version__ = "1"
MODULE
cat >pyproject.toml <<'TOML'
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"
[project]
name = "token_flit"
dynamic = ["version", "description"]
TOML
"""


class Tools:
    """Tools in an environment of their own, and a token in place of each password."""

    def __init__(self, host: Host, layout: Layout) -> None:
        self._host = host
        self._layout = layout

    def __call__(self, script: str) -> CommandResult:
        path = f"/root/toolbox/bin:{self._layout.venv}/bin:/usr/bin:/bin"
        return self._host.run(f'cd && TOKEN="$(cat {TOKEN})" PATH={path} HOME=/root LANG=C.UTF-8 sh -euc %s', script)

    def wheel(self, name: str) -> str:
        """Make a wheel, and return its path."""
        self._host.check_output("python3 -c %s %s", WHEEL.replace("\\\\n", "\\n"), name)
        return f"/root/{name}-1-py3-none-any.whl"


@pytest.fixture(scope="module")
def tools(host: Host, shell: Shell, layout: Layout) -> Tools:
    uv = f"{layout.venv}/bin/uv"
    said = shell(
        f"{uv} venv -q --clear toolbox && "
        f"{uv} pip install -q -p toolbox --index-url {layout.index}/+simple/ flit twine hatch uv pip"
    )
    assert said.rc == 0, said.stderr
    return Tools(host, layout)


def is_there(api: Api, layout: Layout, project: str) -> bool:
    return api("GET", f"/{layout.user}/dev/{project}").status == 200


@pytest.mark.parametrize("tool", [tool for tool in PUBLISH if tool not in ("devpi", "flit")])
def test_token_is_a_password(tools: Tools, api: Api, layout: Layout, tool: str) -> None:
    wheel = tools.wheel(f"token_{tool}")
    [command] = PUBLISH[tool]
    command = command.replace("alice", layout.user).replace("…", '"$TOKEN"').replace(" dist/*", "")
    said = tools(f"{command} {wheel}")
    assert said.rc == 0, said.stdout + said.stderr
    assert is_there(api, layout, f"token-{tool}")


def test_token_is_a_password_for_flit(tools: Tools, api: Api, layout: Layout) -> None:
    [command] = PUBLISH["flit"]
    command = command.replace("alice", layout.user).replace("…", '"$TOKEN"')
    said = tools(f"{FLIT_PROJECT}{command}")
    assert said.rc == 0, said.stdout + said.stderr
    assert is_there(api, layout, "token-flit")


def test_devpi_client_takes_it_from_its_file(tools: Tools, api: Api, layout: Layout) -> None:
    wheel = tools.wheel("token_devpi")
    client = "--clientdir /root/token-client"
    use = f"devpi use {client} {layout.index}"
    refused = tools(f'{use} && printf "%s\\n" "$TOKEN" | devpi login {client} {layout.user}')
    assert refused.rc != 0
    assert "401" in refused.stdout + refused.stderr
    said = tools(f"{use} && devpi token-login {client} -f {TOKEN} && devpi upload {client} {wheel}")
    assert said.rc == 0, said.stdout + said.stderr
    assert is_there(api, layout, "token-devpi")


def test_user_is_whom_the_token_was_made_for(tools: Tools, api: Api, layout: Layout) -> None:
    wheel = tools.wheel("token_nobody")
    upload = f'TWINE_PASSWORD="$TOKEN" twine upload --non-interactive --repository-url {layout.index}'
    said = tools(f"{upload} --username __token__ {wheel}")
    assert said.rc != 0
    assert "403" in said.stdout + said.stderr or "401" in said.stdout + said.stderr
    assert not is_there(api, layout, "token-nobody")


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_token_installs(tools: Tools, host: Host, layout: Layout, tool: str) -> None:
    tools.wheel("token_twine")
    url = f"{layout.index}/+simple/".replace("://", '://team:"$TOKEN"@')
    install = {"pip": "pip install -q", "uv": "uv pip install -q"}[tool]
    said = tools(
        f"python3 -m venv --clear by-token-{tool} && . by-token-{tool}/bin/activate && "
        f"{install} --index-url {url} token_twine && cd / && python -c 'import token_twine'"
    )
    assert said.rc == 0, said.stderr
