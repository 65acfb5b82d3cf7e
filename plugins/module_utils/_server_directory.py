# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory and the secret of a devpi-server, which the server's account can change at any time.

Where root alone can change the path, root inspects them, by descriptors and without following links. Where the account
can change the path, that is done with the account's rights. Role server makes and changes them in the same way.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import ContextManager, Iterator

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as, attributes, user_name
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import (
    PathError,
    command_as,
    command_for,
    exposed,
    keeper_of,
    link_at,
    unfit,
)

NODEINFO, DATABASE = ".nodeinfo", ".sqlite"
# What devpi-init leaves in every directory that it fills
DATA = frozenset({NODEINFO, DATABASE, ".serverversion"})
FILES = "+files"
SECRET = ".secret"  # noqa: S105 - a file's name
DRAFT = ".initializing"
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK
# devpi-server takes none that is shorter, and none of fewer different bytes.
SHORTEST_SECRET, FEWEST_BYTES = 32, 6
LONGEST_SECRET = 4096


class ServerDirectoryError(ValueError):
    """The directory or the secret cannot be used; the message names it and the way out."""


@dataclass
class _DirectoryState:
    """The attributes of a directory, None where it does not exist, and those of its entries by name."""

    info: os.stat_result | None = None
    entries: dict[str, os.stat_result] = field(default_factory=dict)


class Place:
    """A path at which data of the account are kept, and with whose rights that is done.

    :param variable: the variable that names the path, for messages.
    :param path: as it was given.
    :param account: the server's; None where it is still to be made.
    :param user: the name of that account.
    """

    def __init__(self, variable: str, path: str, account: pwd.struct_passwd | None, user: str) -> None:
        self.variable = variable
        self.path = path
        self.account = account
        self.user = user

    @property
    def label(self) -> str:
        """The variable and its value, as messages begin."""
        return f"{self.variable} {self.path}"

    def keeper(self) -> pwd.struct_passwd | None:
        """Return the account with whose rights the place is looked at and changed, None for root's.

        :raises ServerDirectoryError: nobody's rights are safe there.
        """
        why = unfit(self.path)
        if why:
            raise ServerDirectoryError(f"{self.label} {why}")
        if os.geteuid() != 0:
            return None
        try:
            keeper = keeper_of(self.path)
        except PathError as error:
            raise ServerDirectoryError(f"{self.variable} {error}") from None
        if keeper is not None and (self.account is None or keeper.pw_uid != self.account.pw_uid):
            raise ServerDirectoryError(
                f"{self.label} lies in {exposed(self.path)}, where {keeper.pw_name} can put something else in its "
                f"place, and devpi_server_user is {self.user}; set that to {keeper.pw_name}, or name a directory "
                "below one that only root can change, like /var/lib/devpi"
            )
        return keeper

    def rights(self) -> ContextManager[None]:
        """Return a block that has the keeper's rights.

        :raises ServerDirectoryError: nobody's rights are safe there.
        """
        keeper = self.keeper()
        return contextlib.nullcontext() if keeper is None else acting_as(keeper)

    def whose_rights(self) -> str:
        """Return the name of the account with whose rights things are made there; root's where that is not known."""
        try:
            keeper = self.keeper()
        except ServerDirectoryError:
            keeper = None
        return "root" if keeper is None else keeper.pw_name

    def out_of_reach(self) -> Iterator[str]:
        """Yield which directory on the way the account may not enter."""
        for parent in reversed(Path(self.path).parents):
            try:
                with contextlib.nullcontext() if self.account is None else acting_as(self.account):
                    others = parent.stat().st_mode & stat.S_IXOTH
                    passes = bool(others) if self.account is None else os.access(parent, os.X_OK, effective_ids=True)
            except FileNotFoundError:
                return
            except OSError:
                passes = False
            if not passes:
                enter = command_for("chmod o+x", parent)
                yield (
                    f"{self.label} lies below {parent}, which {self.user} may not enter (devpi_server_user); name "
                    f"another place{f', or {enter}' if enter else ''}"
                )
                return


class ServerDirectory(Place):
    """The directory of devpi-server's data, the account's.

    :param path: as it was given.
    :param account: the server's; None where it is still to be made.
    :param user: the name of that account.
    """

    def __init__(self, path: str, account: pwd.struct_passwd | None, user: str) -> None:
        super().__init__("devpi_server_dir", path, account, user)

    def _real_path(self) -> str:
        # Only links of root's can be on a way that only root can change.
        return os.path.realpath(self.path) if self.keeper() is None else self.path

    def _open(self) -> int:
        follow = 0 if self.keeper() is not None else os.O_NOFOLLOW
        return os.open(self._real_path(), DIRECTORY | follow)

    def _inspect(self) -> _DirectoryState:
        with self.rights():
            try:
                handle = self._open()
            except FileNotFoundError:
                if link_at(self.path):
                    raise ServerDirectoryError(f"{self.label} is a link to nothing; remove it") from None
                return _DirectoryState()
            except OSError as error:
                what = (
                    "is not a directory, or lies below something that is none"
                    if isinstance(error, NotADirectoryError)
                    else f"cannot be opened ({error.strerror}) with the rights of {user_name(os.geteuid())}"
                )
                link = link_at(self.path)
                raise ServerDirectoryError(
                    f"{self.label} {f'is a symbolic link to {link}, and ' if link else ''}{what}; "
                    f"{'remove the link' if link else 'move away what is there'}, or name another"
                ) from None
            try:
                entries = {}
                for name in _entry_names(handle):
                    with contextlib.suppress(FileNotFoundError):
                        entries[name] = os.stat(name, dir_fd=handle, follow_symlinks=False)
                return _DirectoryState(os.fstat(handle), entries)
            finally:
                os.close(handle)

    def initialised(self) -> bool:
        """Whether devpi-init finished there: it writes .nodeinfo before .sqlite. False where nobody may look."""
        try:
            entries = self._inspect().entries
        except ServerDirectoryError:
            return False
        return all(name in entries and stat.S_ISREG(entries[name].st_mode) for name in (NODEINFO, DATABASE))

    def problems(self) -> list[str]:
        """Return why the directory cannot be the server's, each with the way out; nothing where it can."""
        try:
            state = self._inspect()
        except ServerDirectoryError as error:
            return [str(error)]
        found = list(self.out_of_reach())
        if state.info is None:
            return found
        foreign = self._foreign(state.info, state.entries)
        return found or ([foreign] if foreign else list(self._bad_entries(state.entries)))

    def _foreign(self, info: os.stat_result, entries: dict[str, os.stat_result]) -> str:
        holds_data = bool(DATA & set(entries))
        keeper = self.keeper()
        with self.rights():
            # A link that the account can make may be a trap; root's are none.
            link = "" if keeper is None else link_at(self.path)
        if not holds_data and any(not _may_be_left(name) for name in entries):
            named = ", ".join(sorted(entries)[:3]) + (" and more" if len(entries) > 3 else "")
            if link:
                return (
                    f"{self.label} is a symbolic link to {link}, which holds {named}, which no devpi-server has put "
                    "there; remove the link, or name a directory that is empty or does not exist"
                )
            return (
                f"{self.label} holds {named}, which no devpi-server has put there; name a directory that is empty or "
                f"not there, like {self.path}/devpi"
            )
        if self.account is not None and info.st_uid == self.account.pw_uid:
            return ""
        if info.st_uid == 0 and not entries and self.keeper() is None:
            return ""
        owner = user_name(info.st_uid)
        if link:
            return (
                f"{self.label} is a symbolic link to {link}, which belongs to {owner}, and devpi-server runs as "
                f"{self.user} (devpi_server_user); remove the link, or name a directory of {self.user}'s own"
            )
        give = self._chown_command(entries)
        if not give:
            return (
                f"{self.label} belongs to {owner}, and devpi-server runs as {self.user} (devpi_server_user); move it "
                "away, or name another directory"
            )
        what = "and the devpi data in it belong" if holds_data else "belongs"
        make = (
            ""
            if self.account
            else f"useradd --system --no-create-home --home-dir {shlex.quote(self.path)} {self.user} && "
        )
        return (
            f"{self.label} {what} to {owner}, and devpi_server_user is {self.user}; set it to {owner}, or stop the "
            f"server and give all of it to {self.user}: {make}{give}"
            if info.st_uid != 0
            else f"{self.label} {what} to root, and devpi-server runs as {self.user} (devpi_server_user); give it to "
            f"that account: {make}{give}"
        )

    def _chown_command(self, entries: dict[str, os.stat_result]) -> str:
        """Return the command that gives the directory to the account; nothing where it could give away something else.

        It could where another account has put a link on the way, or a hard link to somebody's file into the directory.
        """
        hard = any(info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode) for info in entries.values())
        return "" if hard else command_for(f"chown -R --no-dereference {self.user}:", self.path)

    def _bad_entries(self, entries: dict[str, os.stat_result]) -> Iterator[str]:
        for name in sorted({*DATA, SECRET} & set(entries)):
            info = entries[name]
            path = f"{self.path}/{name}"
            if not stat.S_ISREG(info.st_mode):
                yield f"{path} ({self.variable}) is {_kind(info)} and should be a file; put the file itself there"
            elif self.account is not None and info.st_uid != self.account.pw_uid:
                owner = user_name(info.st_uid)
                # By a hard link the account could have somebody else's file given away.
                give = "" if info.st_nlink > 1 else command_for(f"chown --no-dereference {self.user}:", self.path)
                way_out = (
                    f"{give}/{name}" if give else "move it away, and put there a copy that belongs to that account"
                )
                yield (
                    f"{path} ({self.variable}) belongs to {owner}, and devpi-server runs as {self.user} "
                    f"(devpi_server_user); {way_out}"
                )
        files = entries.get(FILES)
        path = f"{self.path}/{FILES} ({self.variable})"
        if files is None:
            return
        if stat.S_ISLNK(files.st_mode):
            # A link that the account made itself may lead to another disk.
            if self.account is not None and files.st_uid != self.account.pw_uid:
                yield (
                    f"{path} is a symbolic link that {user_name(files.st_uid)} made, and devpi-server runs as "
                    f"{self.user} (devpi_server_user); remove the link, and put the directory itself there"
                )
        elif not stat.S_ISDIR(files.st_mode):
            yield f"{path} is {_kind(files)} and should be a directory; move it away"
        elif self.account is not None and files.st_uid != self.account.pw_uid:
            give = command_for(f"chown -R --no-dereference {self.user}:", self.path)
            yield (
                f"{path} belongs to {user_name(files.st_uid)}, and devpi-server runs as {self.user} "
                f"(devpi_server_user); {f'give it to that account: {give}/{FILES}' if give else 'move it away'}"
            )

    def release_files_problem(self) -> str:
        """Return why nginx could not read the release files, with the way out; nothing where it could."""
        try:
            files = self._inspect().entries.get(FILES)
        except ServerDirectoryError:
            return ""
        if files is None or not stat.S_ISLNK(files.st_mode):
            return ""
        return (
            f"{self.path}/{FILES} ({self.variable}) is a symbolic link, and root, who opens the release files to "
            f"nginx, follows none of {self.user}'s; put the directory itself there"
        )

    def incomplete_database(self) -> str:
        """Return which of the database's two files is missing, with the way out; nothing where both or none exist."""
        try:
            entries = self._inspect().entries
        except ServerDirectoryError:
            return ""
        if DATABASE in entries and NODEINFO not in entries and not self._has_whole_draft(entries):
            return (
                f"{self.label} holds a database (.sqlite) without its .nodeinfo; restore that file, or move the "
                "directory away to begin with an empty index"
            )
        if NODEINFO in entries and DATABASE not in entries:
            return (
                f"{self.label} holds a .nodeinfo without its database (.sqlite); restore that file, or remove "
                ".nodeinfo to begin with an empty index"
            )
        return ""

    def _has_whole_draft(self, entries: dict[str, os.stat_result]) -> bool:
        """Whether a run was killed while it moved the content of a draft out; the next run goes on with that."""
        drafts = [name for name, info in entries.items() if _is_draft(name) and stat.S_ISDIR(info.st_mode)]
        if self.account is None:
            return False
        with acting_as(self.account):
            return any(os.path.lexists(f"{self.path}/{draft}/{NODEINFO}") for draft in drafts)

    def attributes(self) -> list[str]:
        """Return the directory's mode, owner and group; nothing where it is not there or nobody may look."""
        try:
            info = self._inspect().info
        except ServerDirectoryError:
            return []
        return [] if info is None else list(attributes(stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid).values())

    def lacks_parent(self) -> bool:
        """Whether root has to make directories above it."""
        return self.whose_rights() == "root" and not Path(self.path).parent.exists()

    def files_readable_by_others(self) -> list[str]:
        """Return the paths of the files with password hashes that others can read."""
        try:
            entries = self._inspect().entries
        except ServerDirectoryError:
            return []
        names = sorted({NODEINFO, DATABASE} & set(entries))
        return [f"{self.path}/{name}" for name in names if stat.S_IMODE(entries[name].st_mode) & 0o077]


class SecretFile(Place):
    """The file of the secret that signs logins, the account's and 0600.

    :param path: as it was given.
    :param account: the server's; None where it is still to be made.
    :param user: the name of that account.
    """

    def __init__(self, path: str, account: pwd.struct_passwd | None, user: str) -> None:
        super().__init__("devpi_server_secret_file", path, account, user)

    def exists(self) -> bool:
        """Whether something is there; not where nobody may look."""
        try:
            with self.rights():
                return os.path.lexists(self.path)
        except (ServerDirectoryError, OSError):
            return False

    def problems(self) -> list[str]:
        """Return why the file cannot hold the secret, each with the way out; nothing where it does or can be made."""
        try:
            with self.rights():
                found = list(self._problems())
        except ServerDirectoryError as error:
            return [str(error)]
        return found or list(self.out_of_reach())

    def _problems(self) -> Iterator[str]:
        above = Path(self.path).parent
        with contextlib.suppress(OSError):
            if stat.S_IMODE(above.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
                close = command_for("chmod go-w", above)
                yield (
                    f"{self.label} lies in {above}, where others can write, and devpi-server takes no secret from "
                    f"there; name another{f', or {close}' if close else ''}"
                )
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        except OSError as error:
            link = link_at(self.path)
            yield (
                f"{self.label} {'is a link' if link else f'cannot be read ({error.strerror})'}; put the secret itself "
                "there, or leave the variable as it is for one that is generated"
            )
            return
        try:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                yield f"{self.label} is {_kind(info)} and no file; name a file, or one that does not exist"
            elif self.account is None or info.st_uid != self.account.pw_uid:
                yield (
                    f"{self.label} belongs to {user_name(info.st_uid)}, and the secret has to be the account's that "
                    f"devpi-server runs as, {self.user} (devpi_server_user); name another, or one that does not exist"
                )
            elif stat.S_IMODE(info.st_mode) & 0o077:
                yield (
                    f"{self.label} can be read by others, and devpi-server takes no such secret; "
                    f"{command_as(self.account, 'chmod 0600', self.path)}"
                )
            elif not _is_secret(os.read(handle, LONGEST_SECRET + 1)):
                yield (
                    f"{self.label} holds no secret: one is a line of {SHORTEST_SECRET} bytes or more, as "
                    "devpi-gen-secret makes it; name another file, or one that does not exist"
                )
        finally:
            os.close(handle)


def _entry_names(directory: int) -> list[str]:
    """Return the names of what an open directory holds."""
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def _is_draft(name: str) -> bool:
    return name == DRAFT or name.startswith(f"{DRAFT}.")


def _may_be_left(name: str) -> bool:
    """Whether a run of ours that was interrupted may have left an entry of this name."""
    return name in {FILES, SECRET} or name.startswith(f"{SECRET}.") or _is_draft(name)


def _is_secret(content: bytes) -> bool:
    text = content.rstrip(b"\r\n")
    lines = text.isascii() and b"\n" in text
    enough = SHORTEST_SECRET <= len(content) <= LONGEST_SECRET and len(set(content)) >= FEWEST_BYTES
    return enough and not lines


def _kind(info: os.stat_result) -> str:
    kinds = {
        stat.S_IFLNK: "a link",
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(info.st_mode), "a file")
