# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of PEP 440 and specifiers such as ``>=1.2, !=1.4.*``, for hosts that lack the library ``packaging``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Callable

_SPELLINGS = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
_PUBLIC = r"""
    v?
    (?:(?P<epoch>[0-9]+)!)?
    (?P<release>[0-9]+(?:\.[0-9]+)*)
    (?:[-_.]?(?P<stage>alpha|a|beta|b|preview|pre|rc|c)[-_.]?(?P<pre>[0-9]*))?
    (?P<is_post>-(?P<bare_post>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post>[0-9]*))?
    (?P<is_dev>[-_.]?dev[-_.]?(?P<dev>[0-9]*))?
"""
_VERSION = re.compile(
    rf"\s*{_PUBLIC}(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*", re.VERBOSE | re.IGNORECASE | re.ASCII
)
_SPECIFIER = re.compile(r"\s*(?P<operator>===|==|!=|<=|>=|~=|<|>)\s*(?P<version>[^\s;)]+)\s*")


@dataclass(frozen=True)
class Version:
    """One version; ``parse`` makes it, ``str`` writes it in its normal form.

    :param pre: ``("rc", 1)``.
    :param local: what follows the ``+``, numbers as such.
    """

    epoch: int
    release: tuple[int, ...]
    pre: tuple[str, int] | None = None
    post: int | None = None
    dev: int | None = None
    local: tuple[int | str, ...] = ()

    def __str__(self) -> str:
        """Return the normal form, ``1.0rc1.post2.dev3+local``."""
        text = (f"{self.epoch}!" if self.epoch else "") + ".".join(map(str, self.release))
        if self.pre is not None:
            text += f"{self.pre[0]}{self.pre[1]}"
        if self.post is not None:
            text += f".post{self.post}"
        if self.dev is not None:
            text += f".dev{self.dev}"
        return text + ("+" + ".".join(map(str, self.local)) if self.local else "")

    @property
    def is_dev(self) -> bool:
        """Whether this is a development release."""
        return self.dev is not None

    @property
    def is_prerelease(self) -> bool:
        """Whether this comes before a final release; development releases do too."""
        return self.pre is not None or self.dev is not None

    @property
    def base(self) -> tuple[int, tuple[int, ...]]:
        """Return the epoch and the release without the zeros at its end."""
        release = self.release
        while len(release) > 1 and not release[-1]:
            release = release[:-1]
        return self.epoch, release

    @property
    def public_key(self) -> tuple[Any, ...]:
        """Return what versions without their local part are compared by."""
        if self.pre is not None:
            pre: tuple[Any, ...] = (1, *self.pre)
        else:
            # 1.0.dev1 is before 1.0a1, and 1.0.post1.dev1 after 1.0.
            pre = (0,) if self.post is None and self.dev is not None else (2,)
        dev = (1, 0) if self.dev is None else (0, self.dev)
        return (*self.base, pre, -1 if self.post is None else self.post, dev)

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what versions are compared and sorted by."""
        local = tuple((1, part, "") if isinstance(part, int) else (0, 0, part) for part in self.local)
        return (*self.public_key, local)


def parse(text: str) -> Version | None:
    """Return the version that the text stands for in whatever spelling; None where it is none of PEP 440."""
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    group = match.groupdict()
    stage = (group["stage"] or "").lower()
    local = re.split("[-_.]", group["local"].lower()) if group["local"] else []
    return Version(
        epoch=int(group["epoch"] or 0),
        release=tuple(map(int, group["release"].split("."))),
        pre=(_SPELLINGS.get(stage, stage), int(group["pre"] or 0)) if stage else None,
        post=int(group["post"] or group["bare_post"] or 0) if group["is_post"] else None,
        dev=int(group["dev"] or 0) if group["is_dev"] else None,
        local=tuple(int(part) if part.isdigit() else part for part in local),
    )


class SpecifierError(ValueError):
    """A text is not a version specifier; the message names it."""


@dataclass(frozen=True)
class Specifier:
    """One clause such as ``>=1.2``, of which ``version`` is what follows the operator."""

    operator: str
    version: str

    def matches(self, version: str) -> bool:
        """Whether a version, in whatever spelling, fulfils the clause. Whether pre-releases count is not asked here."""
        if self.operator == "===":
            return version.strip().lower() == self.version.lower()
        candidate = parse(version)
        return candidate is not None and _OPERATORS[self.operator](candidate, self.version)


def specifiers(text: str) -> list[Specifier]:
    """Return the clauses of a specifier, all of which a version has to fulfil; of an empty text none.

    :raises SpecifierError: one of them is none.
    """
    return [_specifier(clause) for clause in text.split(",") if clause.strip()]


def _specifier(clause: str) -> Specifier:
    match = _SPECIFIER.fullmatch(clause)
    if match is None:
        raise SpecifierError(f"{clause.strip()!r} is not a version specifier; write it as >=1.2, ==1.4.* or ~=1.4.2")
    operator, text = match["operator"], match["version"]
    if operator == "===":
        return Specifier(operator, text)
    prefix = text.endswith(".*")
    version = parse(text[:-2] if prefix else text)
    if version is None or (prefix and (operator not in ("==", "!=") or str(version) != _plain(version))):
        raise SpecifierError(f"{clause.strip()!r}: {text} is not a version that {operator} takes")
    if version.local and operator not in ("==", "!="):
        raise SpecifierError(f"{clause.strip()!r}: a local version (+...) goes with == and != alone")
    if operator == "~=" and len(version.release) < 2:
        raise SpecifierError(f"{clause.strip()!r}: ~= needs at least two numbers, as in ~=1.4")
    return Specifier(operator, text)


def _plain(version: Version) -> str:
    return str(Version(version.epoch, version.release))


def _version(text: str) -> Version:
    version = parse(text)
    if version is None:
        raise ValueError(f"{text!r} is not a version; specifiers() should have refused it")
    return version


def _starts_with(candidate: Version, epoch: int, release: tuple[int, ...]) -> bool:
    padded = candidate.release + (0,) * len(release)
    return candidate.epoch == epoch and padded[: len(release)] == release


def _equal(candidate: Version, text: str) -> bool:
    if text.endswith(".*"):
        prefix = _version(text[:-2])
        return _starts_with(candidate, prefix.epoch, prefix.release)
    wanted = _version(text)
    # Without a local part of its own the clause takes any.
    return candidate.key == wanted.key if wanted.local else candidate.public_key == wanted.public_key


def _compatible(candidate: Version, text: str) -> bool:
    wanted = _version(text)
    return candidate.public_key >= wanted.public_key and _starts_with(candidate, wanted.epoch, wanted.release[:-1])


def _less(candidate: Version, text: str) -> bool:
    wanted = _version(text)
    # <1.0 means no pre-release of 1.0, of which 1.0.dev0 is the first.
    bound = wanted if wanted.is_prerelease else replace(wanted, dev=0)
    return candidate.key < bound.key


def _greater(candidate: Version, text: str) -> bool:
    wanted = _version(text)
    # >1.0 means neither 1.0+local nor 1.0.post1.
    is_post = candidate.post is not None and replace(candidate, post=None, dev=None, local=()).key == wanted.key
    return candidate.public_key > wanted.public_key and not is_post


_OPERATORS: dict[str, Callable[[Version, str], bool]] = {
    "==": _equal,
    "!=": lambda candidate, text: not _equal(candidate, text),
    "~=": _compatible,
    "<": _less,
    ">": _greater,
    "<=": lambda candidate, text: candidate.public_key <= _version(text).public_key,
    ">=": lambda candidate, text: candidate.public_key >= _version(text).public_key,
}
