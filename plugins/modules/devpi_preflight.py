#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a host before devpi is deployed on it, and refuse what cannot work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_preflight
short_description: Check a host before devpi is deployed on it, and refuse what cannot work
version_added: 0.1.0
description:
  - Reads, in one call, everything that the roles of this collection need to know about a host.
  - Fails with a list of all problems. Each names the value, its origin and the way out.
  - Changes nothing, with one exception. If a Debian package is missing and apt's package lists are older than an hour,
    the module refreshes them, as C(apt-get update) does. In check mode it downloads them to a temporary directory
    instead.
extends_documentation_fragment:
  - wheelhouse.devpi.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The module changes nothing that could be shown.
  platform:
    platforms: debian
options:
  roles:
    description: The roles that run after this check. Only what they need is checked.
    type: list
    elements: str
    choices: [venv, server, supervisor, users, proxy, pypirc, client]
    required: true
  host:
    description: The address that devpi-server listens on.
    type: str
    required: true
  port:
    description: The TCP port that devpi-server listens on.
    type: int
    required: true
  url:
    description: The address at which the host itself reaches the server, without a trailing slash.
    type: str
    required: true
  python:
    description:
      - The interpreter of the virtual environment. A name such as V(python3) or V(python3.8) means Debian's own
        interpreter, whatever C(PATH) says. An absolute path must name an interpreter that O(server_user) can run and
        only root can change.
    type: str
    required: true
  again:
    description: The command that the person typed, without secrets, for messages that say how to run it again.
    type: str
    required: true
  users:
    description: The declared users and their indexes, each as M(wheelhouse.devpi.devpi_users) takes them.
    type: list
    elements: dict
    required: true
  venv_path:
    description: The link to the virtual environment of devpi.
    type: str
    required: true
  server_user:
    description: The account that devpi-server runs as.
    type: str
    required: true
  server_dir:
    description: The directory of devpi-server's data.
    type: path
    required: true
  signing_file:
    description: The file of the secret that signs logins. If empty, it is C(.secret) in O(server_dir).
    type: path
    required: true
  supervisor_program:
    description: The name of supervisor's program that runs devpi-server.
    type: str
    required: true
  server_config:
    description: The configuration file of devpi-server.
    type: path
    required: true
  credentials_dir:
    description: The directory that keeps generated passwords, each in a file named after its user.
    type: path
    required: true
  root_password:
    description: The password of devpi's root. If empty, it is the one in O(credentials_dir).
    type: str
    required: true
  first_index:
    description: The index that C(~/.pypirc) and the devpi client are pointed at.
    type: str
    required: true
  ca_bundle:
    description: A file on the host with CA certificates. If empty, the usual ones are trusted.
    type: path
    required: true
  owner:
    description: The account whose C(~/.pypirc) and devpi client are configured.
    type: str
    required: true
  proxied:
    description: Whether nginx stands in front of the server.
    type: bool
    required: true
  private:
    description: Whether all reading needs a login. nginx asks for it.
    type: bool
    required: true
  worker_ports:
    description: The ports on loopback of the additional processes that answer reads.
    type: list
    elements: int
    required: true
  proxies_elsewhere:
    description: Hosts that get nginx but no devpi-server.
    type: list
    elements: str
    required: true
  proxy_names:
    description: The names and addresses by which clients reach nginx.
    type: list
    elements: str
    required: true
  proxy_manage:
    description: V(package) installs nginx. V(site) adds one site to an nginx that is already installed.
    type: str
    choices: [package, site]
    required: true
  proxy_certificate:
    description: The certificate on the host. If empty, the role makes one.
    type: path
    required: true
  proxy_key:
    description: The key of O(proxy_certificate).
    type: path
    required: true
  proxy_ca:
    description: The CA that clients need. It is empty if everyone trusts the certificate already.
    type: path
    required: true
  proxy_group:
    description: The group of nginx's workers.
    type: str
    required: true
  proxy_access_log:
    description: The log of requests, which nginx opens as root. It is empty if there is none.
    type: path
    required: true
  proxy_networks:
    description: The networks that may read C(/+status) and C(/+changelog).
    type: list
    elements: str
    required: true
  program_log:
    description: The log that supervisor writes for the program.
    type: path
    required: true
  server_given:
    description:
      - Settings of devpi-server, as JSON. C(options) and C(url) have the values of C(devpi_server_options) and
        C(devpi_url). C(plugins) says whether C(options) may contain options of a plugin.
    type: str
    required: true
  min_memory:
    description: How many MB of memory must be available before a server is started that does not run yet.
    type: int
    required: true
  min_disk:
    description: How many MB of disk must be free before something is installed that is not installed yet.
    type: int
    required: true
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Check whether devpi can be deployed here
  wheelhouse.devpi.devpi_preflight:
    roles: [venv, server, supervisor, users]
    host: 127.0.0.1
    port: 3141
    url: http://127.0.0.1:3141
    python: python3
    again: ansible-playbook wheelhouse.devpi.site
    venv_path: /opt/devpi/venv
    server_user: devpi
    server_dir: /var/lib/devpi
    signing_file: ""
    supervisor_program: devpi
    server_config: /etc/xdg/devpi-server/devpi-server.yml
    credentials_dir: /etc/devpi/credentials
    root_password: ""
    first_index: team/dev
    ca_bundle: ""
    owner: root
    proxied: false
    private: false
    worker_ports: []
    proxies_elsewhere: []
    proxy_names: []
    proxy_manage: package
    proxy_certificate: ""
    proxy_key: ""
    proxy_ca: ""
    proxy_group: www-data
    proxy_access_log: ""
    proxy_networks: []
    program_log: /var/log/supervisor/devpi.log
    server_given: ""
    min_memory: 256
    min_disk: 500
    users:
      - name: root
        indexes:
          - name: pypi
            type: mirror
      - name: team
        indexes:
          - name: dev
            bases: [root/pypi]
"""

RETURN = r"""
missing_packages:
  description: The Debian packages that the roles need and the host lacks.
  returned: success
  type: list
  elements: str
  sample: [python3-venv, supervisor]
environment:
  description: What is at O(venv_path) and in the directory of environments, and which interpreter O(python) is.
  returned: when O(roles) has V(venv)
  type: dict
  contains:
    identity:
      description: The identity of the interpreter. A change of it needs a new environment. It is empty if the
        interpreter is not installed yet.
      type: str
      sample: cpython 3.11 x86_64 /usr/bin/python3.11
    python:
      description: The path of the interpreter's file, with links resolved.
      type: str
    kind:
      description: What is at O(venv_path). It is V(nothing), V(empty) for an empty directory, V(link) for a link to an
        environment of this collection, V(former) for an environment that an earlier release made, or V(foreign) for one
        that was made by hand.
      type: str
    linked:
      description: The name of the environment that the link leads to.
      type: str
    whole:
      description: The names of the complete environments.
      type: list
      elements: str
    tidied_for:
      description: The values of C(devpi_venv_keep) for which nothing is left to remove.
      type: list
      elements: str
    keeper:
      description: The account with whose rights the link is made. It is empty if only root can change the directory.
      type: str
server_initialised:
  description: Whether the server directory holds a database.
  returned: success
  type: bool
server_url:
  description: The URL where the devpi-server of this virtual environment answers now. It is empty if it does not run.
  returned: success
  type: str
  sample: http://127.0.0.1:3141
server_user_exists:
  description: Whether the account O(server_user) exists.
  returned: success
  type: bool
server_group:
  description: The primary group of O(server_user). If the account does not exist yet, it is the name of the account.
  returned: success
  type: str
  sample: devpi
server_keeper:
  description:
    - The account with whose rights the server directory is made and changed. It is V(root), or O(server_user) if that
      account can change the way to the directory.
  returned: success
  type: str
  sample: root
server_dir_attributes:
  description: Mode, owner and group of the server directory. The list is empty if the directory does not exist.
  returned: success
  type: list
  elements: str
  sample: ["0700", devpi, devpi]
server_dir_hangs:
  description: Whether directories above the server directory are missing, which root must make.
  returned: success
  type: bool
server_open_files:
  description: The files with password hashes that other accounts than O(server_user) can read.
  returned: success
  type: list
  elements: str
  sample: [/var/lib/devpi/.sqlite]
secret_keeper:
  description: The account with whose rights the secret is made.
  returned: success
  type: str
  sample: devpi
secret_exists:
  description: Whether the secret exists.
  returned: success
  type: bool
server_config_attributes:
  description: Mode, owner and group of the configuration file. The list is empty if there is no file.
  returned: success
  type: list
  elements: str
  sample: ["0640", root, devpi]
server_config_digest:
  description: The SHA-1 of the configuration file. It is empty if there is no file.
  returned: success
  type: str
server_config_conceals:
  description: Whether something in the configuration file looks like a password, so that no diff may show the file.
  returned: success
  type: bool
environment_path:
  description: The target of the link to the virtual environment. It is empty if there is no link.
  returned: success
  type: str
  sample: /opt/devpi/venvs/0123456789abcdef
supervisor_files:
  description: The SHA-1 of each file in the directory of supervisor's programs that only root can read, by name.
  returned: success
  type: dict
  sample: {devpi: 356a192b7913b04c54574d18c28d46e6395428ab}
supervisor_workers:
  description: The additional programs of supervisor that answer reads, according to the files that role supervisor
    wrote.
  returned: success
  type: list
  elements: str
  sample: [devpi-worker-1]
nginx_sockets_attributes:
  description: Mode, owner and group of the directory of the sockets for nginx; empty where there is none.
  returned: success
  type: list
  elements: str
  sample: ["2710", devpi, www-data]
proxy_tls_attributes:
  description: Mode, owner and group of the directory of this host's own certificates; empty where there is none.
  returned: where role proxy is one of the roles
  type: list
  elements: str
  sample: ["0755", root, root]
proxy_certificate_digest:
  description: The SHA-256 of the certificate that nginx is to use; empty where there is none.
  returned: where role proxy is one of the roles
  type: str
proxy_site_digest:
  description: The SHA-1 of nginx's site, where everybody may read it and root alone change it; else empty.
  returned: where role proxy is one of the roles
  type: str
proxy_has_inner_word:
  description: Whether nginx has a word that it says to itself.
  returned: where role proxy is one of the roles
  type: bool
proxy_has_example_site:
  description: Whether the example site that comes with nginx is enabled.
  returned: where role proxy is one of the roles
  type: bool
kept_passwords:
  description: The declared users who have a password in O(credentials_dir).
  returned: success
  type: list
  elements: str
  sample: [alice]
root_without_password:
  description: Whether devpi's root has an empty password on the running server, although another password is known or
    will be generated.
  returned: success
  type: bool
owner_home:
  description: The home directory of O(owner). It is empty if the roles do not need it.
  returned: success
  type: str
  sample: /home/alice
owner_index:
  description: The URL of the current index of the owner's devpi client, or of the server if the client has no current
    index. It is empty if the client uses no server.
  returned: success
  type: str
  sample: http://127.0.0.1:3141/alice/dev
"""

import contextlib
import grp
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import stat
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _program_file, _writable
from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import acting_as, attributes, group_name
from ansible_collections.wheelhouse.devpi.plugins.module_utils._arguments import completed, disagreements
from ansible_collections.wheelhouse.devpi.plugins.module_utils._checks import open_upload_problems, problems
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import (
    Client,
    ClientError,
    NoPassword,
    RequestFailed,
    WrongPassword,
    is_loopback,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import Credentials, CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import USER_OPTIONS, User, parse
from ansible_collections.wheelhouse.devpi.plugins.module_utils._dialect import from_dialect
from ansible_collections.wheelhouse.devpi.plugins.module_utils._environment import (
    STORE,
    account_or_nobody,
    as_account,
    closed_to,
    facts,
    interpreter,
    occupant,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._home import Home
from ansible_collections.wheelhouse.devpi.plugins.module_utils._listeners import (
    Listener,
    grouped_by_process,
    is_held_by,
    listeners_on,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._module import UsersModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._nginx_sites import sites
from ansible_collections.wheelhouse.devpi.plugins.module_utils._package_lists import refresh
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import (
    PathError,
    command_for,
    exposed,
    rights_at,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._programs import use_system_programs
from ansible_collections.wheelhouse.devpi.plugins.module_utils._server_directory import SecretFile, ServerDirectory
from ansible_collections.wheelhouse.devpi.plugins.module_utils._server_process import is_server, started_by_hand
from ansible_collections.wheelhouse.devpi.plugins.module_utils._server_settings import (
    option_problems,
    url_problems,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._service_account import find as find_account
from ansible_collections.wheelhouse.devpi.plugins.module_utils._service_account import unfit_account
from ansible_collections.wheelhouse.devpi.plugins.module_utils._session import FRESH_SERVER

SUPPORTED = {"debian": ("Debian", (11,)), "ubuntu": ("Ubuntu", (20, 4))}
LISTS_ARE_FRESH_FOR = 3600.0
# Seconds. A server made by hand stretches its secret with 512 MB, which on a busy host takes half a minute.
LOGIN_TIMEOUT = 120
# MB of available memory that each worker takes, measured with a hundred of them
WORKER_MEMORY = 64
NGINX = Path("/usr/sbin/nginx")
OWN_TLS = Path("/etc/ssl/devpi")
OWN_CA = "/etc/ssl/devpi/ca.pem"
# As roles server and proxy name them
NGINX_SOCKETS = Path("/var/lib/devpi-nginx")
NGINX_SITE = Path("/etc/nginx/conf.d/devpi.conf")
NGINX_INNER_WORD = Path("/etc/nginx/devpi-inner.conf")
NGINX_EXAMPLE_SITE = Path("/etc/nginx/sites-enabled/default")
OUR_SITE = "/etc/nginx/conf.d/devpi.conf"
# A setting with such a name, or a URL with a password
SECRET = re.compile(r"(password|passwd|token|secret|api_?key)['\"]?\s*[=:]|://[^/\s:@]*:(?=[^/\s]*@)", re.IGNORECASE)
# As certificates and nginx's server_name take it; no wildcard, because the first one stands in links.
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


# Prints whether this Python will do, then in a line each the directories that it loads modules from.
INTERPRETER = """
import sys, os, venv, ensurepip
print(sys.version_info >= (3, 8))
for path in {os.path.realpath(sys.executable), *(path for path in sys.path if path)}:
    print(path)
"""


class Preflight:
    """The checks of one host, with the problems that they find.

    :param module: the running module; its parameters are read, its check mode is obeyed.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params: dict[str, Any] = module.params
        self.roles = set(self.params["roles"])
        declared = {"type": "list", "elements": "dict", "options": USER_OPTIONS}
        self.problems = list(disagreements("devpi_users", declared, module.params["users"]))
        users = [] if self.problems else completed(declared, module.params["users"])
        self.users: list[User] = parse(users, "devpi_users")

    def inspect(self) -> dict[str, Any]:
        """Return the facts that the roles need, and note all problems in ``problems``."""
        result: dict[str, Any] = {"missing_packages": [], "owner_home": "", "owner_index": ""}
        result.update(kept_passwords=[], root_without_password=False)
        self._check_server_settings()
        if os.geteuid() != 0 and self.roles - {"pypirc", "client"}:
            self.problems.append("the roles change the system and so need root; set become: true (ansible_become)")
            return result
        if self.roles & {"venv", "server", "supervisor", "proxy"}:
            self._check_ca_bundle()
            if self._is_supported():
                result["missing_packages"] = self._find_missing_packages()
        if "supervisor" in self.roles:
            self.problems.extend(
                _program_file.problems_on_host(self.params["supervisor_program"], self.params["program_log"])
            )
        self.problems.extend(_writable.problems(self._paths_to_write(result["missing_packages"])))
        self._check_environment_without_venv()
        result["server_initialised"] = self._directory.initialised()
        result.update(self._server_facts())
        result["server_url"] = self._find_server_url()
        if self.roles & {"server", "supervisor"} and not result["server_url"]:
            self._check_memory()
        if "venv" in self.roles:
            self._check_venv_path()
            linked = False
            with rights_at(self.params["venv_path"]), contextlib.suppress(OSError):
                linked = Path(self.params["venv_path"]).is_symlink()
            if not linked:
                self._check_disk_space("devpi_venv_path", STORE)
        if "server" in self.roles:
            self._warn_of_other_configuration()
            self._check_server_account()
            problems = self._server_place_problems()
            self.problems.extend(problems)
            if not problems and not result["server_initialised"]:
                self._check_disk_space("devpi_server_dir", self.params["server_dir"])
        self._check_proxy()
        if "proxy" in self.roles:
            result.update(self._proxy_facts())
        if self.roles & {"server", "users"}:
            self._check_credentials(result)
        if self.roles & {"pypirc", "client"}:
            self._check_owner(result)
        if "venv" in self.roles and not self.problems:
            path, python, account = (self.params[name] for name in ("venv_path", "python", "server_user"))
            result["environment"] = facts(path, python, account, self._run)
        return result

    def _paths_to_write(self, packages: list[str]) -> dict[str, str]:
        """Return where the roles will write, and what."""
        places = {}
        if packages:
            places.update(dict.fromkeys(("/usr", "/var/lib/dpkg", "/etc"), f"a Debian package ({packages[0]})"))
        if "venv" in self.roles:
            for path in (self.params["venv_path"], STORE):
                places[path] = "the virtual environment (devpi_venv_path)"
        if "server" in self.roles:
            places[self.params["server_config"]] = "the configuration of devpi-server"
            places[self.params["server_dir"]] = "devpi-server's data (devpi_server_dir)"
            if find_account(self.params["server_user"]) is None:
                places["/etc/passwd"] = f"the account {self.params['server_user']} (devpi_server_user)"
        if self.roles & {"server", "users"}:
            places[self.params["credentials_dir"]] = "generated passwords (devpi_credentials_dir)"
        if "supervisor" in self.roles:
            places[f"/etc/supervisor/conf.d/{self.params['supervisor_program']}.conf"] = "the program of supervisor"
            places[self.params["program_log"]] = "the server's log (devpi_supervisor_log_file)"
        if "proxy" in self.roles and self.params["proxied"]:
            places["/etc/nginx/conf.d"] = "the site of nginx"
            places["/etc/ssl/devpi"] = "nginx's certificate"
        owner = find_account(self.params["owner"])
        if self.roles & {"pypirc", "client"} and owner is not None:
            places[f"{owner.pw_dir}/.pypirc"] = f"what points {owner.pw_name}'s tools at the index"
        return places

    def _check_server_settings(self) -> None:
        if not self.params["server_given"]:
            return
        given = json.loads(self.params["server_given"])
        users = tuple(user.name for user in self.users)
        self.problems += [
            *option_problems(given["options"], given["plugins"]),
            *url_problems(given["url"], self.params["proxied"], users),
        ]
        if self.params["proxied"]:
            self.problems += open_upload_problems(self.users)

    @property
    def _directory(self) -> ServerDirectory:
        user = self.params["server_user"]
        return ServerDirectory(self.params["server_dir"], find_account(user), user)

    def _server_facts(self) -> dict[str, Any]:
        """Return the facts that roles server and supervisor need."""
        user, directory = self.params["server_user"], self._directory
        account = find_account(user)
        config = Path(self.params["server_config"])
        text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
        secret = self._secret
        inside = secret.path.startswith(f"{directory.path}/")
        link = Path(self.params["venv_path"])
        return {
            "server_user_exists": account is not None,
            "server_group": group_name(account.pw_gid) if account else user,
            "server_keeper": directory.whose_rights(),
            "server_dir_attributes": directory.attributes(),
            "server_dir_hangs": directory.lacks_parent(),
            "server_open_files": directory.files_readable_by_others(),
            "secret_keeper": user if inside else secret.whose_rights(),
            "secret_exists": self._secret.exists(),
            "server_config_attributes": _attributes(config),
            "server_config_digest": self.module.sha1(str(config)) or "",
            "server_config_conceals": bool(SECRET.search(text)),
            "environment_path": os.path.realpath(link) if link.exists() else "",
            "supervisor_files": {
                path.stem: self.module.sha1(str(path))
                for path in _program_file.PROGRAMS.glob("*.conf")
                if _attributes(path) == ["0600", "root", "root"]
            },
            "supervisor_workers": sorted(_program_file.workers_of(self.params["supervisor_program"])),
            "nginx_sockets_attributes": _attributes(NGINX_SOCKETS, stat.S_ISDIR),
        }

    def _proxy_facts(self) -> dict[str, Any]:
        """Return the facts that role proxy needs."""
        certificate = self.params["proxy_certificate"] or str(OWN_TLS / "server.pem")
        site_is_whole = _attributes(NGINX_SITE) == ["0644", "root", "root"]
        return {
            "proxy_tls_attributes": _attributes(OWN_TLS, stat.S_ISDIR),
            "proxy_certificate_digest": self.module.sha256(certificate) or "" if Path(certificate).is_file() else "",
            "proxy_site_digest": self.module.sha1(str(NGINX_SITE)) if site_is_whole else "",
            "proxy_has_inner_word": NGINX_INNER_WORD.exists(),
            "proxy_has_example_site": os.path.lexists(NGINX_EXAMPLE_SITE),
        }

    @property
    def _secret(self) -> SecretFile:
        user = self.params["server_user"]
        return SecretFile(
            self.params["signing_file"] or f"{self.params['server_dir']}/.secret", find_account(user), user
        )

    def _check_server_account(self) -> None:
        why = unfit_account(self.params["server_user"])
        if why:
            self.problems.append(f"devpi_server_user {why}")

    def _server_place_problems(self) -> list[str]:
        """Return why the server's directory or its secret cannot be where they are to be."""
        directory, secret = self._directory, self._secret
        # In a directory that cannot be used, the secret is no problem of its own.
        found = directory.problems()
        if not found or not secret.path.startswith(f"{directory.path}/"):
            found += secret.problems()
        return found or [problem for problem in [directory.incomplete_database()] if problem]

    def _warn_of_other_configuration(self) -> None:
        """Warn of a configuration file of the service account's own, which a server made by hand may have read."""
        entry = find_account(self.params["server_user"])
        if entry is None:
            return
        own = Path(entry.pw_dir, ".config", "devpi-server", "devpi-server.yml")
        try:
            with acting_as(entry):
                exists = own.is_file()
        except OSError:
            # The account itself does not reach it.
            return
        if exists:
            self.module.warn(
                f"{own} is not read by the server, which reads {self.params['server_config']}; move what is still "
                "wanted of it into devpi_server_options"
            )

    def _is_supported(self) -> bool:
        """Whether the roles know this operating system, and so its packages."""
        release = _os_release()
        name, oldest = SUPPORTED.get(release.get("ID", ""), ("", (0,)))
        version = tuple(int(part) for part in re.findall(r"\d+", release.get("VERSION_ID", "")))
        supported = bool(name) and not (version and version < oldest)
        if not supported:
            self.problems.append(
                f"{release.get('PRETTY_NAME', 'this operating system')} (/etc/os-release) is not supported; "
                "use Debian 11 or newer, or Ubuntu 20.04 or newer"
            )
        return supported

    def _check_ca_bundle(self) -> None:
        bundle = self.params["ca_bundle"]
        if bundle and not Path(bundle).is_file():
            self.problems.append(
                f"devpi_ca_bundle {bundle} is not a file on {os.uname().nodename}; put the bundle there, "
                "or leave the variable empty"
            )

    def _find_missing_packages(self) -> list[str]:
        wanted = []
        python = self.params["python"]
        if "venv" in self.roles:
            if python.startswith("/"):
                self._check_interpreter(python)
            elif re.fullmatch(r"python3(\.\d+)?", python):
                wanted.append(python + "-venv")
                if self._is_installed(python + "-venv"):
                    self._check_interpreter(interpreter(python))
            else:
                self.problems.append(
                    f"devpi_python {python!r} is neither a Debian package such as python3 or python3.11 "
                    "nor an absolute path; name one of these"
                )
        if "supervisor" in self.roles:
            wanted.append("supervisor")
        if "proxy" in self.roles:
            wanted += ["nginx", "logrotate"] if self.params["proxy_manage"] == "package" else []
            wanted += [] if self.params["proxy_certificate"] else ["openssl"]
        missing = [package for package in wanted if not self._is_installed(package)]
        if missing:
            self._check_available(missing)
        return missing

    def _check_interpreter(self, python: str) -> None:
        """Note why the service's account could not run the interpreter, or root should not."""
        account = account_or_nobody(self.params["server_user"])
        subject = f"devpi_python {self.params['python']!r} "
        way = f"; name another, or python3 for Debian's: {self.params['again']} -e devpi_python=python3"
        closed = closed_to(account, python)
        with acting_as(account):
            target, exists = os.path.realpath(python), closed is not None or Path(python).is_file()
        if not exists:
            self.problems.append(f"{subject}is {python}, and there is no such file{way}")
            return
        if closed:
            self.problems.append(
                f"{subject}leads to {target}, and the account {account.pw_name}, which is to run it, may not enter "
                f"{closed}{way}"
            )
            return
        place = exposed(python)
        if place is None:
            # It runs with the account's rights here, because what it loads is checked before root runs it.
            output = self._run([*as_account(account), python, "-I", "-S", "-c", INTERPRETER])
            version, _line, paths = output.partition("\n")
            if version != "True":
                self.problems.append(
                    f"{subject}is not a Python 3.8 or newer with the modules venv and ensurepip that the account "
                    f"{account.pw_name} can run{way}"
                )
                return
            place = next(filter(None, map(exposed, paths.splitlines())), None)
        if place is not None:
            self.problems.append(f"{subject}would be run by root, and other accounts than root can change {place}{way}")

    def _check_venv_path(self) -> None:
        """Note why the link to the environment, or the environment itself, cannot be made."""
        path = self.params["venv_path"]
        account = account_or_nobody(self.params["server_user"])
        try:
            occupant(path)
        except PathError as error:
            self.problems.append(f"devpi_venv_path: {error}")
            return
        for place in (path, f"{STORE}/environment"):
            closed = closed_to(account, place)
            if closed:
                enter = command_for("chmod a+x", closed)
                ways = [enter, "name another path" if place == path or not enter else ""]
                self.problems.append(
                    f"devpi_venv_path {path}: the account {account.pw_name}, which is to run the environment, may not "
                    f"enter {closed}; {', or '.join(filter(None, ways))}"
                    + ("" if place == path else f": environments are made in {STORE}")
                )
            with rights_at(place):
                nearest = next(parent for parent in Path(place).parents if os.path.lexists(parent))
                usable = os.access(nearest, os.F_OK, effective_ids=True) and nearest.is_dir()
            if not usable:
                self.problems.append(f"devpi_venv_path {path}: {nearest} is not a directory; move it away")
        place = exposed(f"{STORE}/environment")
        if place is not None:
            self.problems.append(
                f"environments are made in {STORE}, and other accounts than root can change {place}; "
                f"{command_for('chown root:', place)} && {command_for('chmod go-w', place)}"
            )

    def _is_installed(self, package: str) -> bool:
        return self._run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]).strip() == "installed"

    def _run(self, command: list[str]) -> str:
        """Return the stdout of a program; nothing where it failed or does not exist."""
        try:
            rc, stdout, _stderr = self.module.run_command(
                command, handle_exceptions=False, expand_user_and_vars=False, cwd="/"
            )
        except OSError:
            return ""
        return str(stdout) if rc == 0 else ""

    def _check_available(self, packages: list[str]) -> None:
        """Note a problem for each package that apt does not have, with those that it has instead."""
        with tempfile.TemporaryDirectory(prefix="devpi-preflight-") as scratch:
            options = self._refresh_lists(scratch)
            if options is None:
                return
            for package in packages:
                policy = self._run(["apt-cache", *options, "policy", package])
                if re.search(r"^\s+Candidate: (?!\(none\))", policy, re.MULTILINE):
                    continue
                if not package.endswith("-venv"):
                    self.problems.append(
                        f"apt does not have the package {package}; enable Debian's main or Ubuntu's universe"
                    )
                    continue
                names = self._run(["apt-cache", *options, "search", "--names-only", r"^python3(\.[0-9]+)?-venv$"])
                has = sorted({line.split("-venv")[0] for line in names.splitlines()})
                best = "python3" if "python3" in has else next(iter(has[::-1]), "/PATH/OF/A/PYTHON")
                self.problems.append(
                    f"apt does not have {package} for devpi_python {self.params['python']!r}; "
                    f"it has {', '.join(has) or 'no pythonX.Y-venv'}. With {best} it works: "
                    f"{self.params['again']} -e devpi_python={best}"
                )

    def _refresh_lists(self, scratch: str) -> list[str] | None:
        """Return the options for apt-cache to read fresh lists; None, with a problem noted, where there are none."""
        lists = Path("/var/lib/apt/lists")
        if any(lists.glob("*Packages*")) and time.time() - lists.stat().st_mtime < LISTS_ARE_FRESH_FOR:
            return []
        options: list[str] = []
        if self.module.check_mode:
            Path(scratch, "lists", "partial").mkdir(parents=True)
            options = ["-o", f"Dir::State::lists={scratch}/lists", "-o", f"Dir::Cache={scratch}"]
        failed = refresh(self.module, options)
        if failed:
            self.problems.append(failed)
            return None
        return options

    def _check_environment_without_venv(self) -> None:
        """Note what a role needs of the virtual environment where role venv does not make it in this play."""
        programs = {"server": "devpi-init", "supervisor": "devpi-server", "client": "devpi"}
        for role, program in programs.items():
            path = Path(self.params["venv_path"], "bin", program)
            if role in self.roles and "venv" not in self.roles and not self._exists(path):
                self.problems.append(
                    f"role {role} needs {path}, and there is none; run role venv first, "
                    "or set devpi_venv_path to an environment that has it"
                )
        if "client" in self.roles and "venv" not in self.roles:
            place = exposed(self.params["venv_path"])
            owner = find_account(self.params["owner"])
            if place is not None and (owner is None or place.stat().st_uid != owner.pw_uid):
                self.problems.append(
                    f"devpi_venv_path {self.params['venv_path']}: others than {self.params['owner']}, who is to run "
                    f"programs there, can change {place}; run role venv in the same play"
                )

    @staticmethod
    def _exists(path: Path) -> bool:
        try:
            with rights_at(str(path)):
                return path.exists()
        except OSError:
            return False

    def _find_server_url(self) -> str:
        """Return the URL where our server answers now. Any other process on its port is a problem."""
        host, port = self.params["host"], self.params["port"]
        if not 1 <= port <= 65535:
            self.problems.append(f"devpi_port {port} is out of range; name one from 1 to 65535")
            return ""
        if "supervisor" in self.roles:
            self._check_address(host)
        listeners = listeners_on(host, port)
        ours = [listener for listener in listeners if self._is_ours(listener)]
        if self.roles & {"supervisor", "users"}:
            self._refuse_listeners([listener for listener in listeners if listener not in ours])
        if "supervisor" in self.roles:
            self._check_started_by_hand(ours)
        if ours:
            # Another process on the port may be the one that answers, on an address of its own or on a shared one.
            return str(self.params["url"]) if ours == listeners else ""
        # It may still run with the host and port of the last deployment.
        host, port = _configured_address(self.params["server_config"])
        configured = listeners_on(host, port) if port else []
        if configured and all(self._is_ours(listener) for listener in configured):
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is compared, not bound
            return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return ""

    def _check_address(self, host: str) -> None:
        try:
            found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
            with socket.socket(*found[:3]) as probe:
                probe.bind(found[4])
        except OSError as error:
            self.problems.append(
                f"devpi_host {host!r} is not an address that {os.uname().nodename} can listen on ({error.strerror}); "
                "name one of its own, or 127.0.0.1 for this host alone"
            )

    def _is_ours(self, listener: Listener) -> bool:
        return is_server(listener, find_account(self.params["server_user"]), self.params["venv_path"])

    def _check_started_by_hand(self, ours: list[Listener]) -> None:
        """Note a devpi-server with our port or data that goes on beside the one that supervisor is to run."""
        account = find_account(self.params["server_user"])
        if account is None:
            return
        program = self.params["supervisor_program"]
        for pid, name in started_by_hand(ours, account, self.params["server_dir"], program):
            what = f"devpi-server (process {pid} of {account.pw_name}) on {os.uname().nodename} holds port "
            what += f"{self.params['port']} or the data in {self.params['server_dir']}"
            if name:
                self.problems.append(
                    f"{what} as supervisor's program {name}, and devpi_supervisor_program is {program}; set that to "
                    f"{name}, or stop it (supervisorctl stop {name}) and remove its file from /etc/supervisor/conf.d"
                )
            else:
                self.problems.append(
                    f"{what}, and supervisor does not run it; stop it (kill {pid}), and disable whatever starts it "
                    f"(systemctl status {pid} shows what)"
                )

    def _refuse_listeners(self, listeners: list[Listener]) -> None:
        for described, addresses in grouped_by_process(listeners):
            self.problems.append(
                f"devpi_port {self.params['port']} on {os.uname().nodename} is held by process {described}, "
                f"which listens on {addresses}; set devpi_port to a free one or stop that process"
            )

    def _check_proxy(self) -> None:
        here = os.uname().nodename
        for host in self.params["proxies_elsewhere"]:
            self.problems.append(
                f"{host} is in the group devpi_proxy and not in devpi, but nginx must read release files from the "
                "server's disk; put the host into both groups, or into neither"
            )
        if not self.params["proxied"]:
            if self.params["private"]:
                self.problems.append(
                    f"devpi_private needs nginx in front, which asks for the login, and {here} is not in the group "
                    "devpi_proxy; put it there, or leave devpi_private false"
                )
            if self.params["worker_ports"]:
                self.problems.append(
                    f"devpi_server_workers is {len(self.params['worker_ports'])}, but only nginx sends requests to "
                    f"workers, and {here} is not in the group devpi_proxy; put it there, or set "
                    "devpi_server_workers to 0"
                )
            return
        if "supervisor" in self.roles and not _is_loopback(self.params["host"]):
            self.problems.append(
                f"devpi_host {self.params['host']!r} lets the network reach the server without nginx; "
                f"leave it 127.0.0.1 on {here}, which is in the group devpi_proxy"
            )
        if not self.params["proxy_names"]:
            self.problems.append("devpi_proxy_names is empty; give at least one name by which clients reach the server")
        for name in self.params["proxy_names"]:
            if not _is_address(name) and not HOST_NAME.fullmatch(name):
                self.problems.append(
                    f"devpi_proxy_names has {name!r}, which is neither a host name nor an address; "
                    "write it as index.example.com or 192.0.2.10"
                )
        for network in self.params["proxy_networks"]:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                self.problems.append(f"devpi_proxy_networks: {error}; write it as 192.0.2.0/24 or 2001:db8::/32")
        if "supervisor" in self.roles:
            self._check_workers(here)
        if "proxy" in self.roles:
            self._check_nginx(here)
        if "client" in self.roles and self.params["proxy_names"]:
            self._check_name_resolves(self.params["proxy_names"][0], here)

    def _check_workers(self, here: str) -> None:
        ports = self.params["worker_ports"]
        if ports and max(ports) > 65535:
            self.problems.append(
                f"devpi_server_workers asks for port {max(ports)}, and ports end at 65535; set devpi_port lower"
            )
            return
        listeners_by_port = {port: listeners_on("127.0.0.1", port) for port in ports}
        for port, listeners in listeners_by_port.items():
            for described, _addresses in grouped_by_process([each for each in listeners if not self._is_ours(each)]):
                self.problems.append(
                    f"port {port} on {here} is held by process {described}, and a worker of devpi_server_workers needs "
                    "it; set devpi_port to where so many are free, or stop that process"
                )
        new = [*listeners_by_port.values()].count([])
        available = _available_memory()
        if available < WORKER_MEMORY * new:
            self.problems.append(
                f"devpi_server_workers starts {new} more processes of {WORKER_MEMORY} MB each on {here}, and "
                f"{available} MB of memory are available; set it lower"
            )

    def _check_nginx(self, here: str) -> None:
        log = self.params["proxy_access_log"]
        place = exposed(log) if log.startswith("/") else None
        if place is not None:
            self.problems.append(
                f"devpi_proxy_access_log {log} lies in {place} on {here}, where other accounts than root could put a "
                "link in its place, and nginx opens it as root; name a file that only root can replace, like "
                "/var/log/nginx/devpi.access.log"
            )
        elif log and Path(log).is_dir():
            self.problems.append(f"devpi_proxy_access_log {log} is a directory on {here}; name a file")
        elif log and _is_foreign_log(Path(log)):
            self.problems.append(
                f"devpi_proxy_access_log {log} is there on {here} and is somebody else's, and nginx would write into "
                "it; name another file, or move it away"
            )
        if "server" not in self.roles and not self._directory.initialised():
            self.problems.append(
                f"role proxy needs the devpi-server of {self.params['server_dir']}, and {here} has none; run role "
                "server first"
            )
        if self.params["proxy_manage"] == "site" and not NGINX.exists():
            self.problems.append(
                f"devpi_proxy_manage is site and there is no {NGINX}; install nginx, or set it to package"
            )
        files = {name: self.params[name] for name in ("proxy_certificate", "proxy_key")}
        if len([path for path in files.values() if path]) == 1:
            self.problems.append("devpi_proxy_certificate and devpi_proxy_key go together; give both or neither")
        for name, path in files.items():
            if path and not Path(path).is_file():
                self.problems.append(
                    f"devpi_{name} {path} is not a file on {here}; put it there, or leave both empty for a certificate "
                    "of the host's own"
                )
        ca = Path(self.params["proxy_ca"])
        # Role proxy makes the host's own CA where there is none yet.
        if self.params["proxy_ca"] and not ca.is_file() and (ca.exists() or str(ca) != OWN_CA):
            self.problems.append(
                f"devpi_proxy_ca {ca} is not a file on {here}; put the CA's certificate there, or set it to '' if "
                "everyone trusts the certificate already"
            )
        if all(path and Path(path).is_file() for path in files.values()):
            self._check_certificate(here)
        for port in (80, 443):
            for described, addresses in grouped_by_process(_listeners_besides_nginx("0.0.0.0", port)):  # noqa: S104 - it is compared, not bound
                self.problems.append(
                    f"port {port} on {here} is held by process {described}, which listens on {addresses}, and nginx "
                    "needs it; stop that process"
                )
        if NGINX.exists():
            self._check_other_sites(here)
        try:
            group = grp.getgrnam(self.params["proxy_group"]).gr_gid
        except KeyError:
            self.problems.append(
                f"devpi_proxy_group {self.params['proxy_group']!r} is not a group on {here}; name the group of nginx's "
                "workers"
            )
            return
        problem = self._directory.release_files_problem()
        self.problems += [problem] if problem else []
        for parent in Path(self.params["server_dir"]).parents:
            if self._exists(parent) and not _is_passable(parent, group):
                enter = command_for("chmod o+x", parent)
                self.problems.append(
                    f"devpi_server_dir {self.params['server_dir']} lies below {parent}, where the group "
                    f"{self.params['proxy_group']} may not enter, so nginx could not read release files; "
                    f"set it to another directory{f', or {enter}' if enter else ''}"
                )

    def _check_other_sites(self, here: str) -> None:
        """Note sites of an nginx on the host that have one of our names: of two, nginx never asks the later one."""
        ours = {name.lower() for name in self.params["proxy_names"]}
        for site in sites(self._run([str(NGINX), "-T"])):
            for name in sorted(site.names & ours if site.file != OUR_SITE and site.ports & {80, 443} else ()):
                self.problems.append(
                    f"devpi_proxy_names has {name}, and so has another site of nginx on {here}, in {site.file}; remove "
                    "it from one of the two, because only the site that nginx reads first would answer"
                )

    def _check_certificate(self, here: str) -> None:
        certificate, key = self.params["proxy_certificate"], self.params["proxy_key"]
        try:
            # without the callable it would ask the terminal for the password of an encrypted key
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ValueError) as error:
            self.problems.append(
                f"devpi_proxy_certificate {certificate} and devpi_proxy_key {key} on {here} are not a pair that nginx "
                f"can use ({getattr(error, 'reason', None) or error}); give a certificate in PEM, with its chain, "
                "and the key that belongs to it, without a password"
            )
            return
        for name in self.params["proxy_names"]:
            option = "-checkip" if _is_address(name) else "-checkhost"
            command = ["openssl", "x509", "-in", certificate, "-noout", option, name]
            try:
                out = str(self.module.run_command(command, handle_exceptions=False)[1])
            except OSError:
                return
            if "NOT match" in out:
                self.problems.append(
                    f"devpi_proxy_certificate {certificate} on {here} is not for {name}, which devpi_proxy_names has, "
                    "so clients would refuse it there; give one that is, or take the name out"
                )

    def _check_name_resolves(self, name: str, here: str) -> None:
        try:
            socket.getaddrinfo(name, 443)
        except OSError as error:
            self.problems.append(
                f"devpi_proxy_names[0] {name!r} is unknown on {here} itself ({error.strerror}), where the devpi client "
                "is to use it; add it to the DNS or to /etc/hosts"
            )

    def _check_memory(self) -> None:
        available = _available_memory()
        if available < self.params["min_memory"]:
            self.problems.append(
                f"{available} MB of memory are available and devpi_min_memory asks for {self.params['min_memory']} MB; "
                "stop something or give the host more memory"
            )

    def _check_disk_space(self, variable: str, path: str) -> None:
        nearest = Path(path)
        try:
            with rights_at(path):
                while not nearest.exists():
                    nearest = nearest.parent
                free = shutil.disk_usage(nearest).free // 1_000_000
        except OSError:
            # Other checks report a directory that may not be entered.
            return
        if free < self.params["min_disk"]:
            self.problems.append(
                f"{free} MB are free at {nearest} and devpi_min_disk asks for {self.params['min_disk']} MB; "
                f"free some or set {variable} (now {path}) to another file system"
            )

    def _check_credentials(self, result: dict[str, Any]) -> None:
        """Note whose passwords are kept, and what keeps the directory from being used for passwords."""
        credentials = Credentials(self.params["credentials_dir"])
        try:
            credentials.examine()
        except CredentialsError as error:
            self.problems.append(f"devpi_{error}" if str(error).startswith("credentials_dir") else str(error))
            return
        for user in self.users:
            # A name that devpi does not take is reported with the other problems of the users.
            with contextlib.suppress(CredentialsError):
                result["kept_passwords"] += [user.name] if credentials.path(user.name).is_file() else []
        if "users" in self.roles:
            self._check_declared_users(result, self.users, credentials)

    def _check_declared_users(self, result: dict[str, Any], users: list[User], credentials: Credentials) -> None:
        """Check the declared users against the server that runs, or against the one that devpi-init makes."""
        existing, version = FRESH_SERVER, None
        try:
            if result["server_url"]:
                client = self._log_in_as_root(result, credentials)
                if client is None:
                    return
                existing, version = from_dialect(client.get_json("/"), client.version), client.version
            elif result["server_initialised"]:
                # Nobody can say what a stopped server holds; devpi_users looks again when it runs.
                return
        except (ClientError, CredentialsError) as error:
            self.problems.append(str(error))
            return
        self.problems.extend(problems(users, existing, version))
        self._check_first_index(users, existing)

    def _log_in_as_root(self, result: dict[str, Any], credentials: Credentials) -> Client | None:
        """Return a client that is logged in, by the password of root or, on loopback, by the empty one of devpi-init.

        Where the server takes neither, return None and note the problem.
        """
        url, given = result["server_url"], self.params["root_password"]
        source = "devpi_root_password" if given else str(credentials.path("root"))
        options: dict[str, Any] = {"check_mode": True, "proxy": False, "timeout": LOGIN_TIMEOUT}
        options["server_user"] = self.params["server_user"]
        client = Client(url, "root", given or credentials.read("root"), **options)
        try:
            client.login()
        except NoPassword:
            problem = (
                f"a devpi-server runs at {url} and {source} is missing; give root's password in devpi_root_password"
            )
        except WrongPassword:
            problem = (
                f"{source} is not the password of root on {url}; correct it, or reset it on the host, "
                f"as {self.params['server_user']}, with {self.params['venv_path']}/bin/devpi-passwd root "
                f"--serverdir {self.params['server_dir']}"
            )
        else:
            return client
        if is_loopback(client.host):
            client = Client(url, "root", "", **options)
            try:
                client.login()
            except (WrongPassword, RequestFailed):
                pass
            else:
                result["root_without_password"] = True
                return client
        self.problems.append(problem)
        return None

    def _check_first_index(self, users: list[User], existing: Mapping[str, Any]) -> None:
        first = self.params["first_index"]
        declared = [index.path for user in users if user.name != "root" for index in user.indexes if not index.absent]
        on_server = [f"{name}/{index}" for name, user in existing.items() for index in user.get("indexes", {})]
        if first and self.roles & {"pypirc", "client"} and first not in [*declared, *on_server]:
            self.problems.append(
                f"devpi_username and devpi_index name {first}, which ~/.pypirc and the devpi client are to use, and "
                f"devpi_users has no such index; name one of {', '.join(declared) or 'its own'}, or declare it"
            )

    def _check_owner(self, result: dict[str, Any]) -> None:
        owner = self.params["owner"]
        entry = find_account(owner)
        if entry is None:
            self.problems.append(
                f"devpi_pypirc_owner {owner!r} is not an account on {os.uname().nodename}; name one that is"
            )
            return
        home = Home(entry)
        problem = home.problem()
        if problem:
            self.problems.append(f"devpi_pypirc_owner {owner!r} {problem}")
            return
        result["owner_home"] = entry.pw_dir
        problems = [home.pypirc_problem() if "pypirc" in self.roles else ""]
        problems += [home.client_problem() if "client" in self.roles else ""]
        self.problems.extend(problem for problem in problems if problem)
        result["owner_index"] = home.client_index()


def _listeners_besides_nginx(host: str, port: int) -> list[Listener]:
    """Return the listeners that keep nginx from listening there."""
    return [each for each in listeners_on(host, port) if not is_held_by(each, 0, str(NGINX))]


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_foreign_log(log: Path) -> bool:
    """Whether the file that nginx is to log to holds what neither our site nor another site of nginx's has logged."""
    try:
        # A link here is root's, because a path that others can change is refused before.
        found = log.stat()
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode):
        return not stat.S_ISCHR(found.st_mode)
    site = Path(OUR_SITE)
    ours = site.is_file() and f'access_log "{log}" ' in site.read_text(encoding="utf-8", errors="replace")
    return found.st_size > 0 and not ours and log.parent != Path("/var/log/nginx")


def _is_passable(directory: Path, group: int) -> bool:
    try:
        with rights_at(str(directory)):
            info = directory.stat()
    except OSError:
        return True
    return bool(info.st_mode & 0o001 or (info.st_gid == group and info.st_mode & 0o010))


def _attributes(path: Path, is_of_kind: Callable[[int], bool] = stat.S_ISREG) -> list[str]:
    """Return mode, owner and group of a file or directory of root's; nothing where there is none of that kind."""
    try:
        info = path.lstat()
    except OSError:
        return []
    if not is_of_kind(info.st_mode):
        return []
    return list(attributes(stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid).values())


def _os_release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key: value.strip("\"'") for key, value in pairs}


def _configured_address(config: str) -> tuple[str, int]:
    """Return the host and port in the configuration that role server wrote; port 0 where there is none."""
    try:
        text = Path(config).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", 0
    found = dict(re.findall(r"^ +(host|port): *['\"]?([^'\"\s]+)", text, re.MULTILINE))
    return found.get("host", "127.0.0.1"), int(found["port"]) if re.fullmatch(
        "[0-9]{1,5}", found.get("port", "")
    ) else 0


def _available_memory() -> int:
    """Return the memory in MB that a new process may take: the host's, or what the container's limit leaves."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    for limit, usage in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            left = int(Path(limit).read_text(encoding="ascii")) - int(Path(usage).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        available = min(available, left)
    return available // 1_000_000


def main() -> None:
    """Run the module."""
    module = UsersModule(
        argument_spec={
            "roles": {
                "type": "list",
                "elements": "str",
                "required": True,
                "choices": ["venv", "server", "supervisor", "users", "proxy", "pypirc", "client"],
            },
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "url": {"type": "str", "required": True},
            "python": {"type": "str", "required": True},
            "again": {"type": "str", "required": True},
            "venv_path": {"type": "str", "required": True},
            "server_user": {"type": "str", "required": True},
            "server_dir": {"type": "path", "required": True},
            # Ansible would hide the value of an option with "secret" in its name from all messages.
            "signing_file": {"type": "path", "required": True},
            "supervisor_program": {"type": "str", "required": True},
            "server_config": {"type": "path", "required": True},
            "credentials_dir": {"type": "path", "required": True},
            "root_password": {"type": "str", "required": True, "no_log": True},
            "first_index": {"type": "str", "required": True},
            # Without suboptions: to check a thousand users by them, Ansible would take longer than this module does.
            "users": {"type": "list", "elements": "dict", "required": True},
            "ca_bundle": {"type": "path", "required": True},
            "owner": {"type": "str", "required": True},
            "proxied": {"type": "bool", "required": True},
            "private": {"type": "bool", "required": True},
            "worker_ports": {"type": "list", "elements": "int", "required": True},
            "proxies_elsewhere": {"type": "list", "elements": "str", "required": True},
            "proxy_names": {"type": "list", "elements": "str", "required": True},
            "proxy_manage": {"type": "str", "choices": ["package", "site"], "required": True},
            "proxy_certificate": {"type": "path", "required": True},
            "proxy_key": {"type": "path", "required": True, "no_log": False},
            "proxy_ca": {"type": "path", "required": True},
            "proxy_group": {"type": "str", "required": True},
            "proxy_access_log": {"type": "path", "required": True},
            "proxy_networks": {"type": "list", "elements": "str", "required": True},
            "program_log": {"type": "path", "required": True},
            # An option of it or a variable of the environment may have a password in it.
            "server_given": {"type": "str", "required": True, "no_log": True},
            "min_memory": {"type": "int", "required": True},
            "min_disk": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    use_system_programs(module)
    preflight = Preflight(module)
    result = preflight.inspect()
    if preflight.problems:
        lines = "".join(f"\n- {problem}" for problem in preflight.problems)
        module.fail_json(
            msg=f"Nothing was changed. Before devpi can be deployed here:{lines}", problems=preflight.problems
        )
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
