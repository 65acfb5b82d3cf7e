#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a program of supervisor started or stopped, current, and answering."""

from __future__ import annotations

DOCUMENTATION = r"""
module: supervisor_program
short_description: Keep a program of supervisor started or stopped, current, and answering
version_added: 0.1.0
description:
  - Installs Debian's supervisor where there is none.
  - Keeps the program's file, 0600 and root's, for its environment may have passwords.
  - Rereads supervisor's configuration files and applies what changed for this one program, as C(supervisorctl reread)
    and C(supervisorctl update) do.
  - Restarts the program where a file that it reads is newer than the process, so a run that was interrupted between
    writing a file and restarting is mended by the next.
  - Starts supervisor itself where it does not run, now and for each boot where systemd manages services, and by hand
    elsewhere.
  - Is done only when the program answers; supervisor itself calls a program running long before that.
extends_documentation_fragment:
  - wheelhouse.devpi.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Values of the program's environment are not shown.
  platform:
    platforms: posix
options:
  name:
    description: The program's name, as in C([program:name]).
    type: str
    required: true
  program:
    description: The content of its file, C(/etc/supervisor/conf.d/NAME.conf).
    type: str
    required: true
  state:
    description: Whether it is to run.
    type: str
    choices: [started, stopped]
    default: started
  reads:
    description: Files that the program reads when it starts; one changed since then means a restart.
    type: list
    elements: path
    default: []
  restart:
    description: Restart it in any case. Check mode needs it for files that would have changed by now.
    type: bool
    default: false
  url:
    description: What must answer a GET with status 200 before the module is done. Proxies are not asked.
    type: str
    required: true
  ready_timeout:
    description: How many seconds to wait for that.
    type: int
    default: 60
  log_file:
    description: The program's log; its last lines are part of the error where the program does not answer.
    type: path
    required: true
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Keep devpi-server running
  wheelhouse.devpi.supervisor_program:
    name: devpi
    program: |
      [program:devpi]
      user=devpi
      command=/opt/devpi/venv/bin/devpi-server
      stdout_logfile=/var/log/supervisor/devpi.log
      redirect_stderr=true
    reads:
      - /etc/xdg/devpi-server/devpi-server.yml
    url: http://127.0.0.1:3141/+api
    log_file: /var/log/supervisor/devpi.log
"""

RETURN = r"""
actions:
  description: What was done, in this order.
  returned: success
  type: list
  elements: str
  sample: [added, started]
seconds_to_ready:
  description: How long the program took to answer; 0 where it was running already or is stopped.
  returned: success
  type: float
  sample: 1.9
"""

import os
import re
import time
from pathlib import Path
from typing import Callable
from urllib.error import HTTPError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.wheelhouse.devpi.plugins.module_utils._apt import Installation
from ansible_collections.wheelhouse.devpi.plugins.module_utils._kept_file import KeptFile
from ansible_collections.wheelhouse.devpi.plugins.module_utils._process import started_at
from ansible_collections.wheelhouse.devpi.plugins.module_utils._supervisord import Supervisord, SupervisordError

# Where Debian has them
SUPERVISORD = Path("/usr/bin/supervisord")
PROGRAMS = Path("/etc/supervisor/conf.d")
RUNS = ("RUNNING", "STARTING", "BACKOFF")
ENVIRONMENT = re.compile(r"\s*environment\s*=")
GAVE_UP = ("FATAL", "EXITED", "STOPPED", "UNKNOWN")


class Program:
    """One program of supervisor and what is done to it.

    :param module: the running module; its check mode is obeyed.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.name: str = module.params["name"]
        self.supervisord = Supervisord()
        self.actions: list[str] = []
        path = PROGRAMS / f"{self.name}.conf"
        owner = (os.geteuid(), os.getegid())
        self.file = KeptFile(str(path), module.params["program"], 0o600, owner, conceals=ENVIRONMENT.match)

    def converge(self) -> None:
        """Write the file, reread, update, restart, start or stop, as far as needed."""
        if not SUPERVISORD.exists():
            self._install()
        if self.file.differs and not self.module.check_mode:
            self.file.write()
        try:
            pending = self.supervisord.pending(self.name)
            if self.module.check_mode and self.file.text_differs:
                pending = "changed" if self.supervisord.knows(self.name) else "added"
        except SupervisordError:
            if self.module.check_mode:
                raise
            self._start_supervisor()
            pending = self.supervisord.pending(self.name)
        restart = self.module.params["restart"]
        started = self.module.params["state"] == "started"
        if pending:
            self.actions.append(pending)
            if not self.module.check_mode:
                self.supervisord.update(self.name, pending)
        if self.module.check_mode and pending:
            # What supervisor would do with a program that it does not have, or not like this, is known beforehand.
            self.actions.append("started" if started else "stopped")
            return
        info = self.supervisord.info(self.name)
        running = info["statename"] in RUNS
        if started and not running:
            self._act("started", self.supervisord.start)
        elif started and info["pid"] and not pending and (restart or self._newer_input(info["pid"])):
            if not self.module.check_mode:
                self.supervisord.stop(self.name)
            self._act("restarted", self.supervisord.start)
        elif started and pending:
            self.actions.append("started")
        elif not started and running:
            self._act("stopped", self.supervisord.stop)

    def _install(self) -> None:
        self.actions.append("installed supervisor")
        if not self.module.check_mode:
            failed = Installation(["supervisor"]).wait()
            if failed:
                self.module.fail_json(msg=failed)

    def _start_supervisor(self) -> None:
        self.actions.append("supervisor started")
        if Path("/run/systemd/system").is_dir():
            command = ["systemctl", "enable", "--now", "supervisor"]
        else:
            command = ["supervisord", "--configuration", "/etc/supervisor/supervisord.conf"]
        rc, out, err = self.module.run_command(command)
        if rc != 0:
            raise SupervisordError(f"{' '.join(command)} exited with {rc}: {(err or out).strip()}")
        for _wait in range(50):
            if self.supervisord.answers():
                break
            time.sleep(0.1)

    def _act(self, action: str, how: Callable[[str], None]) -> None:
        self.actions.append(action)
        if not self.module.check_mode:
            how(self.name)

    def _newer_input(self, pid: int) -> bool:
        # supervisor itself knows it to the second only
        since = started_at(pid)
        return any(Path(path).exists() and Path(path).stat().st_ctime > since for path in self.module.params["reads"])

    def wait(self) -> float:
        """Return the seconds until the program answered; fail with its log's last lines where it does not."""
        begun = time.monotonic()
        url, timeout = self.module.params["url"], self.module.params["ready_timeout"]
        while True:
            said = _answer(url)
            waited = time.monotonic() - begun
            if not said:
                return round(waited, 1)
            info = self.supervisord.info(self.name)
            if info["statename"] in GAVE_UP or waited > timeout:
                self.module.fail_json(
                    msg=f"program {self.name} does not answer GET {url} after {waited:.0f} s ({said}); "
                    f"supervisor calls it {info['statename']} ({info['spawnerr'] or info['description']}). "
                    f"The last lines of {self.module.params['log_file']}:\n{_tail(self.module.params['log_file'])}"
                )
            time.sleep(0.1)


def _answer(url: str) -> str:
    """Return why the URL does not answer, or nothing where it does."""
    try:
        open_url(url, timeout=5, use_proxy=False, headers={"Accept": "application/json"}).close()
    except HTTPError as error:
        return f"HTTP {error.code}"
    except OSError as error:
        return str(error)
    return ""


def _tail(path: str, lines: int = 15) -> str:
    try:
        return "\n".join(Path(path).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError as error:
        return str(error)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "program": {"type": "str", "required": True, "no_log": True},
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "reads": {"type": "list", "elements": "path", "default": []},
            "restart": {"type": "bool", "default": False},
            "url": {"type": "str", "required": True},
            "ready_timeout": {"type": "int", "default": 60},
            "log_file": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    program = Program(module)
    differed = program.file.differs
    try:
        program.converge()
        wait = module.params["state"] == "started" and not module.check_mode
        seconds = program.wait() if wait else 0.0
    except SupervisordError as error:
        if not module.check_mode:
            module.fail_json(msg=f"{error}; see systemctl status supervisor and /var/log/supervisor/supervisord.log")
        # On a host that has no supervisor yet, the run that this one predicts installs it first.
        program.actions += ["added", "started"] if module.params["state"] == "started" else ["added"]
        seconds = 0.0
    diff = [program.file.diff()] if differed else []
    if program.actions:
        diff.append({"before": "", "after": "".join(f"{program.name}: {action}\n" for action in program.actions)})
    module.exit_json(
        changed=differed or bool(program.actions), actions=program.actions, seconds_to_ready=seconds, diff=diff
    )


if __name__ == "__main__":
    main()
