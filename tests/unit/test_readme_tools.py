"""What README and guides say of other people's tools is run in a test: a sentence without one is found here."""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text("utf-8")
GUIDES = {path.stem: path.read_text("utf-8") for path in sorted((CHECKOUT / "docs/docsite/rst").glob("*.rst"))}
DEFAULT, ROLES, PROXY = (f"molecule/{scenario}/test_tools.py" for scenario in ("default", "roles", "proxy"))
INDEX = "http://127.0.0.1:3141/alice/dev/+simple/"
# Each column of a table of tools, and the test that runs every row of it
TABLES = {
    "publish": f"{DEFAULT}::test_published_as_the_readme_says",
    "install": f"{DEFAULT}::test_installed_as_the_readme_says",
    "trusts it by": f"{PROXY}::test_trusts_the_ca_as_the_guide_says",
}
PYTHON = "tests/unit/test_setup.py::test_python_that_a_person_names_is_taken"
# What the text beside the tables says of a tool, word for word
TEXT = {
    "--skip-existing": f"{DEFAULT}::test_same_file_is_taken_again",
    "uv publish": f"{DEFAULT}::test_same_file_is_taken_again",
    f"--check-url {INDEX}": f"{DEFAULT}::test_same_file_is_taken_again",
    "--trusted-host NAME": f"{DEFAULT}::test_pip_trusts_other_names_when_told",
    "devpi login": f"{ROLES}::test_devpi_client_takes_it_from_its_file",
    "devpi token-login -f FILE": f"{ROLES}::test_devpi_client_takes_it_from_its_file",
    "SSL_CERT_FILE=ca.pem": f"{PROXY}::test_one_ca_alone_takes_others_from_uv",
    "sudo cp ca.pem /usr/local/share/ca-certificates/devpi.crt": f"{PROXY}::test_one_ca_alone_takes_others_from_uv",
    "sudo update-ca-certificates": f"{PROXY}::test_one_ca_alone_takes_others_from_uv",
    "machine devpi1.example.com login ci password TOKEN": "molecule/proxy/test_private.py::test_tools_log_in",
    "pip install -vv": "tests/unit/test_readme_tools.py::test_pip_tells_of_a_bad_gateway_when_asked_twice_alone",
    "pip download --no-deps --require-hashes -r roles/venv/files/devpi.lock -d wheels": (
        "tests/integration/test_role_venv.py::test_from_a_directory_without_a_network"
    ),
    "devpi on localhost": "molecule/newcomer/test_newcomer.py::test_last_lines_say_what_runs_where",
    "--extra-index-url": "tests/unit/test_readme_tools.py::test_pip_is_told_of_no_second_index",
    "DEVPI_DEPLOY_PYTHON=/path/to/python script/deploy": PYTHON,
    "DEVPI_DEPLOY_PYTHON=python3.11 script/deploy -i inventory/ours -K": PYTHON,
}
PYPIRC = f"{PROXY}::test_colleagues_file_is_read"
SAYS_SOMETHING_OF_A_TOOL = re.compile(r"(--|(flit|twine|uv|hatch|devpi|pip|sudo|machine) |[A-Z_]+=)")
LIST_TABLE = re.compile(r"^\.\. list-table::.*\n(?:(?: .*)?\n)+", re.MULTILINE)
CODE_BLOCK = re.compile(r"^( *)\.\. code-block:: (\w+)\n((?:\1 .*\n|\n)+)", re.MULTILINE)


def tables_of_tools(text: str) -> list[list[str]]:
    """Return, for each table of tools in README or a guide, the titles of its columns after the first."""
    markdown = re.findall(r"^\| tool \| (.+) \|$", text, re.MULTILINE)
    return [
        *(titles.split(" | ") for titles in markdown),
        *(re.findall(r"- (.+)", titles) for titles in re.findall(r"^   \* - tool\n((?:     - .+\n)+)", text, re.M)),
    ]


def is_of_tools(table: str) -> bool:
    return "\n   * - tool\n" in table


def said_in_the_readme() -> Iterator[str]:
    """Yield each command and span of code in README outside its tables."""
    text = "\n".join(line for line in README.splitlines() if not line.startswith("|"))
    yield from re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def said_in(guide: str) -> Iterator[str]:
    """Yield each command, line of a file and span of code in a guide outside its tables of tools."""
    text = LIST_TABLE.sub(lambda found: "\n" if is_of_tools(found[0]) else found[0], guide)
    for _indent, language, block in CODE_BLOCK.findall(text):
        if language == "console":
            yield from re.findall(r"^ +[$#] (.+)$", block, re.MULTILINE)
        elif language in ("ini", "text"):
            yield from map(str.strip, block.splitlines())
    yield from (" ".join(span.split()) for span in re.findall(r"``(.+?)``", CODE_BLOCK.sub("", text), re.DOTALL))


def said_of_tools() -> set[str]:
    said = [*said_in_the_readme(), *(each for guide in GUIDES.values() for each in said_in(guide))]
    return {each for each in said if SAYS_SOMETHING_OF_A_TOOL.match(each)}


def test_every_table_of_tools_is_run() -> None:
    assert tables_of_tools(README) == [["publish", "install"]]
    found = [titles for guide in GUIDES.values() for titles in tables_of_tools(guide)]
    assert {title for titles in found for title in titles} == set(TABLES)


def test_guide_has_the_table_of_the_readme() -> None:
    rows = README.split("| tool | publish | install |\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    cells = [[cell.strip().replace("`", "``") for cell in row.strip("|").split("|")] for row in rows]
    assert len(cells) == 6
    written = "".join(f"   * - {tool}\n     - {publish}\n     - {install}\n" for tool, publish, install in cells)
    assert re.sub(" +\n", "\n", written) in GUIDES["first_index"]


def test_every_sentence_about_a_tool_is_run() -> None:
    assert said_of_tools() == set(TEXT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Type ``twine check\ndist/*`` first.\n", "twine check dist/*"),
        (".. code-block:: console\n\n   $ hatch build\n\nMore.\n", "hatch build"),
        ("1. Type\n\n   .. code-block:: console\n\n      # pip check\n", "pip check"),
        (".. code-block:: text\n\n   machine x login y password z\n", "machine x login y password z"),
        (".. list-table::\n\n   * - Tool\n     - What it does\n   * - uv\n     - ``uv lock``\n", "uv lock"),
    ],
)
def test_sentence_about_a_tool_is_found(text: str, said: str) -> None:
    assert [each for each in said_in(text) if SAYS_SOMETHING_OF_A_TOOL.match(each)] == [said]


def test_example_of_a_pypirc_is_read() -> None:
    assert ".. code-block:: ini\n\n   [distutils]\n" in GUIDES["team"]


@pytest.mark.parametrize("test", sorted({*TABLES.values(), *TEXT.values(), PYPIRC}))
def test_tests_are_there(test: str) -> None:
    path, _colons, name = test.partition("::")
    assert f"\ndef {name}(" in (CHECKOUT / path).read_text("utf-8")


@pytest.mark.parametrize("top", ["inventory", "playbooks", "plugins", "roles"])
def test_pip_is_told_of_no_second_index(top: str) -> None:
    texts = {path: path.read_bytes().lower() for path in (CHECKOUT / top).rglob("*") if path.is_file()}
    assert texts
    assert [path for path, text in texts.items() if re.search(rb"extra.index.url", text)] == []


class BadGateway(http.server.BaseHTTPRequestHandler):
    """Answers as the index does when PyPI did not answer it."""

    def do_GET(self) -> None:
        self.send_response(HTTPStatus.BAD_GATEWAY)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None: ...


@pytest.fixture
def bad_gateway() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), BadGateway) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.mark.parametrize(("option", "tells"), [("-v", False), ("-vv", True)])
def test_pip_tells_of_a_bad_gateway_when_asked_twice_alone(
    bad_gateway: str, tmp_path: Path, option: str, tells: bool
) -> None:
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "download", option]
    command += ["--retries=0", "--no-cache-dir", f"--dest={tmp_path}", f"--index-url={bad_gateway}", "iniconfig"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert "No matching distribution found for iniconfig" in said
    assert ("Could not fetch URL" in said) == tells
    assert (" 502 " in said) == tells
