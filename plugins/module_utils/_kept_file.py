# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A text file that a module keeps as given: replaced in one step, with a diff that shows no secret."""

from __future__ import annotations

import difflib
import glob
import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Callable

DRAFT = ".draft"
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
            self._before: str | None = self.path.read_text(encoding="utf-8", errors="replace")
            seen = self.path.stat()
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
        return [
            line.partition("=")[0] + "=********" if self._conceals(line) else SECRET.sub(r"\1********", line)
            for line in text.splitlines()
        ]

    def write(self, validate: Callable[[str], None] | None = None) -> None:
        """Replace the file in one step, after `validate`, given the path of a draft, has not raised."""
        for directory in reversed([each for each in self.path.parents if not each.exists()]):
            directory.mkdir()
            directory.chmod(0o755)
        for leftover in self.path.parent.glob(f".{glob.escape(self.path.name)}.*{DRAFT}"):
            # of a run that was killed
            leftover.unlink()
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=DRAFT, dir=self.path.parent)
        draft = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                if self.owner is not None:
                    os.fchown(handle, *self.owner)
                os.fchmod(handle, self.mode)
                file.write(self.text)
                file.flush()
                os.fsync(handle)
            if validate is not None and self.text_differs:
                validate(name)
            draft.replace(self.path)
        except BaseException:
            with suppress(FileNotFoundError):
                draft.unlink()
            raise
