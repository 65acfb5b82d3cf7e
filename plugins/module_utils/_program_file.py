# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the file of a program of supervisor: the values in it, and whether the program is ours."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import Any, Mapping

from ansible_collections.wheelhouse.devpi.plugins.module_utils import _paths
from ansible_collections.wheelhouse.devpi.plugins.module_utils._reading import UnfitFile, read_file

# Where Debian has them
MAIN_FILE = Path("/etc/supervisor/supervisord.conf")
PROGRAMS = Path("/etc/supervisor/conf.d")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# execve(2): MAX_ARG_STRLEN
LONGEST = 131_000
# Control characters, ends of lines and of paragraphs, and halves of characters
NO_TEXT = ("Cc", "Zl", "Zp", "Cs")


def problems(environment: Any, variable: str = "devpi_environment") -> list[str]:
    """Return what keeps the variables from arriving in the process as they were given, with the way out of each.

    :param environment: variables and their values as the inventory has them.
    :param variable: where they were given.
    """
    if not isinstance(environment, Mapping):
        return [f"{variable} has to be a dictionary; write it as {{HTTPS_PROXY: http://proxy.example.com:3128}}"]
    found = []
    for name, value in environment.items():
        reason = _unfit_name(str(name)) or unfit_value(str(name), value)
        if reason:
            found.append(f"{variable} {str(name)[:80]!r} {reason}")
    return found


def _unfit_name(name: str) -> str:
    if not VARIABLE_NAME.fullmatch(name):
        return "is not the name of a variable; use letters, digits and _, and do not begin with a digit"
    return ""


def unfit_value(name: str, value: Any) -> str:
    """Return why the variable's value could not arrive as it was given, nothing where it can.

    The value is not shown: it may be a password.

    :param name: of the variable.
    :param value: as the inventory has it.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        kind = {type(None): "nothing", bool: "a truth value"}.get(type(value), f"a {type(value).__name__}")
        return f"is {kind}, not a text; put the value between quotes"
    text = str(value)
    if any(unicodedata.category(character) in NO_TEXT for character in text):
        return "has a newline or another control character in its value; remove it"
    if len(f"{name}={text}".encode()) > LONGEST:
        return f"has a value of {len(text)} characters, and Linux passes on {LONGEST} at most; shorten it"
    if ('"' in text or text.startswith("'") or text.endswith("'")) and (
        "'" in text or text.startswith('"') or text.endswith('"')
    ):
        return (
            "has a value that supervisor cannot hold, with quotes of both kinds or at its ends; keep quotes of one "
            "kind inside it, or leave them out"
        )
    return ""


def problems_on_host(program: str, log_file: str) -> list[str]:
    """Return why a program of this name, or one of its workers, cannot be set up on this host.

    :param program: its name.
    :param log_file: where it is to log.
    """
    found = []
    path = PROGRAMS / f"{program}.conf"
    if not is_ours(path):
        found.append(
            f"devpi_supervisor_program {program!r}: {path} is somebody else's program, and would be overwritten; "
            "choose another name, or move that file away"
        )
    for other in _included_files():
        if other != path and re.search(_section(program), _read_text(other), re.MULTILINE):
            found.append(
                f"devpi_supervisor_program {program!r}: {other} has a program of that name, and supervisor would mix "
                "the two; choose another name, or take it out there"
            )
    patterns = _include_patterns()
    if patterns is not None and not any(fnmatch.fnmatch(str(path), pattern) for pattern in patterns):
        found.append(
            f"{MAIN_FILE} does not include {PROGRAMS}/*.conf, so supervisor would not read {path}; add that to files "
            "in its section [include]"
        )
    return found + _problems_of_log(path, log_file)


def is_ours(path: Path) -> bool:
    """Whether the program's file is absent, or runs nothing but a devpi-server, made by the roles or by hand."""
    if not path.exists() and not path.is_symlink():
        return True
    # Only the commands prove it: a comment can say anything.
    sections = re.findall(r"^\[([^]]*)\]", _read_text(path), re.MULTILINE)
    commands = re.findall(r"^command\s*[=:]\s*(.*)$", _read_text(path), re.MULTILINE | re.IGNORECASE)
    named = [section for section in sections if section != f"program:{path.stem}"]
    return (
        not named and bool(commands) and all(re.search(r"/bin/devpi-server(?![\w.-])", command) for command in commands)
    )


def workers_of(program: str) -> set[str]:
    """Return the names of the workers of that program whose files the roles made."""
    return {
        path.stem
        for path in PROGRAMS.glob(f"{glob.escape(program)}-worker-*.conf")
        if re.fullmatch(r"[0-9]+", path.stem[len(f"{program}-worker-") :])
        and is_ours(path)
        and "--requests-only" in _read_text(path)
    }


def _problems_of_log(path: Path, log_file: str) -> list[str]:
    """Return why root must not open the log: another account could put a link there, or it is somebody's file."""
    place = f"devpi_supervisor_log_file {log_file}"
    exposed = _paths.exposed(log_file)
    if exposed is not None:
        return [
            f"{place} is opened by root and lies in {exposed}, where another account can put something else in its "
            "place; name a path in a directory of root's, like /var/log/supervisor"
        ]
    log = Path(log_file)
    if not log.parent.is_dir() and str(log.parent) != "/var/log/supervisor":
        return [f"{place} lies in {log.parent}, which is not a directory, and supervisor makes none; make it first"]
    try:
        info = log.lstat()
    except OSError:
        return []
    named = re.findall(r"^stdout_logfile\s*[=:]\s*(.*?)\s*$", _read_text(path), re.MULTILINE | re.IGNORECASE)
    ours = log_file in named and is_ours(path)
    if not stat.S_ISREG(info.st_mode) or (info.st_size and not ours and not _left_by_supervisor(log)):
        return [f"{place} exists and belongs to somebody else; name another file, or move it away"]
    return []


def _left_by_supervisor(log: Path) -> bool:
    """Whether the log lies in supervisor's own directory, where logs stay when their program is removed."""
    return log.parent == Path("/var/log/supervisor") and log.name != "supervisord.log"


def _section(program: str) -> str:
    return rf"^\[(program|fcgi-program|eventlistener|group):\s*{re.escape(program)}\s*\]"


def _include_patterns() -> list[str] | None:
    """Return the paths that supervisor's main file includes; None where there is no such file."""
    if not MAIN_FILE.exists():
        return None
    section = re.search(r"^\[include\](.*?)(?=^\[|\Z)", _read_text(MAIN_FILE), re.MULTILINE | re.DOTALL)
    files = re.search(r"^files\s*[=:](.*(?:\n[ \t]+\S.*)*)", section.group(1), re.MULTILINE) if section else None
    words = re.sub(r"\s[;#].*", "", files.group(1)).split() if files else []
    here = str(MAIN_FILE.parent)
    return [os.path.normpath(MAIN_FILE.parent / word.replace("%(here)s", here)) for word in words]


def _included_files() -> list[Path]:
    return [MAIN_FILE, *(Path(found) for pattern in _include_patterns() or [] for found in sorted(glob.glob(pattern)))]  # noqa: PTH207 - it is absolute


def _read_text(path: Path) -> str:
    try:
        # A pipe that nobody writes to is not waited for.
        return read_file(str(path)).decode("utf-8", "replace")
    except (OSError, UnfitFile):
        return ""
