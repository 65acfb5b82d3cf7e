# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sites in the configuration that ``nginx -T`` prints. Of two sites with the same name, one never answers."""

from __future__ import annotations

import re
from typing import Iterator, NamedTuple

FILE = re.compile(r"^# configuration file (.+):$")
# A quoted word, a sign that ends something, a comment, or a word.
TOKEN = re.compile(
    r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[{};]|#[^\n]*|(?:\\.|\$\{|[^\s{};\"'\\])(?:\\.|\$\{|[^\s{};])*"
)


class Site(NamedTuple):
    """One ``server`` of nginx's.

    :param file: the file that it stands in.
    :param names: its ``server_name``, in lower case.
    :param ports: the TCP ports that it listens on, loopback addresses left out.
    """

    file: str
    names: frozenset[str]
    ports: frozenset[int]


def sites(configuration: str) -> Iterator[Site]:
    """Yield the sites of a configuration.

    :param configuration: what ``nginx -T`` prints on standard output.
    """
    for file, text in _files(configuration):
        yield from _sites_of(file, text)


def _files(configuration: str) -> Iterator[tuple[str, str]]:
    file = ""
    lines: list[str] = []
    for line in configuration.splitlines():
        header = FILE.match(line)
        if header:
            yield file, "\n".join(lines)
            file, lines = header[1], []
        else:
            lines.append(line)
    yield file, "\n".join(lines)


def _sites_of(file: str, text: str) -> Iterator[Site]:
    depth, server = 0, 0
    words: list[str] = []
    names: set[str] = set()
    listens: list[str] = []
    for match in TOKEN.finditer(text):
        word = match[0]
        if word.startswith("#"):
            continue
        if word == "{":
            depth += 1
            if words == ["server"]:
                server, names, listens = depth, set(), []
            words = []
        elif word == "}":
            if depth == server:
                yield Site(file, frozenset(names), _ports(listens))
                server = 0
            depth -= 1
            words = []
        elif word == ";":
            if depth == server and words[:1] == ["server_name"]:
                names.update(name.lower().lstrip(".") for name in words[1:])
            elif depth == server and words[:1] == ["listen"]:
                listens += words[1:2]
            words = []
        else:
            words.append(word.strip("\"'"))


def _ports(listens: list[str]) -> frozenset[int]:
    """Return the ports; nginx's own default is 80."""
    ports = set()
    for listen in listens or ["80"]:
        address, _colon, port = listen.rpartition(":") if not listen.endswith("]") else (listen, "", "80")
        if listen.startswith("unix:") or address in ("localhost", "[::1]") or address.startswith("127."):
            continue
        if port.isdigit():
            ports.add(int(port))
        elif not address:
            # an address or a name alone
            ports.add(80)
    return frozenset(ports)
