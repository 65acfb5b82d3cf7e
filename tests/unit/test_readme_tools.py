"""What the README says of other people's tools is run in a scenario: a sentence without a test is found here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text("utf-8")
DEFAULT, ROLES, PROXY = (f"molecule/{scenario}/test_tools.py" for scenario in ("default", "roles", "proxy"))
# Each table of tools, by the title of its second column, and the test that runs every row of it
TABLES = {
    "publish": f"{DEFAULT}::test_published_as_the_readme_says",
    "install": f"{DEFAULT}::test_installed_as_the_readme_says",
    "trusts it by": f"{PROXY}::test_trusts_the_ca_as_the_readme_says",
}
# What the text beside the tables says of a tool, word for word
TEXT = {
    "--skip-existing": f"{DEFAULT}::test_same_file_is_taken_again",
    "uv publish": f"{DEFAULT}::test_same_file_is_taken_again",
    "--check-url http://127.0.0.1:3141/alice/dev/+simple/": f"{DEFAULT}::test_same_file_is_taken_again",
    "--trusted-host NAME": f"{DEFAULT}::test_pip_trusts_other_names_when_told",
    "devpi login": f"{ROLES}::test_devpi_client_takes_it_from_its_file",
    "devpi token-login -f FILE": f"{ROLES}::test_devpi_client_takes_it_from_its_file",
    "SSL_CERT_FILE=ca.pem": f"{PROXY}::test_one_ca_alone_takes_others_from_uv",
    "sudo cp ca.pem /usr/local/share/ca-certificates/devpi.crt": f"{PROXY}::test_one_ca_alone_takes_others_from_uv",
    "sudo update-ca-certificates": f"{PROXY}::test_one_ca_alone_takes_others_from_uv",
    "machine devpi1.example.com login ci password TOKEN": "molecule/proxy/test_private.py::test_tools_log_in",
}
PYPIRC = f"{PROXY}::test_colleagues_file_is_read"
SECTIONS = ("## Publish and install\n", "## Open to the network\n")
SAYS_SOMETHING_OF_A_TOOL = re.compile(r"(--|(flit|twine|uv|hatch|devpi|pip|sudo|machine) |[A-Z_]+=)")


def section(heading: str) -> str:
    return README.split(heading, 1)[1].split("\n## ", 1)[0]


def text_of(heading: str) -> str:
    """Return the section without its tables and its YAML."""
    text = re.sub(r"```yaml\n.*?```", "", section(heading), flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.startswith("|"))


def said_of_tools() -> set[str]:
    """Return each command, option and line of a file in the text beside the tables."""
    text = "\n".join(map(text_of, SECTIONS))
    commands = re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    lines = re.findall(r"^    (.+)$", text, re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return {each for each in [*commands, *lines, *spans] if SAYS_SOMETHING_OF_A_TOOL.match(each)}


def test_every_table_of_tools_is_run() -> None:
    titles = {title for heading in SECTIONS for title in re.findall(r"^\| tool \| (.+) \|$", section(heading), re.M)}
    assert titles == set(TABLES)


def test_every_sentence_about_a_tool_is_run() -> None:
    assert said_of_tools() == set(TEXT)


def test_example_of_a_pypirc_is_read() -> None:
    assert "    [distutils]\n" in text_of(SECTIONS[1])


@pytest.mark.parametrize("test", sorted({*TABLES.values(), *TEXT.values(), PYPIRC}))
def test_tests_are_there(test: str) -> None:
    path, _colons, name = test.partition("::")
    assert f"\ndef {name}(" in (CHECKOUT / path).read_text("utf-8")
