#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a virtual environment that holds exactly what a lock with hashes names."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_venv
short_description: Keep a virtual environment that holds exactly what a lock with hashes names
version_added: 0.1.0
description:
  - Makes each environment anew, in O(store), under the digest of all that it is made of, as a draft that gets this name
    only when it is whole and O(account) has run devpi-server of it. Then the link O(path) leads to it, in one step.
  - Until then what runs goes on running, and an environment that does not work never takes the place of one that does.
  - Installs with C(uv), which it takes from an index like everything else, by its hash.
  - The environment that the link led to before stays, so that the way back costs nothing. Older ones are removed.
  - What a run that was killed left is removed by the next one; that of a run that is still at work is not.
extends_documentation_fragment:
  - wheelhouse.devpi.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: A lock has thousands of lines of hashes.
options:
  packages:
    description:
      - Debian packages that are missing. That of the interpreter's C(venv) is installed first, the others while the
        environment is made.
    type: list
    elements: str
    default: []
  path:
    description:
      - The link to the environment. It is made with the rights of the account in whose directory it lies.
      - In its place may lie an empty directory; an environment that an earlier release of this collection made there,
        which is removed; or one with devpi-server that was made by hand, which is moved aside and kept. Everything else
        is refused.
    type: str
    required: true
  store:
    description: The directory in which environments are made, which only root may be able to change.
    type: str
    default: /opt/devpi/venvs
  account:
    description:
      - The account that has to be able to run what is in the environment. Where it does not exist yet, an account
        without rights of its own tries.
    type: str
    default: devpi
  python:
    description:
      - The interpreter. V(python3) and V(python3.11) are those of Debian's packages, whatever C(PATH) says; an absolute
        path has to be one that only root can change. It needs the modules venv and ensurepip.
    type: str
    required: true
  requirements:
    description: The lock, as C(uv pip compile --generate-hashes) writes it. It has to name uv.
    type: str
    required: true
  installer:
    description: The part of the lock that names uv, for pip to install it with.
    type: str
    required: true
  plugins:
    description: Plugins of devpi-server to lay beside what the lock names, by the names of their modules.
    type: dict
    default: {}
  index_url:
    description: An index to install from in place of PyPI.
    type: str
    default: ""
  find_links:
    description: A directory or page with distributions. Without O(index_url) it is the only source.
    type: str
    default: ""
  ca_bundle:
    description: A bundle of CA certificates for the installation.
    type: path
    default: ""
  environment:
    description: Environment variables of the installation, such as those that name a proxy.
    type: dict
    default: {}
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Install what a lock names
  wheelhouse.devpi.devpi_venv:
    packages: [python3-venv]
    path: /opt/devpi/venv
    python: python3
    requirements: "{{ lookup('ansible.builtin.file', 'devpi.lock') }}"
    installer: "{{ lookup('ansible.builtin.file', 'uv.lock') }}"
"""

RETURN = r"""
actions:
  description:
    - What was done. V(made) is a new environment; V(linked) one that was there already, as it is after a way back.
    - What was made by hand and moved aside is named with both its places.
  returned: success
  type: list
  elements: str
  sample: [installed python3-venv supervisor, made]
environment:
  description: The environment in O(store), whether it is there already or, in check mode, would be made.
  returned: when the interpreter is there, which it need not be in check mode
  type: str
  sample: /opt/devpi/venvs/0123456789abcdef
"""

import hashlib
import json
import os
import pwd
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._apt import Installation
from ansible_collections.wheelhouse.devpi.plugins.module_utils._draft import Draft
from ansible_collections.wheelhouse.devpi.plugins.module_utils._environment import (
    STAMP,
    STORE,
    account_or_nobody,
    as_account,
    interpreter,
    occupant,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._paths import PathError, exposed, keeper_of
from ansible_collections.wheelhouse.devpi.plugins.module_utils._process import detach
from ansible_collections.wheelhouse.devpi.plugins.module_utils._programs import (
    SYSTEM_PROGRAMS,
    use_system_programs,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._store import Store
from ansible_collections.wheelhouse.devpi.plugins.module_utils._writable import sentence

# Where Debian and CPython keep the pip that venv would install; to run it from there takes half the time.
BUNDLED_PIP = """
import ensurepip, glob, os, sysconfig
folders = [sysconfig.get_config_var("WHEEL_PKG_DIR") or "", os.path.dirname(ensurepip.__file__) + "/_bundled"]
print(next((wheel for folder in folders if folder for wheel in glob.glob(os.path.join(folder, "pip-*.whl"))), ""))
"""
# The real file behind links, and what decides whether an environment of it still works after an upgrade of the system
IDENTITY = """
import os, sys
print(os.path.realpath(sys.executable), sys.implementation.name, "%d.%d" % sys.version_info[:2], os.uname().machine)
"""
# It finds no configuration there, neither the system's nor the account's own, which may be broken.
NOWHERE = ["HOME=/nonexistent", "XDG_CONFIG_HOME=/nonexistent", "XDG_CONFIG_DIRS=/nonexistent"]


class Environment:
    """The environment that the lock, the interpreter and the plugins ask for.

    :param module: the running module; its check mode is obeyed.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        params = module.params
        self.link: str = params["path"]
        self.store = Store(params["store"])
        self.account = account_or_nobody(params["account"])
        self.plugins: dict[str, str] = params["plugins"]
        self.python, identity = self._interpreter()
        content = json.dumps([identity, params["requirements"], params["installer"], self.plugins], sort_keys=True)
        self.stamp = hashlib.sha256(content.encode()).hexdigest()
        self.path = self.store.path / self.stamp[:16]

    def _interpreter(self) -> tuple[str, str]:
        """Return the interpreter and what it is; nothing of it where check mode has not installed it."""
        python = interpreter(self.module.params["python"])
        if not Path(python).exists():
            if self.module.check_mode and self.module.params["packages"]:
                return python, ""
            self.module.fail_json(msg=f"there is no interpreter {python}; name another in devpi_python")
        self._only_root_changes(python)
        identity = self._run([python, "-I", "-S", "-c", IDENTITY]).strip()
        real = identity.partition(" ")[0]
        self._only_root_changes(real)
        return real, identity

    def _only_root_changes(self, python: str) -> None:
        place = exposed(python) if os.geteuid() == 0 else None
        if place is not None:
            self.module.fail_json(
                msg=f"others than root can change {python} in {place}, and root would run it; name an interpreter that "
                "only root can change, or python3 for Debian's"
            )

    @property
    def known(self) -> bool:
        """Whether the interpreter is there, so that the environment's name is known."""
        return bool(self.python and Path(self.python).exists())

    def converge(self) -> list[str]:
        """Return what was done, or nothing where all is as it should be."""
        there = occupant(self.link, str(self.store.path))
        keeper = keeper_of(self.link) if os.geteuid() == 0 else None
        if not self.known:
            return ["made"]
        # The service reads what root makes here, whatever root's own umask is.
        os.umask(0o022)
        actions = []
        seen = self._seen()
        if seen is None or not self._works():
            actions.append("made")
            if not self.module.check_mode:
                self._make(seen)
        elif there.environment != self.path.name:
            actions.append("linked")
        if there.environment != self.path.name:
            actions += self._take_place(there.kind, keeper)
        if not self.module.check_mode:
            self.store.remove_leftovers(self.link, keeper)
        return actions

    def _take_place(self, kind: str, keeper: pwd.struct_passwd | None) -> list[str]:
        if self.module.check_mode:
            return [f"moved {self.link} aside"] if kind == "foreign" else []
        moved = self.store.link(self.link, self.path.name, keeper)
        return [f"moved {self.link} to {moved}"] if moved else []

    def _seen(self) -> os.stat_result | None:
        try:
            return self.path.lstat()
        except FileNotFoundError:
            return None

    def _works(self) -> bool:
        """Whether the account can run what is there; it was tried as a whole when it was made."""
        if not (self.path / STAMP).is_file():
            return False
        command = [str(self.path / "bin" / "python"), "-I", "-c", "import devpi_server"]
        return self._said([*as_account(self.account), *command])[0] == 0

    def _make(self, broken: os.stat_result | None) -> None:
        with self.store.draft() as draft:
            draft.path.chmod(0o755)
            self._fill(draft)
            (draft.path / STAMP).write_text(f"{self.stamp}\n", encoding="utf-8")
            self._try(draft.path)
            self.store.publish(draft, self.path.name, broken)
        # The service cannot write bytecode here. Nothing waits for this: without it programs only start slower. Each
        # file of it is made beside and renamed, so that the server may start meanwhile.
        compileall = ["-I", "-m", "compileall", "-q", str(self.path / "lib")]
        detach(["nice", "-n", "19", str(self.path / "bin/python"), *compileall])

    def _fill(self, draft: Draft) -> None:
        python = [self.python, "-I", "-S"]
        wheel = self._run([*python, "-c", BUNDLED_PIP]).strip()
        without = ["--without-pip"] if wheel else []
        self._run([*python, "-m", "venv", *without, "--prompt", "devpi", str(draft.path)])
        self._make_movable(draft.path)
        locked = draft.path / "uv.lock"
        locked.write_text(self.module.params["installer"], encoding="utf-8")
        pip = ["-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "install", "--quiet", "--no-compile"]
        self._run(
            [str(draft.path / "bin/python"), *pip, "--no-deps", "--require-hashes", "--requirement", str(locked)],
            {"PYTHONPATH": wheel} if wheel else {},
            draft,
        )
        self._install(draft)

    def _make_movable(self, path: Path) -> None:
        # uv then writes scripts that look for their interpreter beside themselves.
        configuration = path / "pyvenv.cfg"
        with configuration.open("a", encoding="utf-8") as file:
            file.write("relocatable = true\n")
        for script in (configuration, *path.glob("bin/[aA]ctivate*")):
            text = script.read_text(encoding="utf-8")
            script.write_text(text.replace(str(path), str(self.path)), encoding="utf-8")

    def _install(self, draft: Draft) -> None:
        path = draft.path
        locked = path / "devpi.lock"
        locked.write_text(self.module.params["requirements"], encoding="utf-8")
        no_index = ["--no-index"] if self.module.params["find_links"] and not self.module.params["index_url"] else []
        self._run(
            [
                *(str(path / "bin/uv"), "pip", "install", "--quiet", "--no-config", "--no-cache"),
                *("--python", str(path / "bin/python"), "--exact", *no_index),
                *("--no-deps", "--require-hashes", "--requirement", str(locked)),
            ],
            draft=draft,
        )
        # The lock names every dependency, so they are not looked for; what it lacks all the same comes out here.
        self._run([str(path / "bin/uv"), "pip", "check", "--quiet", "--python", str(path / "bin/python")])
        # uv leaves its lock behind for everybody to write.
        (path / ".lock").unlink(missing_ok=True)
        for site_packages in path.glob("lib/python3*/site-packages"):
            for name, source in self.plugins.items():
                _lay_plugin(site_packages, name, source)

    def _try(self, path: Path) -> None:
        """Let the account run the server's own program, which loads all of it and of its plugins."""
        variables = ["/usr/bin/env", "-i", f"PATH={SYSTEM_PROGRAMS['PATH']}", "LC_ALL=C.UTF-8", *NOWHERE]
        command = [*as_account(self.account), *variables, str(path / "bin/devpi-server"), "--version"]
        rc, out, err = self._said(command)
        if rc != 0:
            self.module.fail_json(
                msg=f"the account {self.account.pw_name} cannot run devpi-server of the new environment, so "
                f"{self.link} is left as it was:\n{_last(out + err)}"
            )

    def _run(self, command: list[str], more: dict[str, str] | None = None, draft: Draft | None = None) -> str:
        variables = {**self._variables(), **(more or {})}
        # A program that goes on after this module was killed keeps its draft from being taken for a leftover.
        keeps = [draft.descriptor] if draft else None
        rc, out, err = self._said(command, environ_update=variables, pass_fds=keeps)
        if rc != 0:
            self.module.fail_json(
                msg=f"{Path(command[0]).name} could not make a new environment, so {self.link} is left as it was, and "
                f"the next run begins anew:\n{_last(out + err)}"
            )
        return str(out)

    def _said(self, command: list[str], **options: Any) -> tuple[int, str, str]:
        # As it stands: a path may have a dollar in it.
        said = self.module.run_command(command, cwd="/", umask=0o022, expand_user_and_vars=False, **options)
        return int(said[0]), str(said[1]), str(said[2])

    def _variables(self) -> dict[str, str]:
        params = self.module.params
        variables: dict[str, str] = {}
        if params["ca_bundle"]:
            variables.update(PIP_CERT=params["ca_bundle"], SSL_CERT_FILE=params["ca_bundle"])
        if params["index_url"]:
            variables.update(PIP_INDEX_URL=params["index_url"], UV_DEFAULT_INDEX=params["index_url"])
        if params["find_links"]:
            # As an address, for pip takes a space and uv a comma for the beginning of another.
            source = params["find_links"]
            source = Path(source).as_uri() if source.startswith("/") else source
            variables.update(PIP_FIND_LINKS=source, UV_FIND_LINKS=source)
            if not params["index_url"]:
                variables.update(PIP_NO_INDEX="1")
        return {**variables, **{name: str(value) for name, value in params["environment"].items()}}


def _last(said: str) -> str:
    return "\n".join(said.strip().splitlines()[-12:])


def _lay_plugin(site_packages: Path, name: str, source: str) -> None:
    # devpi-server finds its plugins by entry points.
    about = f"{name}-1.dist-info"
    files = {
        f"{name}.py": source,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1\n",
        f"{about}/entry_points.txt": f"[devpi_server]\n{name} = {name}\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
    (site_packages / about).mkdir(exist_ok=True)
    for path, content in files.items():
        (site_packages / path).write_text(content, encoding="utf-8")


def _converge(module: AnsibleModule) -> tuple[list[str], str]:
    """Return what was done, and the environment where that is known."""
    try:
        environment = Environment(module)
        return environment.converge(), str(environment.path) if environment.known else ""
    except PathError as error:
        module.fail_json(msg=f"devpi_venv_path: {error}")
    except OSError as error:
        where = error.filename or module.params["store"]
        module.fail_json(
            msg=f"the environment could not be made: {error.strerror} at {where}; {module.params['path']} is left as "
            "it was, and the next run begins anew"
        )
    return [], ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            # No paths to Ansible, which would put something else for ~ and $ in them than the other roles do.
            "path": {"type": "str", "required": True},
            "store": {"type": "str", "default": STORE},
            "account": {"type": "str", "default": "devpi"},
            "python": {"type": "str", "required": True},
            # Nothing secret, but thousands of hashes, which would fill the journal at every run.
            "requirements": {"type": "str", "required": True, "no_log": True},
            "installer": {"type": "str", "required": True, "no_log": True},
            "plugins": {"type": "dict", "default": {}, "no_log": True},
            # An address may have a password in it, as those of proxies in the environment.
            "index_url": {"type": "str", "default": "", "no_log": True},
            "find_links": {"type": "str", "default": "", "no_log": True},
            "ca_bundle": {"type": "path", "default": ""},
            "environment": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    use_system_programs(module)
    packages = module.params["packages"]
    actions = ["installed " + " ".join(packages)] if packages else []
    first = [package for package in packages if package.endswith("-venv")]
    beside = [package for package in packages if package not in first]
    if first and not module.check_mode:
        failed = Installation(first).wait()
        if failed:
            module.fail_json(msg=failed)
    installation = Installation(beside) if beside and not module.check_mode else None
    try:
        done, environment = _converge(module)
    except OSError as error:
        module.fail_json(msg=sentence(error))
    finally:
        # Even where the environment fails, apt-get is not left behind alone.
        failed = installation.wait() if installation else ""
    if failed:
        module.fail_json(msg=failed)
    actions += done
    module.exit_json(changed=bool(actions), actions=actions, **({"environment": environment} if environment else {}))


if __name__ == "__main__":
    main()
