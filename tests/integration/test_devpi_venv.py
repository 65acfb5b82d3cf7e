"""The module devpi_venv: real environments, from a directory, from an index of one's own, and after interruptions."""

from __future__ import annotations

import functools
import http.server
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

LOCKS = Path(__file__).parents[2] / "roles" / "venv" / "files"
# Nothing listens there, so whoever asks the network fails at once.
NO_NETWORK = dict.fromkeys(
    ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9"
)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A directory with all that the locks name, as a person takes it along to a network without an index."""
    directory = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    locks = [argument for name in ("devpi.lock", "devpi-tokens.lock") for argument in ("-r", LOCKS / name)]
    subprocess.run([*command, "--require-hashes", *locks, "-d", directory], check=True)
    return directory


class Environment:
    """One environment that the module is to make."""

    def __init__(self, path: Path, devpi) -> None:
        self.path = path
        self.devpi = devpi

    def run(self, check: bool = False, **options):
        arguments = {
            "path": str(self.path),
            "python": sys.executable,
            "requirements": (LOCKS / "devpi.lock").read_text(),
            "installer": (LOCKS / "uv.lock").read_text(),
            "environment": NO_NETWORK,
            **options,
        }
        return self.devpi.run("devpi_venv", arguments, check)

    def python(self, code: str) -> str:
        return subprocess.check_output([self.path / "bin" / "python", "-c", code], text=True).strip()


@pytest.fixture
def environment(tmp_path, devpi):
    return Environment(tmp_path / "venv", devpi)


def test_plugin_is_one_that_the_server_finds(environment, wheels):
    """It comes with the environment, changes as its source does, and goes as a package does that is no longer named."""
    code = (
        "import importlib.metadata as m; named = m.distribution('devpi-shelf').entry_points; "
        "print([each.load().LABEL for each in named if each.group == 'devpi_server'])"
    )
    plugins = {"devpi_shelf": "LABEL = 'new'\n"}
    assert environment.run(find_links=str(wheels), plugins=plugins)["actions"] == ["made"]
    assert environment.python(code) == "['new']"
    assert not environment.run(find_links=str(wheels), plugins=plugins)["changed"]

    plugins = {"devpi_shelf": "LABEL = 'changed'\n"}
    assert environment.run(find_links=str(wheels), plugins=plugins)["actions"] == ["upgraded"]
    assert environment.python(code) == "['changed']"

    assert environment.run(find_links=str(wheels))["actions"] == ["upgraded"]
    assert [*environment.path.glob("lib/python3*/site-packages/devpi_shelf*")] == []


def test_from_a_directory_without_a_network(environment, wheels):
    predicted = environment.run(check=True, find_links=str(wheels))
    assert predicted["actions"] == ["made"]
    assert not environment.path.exists()
    assert environment.run(find_links=str(wheels))["actions"] == ["made"]
    assert environment.python("import devpi_server, devpi_web, devpi, twine; print('all')") == "all"
    assert not environment.run(find_links=str(wheels))["changed"]

    # Another lock means another content: one package less here.
    lock = (LOCKS / "devpi.lock").read_text()
    without = re.sub(r"^twine==.*?(?=^\S)", "", lock, flags=re.MULTILINE | re.DOTALL)
    assert environment.run(find_links=str(wheels), requirements=without)["actions"] == ["upgraded"]
    assert environment.python("import importlib.util as u; print(u.find_spec('twine'))") == "None"

    # A run that ended before it was done.
    (environment.path / "installed-from").unlink()
    assert environment.run(find_links=str(wheels), requirements=without)["actions"] == ["made"]
    assert environment.python("import devpi_server; print('there')") == "there"


def test_from_an_index_of_ones_own(environment, wheels, tmp_path):
    simple = tmp_path / "index" / "simple"
    for file in wheels.iterdir():
        project = re.sub(r"[-_.]+", "-", file.name.split("-")[0]).lower()
        (simple / project).mkdir(parents=True, exist_ok=True)
        (simple / project / file.name).symlink_to(file)
        with (simple / project / "index.html").open("a") as page:
            page.write(f'<a href="{file.name}">{file.name}</a>\n')
    handler = functools.partial(Quiet, directory=str(simple.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/simple"
        environment_of_installer = {**NO_NETWORK, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
        assert environment.run(index_url=url, environment=environment_of_installer)["actions"] == ["made"]
        server.shutdown()
    assert environment.python("import devpi_server; print('there')") == "there"


def test_a_wheel_with_another_content_is_refused(environment, wheels, tmp_path):
    forged = tmp_path / "wheels"
    forged.mkdir()
    for file in wheels.iterdir():
        (forged / file.name).symlink_to(file)
    twine = next(forged.glob("twine-*.whl"))
    content = twine.read_bytes()
    twine.unlink()
    twine.write_bytes(content + b"\0")
    said = environment.run(find_links=str(forged))
    assert said["failed"]
    assert "twine" in said["msg"]
    assert not (environment.path / "installed-from").exists()


def test_a_lock_that_lacks_a_dependency_is_refused(environment, wheels):
    lock = (LOCKS / "devpi.lock").read_text()
    without = re.sub(r"^waitress==.*?(?=^\S)", "", lock, flags=re.MULTILINE | re.DOTALL)
    assert without != lock
    said = environment.run(find_links=str(wheels), requirements=without)
    assert said["failed"]
    assert "waitress" in said["msg"]


def requirements_of_the_role(directory, devpi, **variables):
    """What role venv hands to the module."""
    role = LOCKS.parent
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    given = {**defaults, "role_path": str(role), **variables}
    task = {"ansible.builtin.copy": {"content": "{{ __devpi_venv_requirements }}", "dest": str(directory / "lock")}}
    files = [str(role.parent / "common" / "defaults" / "main.yml"), str(role / "vars" / "main.yml")]
    play = {"hosts": "localhost", "gather_facts": False, "vars": given, "vars_files": files, "tasks": [task]}
    (directory / "play.yml").write_text(json.dumps([play]))
    command = [Path(sys.executable).with_name("ansible-playbook"), directory / "play.yml", "-i", "localhost,"]
    local = ["-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    subprocess.run([*command, *local], env=devpi.environment(), check=True, capture_output=True)
    return (directory / "lock").read_text()


def test_with_the_plugin_for_tokens_when_it_is_asked_for(environment, wheels, tmp_path, devpi):
    without = requirements_of_the_role(tmp_path, devpi)
    assert without.strip() == (LOCKS / "devpi.lock").read_text().strip()
    more = ["another==1 --hash=sha256:0", "third==1 --hash=sha256:1"]
    all_three = requirements_of_the_role(tmp_path, devpi, devpi_venv_tokens=True, devpi_venv_extra_packages=more)
    assert all_three.splitlines()[-2:] == more
    both = requirements_of_the_role(tmp_path, devpi, devpi_venv_tokens=True)
    assert environment.run(find_links=str(wheels), requirements=both)["actions"] == ["made"]
    assert environment.python("import devpi_tokens.server, devpi_web; print('there')") == "there"
    assert not environment.run(find_links=str(wheels), requirements=both)["changed"]
    assert environment.run(find_links=str(wheels), requirements=without)["actions"] == ["upgraded"]
    assert environment.python("import importlib.util as u; print(u.find_spec('devpi_tokens'))") == "None"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
