# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Merges repositories into the text of a ~/.pypirc, line by line.

The file belongs to a person, so only lines whose value differs are touched; comments, order, blank lines,
delimiters, indentation and line endings stay. What a line means is decided by the rules of Python's configparser,
strict and without interpolation, because twine and flit read the file with it.
"""

from __future__ import annotations

import configparser
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Dict, Sequence
from urllib.parse import urlsplit

# The first line of a file that the merge began; such a file needs no backup.
MADE_HERE = "# Made by wheelhouse.devpi.pypirc. Lines that you add are kept."
# The first line of older files, whose lists lack the names that the tools know by themselves.
MADE_BEFORE = "# Made by wheelhouse.devpi.pypirc; other lines may be added by hand and are kept."
MASK = "********"

# distutils holds the list of names, DEFAULT the defaults of all sections, and server-login those that twine falls
# back to for every repository: none of them can be a repository.
_RESERVED = ("distutils", configparser.DEFAULTSECT, "server-login")
# Without an index-servers option, flit knows the first of these and twine both. Both have the first one's address.
# What is listed without an address, flit publishes to the real PyPI; so the second is listed with its section alone.
_IMPLICIT = ("pypi", "testpypi")
_TEST_PYPI = "https://test.pypi.org/legacy/"

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SECRET_NAME = re.compile(r"password|passwd|passphrase|secret|token|api[_-]?key", re.IGNORECASE)
_SECRET_LINE = re.compile(rf"((?:{_SECRET_NAME.pattern})[\w.-]*\s*[=:]\s*)\S.*", re.IGNORECASE)
_URL_USER_AND_SECRET = re.compile(r"(://[^/\s:@]*:)\S*@")
_URL_SECRET = re.compile(r"(://)[^/\s:@]+@")

_Values = Dict[str, Dict[str, str]]


class PypircError(ValueError):
    """A file that cannot be merged, or a repository that cannot be written.

    The message names the source and the way out and never repeats a line of the file. ``line`` is the number of
    the line at fault, counted from 1, or None where it is not about one line.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Repository:
    """A section as it should be.

    ``name`` is the section's name, ``repository`` the URL to upload to (required unless ``state`` is ``absent``).
    ``username`` and ``password`` are written if given; None leaves the lines that there are. ``state`` is ``present``
    or ``absent``. Raises PypircError for what configparser, twine or flit would read as something else.
    """

    name: str
    repository: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    state: str = "present"

    def __post_init__(self) -> None:
        if not self.name.isprintable() or not re.fullmatch(r"[^\s\[\]#;][^\s\[\]]*", self.name):
            raise PypircError(
                f"repositories: the name {self.name!r} cannot be a section of ~/.pypirc. Choose one without spaces, "
                "control characters and square brackets that does not begin with '#' or ';'."
            )
        if self.name in _RESERVED:
            raise PypircError(
                f"repositories: the name {self.name!r} has a special meaning in ~/.pypirc. Choose another."
            )
        if self.state == "absent":
            return
        if self.repository is None:
            raise PypircError(f"repositories: {self.name} has no URL. Give it as 'repository', or set 'state: absent'.")
        for option, value in self.options.items():
            if not value or value != value.strip() or any(map(_unwritable, value)):
                raise PypircError(
                    f"repositories: the {option} of {self.name} is empty, begins or ends with a space, or has a "
                    f"newline or another control character in it. ~/.pypirc cannot hold that: give another {option}."
                )
        _check_url(self.name, self.repository)

    @property
    def options(self) -> dict[str, str]:
        """The option lines that the section should have."""
        values = {"repository": self.repository, "username": self.username, "password": self.password}
        return {option: value for option, value in values.items() if value is not None}


class Pypirc:
    """A ~/.pypirc that configparser can read."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._values = _values(_read(_LINE.findall(text), source))

    @classmethod
    def parse(cls, text: str, source: str) -> Pypirc:
        """Read ``text``, the file's content with its line endings; ``source`` is the path that errors name.

        Raises PypircError with the number of the first line that a strict configparser refuses.
        """
        return cls(text, source)

    @property
    def made_here(self) -> bool:
        """Whether the merge began this file, as its first line says."""
        return self._first_line in (MADE_HERE, MADE_BEFORE)

    @property
    def _first_line(self) -> str:
        return "".join(self._text.splitlines()[:1])

    def _implicit_names(self, repositories: Sequence[Repository]) -> list[str]:
        """The names that the tools know without a list and that a new list has to have, without the declared ones."""
        has_list = "index-servers" in self._values.get("distutils", {}) and self._first_line != MADE_BEFORE
        if has_list or all(repository.state == "absent" for repository in repositories):
            return []
        declared = {repository.name for repository in repositories}
        return [name for name in _IMPLICIT if name not in declared]

    def merge(self, repositories: Sequence[Repository]) -> str:
        """Return the text in which ``repositories`` are as declared and everything else is as it was.

        Raises PypircError if two of them have the same name.
        """
        names = [repository.name for repository in repositories]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise PypircError(f"repositories: {', '.join(twice)} appears more than once. Leave one of each name.")
        known = self._implicit_names(repositories)
        edit = _Edit(self._text)
        if self._first_line == MADE_BEFORE and known:
            edit.replace_first_line(MADE_HERE)
        for name in known:
            edit.list_name(name)
        if self._needs_test_pypi(known):
            edit.set_options("testpypi", {"repository": _TEST_PYPI})
        for repository in repositories:
            if repository.state == "absent":
                edit.unlist_name(repository.name)
                edit.remove_section(repository.name)
                continue
            edit.list_name(repository.name)
            edit.set_options(repository.name, repository.options)
        merged = edit.text
        read_back = _values(_read(_LINE.findall(merged), self._source))
        if _comparable(read_back) != _comparable(self._expected(repositories)):
            raise PypircError(
                f"{self._source}: the merged text would not read back as declared, so nothing was changed. This is a "
                "fault of wheelhouse.devpi.pypirc: report it with the file, its passwords taken out."
            )
        return merged

    def _needs_test_pypi(self, known: Sequence[str]) -> bool:
        return "testpypi" in known and "repository" not in self._values.get("testpypi", {})

    def _expected(self, repositories: Sequence[Repository]) -> _Values:
        """What configparser should read after the merge."""
        expected = {section: dict(options) for section, options in self._values.items()}
        defaults = expected[configparser.DEFAULTSECT]
        listed = _listed_names(expected)
        known = self._implicit_names(repositories)
        listed += [name for name in known if name not in listed]
        if self._needs_test_pypi(known):
            expected.setdefault("testpypi", dict(defaults))["repository"] = _TEST_PYPI
        for repository in repositories:
            if repository.state == "absent":
                expected.pop(repository.name, None)
                listed = [name for name in listed if name != repository.name]
            else:
                expected.setdefault(repository.name, dict(defaults)).update(repository.options)
                listed += [] if repository.name in listed else [repository.name]
        has_list = "index-servers" in expected.get("distutils", {})
        if has_list or any(repository.state != "absent" for repository in repositories):
            expected.setdefault("distutils", dict(defaults))["index-servers"] = " ".join(listed)
        return expected


def masked_diff(before: str, after: str) -> tuple[str, str]:
    """Return both texts with every password replaced by asterisks; both must be readable by configparser.

    Masked are the values of options named like a secret in any section, the same in comments, and credentials in
    URLs. A secret that differs from the one before it says so, as the diff would show nothing otherwise.
    """
    old, new = _secrets(before), _secrets(after)
    changed = {where for where, secret in new.items() if where in old and old[where] != secret}
    return _masked(before, set()), _masked(after, changed)


def _check_url(name: str, url: str) -> None:
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise PypircError(
            f"repositories: the repository of {name} has credentials in its URL, which tools print. "
            "Give them as 'username' and 'password'."
        )
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or re.search(r"\s", url):
        # Without a scheme it can still hold credentials.
        shown = f"the repository of {name}" if "@" in url else f"the repository {url!r} of {name}"
        raise PypircError(
            f"repositories: {shown} is not a complete URL. Give one like http://localhost:3141/user/index."
        )


def _unwritable(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _body(line: str) -> str:
    return line.rstrip("\r\n")


def _ending(line: str) -> str:
    return line[len(_body(line)) :]


def _indentation(line: str) -> str:
    """The whitespace that the line begins with."""
    return line[: len(line) - len(line.lstrip())]


def _is_content(line: str) -> bool:
    """Whether configparser sees the line: it is neither blank nor a comment."""
    return bool(line.strip()) and line.strip()[0] not in "#;"


def _read(lines: Sequence[str], source: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    line: int | None
    try:
        parser.read_file((_body(line) + "\n" for line in lines), source)
    except configparser.MissingSectionHeaderError as error:
        line, fault = error.lineno, "there is text before the first [section]. Put it below one, or '#' in front of it"
        if lines[0].startswith("\ufeff"):
            fault = "the file begins with a byte order mark. Save it as UTF-8 without one"
    except configparser.DuplicateSectionError as error:
        line, fault = error.lineno, "a [section] of this name appears earlier in the file. Merge the two"
    except configparser.DuplicateOptionError as error:
        line, fault = error.lineno, "its section has this option earlier already. Remove one of the two"
    except configparser.ParsingError as error:
        line = error.errors[0][0]
        fault = "this is neither a [section] nor 'option = value' nor a comment. Correct or remove the line"
    else:
        return parser
    # Raised out here, since the parser's own exception repeats the line, and with it perhaps a password.
    raise PypircError(f"{source}, line {line}: {fault}, then run again. Nothing was changed.", line)


def _values(parser: configparser.RawConfigParser) -> _Values:
    """Every section with the options that a reader finds there, those of [DEFAULT] included."""
    return {section: dict(parser.items(section)) for section in (configparser.DEFAULTSECT, *parser.sections())}


def _listed_names(values: _Values) -> list[str]:
    """The names in the list."""
    return values.get("distutils", {}).get("index-servers", "").split()


def _comparable(values: _Values) -> dict[str, dict[str, str | list[str]]]:
    """``values`` without the order of sections and the layout of index-servers."""
    return {
        section: {name: value.split() if name == "index-servers" else value for name, value in options.items()}
        for section, options in values.items()
    }


@dataclass
class _Option:
    name: str  # as configparser compares it: in lower case
    first: int  # the index of its line
    last: int  # the index of the last line with a part of its value
    name_end: int  # the column after the name in its first line
    value_at: int  # the column of the value in its first line


@dataclass
class _Section:
    name: str
    header: int
    options: list[_Option] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.options[-1].last if self.options else self.header

    def option(self, name: str) -> _Option | None:
        return next((option for option in self.options if option.name == name), None)


def _scan(lines: Sequence[str]) -> list[_Section]:
    """Find the lines of every section and option, by configparser's rules, in text that it can read."""
    sections: list[_Section] = []
    option: _Option | None = None
    level = 0
    for index, line in enumerate(lines):
        if not _is_content(line):
            continue
        stripped, indent = line.strip(), len(_indentation(line))
        if option and indent > level:
            option.last = index
            continue
        level = indent
        header = configparser.RawConfigParser.SECTCRE.match(stripped)
        if header:
            sections.append(_Section(header["header"], index))
            option = None
            continue
        match = configparser.RawConfigParser.OPTCRE.match(stripped)
        if match:
            option = _Option(
                name=match["option"].lower(),
                first=index,
                last=index,
                name_end=indent + match.end("option"),
                value_at=indent + match.start("value"),
            )
            sections[-1].options.append(option)
    return sections


class _Edit:
    """The lines of a readable file, and the changes that a merge is made of."""

    def __init__(self, text: str) -> None:
        self._lines: list[str] = _LINE.findall(text)
        self._ending = _ending(self._lines[0]) if self._lines else "\n"
        self._ending = self._ending or "\n"

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def replace_first_line(self, body: str) -> None:
        """Have another first line."""
        self._replace(0, body)

    def list_name(self, name: str) -> None:
        """Have ``name`` in index-servers."""
        names = _listed_names(self._values)
        if name in names and "index-servers" in self._values.get("distutils", {}):
            return
        option = self._option("distutils", "index-servers")
        if option is None:
            self._add_list([*names, *([] if name in names else [name])])
        elif option.last > option.first:
            self._insert(option.last, [_indentation(self._lines[option.last]) + name])
        elif self._lines[option.first][option.value_at :].strip():
            self._replace(option.first, f"{self._lines[option.first].rstrip()} {name}")
        else:
            self._insert(option.first, [f"{_indentation(self._lines[option.first])}    {name}"])

    def unlist_name(self, name: str) -> None:
        """Have no ``name`` in index-servers."""
        names = self._values.get("distutils", {}).get("index-servers", "").split()
        if name not in names:
            return
        option = self._option("distutils", "index-servers")
        if option is None:  # it comes from [DEFAULT], which is not ours to change
            self._add_list([other for other in names if other != name])
            return
        for index in range(option.last, option.first - 1, -1):
            line = self._lines[index]
            start = option.value_at if index == option.first else len(_indentation(line))
            listed = line[start:].split()
            if name not in listed or not _is_content(line):
                continue
            rest = " ".join(other for other in listed if other != name)
            if index == option.first or (rest and rest[0] not in "#;"):
                self._replace(index, (line[:start] + rest).rstrip())
                continue
            if rest:  # on a line of its own it would turn into a comment
                before = max(other for other in range(option.first, index) if _is_content(self._lines[other]))
                self._replace(before, f"{self._lines[before].rstrip()} {rest}")
            del self._lines[index]

    def set_options(self, name: str, options: dict[str, str]) -> None:
        """Have the section ``name`` with these options."""
        if self._section(name) is None:
            self._append([f"[{name}]", *(f"{option} = {value}" for option, value in options.items())])
            return
        for option_name, value in options.items():
            option = self._option(name, option_name)
            if option is None:
                self._add_option(name, option_name, [value])
            elif self._values[name][option_name] != value:
                # Comments between the lines of the old value stay.
                kept = [line for line in self._lines[option.first + 1 : option.last + 1] if _is_comment(line)]
                self._lines[option.first + 1 : option.last + 1] = kept
                self._replace(option.first, _before_value(self._lines[option.first], option) + value)

    def remove_section(self, name: str) -> None:
        """Have no section ``name``; comments after its last option are kept, as they may belong to the next one."""
        sections = _scan(self._lines)
        position = next((index for index, section in enumerate(sections) if section.name == name), None)
        if position is None:
            return
        section = sections[position]
        previous, following = sections[:position][-1:], sections[position + 1 : position + 2]
        if following and previous and previous[0].options:
            header, option = following[0].header, previous[0].options[-1]
            if len(_indentation(self._lines[header])) > len(_indentation(self._lines[option.first])):
                self._lines[header] = self._lines[header].lstrip()  # or it would continue the option's value
        start, end = section.header, section.last + 1
        while end < len(self._lines) and not self._lines[end].strip():
            end += 1
        if end == len(self._lines):
            while start and not self._lines[start - 1].strip():
                start -= 1
        del self._lines[start:end]

    @property
    def _values(self) -> _Values:
        return _values(_read(self._lines, ""))

    def _section(self, name: str) -> _Section | None:
        return next((section for section in _scan(self._lines) if section.name == name), None)

    def _option(self, section_name: str, name: str) -> _Option | None:
        section = self._section(section_name)
        return section.option(name) if section else None

    def _replace(self, index: int, body: str) -> None:
        self._lines[index] = body + _ending(self._lines[index])

    def _insert(self, after: int, bodies: Sequence[str]) -> None:
        if not _ending(self._lines[after]):
            self._lines[after] += self._ending
        ending = _ending(self._lines[after])
        self._lines[after + 1 : after + 1] = [body + ending for body in bodies]

    def _append(self, bodies: Sequence[str]) -> None:
        if not self._lines:
            self._lines = [MADE_HERE + self._ending]
        blank = [""] if self._lines[-1].strip() else []
        self._insert(len(self._lines) - 1, [*blank, *bodies])

    def _add_list(self, names: Sequence[str]) -> None:
        """Add the option index-servers with these names: a line each, unless a line would then be a comment."""
        if self._section("distutils") is None:
            self._append(["[distutils]"])
        on_one_line = any(name[0] in "#;" for name in names)
        self._add_option("distutils", "index-servers", [" ".join(names)] if on_one_line else ["", *names])

    def _add_option(self, section_name: str, name: str, values: Sequence[str]) -> None:
        """Add an option to a section, written as the option before it is; values after the first continue it."""
        sections = _scan(self._lines)
        position = next(index for index, section in enumerate(sections) if section.name == section_name)
        section, following = sections[position], sections[position + 1 : position + 2]
        lead, separator = _indentation(self._lines[section.header]), " = "
        if section.options:
            option = section.options[-1]
            line = self._lines[option.first]
            lead = _indentation(line)
            separator = _before_value(line, option)[option.name_end :]
        elif following:
            # Less indentation than that of the header that follows would make the header continue this value.
            lead = max(lead, _indentation(self._lines[following[0].header]), key=len)
        first = f"{lead}{name}{separator}{values[0]}".rstrip()
        self._insert(section.last, [first, *(f"{lead}    {value}" for value in values[1:])])


def _is_comment(line: str) -> bool:
    return line.strip()[:1] in ("#", ";")


def _before_value(line: str, option: _Option) -> str:
    """The option's first line up to its value, with the space that its style has there even if there is no value."""
    start = line[: option.value_at]
    if not line[option.value_at :].strip() and (start[-1] == ":" or start[-2].isspace()):
        return start + " "
    return start


def _secrets(text: str) -> dict[tuple[str, str], str]:
    values = _values(_read(_LINE.findall(text), ""))
    return {
        (section, option): value
        for section, options in values.items()
        for option, value in options.items()
        if _SECRET_NAME.search(option)
    }


def _masked(text: str, changed: set[tuple[str, str]]) -> str:
    lines: list[str] = _LINE.findall(text)
    shown = []
    for line in lines:
        hidden = _URL_USER_AND_SECRET.sub(rf"\1{MASK}@", _body(line))
        hidden = _URL_SECRET.sub(rf"\1{MASK}@", hidden)
        shown.append(_SECRET_LINE.sub(rf"\1{MASK}", hidden) + _ending(line))
    for section in _scan(lines):
        for option in section.options:
            if not _SECRET_NAME.search(option.name):
                continue
            mark = f"{MASK} (changed)" if (section.name, option.name) in changed else MASK
            for index in range(option.first, option.last + 1):
                line = lines[index]
                start = option.value_at if index == option.first else len(_indentation(line)) + _is_comment(line)
                if line[start:].strip():
                    shown[index] = line[:start] + mark + _ending(line)
    return "".join(shown)
