# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual environment of devpi: where it is, what may lie in its place, and who can run it.

It is a directory of root's in the store. The path that a person names, devpi_venv_path, is a link to it, which may lie
in the home of an account that can replace the link. So root runs programs only in what :func:`resolved` returns.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from pathlib import Path
from typing import Any, Callable, NamedTuple

from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as, nobody
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import (
    PathError,
    command_for,
    exposed,
    keeper_of,
    rights_at,
    unfit,
)

STORE = "/opt/devpi/venvs"
STAMP = "installed-from"
# Of the file that says that no more environments lie in the store than so many beside what runs
TIDIED = ".tidy-"
# The name of a directory in the store
DIGEST = re.compile(r"[0-9a-f]{16}")
# What the releases before the store wrote into an environment: the interpreter, and the digest of the lock.
FORMER_STAMP = re.compile(rb"\S+ [0-9a-f]{64}\n")
DEBIAN_DEFAULTS = Path("/usr/share/python3/debian_defaults")
# An environment works as long as these stay the same, after an upgrade of the system too. The last is the real file
# of the interpreter behind links.
IDENTITY = """
import os, sys
print(sys.implementation.name, "%d.%d" % sys.version_info[:2], os.uname().machine, os.path.realpath(sys.executable))
"""


class Occupant(NamedTuple):
    """What lies at devpi_venv_path.

    :param kind: ``nothing``; ``empty``, a directory; ``link``, to an environment in the store; ``former``, an
        environment that an earlier release of this collection made there; ``foreign``, one that was made by hand.
    :param environment: the name in the store of the environment that a ``link`` leads to, which need not exist.
    """

    kind: str
    environment: str = ""


def resolved(venv_path: str, store: str = STORE) -> Path:
    """Return the environment in the store that `venv_path` leads to, for root to run programs of.

    :param venv_path: devpi_venv_path, a link.
    :param store: the directory of all environments.
    :raises PathError: there is none, or an account other than root could have replaced it.
    """
    try:
        target = Path(os.readlink(venv_path))
    except FileNotFoundError:
        raise PathError(f"there is no {venv_path}; run role venv first") from None
    except OSError:
        raise PathError(f"{venv_path} is not a link to an environment in {store}; run role venv first") from None
    if not _in_store(target, store):
        raise PathError(
            f"{venv_path} leads to {target}, which is not an environment in {store}; remove it and run role venv"
        )
    if not (target / "bin" / "python").exists():
        raise PathError(f"{venv_path} leads to {target}, and there is no environment; run role venv")
    place = exposed(str(target / "bin" / "python"))
    if place is not None and os.geteuid() == 0:
        give = command_for("chown root:", place)
        raise PathError(
            f"{venv_path} leads to {target}, and other accounts than root can change {place}; "
            f"{f'give it to root: {give}' if give else 'remove the link and run role venv'}"
        )
    return target


def _in_store(target: Path, store: str) -> bool:
    return target.parent == Path(store) and DIGEST.fullmatch(target.name) is not None


def occupant(path: str, store: str = STORE) -> Occupant:
    """Return what lies at devpi_venv_path.

    :param path: devpi_venv_path.
    :param store: the directory of all environments.
    :raises PathError: something that is not ours, or no place for an environment; nothing may be made there.
    """
    problem = unfit(path)
    if problem:
        raise PathError(f"{path} {problem}")
    if ":" in path:
        raise PathError(f"{path} has a colon in it, which ends a directory in PATH; name a path without one")
    if Path(store) in (Path(path), *Path(path).parents) or Path(path) in Path(store).parents:
        raise PathError(f"{path} is where the environments themselves are kept; name another, like /opt/devpi/venv")
    if os.geteuid() == 0:
        keeper_of(path)
    try:
        with rights_at(path):
            info = Path(path).lstat()
            target = Path(os.readlink(path)) if stat.S_ISLNK(info.st_mode) else Path()
            mounted = os.path.ismount(path)
    except FileNotFoundError:
        return Occupant("nothing")
    except OSError as error:
        raise PathError(f"{path} cannot be looked at ({error.strerror}); name another place") from None
    if stat.S_ISLNK(info.st_mode):
        if _in_store(target, store):
            return Occupant("link", target.name)
        raise PathError(
            f"{path} is a link to {target}, which is not an environment of this collection; remove the link, or name "
            "another path"
        )
    if not stat.S_ISDIR(info.st_mode):
        raise PathError(f"{path} is a file; move it away, or name another path")
    if mounted:
        raise PathError(f"{path} is where a file system is mounted; name a path below it")
    return Occupant(_kind_of_directory(path))


def _kind_of_directory(path: str) -> str:
    try:
        with rights_at(path):
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise PathError(f"{path} cannot be looked at ({error.strerror}); name another place") from None
    try:
        with os.scandir(directory) as entries:
            if next(entries, None) is None:
                return "empty"
        if is_former(directory):
            return "former"
        with rights_at(path):
            if _is_file(directory, "pyvenv.cfg") and _is_file(directory, "bin/devpi-server"):
                return "foreign"
    finally:
        os.close(directory)
    raise PathError(
        f"{path} is a directory that this collection did not make, and no environment with devpi-server in it; move it "
        "away, or name another path"
    )


def is_former(directory: int) -> bool:
    """Whether an open directory is an environment that an earlier release made as root, so that root may remove it."""
    ours = (0, os.geteuid())
    info = os.fstat(directory)
    if info.st_uid not in ours or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    try:
        stamp = os.open(STAMP, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return False
    with os.fdopen(stamp, "rb") as file:
        written = os.fstat(stamp)
        return (
            stat.S_ISREG(written.st_mode)
            and written.st_uid in ours
            and FORMER_STAMP.fullmatch(file.read(4096)) is not None
            and _is_file(directory, "pyvenv.cfg")
        )


def _is_file(directory: int, name: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=directory).st_mode)
    except OSError:
        return False


def interpreter(name: str) -> str:
    """Return the path of the interpreter that devpi_python means.

    :param name: ``python3`` or ``python3.11``, which are Debian's whatever PATH says, or an absolute path.
    """
    if name.startswith("/"):
        return name
    if name == "python3":
        # People point the link /usr/bin/python3 at another version, so the package's own default is read.
        try:
            found = re.search(r"^default-version *= *(python3\.\d+)", DEBIAN_DEFAULTS.read_text("utf-8"), re.MULTILINE)
        except OSError:
            found = None
        name = found.group(1) if found else name
    return f"/usr/bin/{name}"


def account_or_nobody(name: str) -> pwd.struct_passwd:
    """Return the service's account, or, where it is still to be made, one without any rights of its own."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return nobody()


def as_account(account: pwd.struct_passwd) -> list[str]:
    """Return the words before a command that give it the account's rights; none where the module is not root."""
    if os.geteuid() != 0 or account.pw_uid == 0:
        return []
    groups = "--clear-groups" if account.pw_name == "nobody" else "--init-groups"
    return ["/usr/bin/setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", groups, "--"]


def closed_to(account: pwd.struct_passwd, path: str) -> Path | None:
    """Return the first directory on the way to `path` that the account may not enter, None where it may enter all.

    :param path: absolute; what does not exist is passed over.
    """
    with acting_as(account):
        for way in (Path(path), Path(os.path.realpath(path))):
            for parent in reversed(way.parents):
                try:
                    parent.lstat()
                except OSError:
                    # There is none, or it lies below a file.
                    break
                if not os.access(parent, os.X_OK, effective_ids=True):
                    return parent
    return None


def facts(path: str, python: str, account: str, run: Callable[[list[str]], str], store: str = STORE) -> dict[str, Any]:
    """Return what role venv has to know of a host before it changes anything.

    :param path: devpi_venv_path, which :func:`occupant` does not refuse.
    :param python: devpi_python; nobody but root can change it.
    :param account: the service's, which need not exist yet.
    :param run: runs a command and returns its stdout; nothing where it failed or does not exist.
    :param store: the directory of all environments.
    """
    command = as_account(account_or_nobody(account))
    existing, keeper = occupant(path, store), keeper_of(path) if os.geteuid() == 0 else None
    identity = run([*command, interpreter(python), "-I", "-S", "-c", IDENTITY]).strip()
    whole = sorted(stamp.parent.name for stamp in Path(store).glob(f"*/{STAMP}") if _in_store(stamp.parent, store))
    linked = existing.environment
    # The linked environment may be damaged, or need what the system had when it was made and lacks now.
    if linked in whole:
        program = f"{store}/{linked}/bin/python"
        if not run([*command, program, "-I", "-c", "import devpi_server; print(devpi_server.__name__)"]):
            whole.remove(linked)
    return {
        "identity": identity,
        "python": identity.split(" ", 3)[-1],
        "kind": existing.kind,
        "linked": linked,
        "whole": whole,
        "tidied_for": sorted(mark.name[len(TIDIED) :] for mark in Path(store).glob(f"{TIDIED}*")),
        "keeper": keeper.pw_name if keeper else "",
    }
