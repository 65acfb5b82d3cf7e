"""The wheel of the plugins that role venv installs is what the sources make, wherever it is built."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "server_plugins"
FILES = ROOT / "roles" / "venv" / "files"
PLUGINS = sorted(path.stem for path in SOURCES.glob("devpi_*.py"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build as script/wheel does, and as another day and umask would have it."""
    directory = tmp_path_factory.mktemp("built")
    (directory / "devpi_wheelhouse-0.0.1-py3-none-any.whl").touch()
    command = [sys.executable, "-I", str(SOURCES / "backend.py"), str(directory)]
    subprocess.run(command, check=True, umask=0o077, env={"TZ": "Asia/Tokyo"})
    return directory


def test_kept_wheel_and_lock_are_what_the_sources_make(built: Path) -> None:
    names = {path.name for path in FILES.glob("devpi?wheelhouse*")}
    assert {path.name for path in built.iterdir()} == names
    assert len(names) == 2
    for name in names:
        assert (built / name).read_bytes() == (FILES / name).read_bytes(), f"type script/wheel: {name}"


def test_lock_has_the_wheels_hash_and_the_collections_version() -> None:
    [wheel] = FILES.glob("devpi_wheelhouse-*.whl")
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text("utf-8"))["version"]
    assert wheel.name == f"devpi_wheelhouse-{version}-py3-none-any.whl"
    lock = (FILES / "devpi-wheelhouse.lock").read_text("utf-8").splitlines()[-1]
    assert lock == f"devpi-wheelhouse=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def test_every_plugin_is_in_it_and_is_found_by_the_server(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = archive.namelist()
        [points] = [name for name in names if name.endswith("/entry_points.txt")]
        found = archive.read(points).decode().splitlines()
    assert sorted(name for name in names if "/" not in name) == [f"{name}.py" for name in PLUGINS]
    assert found == ["[devpi_server]", *(f"{name} = {name}" for name in PLUGINS)]


def test_pip_takes_it(built: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    where = ["--find-links", str(built), "--target", str(tmp_path)]
    lock = ["--require-hashes", "-r", str(FILES / "devpi-wheelhouse.lock")]
    subprocess.run([*pip, *where, *lock], check=True)
    assert sorted(path.stem for path in tmp_path.glob("*.py")) == PLUGINS


@pytest.mark.parametrize("name", [*PLUGINS, "backend"])
def test_each_source_has_its_licence(name: str) -> None:
    header = (ROOT / "plugins" / "module_utils" / "_paths.py").read_text("utf-8").splitlines()[:3]
    assert (SOURCES / f"{name}.py").read_text("utf-8").splitlines()[:3] == header
