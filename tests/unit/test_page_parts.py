"""The parts of time for which nginx keeps a page: read from the template, and tried at each hundredth of a second."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

import pytest

TEMPLATE = Path(__file__).parents[2] / "roles" / "proxy" / "templates" / "http.conf.j2"
# Any moment; ten seconds from it have every digit that the maps look at.
BEGIN = 1_790_000_000
TIMES = [BEGIN + hundredth / 100 for hundredth in range(1000)]


def entries(source: str) -> list[tuple[str, str]]:
    """Return the lines of a map, in their order."""
    template = TEMPLATE.read_text(encoding="utf-8")
    (body,) = re.findall(rf"^map {re.escape(source)} \{{\n(.*?)^\}}", template, re.MULTILINE | re.DOTALL)
    return [(key.strip('"'), value.strip('"')) for key, value in re.findall(r"^ *(\S+) (\S+);$", body, re.MULTILINE)]


def mapped(source: str, text: str) -> str:
    """Return what nginx makes of the text: the value of the first expression that matches."""
    for expression, value in entries(source):
        if expression == "default":
            return value
        found = re.search(expression.removeprefix("~").replace("(?<", "(?P<"), text)
        if found:
            return Template(value).substitute(found.groupdict())
    raise AssertionError(text)


def key(time: float, ahead: bool) -> tuple[str, str]:
    msec = f"{time:.3f}"
    whose = "ahead" if ahead else ""
    return mapped("$msec $devpi_five_seconds", msec), mapped("$devpi_asks_ahead$msec $devpi_part", whose + msec)


@pytest.fixture(scope="module")
def keys() -> list[tuple[float, tuple[str, str], tuple[str, str]]]:
    return [(time, key(time, False), key(time, True)) for time in TIMES]


def test_page_is_no_older_than_nine_tenths_of_a_second(keys):
    used: dict[tuple[str, str], list[float]] = {}
    for time, own, ahead in keys:
        used.setdefault(own, []).append(time)
        used.setdefault(ahead, []).append(time)
    assert len(used) == 14
    assert max(max(times) - min(times) for times in used.values()) < 0.9


def test_who_asks_ahead_gets_what_comes_next(keys):
    order = list(dict.fromkeys(own for _time, own, _ahead in keys))
    ahead_of = [(own, ahead) for _time, own, ahead in keys if own != ahead]
    assert all(order.index(ahead) == order.index(own) + 1 for own, ahead in ahead_of)
    # in each part, but for the last of five seconds
    assert {own for own, _ahead in ahead_of} == {own for own in order if own[1] != "6"}
