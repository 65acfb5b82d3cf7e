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
  - Makes the environment and installs with C(uv), which it takes from an index like everything else, by its hash.
  - A stamp in the environment says what it was installed from. It goes before a change and comes back after it, so that
    an installation that was interrupted is begun anew by the next run, and one that is complete is left alone.
  - An environment that no longer works, as after an upgrade of the system's Python, is made anew too.
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
    description: The environment. What lies there and was not made by this module is removed.
    type: path
    required: true
  python:
    description: The interpreter, by name or absolute path. It needs the modules venv and ensurepip.
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
  description: What was done; V(made) is a new environment, V(upgraded) one with another lock.
  returned: success
  type: list
  elements: str
  sample: [installed python3-venv supervisor, made]
"""

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._apt import Installation
from ansible_collections.wheelhouse.devpi.plugins.module_utils._process import detach
from ansible_collections.wheelhouse.devpi.plugins.module_utils._writable import sentence

# Where Debian and CPython keep the pip that venv would install; to run it from there takes half the time.
BUNDLED_PIP = """
import ensurepip, glob, os, sysconfig
folders = [sysconfig.get_config_var("WHEEL_PKG_DIR") or "", os.path.dirname(ensurepip.__file__) + "/_bundled"]
print(next((wheel for folder in folders if folder for wheel in glob.glob(os.path.join(folder, "pip-*.whl"))), ""))
"""


class Environment:
    """One virtual environment.

    :param module: the running module; its check mode is obeyed.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.path = Path(module.params["path"])
        self.stamp_file = self.path / "installed-from"
        self.plugins: dict[str, str] = module.params["plugins"]
        content = module.params["requirements"] + module.params["installer"] + "".join(self.plugins.values())
        self.stamp = f"{module.params['python']} {hashlib.sha256(content.encode()).hexdigest()}\n"

    def converge(self) -> str:
        """Return what was done, or nothing where all is as it should be."""
        there = self._stamp_of_a_working_environment()
        if there == self.stamp:
            return ""
        made = there.split(" ")[0] != self.module.params["python"]
        if not self.module.check_mode:
            # The service reads what root makes here, whatever root's own umask is.
            os.umask(0o022)
            self.stamp_file.unlink(missing_ok=True)
            if made:
                self._make()
            self._install()
            self.stamp_file.write_text(self.stamp, encoding="utf-8")
            self._compile()
        return "made" if made else "upgraded"

    def _stamp_of_a_working_environment(self) -> str:
        try:
            stamp = self.stamp_file.read_text(encoding="utf-8")
            works = self.module.run_command([str(self.path / "bin/uv"), "--version"], handle_exceptions=False)[0] == 0
            python = [str(self.path / "bin/python"), "-c", "import devpi_server"]
            works = works and self.module.run_command(python, handle_exceptions=False)[0] == 0
        except OSError:
            return ""
        return stamp if works else ""

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._remove()
        python = self.module.params["python"]
        wheel = self._run([python, "-c", BUNDLED_PIP]).strip()
        self._run([python, "-m", "venv", *(["--without-pip"] if wheel else []), str(self.path)])
        locked = self.path / "uv.lock"
        locked.write_text(self.module.params["installer"], encoding="utf-8")
        pip = ["-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "install", "--quiet", "--no-compile"]
        self._run(
            [str(self.path / "bin/python"), *pip, "--no-deps", "--require-hashes", "--requirement", str(locked)],
            {"PYTHONPATH": wheel} if wheel else {},
        )

    def _remove(self) -> None:
        # Out of the way first: an earlier run's compileall may be at work in it, and then finds nothing more to do.
        aside = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        self.path.rename(aside / self.path.name)
        for _attempt in range(50):
            shutil.rmtree(aside, ignore_errors=True)
            if not aside.exists():
                break
            time.sleep(0.1)

    def _install(self) -> None:
        locked = self.path / "devpi.lock"
        locked.write_text(self.module.params["requirements"], encoding="utf-8")
        no_index = ["--no-index"] if self.module.params["find_links"] and not self.module.params["index_url"] else []
        self._run(
            [
                *(str(self.path / "bin/uv"), "pip", "install", "--quiet", "--no-config", "--no-cache"),
                *("--python", str(self.path / "bin/python"), "--exact", *no_index),
                *("--no-deps", "--require-hashes", "--requirement", str(locked)),
            ]
        )
        # The lock names every dependency, so they are not looked for; what it lacks all the same comes out here.
        self._run([str(self.path / "bin/uv"), "pip", "check", "--quiet", "--python", str(self.path / "bin/python")])
        # uv leaves its lock behind for everybody to write.
        (self.path / ".lock").unlink(missing_ok=True)
        for site_packages in self.path.glob("lib/python3*/site-packages"):
            for name, source in self.plugins.items():
                self._lay_plugin(site_packages, name, source)

    @staticmethod
    def _lay_plugin(site_packages: Path, name: str, source: str) -> None:
        # devpi-server finds its plugins by entry points, and uv needs RECORD to take away what the next lock lacks
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

    def _compile(self) -> None:
        # The service cannot write bytecode here. Nothing waits for this: without it programs only start slower.
        detach(["nice", "-n", "19", str(self.path / "bin/python"), "-m", "compileall", "-q", str(self.path / "lib")])

    def _run(self, command: list[str], more: dict[str, str] | None = None) -> str:
        rc, out, err = self.module.run_command(
            command, environ_update={**self._variables(), **(more or {})}, umask=0o022
        )
        if rc != 0:
            last = "\n".join((out + err).strip().splitlines()[-12:])
            self.module.fail_json(
                msg=f"{Path(command[0]).name} could not install into {self.path}, and the next run begins anew:\n{last}"
            )
        return str(out)

    def _variables(self) -> dict[str, str]:
        params = self.module.params
        variables: dict[str, str] = {}
        if params["ca_bundle"]:
            variables.update(PIP_CERT=params["ca_bundle"], SSL_CERT_FILE=params["ca_bundle"])
        if params["index_url"]:
            variables.update(PIP_INDEX_URL=params["index_url"], UV_DEFAULT_INDEX=params["index_url"])
        if params["find_links"]:
            variables.update(PIP_FIND_LINKS=params["find_links"], UV_FIND_LINKS=params["find_links"])
            if not params["index_url"]:
                variables.update(PIP_NO_INDEX="1")
        return {**variables, **{name: str(value) for name, value in params["environment"].items()}}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "path": {"type": "path", "required": True},
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
        action = Environment(module).converge()
    except OSError as error:
        module.fail_json(msg=sentence(error))
    finally:
        # Even where the environment fails, apt-get is not left behind alone.
        failed = installation.wait() if installation else ""
    if failed:
        module.fail_json(msg=failed)
    actions += [action] if action else []
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
