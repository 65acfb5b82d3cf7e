# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the wheel of the plugins in this directory: a PEP 517 backend with the standard library alone and no network.

The same sources make the same bytes, on every machine and with every Python. So the repository can contain the wheel,
and a test can compare it with the sources.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path
from typing import Any

import tomllib

HERE = Path(__file__).resolve().parent
PLUGINS = "devpi_server"


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None) -> str:
    """Write the wheel into a directory, and return its name.

    :param wheel_directory: where it goes.
    :param config_settings: none are known.
    :param metadata_directory: not used: the metadata are made here.
    """
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = f"{project['name'].replace('-', '_')}-{project['version']}"
    files = {
        f"{module}.py": (HERE / f"{module}.py").read_bytes() for module in project["entry-points"][PLUGINS].values()
    }
    about = f"{name}.dist-info"
    files[f"{about}/METADATA"] = _metadata(project).encode()
    files[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: wheelhouse\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{about}/entry_points.txt"] = _entry_points(project["entry-points"]).encode()
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in sorted(files.items()))
    files[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n".encode()
    wheel = Path(wheel_directory, f"{name}-py3-none-any.whl")
    # Nothing is compressed, because compressors differ, and all files have the same time.
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, content)
    return wheel.name


def _metadata(project: dict[str, Any]) -> str:
    return "".join(
        [
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n",
            f"Summary: {project['description']}\nLicense: {project['license']}\n",
            f"Requires-Python: {project['requires-python']}\n",
            *(f"Requires-Dist: {dependency}\n" for dependency in project["dependencies"]),
        ]
    )


def _entry_points(groups: dict[str, dict[str, str]]) -> str:
    return "".join(
        f"[{group}]\n" + "".join(f"{name} = {module}\n" for name, module in points.items())
        for group, points in groups.items()
    )


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def main() -> None:
    """Build the wheel into a directory, and the lock with its hash, and replace the previous ones."""
    directory = Path(sys.argv[1])
    for old in directory.glob("devpi_wheelhouse-*.whl"):
        old.unlink()
    name = build_wheel(str(directory))
    project, version = name.split("-")[:2]
    digest = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    lock = f"# script/wheel wrote this.\n{project.replace('_', '-')}=={version} --hash=sha256:{digest}\n"
    (directory / "devpi-wheelhouse.lock").write_text(lock, encoding="utf-8")


if __name__ == "__main__":
    main()
