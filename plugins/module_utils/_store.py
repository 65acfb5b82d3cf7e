# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of virtual environments, and the links by which people and programs name them.

An environment is made as a draft, gets its name in one step when it is whole, and is never changed afterwards. What a
link leads to, and what it led to before, stays; other environments go.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import pwd
import secrets
from pathlib import Path
from typing import ContextManager, Iterator

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as
from ansible_collections.wheelhouse.devpi.plugins.module_utils._draft import Draft, draft_of, remove_leftovers
from ansible_collections.wheelhouse.devpi.plugins.module_utils._environment import (
    DIGEST,
    Occupant,
    is_former,
    occupant,
)

# Drafts of all environments have one name, so that each run finds what a killed one left.
DRAFT_OF = "environment"
LINK, FORMER = ".link", ".former"


class Store:
    """The directory of all environments of this host; only root can change it.

    :param path: the directory.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._links = self.path / ".links"

    def draft(self) -> ContextManager[Draft]:
        """Return a context manager of a locked, empty directory for a new environment; it makes the store too."""
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return draft_of(self.path / DRAFT_OF, directory=True)

    def publish(self, draft: Draft, name: str, broken: os.stat_result | None) -> None:
        """Give a draft its name; where another run was first, its environment stays.

        :param draft: the whole environment.
        :param name: its digest.
        :param broken: the environment of that name which does not work and is replaced; None where there was none.
        """
        with self._locked():
            try:
                there = (self.path / name).lstat()
            except FileNotFoundError:
                there = None
            if there is not None and (broken is None or not os.path.samestat(there, broken)):
                return
            self._discard(name)
            draft.path.rename(self.path / name)

    def link(self, path: str, name: str, keeper: pwd.struct_passwd | None) -> str:
        """Make `path` a link to an environment, in one step, and discard environments that no link needs any more.

        What is discarded, and an environment of an earlier release at that path, goes with the leftovers.

        :param path: devpi_venv_path.
        :param name: of the environment.
        :param keeper: the account with whose rights the link is made; None for root's own.
        :returns: where an environment went that was made by hand at that path; empty where there was none.
        :raises PathError: something else lies there.
        :raises OSError: it cannot be made there.
        """
        with self._locked():
            there = occupant(path, str(self.path))
            moved = _make_link(Path(path), self.path / name, there, keeper)
            self._remember(path, name, there.environment)
            self._discard_others()
        return moved

    def remove_leftovers(self, path: str, keeper: pwd.struct_passwd | None) -> None:
        """Remove what runs that were killed left, in the store and beside the link.

        :param path: devpi_venv_path.
        :param keeper: the account with whose rights the link is made; None for root's own.
        """
        remove_leftovers(self.path / DRAFT_OF)
        if Path(path).parent.is_dir():
            with self._locked():
                _remove_aside(Path(path), keeper)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _record(self, path: str) -> Path:
        return self._links / hashlib.sha256(path.encode()).hexdigest()[:16]

    def _remember(self, path: str, current: str, linked: str) -> None:
        record = self._record(path)
        with contextlib.suppress(OSError, ValueError):
            _path, known, _before = record.read_text(encoding="utf-8").splitlines()
            if linked in ("", known) and current == known:
                return
            linked = linked or known
        before = linked if linked != current else ""
        self._links.mkdir(mode=0o755, exist_ok=True)
        # one name for all drafts of it, for the store is locked
        draft = self._links / ".draft"
        draft.write_text(f"{path}\n{current}\n{before}\n", encoding="utf-8")
        draft.replace(record)

    def _discard_others(self) -> None:
        needed = _names_that_run(self.path)
        for record in self._links.glob("[0-9a-f]*"):
            linked, names = "", set()
            with contextlib.suppress(OSError, ValueError):
                path, *known = record.read_text(encoding="utf-8").splitlines()
                linked, names = Path(os.readlink(path)).name, {*known} - {""}
            if linked in names:
                needed |= names
            else:
                # The link is gone, or leads where somebody else let it.
                record.unlink()
        for environment in self.path.iterdir():
            if DIGEST.fullmatch(environment.name) and environment.name not in needed:
                self._discard(environment.name)

    def _discard(self, name: str) -> None:
        # Under the name of a draft, so that a removal that is interrupted goes on in the next run.
        with contextlib.suppress(FileNotFoundError):
            (self.path / name).rename(self.path / f".{DRAFT_OF}.{secrets.token_hex(4)}.draft")


def _names_that_run(store: Path) -> set[str]:
    """Return the environments of which a program runs, as its command line says."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            program = os.fsdecode((process / "cmdline").read_bytes().split(b"\0", 1)[0])
            if program.startswith(f"{store}/"):
                found.add(program[len(str(store)) + 1 :].split("/", 1)[0])
    return found


def _rights(keeper: pwd.struct_passwd | None) -> ContextManager[None]:
    return acting_as(keeper) if keeper else contextlib.nullcontext()


def _make_link(path: Path, target: Path, there: Occupant, keeper: pwd.struct_passwd | None) -> str:
    moved = ""
    with _rights(keeper):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        link = path.with_name(f".{path.name}.{secrets.token_hex(4)}{LINK}")
        link.symlink_to(target)
        if there.kind == "empty":
            path.rmdir()
        elif there.kind == "former":
            path.rename(path.with_name(f".{path.name}.{secrets.token_hex(4)}{FORMER}"))
        elif there.kind == "foreign":
            moved = _free(path)
            path.rename(moved)
        link.replace(path)
    return moved


def _remove_aside(path: Path, keeper: pwd.struct_passwd | None) -> None:
    """Remove what this run or one that was killed left beside the link."""
    name = glob.escape(path.name)
    with _rights(keeper):
        for link in path.parent.glob(f".{name}.*{LINK}"):
            if link.is_symlink():
                link.unlink()
    for former in path.parent.glob(f".{name}.*{FORMER}"):
        with contextlib.suppress(OSError):
            # Looked at again and emptied through one descriptor: the account whose directory it lies in can put
            # something else at its path at any time.
            directory = os.open(former, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                with _rights(keeper):
                    proven = os.path.samestat(former.lstat(), os.fstat(directory)) and os.access(
                        former.parent, os.W_OK, effective_ids=True
                    )
                if proven and is_former(directory):
                    _empty(directory)
            finally:
                os.close(directory)
            with _rights(keeper):
                former.rmdir()


def _free(path: Path) -> str:
    """Return a name beside the path that nothing has."""
    name, number = f"{path}.before-wheelhouse", 1
    while os.path.lexists(name):
        number += 1
        name = f"{path}.before-wheelhouse-{number}"
    return name


def _empty(directory: int) -> None:
    """Remove what an open directory of root's holds, without following anything."""
    for _root, directories, files, here in os.fwalk(".", topdown=False, follow_symlinks=False, dir_fd=directory):
        for name in files:
            os.unlink(name, dir_fd=here)
        for name in directories:
            try:
                os.rmdir(name, dir_fd=here)
            except NotADirectoryError:
                # a link to one
                os.unlink(name, dir_fd=here)
