# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person has at home of ~/.pypirc and the devpi client, looked at with the person's rights."""

from __future__ import annotations

import json
import os
import pwd
import re
from pathlib import Path

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as, user_name
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pypirc import Pypirc, PypircError
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
        name = self.account.pw_name
        if os.geteuid() not in (0, self.account.pw_uid):
            return (
                f"is another account than {user_name(os.geteuid())}, who runs this; set become: true (ansible_become), "
                f"or name {user_name(os.geteuid())}"
            )
        with acting_as(self.account):
            if not self.path.is_absolute() or not self.path.exists():
                return (
                    f"has the home directory {self.path}, and there is none; make it, or name an account that has one"
                )
            if not self.path.is_dir():
                return f"has the home directory {self.path}, which is none; name an account that has one"
            if not os.access(self.path, os.W_OK | os.X_OK, effective_ids=True):
                return f"may not write in its home directory {self.path}; give it to {name} with chown"
        return ""

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
            # One that root put there is mended with the file.
            return "" if self._is_roots(path) else f"{path} cannot be read by {self.account.pw_name}; chown it"
        except FileNotFoundError:
            return ""
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
                if not path.is_dir():
                    return f"{path} is no directory, and the devpi client of {name} keeps its files there; move it away"
                if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
                    return f"{name} may not write in {path}, where the devpi client keeps its files; chown it"
        current = self.path / ".devpi" / "client" / "current.json"
        try:
            with acting_as(self.account):
                read_file(str(current))
        except FileNotFoundError:
            return ""
        except UnfitFile as unfit:
            return f"{current} is {unfit}, and the devpi client of {name} keeps its settings there; move it away"
        except OSError as error:
            return f"{current} cannot be read by {name} ({error.strerror}); move it away"
        return ""

    def client_index(self) -> str:
        """Return the URL of the index that the devpi client uses, or else of the server; empty where it uses none."""
        try:
            with acting_as(self.account):
                content = read_file(str(self.path / ".devpi" / "client" / "current.json"))
            used = json.loads(content)
            # Of a server without an index it keeps the URL to log in at.
            url = used.get("index") or re.sub(r"\+login$", "", used.get("login") or "")
            return str(url).rstrip("/")
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            return ""

    def _is_roots(self, path: Path) -> bool:
        with acting_as(self.account):
            try:
                return path.lstat().st_uid == 0 and not path.is_symlink()
            except OSError:
                return False
