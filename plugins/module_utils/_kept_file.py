# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A text file that a module keeps as given: replaced in one step, with a diff that shows no secret."""

from __future__ import annotations

import difflib
import os
import re
import stat
from pathlib import Path
from typing import Callable

from ansible_collections.wheelhouse.devpi.plugins.module_utils._draft import draft_of
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import PathError, command_for, exposed

# From the value of a setting with such a name, or the password of a URL, to the end of its line.
SECRET = re.compile(
    r"((?:password|passwd|token|secret|api_?key)['\"]?\s*[=:]\s*|://[^/\s:@]*:(?=[^/\s]*@)).+", re.IGNORECASE
)


class KeptFile:
    """One file, its owner and its mode.

    :param path: of the file. Missing directories above it are made, 0755 and root's.
    :param text: the content, with a newline at its end.
    :param mode: such as 0o640.
    :param owner: uid and gid; None where the account does not exist yet, which only check mode may meet.
    :param conceals: whether a line is to be concealed as a whole in the diff.
    :raises PathError: something else than a file is there.
    :raises OSError: it cannot be read.
    """

    def __init__(
        self, path: str, text: str, mode: int, owner: tuple[int, int] | None, conceals: Callable[[str], object]
    ) -> None:
        self.path = Path(path)
        self.text = text
        self.mode = mode
        self.owner = owner
        self._conceals = conceals
        try:
            # A pipe in its place must not keep the run waiting for a writer.
            with os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8", errors="replace") as file:
                seen = os.fstat(file.fileno())
                if not stat.S_ISREG(seen.st_mode):
                    raise PathError(f"{self.path} is no file; move it away")
                self._before: str | None = file.read()
            self._attributes = (stat.S_IMODE(seen.st_mode), (seen.st_uid, seen.st_gid))
        except FileNotFoundError:
            self._before = None
            self._attributes = (mode, owner or (0, 0))

    @property
    def text_differs(self) -> bool:
        """Whether the content is another, or there is none."""
        return self._before != self.text

    @property
    def differs(self) -> bool:
        """Whether the file is not as given, in content, owner or mode."""
        return self.text_differs or self._attributes != (self.mode, self.owner)

    def diff(self) -> dict[str, str]:
        """Return what Ansible shows with --diff, where secrets are asterisks."""
        before, after = self._shown(self._before or ""), self._shown(self.text)
        lines = list(difflib.unified_diff(before, after, f"{self.path} (before)", f"{self.path} (after)", lineterm=""))
        if not lines and self.text_differs:
            lines = [f"{self.path}: a value that is not shown changed"]
        if self._before is not None and self._attributes != (self.mode, self.owner):
            lines.append(f"{self.path}: owner, group and mode are set again, mode to {self.mode:04o}")
        return {"prepared": "".join(line + "\n" for line in lines)}

    def _shown(self, text: str) -> list[str]:
        # Only a newline ends a line for who reads the file, and what hides a secret must see the same lines.
        lines = text.split("\n")
        return [
            line.partition("=")[0] + "=********" if self._conceals(line) else SECRET.sub(r"\1********", line)
            for line in (lines if lines[-1] else lines[:-1])
        ]

    def write(self, validate: Callable[[str], None] | None = None) -> None:
        """Replace the file in one step, after `validate`, given the path of a draft, has not raised.

        :raises PathError: this runs as root, and another account could put something else where the file is made.
        :raises OSError: it cannot be made.
        """
        place = exposed(str(self.path)) if os.geteuid() == 0 else None
        if place is not None:
            raise PathError(
                f"{self.path} is written by root and lies in {place}, where another account can put something else in "
                f"its place; give {place} to root alone: {command_for('chown root:', place)} && "
                f"{command_for('chmod go-w', place)}"
            )
        for directory in reversed([each for each in self.path.parents if not each.exists()]):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)
        with draft_of(self.path) as draft:
            if self.owner is not None:
                os.fchown(draft.descriptor, *self.owner)
            os.fchmod(draft.descriptor, self.mode)
            with open(draft.descriptor, "w", encoding="utf-8", closefd=False) as file:
                file.write(self.text)
            os.fsync(draft.descriptor)
            if validate is not None and self.text_differs:
                validate(str(draft.path))
            draft.path.replace(self.path)

    def put_back(self) -> None:
        """Have the file as it was before :meth:`write`: its content, owner and mode, or none.

        :raises OSError: it cannot be made.
        """
        if self._before is None:
            self.path.unlink()
            return
        mode, owner = self._attributes
        KeptFile(str(self.path), self._before, mode, owner, self._conceals).write()
