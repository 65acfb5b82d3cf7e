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
  - A directory that C(devpi-init) filled before is adopted; what is open to others in it is closed. An initialisation
    that was interrupted is begun anew.
  - Never touches a database, a secret or a password that is there. A directory that holds other things, or is another
    account's, is refused.
  - What the O(user) could change is looked at, made and changed with that account's rights, and devpi's programs run
    with them. Two runs at once on a host do this one after the other.
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
    description:
      - The directory of devpi-server's data, 0700 and the O(user)'s. It is absent, empty, or holds the data of a
        devpi-server.
      - What leads there is either root's alone to change or the O(user)'s alone. Directories above that are missing are
        made, 0755 and root's, or 0700 and the O(user)'s.
    type: path
    required: true
  readers:
    description:
      - A group that may pass through O(server_dir), which then is its own and 0710, to what lies open to it there.
      - It sees no names, and whatever else the server writes there has the O(user)'s own group.
    type: str
    default: ""
  sockets_dir:
    description:
      - A directory that O(readers) may pass through and the O(user) alone may write to, 2710, for the sockets at which
        the server listens for nginx. Empty, none is made.
      - What leads there is root's alone to change.
    type: path
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
    description: The file of the secret that signs logins, 0600 and the O(user)'s, made where it is missing.
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

import contextlib
import grp
import json
import os
import pwd

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials, CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._host_lock import HostBusyError, one_at_a_time
from ansible_collections.wheelhouse.devpi.plugins.module_utils._kept_file import KeptFile
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import PathError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._programs import use_system_programs
from ansible_collections.wheelhouse.devpi.plugins.module_utils._server_directory import (
    SecretFile,
    ServerDirectory,
    ServerDirectoryError,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._service_account import (
    AccountProgram,
    find,
    isolated,
    unfit_account,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._socket_directory import (
    SocketDirectory,
    SocketDirectoryError,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._writable import sentence

# Without this it looks for a configuration where the account may have put one.
NO_CONFIGURATION = "--configfile=/dev/null"
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
        self.user: str = module.params["user"]
        self.made: list[str] = []
        self.configured = False
        self.diff: dict[str, str] = {}
        self.account: pwd.struct_passwd | None = None

    def converge(self) -> None:
        """Do what is missing, in the order in which each step needs the one before."""
        self._refuse()
        if not self.module.check_mode:
            Credentials(self.module.params["credentials_dir"]).remove_leftovers()
        self._account()
        self._configuration()
        self._initialise()

    def _refuse(self) -> None:
        """Refuse what would be found out too late, with all of it in one message."""
        self.account = find(self.user)
        # An account that is there was looked at by whoever named it.
        why = "" if self.account else unfit_account(self.user)
        problems = [f"user {why}"] if why else []
        problems += self._directory.problems() or [
            *self._secret_file.problems(),
            *filter(None, [self._directory.half()]),
        ]
        problems += self._sockets(0).problems() if self.module.params["sockets_dir"] else []
        self._owner_and_mode(problems)
        if problems:
            self.module.fail_json(msg="Nothing was changed. " + "\n- ".join(problems))

    @property
    def _directory(self) -> ServerDirectory:
        return ServerDirectory(self.module.params["server_dir"], self.account, self.user)

    def _sockets(self, gid: int) -> SocketDirectory:
        return SocketDirectory(self.module.params["sockets_dir"], self.account, gid)

    @property
    def _secret_file(self) -> SecretFile:
        return SecretFile(self.module.params["secret_file"], self.account, self.user)

    def _initialise(self) -> None:
        mode, gid = self._owner_and_mode([])
        self.made += self._directory.keep(mode, gid, check_mode=self.module.check_mode)
        if self.module.params["sockets_dir"]:
            self.made += self._sockets(gid).keep(check_mode=self.module.check_mode)
        self._secret()
        self._database()

    def _account(self) -> None:
        if self.account is not None:
            return
        self.made.append(f"user {self.user}")
        if self.module.check_mode:
            return
        home = ["--home-dir", self.module.params["server_dir"], "--no-create-home"]
        options = ["--system", "--comment", "devpi-server", *home, "--shell", "/usr/sbin/nologin"]
        rc, out, err = self.module.run_command(["useradd", *options, self.user])
        if rc != 0:
            self._fail(f"useradd {self.user} exited with {rc}, and the next run tries again", out + err)
        self.account = find(self.user)

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
        if self.account is None:
            return
        venv = self.module.params["venv_path"]
        command = isolated(venv, f"{venv}/bin/devpi-server", "--configfile", draft, "--version")
        # Both take their time to import devpi-server, and neither needs the other.
        validation = AccountProgram(self.account, command)
        self._initialise()
        code, said = validation.wait()
        # It ignores what it does not know, and exits with 0.
        if code != 0 or "Unknown devpi-server option" in said:
            path = self.module.params["config_file"]
            self._fail(f"devpi-server cannot read the configuration, so {path} is left as it was", said)

    def _owner_and_mode(self, problems: list[str]) -> tuple[int, int]:
        readers = self.module.params["readers"]
        if not readers:
            return 0o700, self.account.pw_gid if self.account else 0
        try:
            return 0o710, grp.getgrnam(readers).gr_gid
        except KeyError:
            problems.append(f"readers {readers!r} is no group on this host; name one that is")
            return 0o700, 0

    def _secret(self) -> None:
        secret = self._secret_file
        if secret.exists():
            return
        self.made.append(secret.path)
        if not self.module.check_mode:
            secret.make()

    def _database(self) -> None:
        directory = self._directory
        if directory.initialised():
            return
        self.made.append("the database")
        if self.account is None or self.module.check_mode:
            return
        directory.take_out_of(directory.whole_draft() or self._devpi_init(self.account))

    def _devpi_init(self, account: pwd.struct_passwd) -> str:
        """Make a database in a directory of its own, because devpi-init wants an empty one, and return its path."""
        password = self.module.params["root_password"] or Credentials(self.module.params["credentials_dir"]).obtain(
            "root"
        )
        leftovers = self._directory.drafts()
        if leftovers:
            # Not by path with the rights of root: the account may put links there while this runs.
            self._run(AccountProgram(account, ["rm", "-rf", "--one-file-system", "--", *leftovers]), "rm")
        draft = self._directory.new_draft()
        root_pypi = {"mirror_no_project_list": self.module.params["mirror_no_project_list"]}
        if self.module.params["mirror_url"]:
            root_pypi["mirror_url"] = self.module.params["mirror_url"]
        command = isolated(self.module.params["venv_path"], "-c", DEVPI_INIT, NO_CONFIGURATION, "--serverdir", draft)
        environment = {"DEVPISERVER_ROOT_PASSWD": password, "ROOT_PYPI": json.dumps(root_pypi)}
        self._run(AccountProgram(account, command, environment), "devpi-init")
        return draft

    def _run(self, program: AccountProgram, name: str) -> None:
        code, said = program.wait()
        if code != 0:
            self._fail(f"{name} exited with {code}, and the next run begins anew", said)

    def _fail(self, what: str, said: str) -> None:
        last = "\n".join(said.strip().splitlines()[-5:])
        self.module.fail_json(msg=f"{what}:\n{last}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "server_dir": {"type": "path", "required": True},
            "readers": {"type": "str", "default": ""},
            "sockets_dir": {"type": "path", "default": ""},
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
    use_system_programs(module)
    server = Server(module)
    try:
        with contextlib.nullcontext() if module.check_mode else one_at_a_time():
            server.converge()
    except (CredentialsError, ServerDirectoryError, SocketDirectoryError, HostBusyError, PathError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(changed=bool(server.made), made=server.made, configured=server.configured, diff=server.diff)


if __name__ == "__main__":
    main()
