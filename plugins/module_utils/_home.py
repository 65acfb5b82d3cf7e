# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks ~/.pypirc and the devpi client's files in a person's home, with the person's rights."""

from __future__ import annotations

import json
import os
import pwd
import re
from pathlib import Path

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as, user_name
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import (
    SYSTEM_DIRECTORIES,
    command_as,
    command_for,
    link_at,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pypirc import Pypirc, PypircError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pypirc_file import find, refuse_closed
from ansible_collections.wheelhouse.devpi.plugins.module_utils._reading import UnfitFile, read_file


class Home:
    """The home directory of one account.

    :param account: the person's.
    """

    def __init__(self, account: pwd.struct_passwd) -> None:
        self.account = account
        self.path = Path(account.pw_dir)

    def problem(self) -> str:
        """Return why nothing can be kept there, as the end of a sentence with the way out; empty where it can."""
        if os.geteuid() not in (0, self.account.pw_uid):
            return (
                f"is not {user_name(os.geteuid())}, the account that runs this; set become: true (ansible_become), "
                f"or name {user_name(os.geteuid())}"
            )
        with acting_as(self.account):
            if not self.path.is_absolute() or not os.path.lexists(self.path):
                return (
                    f"has the home directory {self.path}, which does not exist; "
                    "make it, or name an account that has one"
                )
            if not _is_directory(self.path):
                return f"has the home directory {self.path}, which is not a directory; name an account that has one"
            if not os.access(self.path, os.W_OK | os.X_OK, effective_ids=True):
                return f"may not write in its home directory {self.path}; {self._own_home()}"
        return ""

    def _own_home(self) -> str:
        shared = os.path.realpath(self.path) in SYSTEM_DIRECTORIES
        give = "" if shared else command_for(f"chown {self.account.pw_name}:", self.path)
        return f"name an account that may{f', or give it the directory: {give}' if give else ''}"

    def pypirc_problem(self) -> str:
        """Return why ~/.pypirc cannot be merged, with the way out; empty where it can."""
        path = self.path / ".pypirc"
        try:
            with acting_as(self.account):
                content = read_file(str(path))
            Pypirc.parse(content.decode("utf-8"), str(path))
        except UnicodeDecodeError:
            return f"{path} is not UTF-8; convert it or move it away"
        except PypircError as error:
            return str(error)
        except UnfitFile as unfit:
            return f"{path} is {unfit}; move it away"
        except PermissionError:
            # The module pypirc gives a file that root put there to its owner.
            if not self._belongs_to_root(path):
                return f"{path} cannot be read by {self.account.pw_name}; {self._way_out(path, 'chmod u+rw')}"
        except FileNotFoundError:
            pass
        except OSError as error:
            return f"{path} cannot be read ({error.strerror}); move it away"
        try:
            target, found = find(str(path), self.account)
            Pypirc.parse(found.text, str(path))
            refuse_closed(str(path), target, self.account)
        except PypircError as error:
            return str(error)
        except OSError as error:
            return f"{path} cannot be read ({error.strerror}); move it away"
        return ""

    def client_problem(self) -> str:
        """Return why the devpi client could keep nothing, with the way out; empty where it can."""
        name = self.account.pw_name
        for path in (self.path / ".devpi", self.path / ".devpi" / "client"):
            with acting_as(self.account):
                if not os.path.lexists(path):
                    return ""
                is_directory = _is_directory(path)
                writable = os.access(path, os.W_OK | os.X_OK, effective_ids=True)
            if not is_directory:
                return (
                    f"{path} is not a directory that {name} may enter, and the devpi client of {name} keeps its files "
                    "there; move it away"
                )
            if not writable:
                return (
                    f"{name} may not write in {path}, where the devpi client keeps its files; "
                    f"{self._way_out(path, 'chmod u+rwx')}"
                )
        problems = (
            self._unfit_settings(path) for path in (self._current_json, self._current_json.with_name("auth.json"))
        )
        return next(filter(None, problems), "")

    @property
    def _current_json(self) -> Path:
        return self.path / ".devpi" / "client" / "current.json"

    def _unfit_settings(self, path: Path) -> str:
        """Return why the devpi client could not read one of its files, or not write it again."""
        name = self.account.pw_name
        keeps = f"and the devpi client of {name} keeps its settings there"
        exists = False
        try:
            with acting_as(self.account):
                exists = os.path.lexists(path)
                writable = os.access(path, os.W_OK, effective_ids=True)
                text = read_file(str(path)).decode("utf-8")
            settings = json.loads(text) if text.strip() else {}
        except FileNotFoundError:
            return f"{path} is a symbolic link to nothing, {keeps}; remove the link" if exists else ""
        except UnfitFile as unfit:
            return f"{path} is {unfit}, {keeps}; move it away"
        except UnicodeDecodeError:
            return f"{path} is not UTF-8, {keeps}; move it away"
        except (ValueError, RecursionError) as error:
            line = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
            return f"{path} is not JSON{line}, {keeps}; move it away"
        except PermissionError:
            return f"{path} cannot be read by {name}, {keeps}; {self._way_out(path, 'chmod u+rw')}"
        except OSError as error:
            return f"{path} cannot be read by {name} ({error.strerror}); move it away"
        if not writable:
            return f"{path} cannot be written by {name}, {keeps}; {self._way_out(path, 'chmod u+rw')}"
        # The client ignores JSON that is not an object, and replaces it.
        for key in ("index", "login") if isinstance(settings, dict) and path == self._current_json else ():
            value = settings.get(key)
            if value is not None and not (isinstance(value, str) and value.isprintable()):
                return f"{path} has no address as its {key}, {keeps}; move it away"
        return ""

    def _way_out(self, path: Path, command: str) -> str:
        """Return what to do about a file that the person may not use, never a command that acts on a link's target."""
        with acting_as(self.account):
            link = link_at(path)
            try:
                own = path.lstat().st_uid == self.account.pw_uid
            except OSError:
                own = False
        if link:
            return f"it is a symbolic link to {link}: remove the link"
        return command_as(self.account, command, path) if own else "move it away"

    def client_index(self) -> str:
        """Return the URL of the index that the devpi client uses, or else of the server; empty where it uses none."""
        try:
            with acting_as(self.account):
                content = read_file(str(self._current_json))
            used = json.loads(content)
            # Where it uses no index, the client keeps the URL of the server's login.
            url = used.get("index") or re.sub(r"\+login$", "", used.get("login") or "")
            return url.rstrip("/") if url.isprintable() else ""
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            return ""

    def _belongs_to_root(self, path: Path) -> bool:
        with acting_as(self.account):
            try:
                return path.lstat().st_uid == 0 and not path.is_symlink()
            except OSError:
                return False


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # A link may lead to a place that the account may not enter.
        return False
