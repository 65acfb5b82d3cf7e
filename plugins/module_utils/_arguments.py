# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks a variable's value against its argument spec. Each problem names the value, its place and the way out.

Ansible's own check converts what this one refuses: a password that YAML reads as a number becomes another password, and
a text in the place of a list becomes the list of its letters. It also prints the wrong value, even a password.
"""

from __future__ import annotations

import datetime
import difflib
import re
import unicodedata
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import secrets_in

# What both Ansible's specs and its filter bool take for a truth value
TRUTH = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}
# The only options that may hold more than a line
LONG_TEXTS = ("title", "description", "custom_data")
SHOWN = 60

_WANTED = {
    "str": "a text",
    "path": "a path",
    "int": "a whole number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a dictionary",
}


def disagreements(place: str, option: Mapping[str, Any], value: object) -> Iterator[str]:
    """Yield what is wrong with a value by its spec: its type, its choices, its keys, characters that no line holds.

    :param place: how messages call it, ``devpi_users[0].indexes[1].name``.
    :param option: its part of an argument spec; what is ``no_log`` there is never shown.
    :param value: as the inventory gives it, with templates filled in.
    """
    kind = option.get("type", "str")
    secret = bool(option.get("no_log"))
    if value is None:
        yield f"{place} is null and has to be {_WANTED.get(kind, 'something')}; give it a value, or remove its line"
    elif kind == "raw":
        yield from _unholdable(place, value)
    elif kind == "list":
        yield from _list(place, option, value)
    elif kind == "dict":
        yield from _dict(place, option, value)
    elif kind == "int":
        if typed(option, value) is None:
            way = "write it as digits alone, like 10"
            yield f"{place} is {described(value, secret=secret)} and has to be a whole number; {way}"
    elif kind == "bool":
        if typed(option, value) is None:
            yield f"{place} is {described(value, secret=secret)} and has to be true or false; write one of these"
    elif option.get("choices") and not isinstance(typed(option, value), str):
        yield from _choice(place, option["choices"], value, secret=secret)
    elif not isinstance(typed(option, value), str):
        way = (
            "put it in quotes"
            if isinstance(value, (bool, int, float, datetime.date))
            else "write it in one line, in quotes"
        )
        yield f"{place} is {described(value, secret=secret)} and has to be {_WANTED[kind]}; {way}"
    else:
        yield from _text(place, option, str(typed(option, value)), secret=secret)


def typed(option: Mapping[str, Any], value: object) -> Any:
    """Return a scalar, or a list of scalars, in the type of its spec; None where it is of another kind.

    :param option: its part of an argument spec.
    :param value: as for `disagreements`.
    """
    kind = option.get("type", "str")
    if kind == "int":
        if isinstance(value, bool):
            return None
        if isinstance(value, str):
            return int(value) if re.fullmatch(r"-?[0-9]{1,18}", value) else None
        return int(value) if isinstance(value, int) else None
    if kind == "bool":
        if isinstance(value, bool):
            return value
        return TRUTH.get(str(value).lower()) if isinstance(value, (str, int)) else None
    if kind in ("str", "path"):
        # YAML reads some choices, true and false, as truth values.
        if isinstance(value, bool) and str(value).lower() in option.get("choices", ()):
            return str(value).lower()
        return value if isinstance(value, str) else None
    if kind == "list" and isinstance(value, (list, tuple)):
        element = {"type": option.get("elements", "raw")}
        return [typed(element, each) for each in value]
    return value


def completed(option: Mapping[str, Any], value: object) -> Any:
    """Return a value that has no `disagreements` as a module's argument spec leaves it: typed, with all its options."""
    known = option.get("options")
    if value is None or known is None:
        return option.get("default") if value is None else typed(option, value)
    if isinstance(value, Mapping):
        return {name: completed(sub, value.get(name)) for name, sub in known.items()}
    return [completed({"options": known}, each) for each in value] if isinstance(value, (list, tuple)) else None


def described(value: object, *, secret: bool = False) -> str:
    """Return what a value is, as words that can stand in a message: no password, no more than a line.

    :param secret: whether the value itself may not be shown.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return "a number" if secret else f"the number {_shortened(str(value))}"
    if isinstance(value, str):
        return "a text" if secret else f"the text {shown(value)}"
    if isinstance(value, Mapping):
        return "a dictionary"
    if isinstance(value, datetime.date):
        return "a date"
    return "a list" if isinstance(value, (list, tuple)) else "of no known kind"


def shown(text: str) -> str:
    """Return a text in quotes, shortened, or the words that stand for it where a password may be in it."""
    if secrets_in(text) or re.search(r"//[^/\s]*@", text):
        return "(not shown, for a login may be in it)"
    return _shortened(repr("".join(text)))


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 10]}… ({len(text)} characters)"


def _choice(place: str, choices: Sequence[str], value: object, *, secret: bool) -> Iterator[str]:
    near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
    guess = f"did you mean {near[0]}?" if near else "name one of these"
    listed = ", ".join(str(choice) for choice in choices)
    yield f"{place} is {described(value, secret=secret)} and has to be one of {listed}; {guess}"


def _text(place: str, option: Mapping[str, Any], value: str, *, secret: bool) -> Iterator[str]:
    choices = option.get("choices")
    if choices and value not in choices:
        yield from _choice(place, choices, value, secret=secret)
    elif place.rpartition(".")[2] in LONG_TEXTS:
        yield from _unholdable(place, value)
    elif any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
        where = place if secret else f"{place}, {shown(value)},"
        yield (
            f"{where} has a newline or another control character in it; remove it"
            + (" (the filter trim takes it off the text of a file)" if secret else "")
        )


def _list(place: str, option: Mapping[str, Any], value: object) -> Iterator[str]:
    element = {
        "type": option.get("elements", "raw"),
        **{key: option[key] for key in ("choices", "options", "no_log") if key in option},
    }
    if isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            yield from disagreements(f"{place}[{number}]", element, each)
        return
    secret = element["type"] not in ("str", "int", "path") or bool(option.get("no_log"))
    way = "write each of its elements in a line of its own, with a dash in front"
    if isinstance(value, str) and not secret and value.isprintable() and "(" not in shown(value):
        way = f"write it as [{value}]" if len(value) <= SHOWN else way
    yield f"{place} is {described(value, secret=secret)} and has to be a list; {way}"


def _dict(place: str, option: Mapping[str, Any], value: object) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{place} is {described(value, secret=True)} and has to be a dictionary; write it as names with values"
        return
    for key in value:
        if not isinstance(key, str):
            yield f"{place} has a key that is {described(key)} and has to be a text; put it in quotes"
    known = option.get("options")
    if known is None:
        return
    for key in value:
        if isinstance(key, str) and key not in known:
            # A key that is not an option may be anything, even a password.
            name = key if re.fullmatch(r"\w[\w-]{0,40}", key) else "that is not a name"
            near = difflib.get_close_matches(key, known, n=1)
            guess = f"did you mean {near[0]}?" if near else f"it takes {', '.join(sorted(known))}"
            yield f"{place} has a key {name}, which is not one of its options; {guess}"
    for name, sub in known.items():
        # Null means that an option is not given; where it has a default or choices, null is none of these.
        if value.get(name) is not None or (name in value and ("default" in sub or "choices" in sub)):
            yield from disagreements(f"{place}.{name}", sub, value[name])
        elif sub.get("required"):
            yield f"{place} lacks {name}, which is required; give it one"


def _unholdable(place: str, value: object) -> Iterator[str]:
    """Yield where data that may have any form holds what neither JSON's readers nor files take."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _unholdable(place, each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _unholdable(place, each)
    elif isinstance(value, str) and re.search("[\x00\ud800-\udfff]", value):
        yield f"{place} has the character NUL or half a character in it; remove it"
