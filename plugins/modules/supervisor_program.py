#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep programs of supervisor started or stopped, and wait until they answer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: supervisor_program
short_description: Keep programs of supervisor started or stopped, and wait until they answer
version_added: 0.1.0
description:
  - Rereads supervisor's configuration files and applies the changes to these programs only, as C(supervisorctl reread)
    and C(supervisorctl update) do. This restarts each program whose file has changed, and no other.
  - Starts supervisor itself if it does not run. Where systemd manages services, the module also enables supervisor at
    boot; elsewhere it starts supervisord directly.
  - Waits until the programs answer, because supervisor reports a program as running long before that. If a process of
    another account holds a program's port, the module fails.
  - Handles the programs one after the other, so that not all of them are down at the same time.
  - Stops and removes a worker whose file was removed. A worker is a program of supervisor whose name is the name of the
    first program followed by C(-worker-) and a number.
  - If two runs start at once on a host, the second waits for the first.
extends_documentation_fragment:
  - wheelhouse.devpi.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the actions, as RV(actions).
  platform:
    platforms: posix
options:
  programs:
    description:
      - The name of each program with a URL. The file C(/etc/supervisor/conf.d/NAME.conf) with the section
        C([program:NAME]) must exist.
      - The module waits until the URL answers a GET with status 200, without using a proxy. If it does not answer, the
        error shows the last lines of the program's log.
    type: dict
    required: true
  user:
    description: The account that the programs run as.
    type: str
    default: root
  state:
    description: Whether the programs run.
    type: str
    choices: [started, stopped]
    default: started
  ready_timeout:
    description: How many seconds to wait for each program to answer.
    type: int
    default: 60
  changed_files:
    description:
      - The names of the programs whose files an earlier task changed or removed. Check mode needs them, because in
        check mode the files themselves do not change.
    type: list
    elements: str
    default: []
  restart:
    description:
      - Restart running programs even if their files have not changed. Use this if something else that they read has
        changed, such as a configuration that somebody had edited by hand.
    type: bool
    default: false
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Write the program's file
  ansible.builtin.copy:
    dest: /etc/supervisor/conf.d/devpi.conf
    mode: "0600"
    content: |
      [program:devpi]
      user=devpi
      command=/opt/devpi/venv/bin/devpi-server
      stdout_logfile=/var/log/supervisor/devpi.log
      redirect_stderr=true
  register: file

- name: Keep devpi-server running
  wheelhouse.devpi.supervisor_program:
    programs:
      devpi: http://127.0.0.1:3141/+api
    user: devpi
    changed_files: "{{ ['devpi'] if file is changed else [] }}"
"""

RETURN = r"""
actions:
  description:
    - What was done, in order, each with the program's name. With O(state=started), V(added) and V(changed) also start
      the program.
  returned: success
  type: list
  elements: str
  sample: ["devpi: changed"]
seconds_to_ready:
  description: How many seconds the first program took to answer. It is about 0 if the program ran already, and 0 if it
    is stopped.
  returned: success
  type: float
  sample: 1.9
"""

import contextlib
import pwd
import re
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import user_name
from ansible_collections.wheelhouse.devpi.plugins.module_utils._host_lock import HostBusyError, one_at_a_time
from ansible_collections.wheelhouse.devpi.plugins.module_utils._listeners import executable_of, is_held_by, listeners_on
from ansible_collections.wheelhouse.devpi.plugins.module_utils._programs import use_system_programs
from ansible_collections.wheelhouse.devpi.plugins.module_utils._supervisord import Supervisord, SupervisordError

RUNS = ("RUNNING", "STARTING", "BACKOFF")
GAVE_UP = ("FATAL", "EXITED", "STOPPED", "UNKNOWN")


class Programs:
    """The programs and what is done to them.

    :param module: the running module; its check mode is obeyed.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.urls: dict[str, str] = module.params["programs"]
        self.started: bool = module.params["state"] == "started"
        self.supervisord = Supervisord()
        self.actions: list[str] = []
        self.seconds_to_ready = 0.0

    def converge(self) -> None:
        """Do what is needed, and wait for the answers; in check mode predict the same, without supervisor too."""
        pending = self._pending()
        first = next(iter(self.urls))
        for name, url in self.urls.items():
            self._converge_program(name, pending.get(name, ""))
            if self.started and not self.module.check_mode:
                waited = self._wait(name, url)
                self.seconds_to_ready = waited if name == first else self.seconds_to_ready
        worker = re.compile(rf"{re.escape(first)}-worker-[0-9]+")
        for name in sorted(pending):
            if pending[name] == "removed" and name not in self.urls and worker.fullmatch(name):
                self._perform(name, "removed")

    def _pending(self) -> dict[str, str]:
        """Return what ``update`` would do with which program."""
        if not self.supervisord.answers():
            self.actions.append("supervisor: started")
            if self.module.check_mode:
                return dict.fromkeys(self.urls, "added")
            self._start_supervisor()
        pending = self.supervisord.pending()
        if self.module.check_mode:
            known = self.supervisord.programs()
            for name in self.module.params["changed_files"]:
                pending[name] = "added" if name not in known else "changed" if name in self.urls else "removed"
        return pending

    def _converge_program(self, name: str, pending: str) -> None:
        if pending:
            # A program with autostart is started by this.
            self._perform(name, pending)
            if self.module.check_mode:
                return
        running = self.supervisord.info(name)["statename"] in RUNS
        if running != self.started and pending:
            self._apply(name, "started" if self.started else "stopped")
        elif running != self.started:
            self._perform(name, "started" if self.started else "stopped")
        elif self.started and self.module.params["restart"] and not pending:
            self._perform(name, "restarted")

    def _perform(self, name: str, action: str) -> None:
        self.actions.append(f"{name}: {action}")
        if not self.module.check_mode:
            self._apply(name, action)

    def _apply(self, name: str, action: str) -> None:
        if action in ("stopped", "restarted"):
            self.supervisord.stop(name)
        if action in ("started", "restarted"):
            self.supervisord.start(name)
        if action in ("added", "changed", "removed"):
            self.supervisord.update(name, action)

    def _start_supervisor(self) -> None:
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

    def _wait(self, name: str, url: str) -> float:
        """Return the seconds until the program answered; fail with its log's last lines where it does not."""
        start = time.monotonic()
        while True:
            reason = self._check_listener(name, url) or _failure_of(url)
            waited = time.monotonic() - start
            if not reason:
                return round(waited, 1)
            info = self.supervisord.info(name)
            if info["statename"] in GAVE_UP or waited > self.module.params["ready_timeout"]:
                self.module.fail_json(
                    msg=f"program {name} did not answer GET {url} within {waited:.0f} s ({reason}); "
                    f"supervisor calls it {info['statename']} ({info['spawnerr'] or info['description']}). "
                    f"The last lines of {info['stdout_logfile']}:\n{_tail(info['stdout_logfile'])}"
                )
            time.sleep(0.1)

    def _check_listener(self, name: str, url: str) -> str:
        """Return why the URL must not be asked yet; nothing where it may. Fail where another account holds the port.

        The tasks after this one send passwords to that port.
        """
        address = urlsplit(url)
        listeners = listeners_on(address.hostname or "", address.port or 80)
        uid = pwd.getpwnam(self.module.params["user"]).pw_uid
        pid = self.supervisord.info(name)["pid"]
        executables = executable_of(pid) if pid else []
        for listener in listeners:
            if listener.accounts != {uid}:
                self.module.fail_json(
                    msg=f"port {address.port} is held by process {listener.described}, and "
                    f"program {name}, which runs as {user_name(uid)}, cannot have it; stop that process, or give "
                    "the program another port, and run again"
                )
            if not is_held_by(listener, uid, *executables):
                return f"process {listener.holder} listens there, which is not the program's own"
        return "" if listeners else f"nothing listens on port {address.port}"


def _failure_of(url: str) -> str:
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
            "programs": {"type": "dict", "required": True},
            "user": {"type": "str", "default": "root"},
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "ready_timeout": {"type": "int", "default": 60},
            "changed_files": {"type": "list", "elements": "str", "default": []},
            "restart": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    use_system_programs(module)
    programs = Programs(module)
    try:
        with contextlib.nullcontext() if module.check_mode else one_at_a_time():
            programs.converge()
    except (SupervisordError, HostBusyError) as error:
        module.fail_json(msg=f"{error}; see systemctl status supervisor and /var/log/supervisor/supervisord.log")
    except KeyError as error:
        module.fail_json(msg=f"user: {error}; make the account first")
    diff = {"before": "", "after": "".join(f"{action}\n" for action in programs.actions)}
    module.exit_json(
        changed=bool(programs.actions), actions=programs.actions, seconds_to_ready=programs.seconds_to_ready, diff=diff
    )


if __name__ == "__main__":
    main()
