#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep nginx in front of a devpi-server: its package, its certificate, its one site, and its right to read files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_front
short_description: Keep nginx in front of a devpi-server
version_added: 0.1.0
description:
  - Installs Debian's nginx with the rotation of its logs, where it is to.
  - Makes a certificate authority and a certificate on the host where none is given, and the certificate anew where the
    names are others or 90 days before it runs out. The CA's key stays the same.
  - Lets the group of nginx's workers read the release files, and those alone.
  - Makes a file with a word that nginx says to itself, once.
  - Keeps one file of nginx's configuration. Where nginx does not accept it, the file before is put back and the
    running nginx is left as it is.
  - Reloads nginx where a file is newer than its workers, so a run that was interrupted between writing and reloading is
    mended by the next; starts it where it does not run.
extends_documentation_fragment:
  - wheelhouse.devpi.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: partial
    details: Of the configuration; what else it makes is secret or binary.
  platform:
    platforms: debian
options:
  site:
    description: The content of O(path), of nginx's context http.
    type: str
    required: true
  path:
    description: A file that nginx's configuration includes.
    type: path
    default: /etc/nginx/conf.d/devpi.conf
  inner_file:
    description:
      - A file of root's that O(site) can include. It sets C($devpi_inner_word) to a random word.
      - Empty, none is made.
    type: path
    default: ""
  manage:
    description:
      - V(package) installs nginx and, before the site is first laid down, switches off the example site that comes with
        it.
      - V(site) needs an nginx, and touches nothing but O(path).
    type: str
    choices: [package, site]
    default: package
  names:
    description: The names and addresses that the certificate is for.
    type: list
    elements: str
    required: true
  certificate:
    description: The certificate that O(site) names. Empty, one is made as C(server.pem) in O(tls_dir).
    type: path
    default: ""
  key:
    description: The key of O(certificate).
    type: path
    default: ""
  tls_dir:
    description:
      - Where the CA is kept, C(ca.pem) for everybody to read and C(ca.key) for root alone, and the certificate with its
        key, C(server.pem).
    type: path
    default: /etc/ssl/devpi
  server_dir:
    description: The directory of devpi-server's data. The group reads C(+files) in there.
    type: path
    required: true
  server_user:
    description: The account that devpi-server runs as. Of files that belong to others nothing is changed.
    type: str
    required: true
  group:
    description: The group of nginx's workers.
    type: str
    default: www-data
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Serve a page through nginx
  wheelhouse.devpi.nginx_front:
    names: [index.example.com]
    server_dir: /var/lib/devpi
    server_user: devpi
    site: |
      server {
          listen 443 ssl;
          server_name index.example.com;
          ssl_certificate /etc/ssl/devpi/server.pem;
          ssl_certificate_key /etc/ssl/devpi/server.pem;
          location / {
              proxy_pass http://127.0.0.1:3141;
          }
      }
"""

RETURN = r"""
made:
  description: What was missing or different and is as given now.
  returned: success
  type: list
  elements: str
  sample: [nginx, /etc/ssl/devpi/ca.pem, /etc/ssl/devpi/server.pem, /etc/nginx/conf.d/devpi.conf]
action:
  description: What was done to nginx.
  returned: success
  type: str
  sample: reloaded
"""

import grp
import os
import pwd
import secrets
import time
from contextlib import suppress
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._apt import Installation
from ansible_collections.wheelhouse.devpi.plugins.module_utils._authority import Authority, AuthorityError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._kept_file import KeptFile
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import PathError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._process import started_at
from ansible_collections.wheelhouse.devpi.plugins.module_utils._programs import SYSTEM_PROGRAMS
from ansible_collections.wheelhouse.devpi.plugins.module_utils._release_files import ReleaseFiles, ReleaseFilesError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._writable import sentence

# Where Debian has them
NGINX = Path("/usr/sbin/nginx")
LOGROTATE = Path("/usr/sbin/logrotate")
OPENSSL = Path("/usr/bin/openssl")
EXAMPLE_SITE = Path("/etc/nginx/sites-enabled/default")
PID = Path("/run/nginx.pid")
ERROR_LOG = Path("/var/log/nginx/error.log")
WITH_SYSTEMD = Path("/run/systemd/system").is_dir()
START = ["systemctl", "enable", "--quiet", "--now", "nginx"] if WITH_SYSTEMD else ["nginx"]


class Front:
    """The steps, each of which does nothing where its result is there.

    :param module: the running module; its check mode is obeyed.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.made: list[str] = []
        self.action = ""
        self.certified = False
        given = [module.params["certificate"], module.params["key"]]
        self.certificates = given if module.params["certificate"] else [f"{module.params['tls_dir']}/server.pem"]
        self.diff: dict[str, str] = {}
        root = (os.geteuid(), os.getegid())
        self.file = KeptFile(module.params["path"], module.params["site"], 0o644, root, conceals=lambda _line: False)
        # It is there from before the file is replaced until nginx runs with the new one, and not longer.
        self.former = self.file.path.with_name(self.file.path.name + ".former")

    def converge(self) -> None:
        """Do what is missing, in the order in which each step needs the one before."""
        self._install()
        if not self.module.params["certificate"]:
            self._certify()
        self._release_files()
        self._inner_file()
        self._site()

    def _install(self) -> None:
        wanted = {} if self.module.params["certificate"] else {"openssl": OPENSSL}
        if self.module.params["manage"] == "package":
            wanted.update(nginx=NGINX, logrotate=LOGROTATE)
        missing = [package for package, program in wanted.items() if not program.exists()]
        self.made += missing
        if missing and not self.module.check_mode:
            failed = Installation(missing).wait()
            if failed:
                self.module.fail_json(msg=failed)

    def _certify(self) -> None:
        directory = self.module.params["tls_dir"]
        changed = [f"{directory}/server.pem"]
        if OPENSSL.exists() or not self.module.check_mode:
            changed = Authority(directory, self.module.params["names"]).converge(self.module.check_mode)
        self.certified = bool(changed)
        self.made += changed

    def _release_files(self) -> None:
        server_dir = self.module.params["server_dir"]
        top = f"{server_dir}/+files"
        try:
            account = pwd.getpwnam(self.module.params["server_user"])
        except KeyError:
            if not self.module.check_mode:
                raise
            self.made.append(top)
            return
        group = self.module.params["group"]
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError:
            self.module.fail_json(msg=f"group {group!r} is no group on this host; name the one of nginx's workers")
        files = ReleaseFiles(server_dir, account, gid)
        if files.differ:
            self.made.append(top)
            if not self.module.check_mode:
                files.open_to_group()

    def _inner_file(self) -> None:
        path = self.module.params["inner_file"]
        if not path or Path(path).exists():
            return
        self.made.append(path)
        if not self.module.check_mode:
            text = f'map "" $devpi_inner_word {{ default "{secrets.token_hex(32)}"; }}\n'
            KeptFile(path, text, 0o600, self.file.owner, conceals=lambda _line: True).write()

    def _site(self) -> None:
        differs = self.file.differs
        if differs:
            self.made.append(str(self.file.path))
            self.diff = self.file.diff()
        workers = _workers()
        if not workers:
            self.action = "started"
        elif differs or self.certified or self.former.exists() or self._newer_input(workers):
            self.action = "reloaded"
        if self.module.check_mode or not self.action:
            return
        if self.module.params["manage"] == "package" and not self.file.path.exists():
            with suppress(FileNotFoundError):
                EXAMPLE_SITE.unlink()
        if differs:
            if not self.former.exists():
                self._keep_former()
            self.file.write()
        self._run(["nginx", "-q", "-t"], "nginx does not accept its configuration")
        if workers:
            self._run(["nginx", "-s", "reload"], "nginx does not reload")
            self._wait(set(workers))
        else:
            self._run(START, "nginx does not start")
        with suppress(FileNotFoundError):
            self.former.unlink()

    def _keep_former(self) -> None:
        """Keep what nginx runs with, an empty file where there was none."""
        text = self.file.path.read_text(encoding="utf-8") if self.file.path.exists() else ""
        KeptFile(str(self.former), text, 0o644, self.file.owner, conceals=lambda _line: False).write()

    def _newer_input(self, workers: list[int]) -> bool:
        read = [self.file.path, *(Path(path) for path in self.certificates)]
        return max(path.stat().st_ctime for path in read) > min(started_at(pid) for pid in workers)

    def _wait(self, old: set[int]) -> None:
        """Wait until no old worker takes requests: nginx keeps them where it cannot do as it is told."""
        for _wait in range(150):
            workers = set(_workers())
            if workers and not workers & old:
                return
            time.sleep(0.1)
        last = "\n".join(ERROR_LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
        self._fail("nginx goes on with its old workers 15 s after it was told to reload", last)

    def _run(self, command: list[str], what: str) -> None:
        rc, out, err = self.module.run_command(command)
        if rc != 0:
            self._fail(what, (err or out).strip())

    def _fail(self, what: str, said: str) -> None:
        path = self.file.path
        consequence = "it goes on as before"
        if self.former.exists():
            text = self.former.read_text(encoding="utf-8")
            if text:
                self.former.replace(path)
            else:
                self.former.unlink()
                with suppress(FileNotFoundError):
                    path.unlink()
            consequence = f"{path} is as it was before, and nginx goes on with it"
        self.module.fail_json(msg=f"{what}; {consequence}:\n{said}")


def _workers() -> list[int]:
    """Return the process ids of nginx's workers without those that end; none where it does not run."""
    try:
        master = int(PID.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return []
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (process / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1]
            title = (process / "cmdline").read_text(encoding="utf-8", errors="replace")
            if int(parent) == master and title.startswith("nginx: worker process") and "shutting down" not in title:
                found.append(int(process.name))
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "path": {"type": "path", "default": "/etc/nginx/conf.d/devpi.conf"},
            "inner_file": {"type": "path", "default": ""},
            "manage": {"type": "str", "choices": ["package", "site"], "default": "package"},
            "names": {"type": "list", "elements": "str", "required": True},
            "certificate": {"type": "path", "default": ""},
            "key": {"type": "path", "default": "", "no_log": False},
            "tls_dir": {"type": "path", "default": "/etc/ssl/devpi"},
            "server_dir": {"type": "path", "required": True},
            "server_user": {"type": "str", "required": True},
            "group": {"type": "str", "default": "www-data"},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = SYSTEM_PROGRAMS
    front = Front(module)
    try:
        front.converge()
    except (AuthorityError, ReleaseFilesError) as error:
        module.fail_json(msg=str(error))
    except PathError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=sentence(error))
    changed = bool(front.made or front.action)
    module.exit_json(changed=changed, made=front.made, action=front.action, diff=front.diff)


if __name__ == "__main__":
    main()
