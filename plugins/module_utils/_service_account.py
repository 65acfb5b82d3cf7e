# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which accounts a devpi-server may run as, and how its programs are started as one."""

from __future__ import annotations

import grp
import os
import pwd
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Mapping

from ansible_collections.wheelhouse.devpi.plugins.module_utils._programs import SYSTEM_PROGRAMS

# What useradd takes on every supported system
NEW_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
NOBODY = 65534
WAY_OUT = "name an account of the server's own, like devpi"


def find(name: str) -> pwd.struct_passwd | None:
    """Return the account, None where there is none."""
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None


def unfit_account(name: str) -> str:
    """Return why a devpi-server may not run as this account, with the way out; nothing where it may.

    :param name: of an account that is there or is to be made.
    """
    account = find(name)
    if account is None:
        if not NEW_NAME.fullmatch(name):
            return (
                f"{name[:40]!r} is no account on {os.uname().nodename}, and none of that name can be made: it takes at "
                f"most 32 of a-z, 0-9, _ and -, with a letter or _ first; {WAY_OUT}"
            )
        try:
            grp.getgrnam(name)
        except KeyError:
            return ""
        return (
            f"{name} is no account on {os.uname().nodename} but a group, whose members the account would share its "
            f"files with; name another, or make the account yourself: useradd --system --gid {name} {name}"
        )
    if account.pw_uid == 0:
        return f"{name} has the rights of root, which a server that strangers talk to must not have; {WAY_OUT}"
    if account.pw_uid == NOBODY:
        return f"{name} is shared by whatever else runs without rights, which could read the secret; {WAY_OUT}"
    return ""


class AccountProgram:
    """A program with an account's rights, which runs beside its caller until that waits for it.

    It starts in ``/``, without a terminal, with a umask of 077, and sees of the caller's environment nothing.

    :param account: whose rights it has, if the caller is root; else it has the caller's.
    :param command: the program's absolute path and its arguments.
    :param environment: what it finds beside PATH, HOME, USER, LOGNAME and LC_ALL. It is on no command line.
    """

    def __init__(
        self, account: pwd.struct_passwd, command: list[str], environment: Mapping[str, str] | None = None
    ) -> None:
        another = account.pw_uid != os.geteuid()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - wait closes it
        self._process = subprocess.Popen(
            [*(["runuser", "-u", account.pw_name, "--"] if another else []), *command],
            env={
                **SYSTEM_PROGRAMS,
                "HOME": account.pw_dir,
                "USER": account.pw_name,
                "LOGNAME": account.pw_name,
                "LC_ALL": "C.UTF-8",
                **(environment or {}),
            },
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
            preexec_fn=_private_files,  # noqa: PLW1509 - it calls nothing that takes a lock
        )

    def wait(self) -> tuple[int, str]:
        """Return the exit status and what was printed, on both streams, once the program has ended."""
        code = self._process.wait()
        with self._said:
            self._said.seek(0)
            return code, self._said.read().decode("utf-8", "replace")


def _private_files() -> None:
    os.umask(0o077)


def isolated(venv_path: str, *arguments: str) -> list[str]:
    """Return the command of an environment's Python, which takes no code from the account's home or its directory."""
    return [str(Path(venv_path, "bin", "python")), "-I", *arguments]
