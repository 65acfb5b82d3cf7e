#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the account, directory and configuration of a devpi-server; make its secret and database once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_server
short_description: Keep a devpi-server initialised and configured
version_added: 0.1.0
description:
  - Makes the account, the server directory, a secret of 32 random bytes and, with C(devpi-init), an empty database
    whose root user has a password from the first moment on. Keeps the configuration file.
  - A directory that C(devpi-init) filled before is adopted as it is. An initialisation that was interrupted is begun
    anew.
  - Never touches a database, a secret or a password that is there.
extends_documentation_fragment:
  - wheelhouse.devpi.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: partial
    details: Of the configuration, without secrets; what else it makes is secret or binary.
  platform:
    platforms: posix
options:
  server_dir:
    description: The directory of devpi-server's data, 0700 and the O(user)'s. Parents that are missing are made alike.
    type: path
    required: true
  readers:
    description:
      - A group that may pass through O(server_dir), which then is its own and 0710, to what lies open to it there.
      - It sees no names, and whatever else the server writes there has the O(user)'s own group.
    type: str
    default: ""
  user:
    description: The system account that devpi-server runs as, made where it is missing.
    type: str
    required: true
  venv_path:
    description: The virtual environment that has devpi-server. In check mode it need not exist yet.
    type: path
    required: true
  secret_file:
    description: The file of the secret that signs logins, 0600 and the O(user)'s.
    type: path
    required: true
  root_password:
    description:
      - The password that devpi's root gets.
      - Where it is empty one is generated, or taken from O(credentials_dir) where an interrupted run left it there.
    type: str
    default: ""
  mirror_url:
    description: Where root/pypi gets its packages; empty, from PyPI as devpi-server itself knows it.
    type: str
    default: ""
  mirror_no_project_list:
    description:
      - Whether root/pypi does without the list of all projects of its upstream.
      - It has to be said here, for devpi-web makes the server download that list when it first starts.
    type: bool
    default: true
  config_file:
    description: The configuration file, 0640, root's and the O(user)'s group's.
    type: path
    required: true
  config:
    description: Its content. C(devpi-server) must be able to read it before it replaces what is there.
    type: str
    required: true
  credentials_dir:
    description:
      - Where a generated password is kept, in the file C(root), 0600 in a directory 0700, both the system's root's.
    type: path
    required: true
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Set up devpi-server
  wheelhouse.devpi.devpi_server:
    server_dir: /var/lib/devpi
    user: devpi
    venv_path: /opt/devpi/venv
    secret_file: /var/lib/devpi/.secret
    config_file: /etc/xdg/devpi-server/devpi-server.yml
    config: |
      devpi-server:
        serverdir: /var/lib/devpi
        secretfile: /var/lib/devpi/.secret
    credentials_dir: /etc/devpi/credentials
"""

RETURN = r"""
made:
  description: What was missing or different and is as given now.
  returned: success
  type: list
  elements: str
  sample: [user devpi, /etc/xdg/devpi-server/devpi-server.yml, /var/lib/devpi, /var/lib/devpi/.secret, the database]
configured:
  description: Whether the configuration is another than before.
  returned: success
  type: bool
  sample: true
"""

import base64
import grp
import json
import os
import pwd
import secrets
import shutil
import stat
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials, CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._kept_file import KeptFile
from ansible_collections.wheelhouse.devpi.plugins.module_utils._process import Beside

# devpi-init makes root/pypi of this dictionary, and has no option for it.
DEVPI_INIT = """
import json, os
from devpi_server import init, main
main._pypi_ixconfig_default.update(json.loads(os.environ.pop("ROOT_PYPI")))
raise SystemExit(init.init())
"""


class Server:
    """The steps, each of which does nothing where its result is there.

    :param module: the running module; its check mode is obeyed.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.server_dir = Path(module.params["server_dir"])
        self.secret_file = Path(module.params["secret_file"])
        self.made: list[str] = []
        self.configured = False
        self.diff: dict[str, str] = {}
        self.account: pwd.struct_passwd | None = None

    def converge(self) -> None:
        """Do what is missing, in the order in which each step needs the one before."""
        self._account()
        self._configuration()
        self._initialise()

    def _initialise(self) -> None:
        self._directory()
        self._secret()
        self._database()

    def _account(self) -> None:
        user = self.module.params["user"]
        try:
            self.account = pwd.getpwnam(user)
        except KeyError:
            self.made.append(f"user {user}")
            if self.module.check_mode:
                return
            home = ["--home-dir", str(self.server_dir), "--no-create-home"]
            options = ["--system", "--comment", "devpi-server", *home, "--shell", "/usr/sbin/nologin"]
            self._run(["useradd", *options, user], "and the next run tries again")
            self.account = pwd.getpwnam(user)

    def _configuration(self) -> None:
        path = self.module.params["config_file"]
        owner = (os.geteuid(), self.account.pw_gid) if self.account else None
        file = KeptFile(path, self.module.params["config"], 0o640, owner, conceals=lambda _line: False)
        if not file.differs:
            return
        self.made.append(path)
        self.configured = True
        self.diff = file.diff()
        if not self.module.check_mode:
            file.write(self._validate)

    def _validate(self, draft: str) -> None:
        command = [f"{self.module.params['venv_path']}/bin/devpi-server", "--configfile", draft, "--version"]
        # Both take their time to import devpi-server, and neither needs the other.
        validation = Beside(command)
        self._initialise()
        code, said = validation.wait()
        # It ignores what it does not know, and exits with 0.
        if code != 0 or "Unknown devpi-server option" in said:
            path = self.module.params["config_file"]
            self._fail(f"devpi-server cannot read the configuration, so {path} is left as it was", said)

    def _directory(self) -> None:
        path = self.server_dir
        mode, owner = 0o700, self.account[2:4] if self.account else None
        readers = self.module.params["readers"]
        if self.account and readers:
            try:
                mode, owner = 0o710, (self.account.pw_uid, grp.getgrnam(readers).gr_gid)
            except KeyError:
                self.module.fail_json(msg=f"readers {readers!r} is no group on this host; name one that is")
        if path.is_dir() and owner is not None:
            seen = path.stat()
            if stat.S_IMODE(seen.st_mode) == mode and (seen.st_uid, seen.st_gid) == owner:
                return
        self.made.append(str(path))
        if owner is None or self.module.check_mode:
            return
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700)
        for each in [*missing, path]:
            os.chown(each, *owner)
            each.chmod(mode)

    def _secret(self) -> None:
        if self.secret_file.exists():
            return
        self.made.append(str(self.secret_file))
        if self.account is None or self.module.check_mode:
            return
        partial = self.secret_file.with_name(self.secret_file.name + ".partial")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(32)))
            os.fchown(file.fileno(), self.account.pw_uid, self.account.pw_gid)
        partial.replace(self.secret_file)

    def _database(self) -> None:
        # devpi-init wants an empty directory and writes .nodeinfo before .sqlite, so it works in one of its own. Out of
        # there .nodeinfo comes last: with it the database is whole, and without it this begins anew or goes on.
        draft = self.server_dir / ".initializing"
        nodeinfo, database = self.server_dir / ".nodeinfo", self.server_dir / ".sqlite"
        if nodeinfo.exists() and database.exists():
            return
        moving = database.exists() and (draft / ".nodeinfo").exists()
        if database.exists() and not moving:
            self.module.fail_json(
                msg=f"{self.server_dir} holds a database (.sqlite) without its .nodeinfo; restore that file, or move "
                "the directory away to begin with an empty index"
            )
        if nodeinfo.exists():
            self.module.fail_json(
                msg=f"{self.server_dir} holds a .nodeinfo without its database (.sqlite); restore that file, or remove "
                ".nodeinfo to begin with an empty index"
            )
        self.made.append("the database")
        if self.account is None or self.module.check_mode:
            return
        if not moving:
            self._devpi_init(draft)
        rest = [path for path in draft.iterdir() if path.name != ".nodeinfo"]
        for path in [*rest, draft / ".nodeinfo"]:
            path.rename(self.server_dir / path.name)
        draft.rmdir()

    def _devpi_init(self, directory: Path) -> None:
        if self.account is None:
            return
        password = self.module.params["root_password"] or Credentials(self.module.params["credentials_dir"]).obtain(
            "root"
        )
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(mode=0o700)
        os.chown(directory, self.account.pw_uid, self.account.pw_gid)
        root_pypi = {"mirror_no_project_list": self.module.params["mirror_no_project_list"]}
        if self.module.params["mirror_url"]:
            root_pypi["mirror_url"] = self.module.params["mirror_url"]
        python = f"{self.module.params['venv_path']}/bin/python"
        another = self.account.pw_uid != os.geteuid()
        as_account = ["runuser", "-u", self.account.pw_name, "--"] if another else []
        self._run(
            [*as_account, python, "-c", DEVPI_INIT, "--serverdir", str(directory)],
            "and the next run begins anew",
            environ_update={
                "DEVPISERVER_ROOT_PASSWD": password,
                "ROOT_PYPI": json.dumps(root_pypi),
                "HOME": self.account.pw_dir,
            },
            umask=0o077,
            cwd="/",
        )

    def _run(self, command: list[str], consequence: str, **options: Any) -> None:
        rc, out, err = self.module.run_command(command, **options)
        if rc != 0:
            program = "devpi-init" if DEVPI_INIT in command else command[0]
            self._fail(f"{program} exited with {rc}, {consequence}", out + err)

    def _fail(self, what: str, said: str) -> None:
        last = "\n".join(said.strip().splitlines()[-5:])
        self.module.fail_json(msg=f"{what}:\n{last}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "server_dir": {"type": "path", "required": True},
            "readers": {"type": "str", "default": ""},
            "user": {"type": "str", "required": True},
            "venv_path": {"type": "path", "required": True},
            "secret_file": {"type": "path", "required": True, "no_log": False},
            "root_password": {"type": "str", "default": "", "no_log": True},
            # An address may have a password in it.
            "mirror_url": {"type": "str", "default": "", "no_log": True},
            "mirror_no_project_list": {"type": "bool", "default": True},
            "config_file": {"type": "path", "required": True},
            # An option of it may have a password in it, as that of another storage has.
            "config": {"type": "str", "required": True, "no_log": True},
            "credentials_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    server = Server(module)
    try:
        server.converge()
    except CredentialsError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(server.made), made=server.made, configured=server.configured, diff=server.diff)


if __name__ == "__main__":
    main()
