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
  - Keeps the program's file, 0600 and root's, for its environment may have passwords. It takes its place only after
    supervisor's own parser has accepted it beside all other files; somebody else's file of that name is left alone.
  - Rereads supervisor's configuration files and applies what changed for this one program, as C(supervisorctl reread)
    and C(supervisorctl update) do.
  - Restarts the program where a file that it reads is newer than the process, so a run that was interrupted between
    writing a file and restarting is mended by the next.
  - Starts supervisor itself where it does not run, now and for each boot where systemd manages services, and by hand
    elsewhere.
  - Is done only when the program answers; supervisor itself calls a program running long before that. A process of
    another account that holds its port is an error.
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
    description:
      - Files that the program reads when it starts; one changed since then means a restart. So does a link on the way
        to one that was made since then.
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
  workers:
    description:
      - Programs that are kept beside this one, each of a name that begins with NAME-worker-. O(state), O(reads),
        O(restart) and O(ready_timeout) are theirs, too. They come after it, one after the other, so that not all of
        them are down at once.
      - Those of such a name that are not listed are stopped and their files removed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The program's name.
        type: str
        required: true
      program:
        description: The content of its file.
        type: str
        required: true
      url:
        description: What must answer.
        type: str
        required: true
      log_file:
        description: The program's log.
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
  description: What was done, in this order. With the program's name before it where that is a worker.
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
import pwd
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Mapping
from urllib.error import HTTPError
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _program_file
from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import user_name
from ansible_collections.wheelhouse.devpi.plugins.module_utils._apt import Installation
from ansible_collections.wheelhouse.devpi.plugins.module_utils._kept_file import KeptFile
from ansible_collections.wheelhouse.devpi.plugins.module_utils._listeners import executable_of, held_by, listeners_on
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import PathError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._process import started_at
from ansible_collections.wheelhouse.devpi.plugins.module_utils._programs import use_system_programs
from ansible_collections.wheelhouse.devpi.plugins.module_utils._supervisord import (
    Supervisord,
    SupervisordError,
    refusal,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._writable import sentence

# Where Debian has it
SUPERVISORD = Path("/usr/bin/supervisord")
RUNS = ("RUNNING", "STARTING", "BACKOFF")
ENVIRONMENT = re.compile(r"\s*environment\s*=")
GAVE_UP = ("FATAL", "EXITED", "STOPPED", "UNKNOWN")


class Program:
    """One program of supervisor and what is done to it.

    :param module: the running module; its check mode is obeyed.
    :param params: its options, of which a worker has its own ``name``, ``program``, ``url`` and ``log_file``.
    """

    def __init__(self, module: AnsibleModule, params: Mapping[str, Any]) -> None:
        self.module = module
        self.params = params
        self.name: str = params["name"]
        self.supervisord = Supervisord()
        self.actions: list[str] = []
        path = _program_file.PROGRAMS / f"{self.name}.conf"
        if not _program_file.is_ours(path):
            module.fail_json(
                msg=f"{path} is somebody else's program, and was left as it is; choose another name than {self.name}, "
                "or move that file away"
            )
        owner = (os.geteuid(), os.getegid())
        self.file = KeptFile(str(path), params["program"], 0o600, owner, conceals=ENVIRONMENT.match)
        self.differed = self.file.differs
        self.seconds_to_ready = 0.0

    def converge(self) -> None:
        """Do what is needed, and wait for the answer; on a host that has no supervisor yet, predict the same."""
        started = self.params["state"] == "started"
        try:
            self._converge()
            if started and not self.module.check_mode:
                self.seconds_to_ready = self._wait()
        except SupervisordError:
            if not self.module.check_mode:
                raise
            self.actions += ["added", "started"] if started else ["added"]

    def _converge(self) -> None:
        """Write the file, reread, update, restart, start or stop, as far as needed."""
        if not SUPERVISORD.exists():
            self._install()
        if self.file.differs and not self.module.check_mode:
            self.file.write(self._validate)
        try:
            pending = self._reread()
            if self.module.check_mode and self.file.text_differs:
                pending = "changed" if self.supervisord.knows(self.name) else "added"
        except SupervisordError:
            if self.module.check_mode or self.supervisord.answers():
                raise
            self._start_supervisor()
            pending = self._reread()
        restart = self.params["restart"]
        started = self.params["state"] == "started"
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

    def _validate(self, draft: str) -> None:
        """Have supervisor's own parser read the draft with all other files; fail where it would not."""
        environment = self.supervisord.environment()
        said = refusal(_program_file.MAIN_FILE, self.file.path, draft, SUPERVISORD, environment)
        if not said:
            return
        without = refusal(_program_file.MAIN_FILE, self.file.path, "", SUPERVISORD, environment)
        blame = (
            f"supervisor cannot read its configuration, with or without {self.file.path}; mend that"
            if without
            else f"supervisor would not start with {self.file.path} as it was to be, so it was left as it is"
        )
        raise SupervisordError(f"{blame}. It said:\n{without or said}\n")

    def _reread(self) -> str:
        try:
            return self.supervisord.pending(self.name)
        except SupervisordError:
            if self.differed and not self.module.check_mode and self.supervisord.answers():
                # It runs and does not take what its parser took, so it gets back what it took before.
                self.file.put_back()
            raise

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
        try:
            since = started_at(pid)
        except OSError:
            # It has just ended. What supervisor starts in its place reads all anew.
            return False
        return any(_changed_since(Path(path), since) for path in self.params["reads"])

    def _wait(self) -> float:
        """Return the seconds until the program answered; fail with its log's last lines where it does not."""
        begun = time.monotonic()
        url, timeout = self.params["url"], self.params["ready_timeout"]
        while True:
            said = self._stranger(url) or _answer(url)
            waited = time.monotonic() - begun
            if not said:
                return round(waited, 1)
            info = self.supervisord.info(self.name)
            if info["statename"] in GAVE_UP or waited > timeout:
                self.module.fail_json(
                    msg=f"program {self.name} does not answer GET {url} after {waited:.0f} s ({said}); "
                    f"supervisor calls it {info['statename']} ({info['spawnerr'] or info['description']}). "
                    f"The last lines of {self.params['log_file']}:\n{_tail(self.params['log_file'])}"
                )
            time.sleep(0.1)

    def _stranger(self, url: str) -> str:
        """Return why nobody is to be asked yet; fail where another account holds the program's port.

        What follows sends passwords there.
        """
        address = urlsplit(url)
        listeners = listeners_on(address.hostname or "", address.port or 80)
        uid = _uid_of(self.params["program"])
        pid = self.supervisord.info(self.name)["pid"]
        executables = executable_of(pid) if pid else []
        for listener in listeners:
            if listener.accounts != {uid}:
                self.module.fail_json(
                    msg=f"port {address.port} is held by process {listener.described}, and "
                    f"program {self.name}, which runs as {user_name(uid)}, cannot have it; stop that process, or give "
                    "the program another port, and run again"
                )
            if not held_by(listener, uid, *executables):
                return f"process {listener.holder} listens there, and not the program's own"
        return "" if listeners else f"nothing listens on port {address.port}"


def surplus(name: str, wanted: set[str]) -> list[str]:
    """Return the workers of that program which are there, as a file or in supervisor, and not wanted."""
    there = _program_file.workers_of(name)
    with suppress(SupervisordError):
        # One whose file was taken away by a run that was killed then
        worker = re.compile(rf"{re.escape(name)}-worker-[0-9]+")
        there |= {group for group in Supervisord().removed() if worker.fullmatch(group)}
    return sorted(there - wanted)


def remove(name: str) -> None:
    """Take a program's file away, and the program from supervisor, which stops it."""
    with suppress(FileNotFoundError):
        (_program_file.PROGRAMS / f"{name}.conf").unlink()
    supervisord = Supervisord()
    pending = supervisord.pending(name)
    if pending:
        supervisord.update(name, pending)


def _changed_since(path: Path, since: float) -> bool:
    """Whether what is at the path, or a link on the way there, was changed or made after that."""
    try:
        links = [each for each in (path, *path.parents) if each.is_symlink()]
        return path.stat().st_ctime > since or any(link.lstat().st_ctime > since for link in links)
    except OSError:
        # An account that can change a link on the way may have it lead nowhere, or to itself.
        return False


def _uid_of(program: str) -> int:
    """Return the account that the program runs as: the one that its file names, or root."""
    named = re.search(r"^user\s*=\s*(\S+)", program, re.MULTILINE)
    if named is None:
        return os.geteuid()
    try:
        return int(named.group(1)) if named.group(1).isdigit() else pwd.getpwnam(named.group(1)).pw_uid
    except KeyError:
        raise SupervisordError(f"this host has no account {named.group(1)}, which the program runs as") from None


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
            "workers": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "program": {"type": "str", "required": True, "no_log": True},
                    "url": {"type": "str", "required": True},
                    "log_file": {"type": "path", "required": True},
                },
            },
        },
        supports_check_mode=True,
    )
    use_system_programs(module)
    shared = module.params
    actions: list[str] = []
    try:
        programs = [Program(module, shared)]
        programs += [Program(module, {**shared, **worker}) for worker in shared["workers"]]
        for program in programs:
            program.converge()
            label = "" if program is programs[0] else f"{program.name}: "
            actions += [label + action for action in program.actions]
        gone = surplus(shared["name"], {program.name for program in programs})
        for name in gone:
            actions.append(f"{name}: removed")
            if not module.check_mode:
                remove(name)
    except SupervisordError as error:
        module.fail_json(msg=f"{error}; see systemctl status supervisor and /var/log/supervisor/supervisord.log")
    except PathError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=sentence(error))
    diff = [program.file.diff() for program in programs if program.differed]
    if actions:
        name = shared["name"]
        lines = [action if action.startswith(f"{name}-worker-") else f"{name}: {action}" for action in actions]
        diff.append({"before": "", "after": "".join(f"{line}\n" for line in lines)})
    changed = bool(actions) or any(program.differed for program in programs)
    module.exit_json(changed=changed, actions=actions, seconds_to_ready=programs[0].seconds_to_ready, diff=diff)


if __name__ == "__main__":
    main()
