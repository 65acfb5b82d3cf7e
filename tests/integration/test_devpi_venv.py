"""The module devpi_venv: real environments, from a directory, from an index of one's own, and after interruptions."""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import functools
import http.server
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import threading
import time
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
        self.store = path.parent / "venvs"
        self.devpi = devpi

    def run(self, check: bool = False, **options):
        arguments = {
            "path": str(self.path),
            "store": str(self.store),
            # the interpreter of the tests may be one that no other account can run
            "account": pwd.getpwuid(os.geteuid()).pw_name,
            "python": sys.executable,
            "requirements": (LOCKS / "devpi.lock").read_text(),
            "installer": (LOCKS / "uv.lock").read_text(),
            "environment": NO_NETWORK,
            **options,
        }
        return self.devpi.run("devpi_venv", arguments, check)

    def run_and_compile(self, **options):
        """Run the module, and wait for the compiling that it leaves behind: until then the environment is in use."""
        said = self.run(**options)
        for _attempt in range(600):
            if not any(self._runs(process) for process in Path("/proc").glob("[0-9]*")):
                return said
            time.sleep(0.2)
        raise AssertionError(f"a program of {self.store} still runs after two minutes")

    def _runs(self, process: Path) -> bool:
        with contextlib.suppress(OSError):
            return (process / "cmdline").read_bytes().startswith(f"{self.store}/".encode())
        return False

    def names(self) -> list[str]:
        """Return what lies in the store, drafts included."""
        return sorted(path.name for path in self.store.iterdir() if path.name not in (".links", ".lock"))

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
    assert environment.run(find_links=str(wheels), plugins=plugins)["actions"] == ["made"]
    assert environment.python(code) == "['changed']"

    assert environment.run(find_links=str(wheels))["actions"] == ["made"]
    assert [*environment.path.glob("lib/python3*/site-packages/devpi_shelf*")] == []


def test_from_a_directory_without_a_network(environment, wheels):
    predicted = environment.run(check=True, find_links=str(wheels))
    assert predicted["actions"] == ["made"]
    assert not environment.path.exists()
    assert not environment.store.exists()
    assert environment.run(find_links=str(wheels))["actions"] == ["made"]
    assert environment.python("import devpi_server, devpi_web, devpi, twine; print('all')") == "all"
    assert not environment.run(find_links=str(wheels))["changed"]

    # Another lock means another content: one package less here.
    lock = (LOCKS / "devpi.lock").read_text()
    without = re.sub(r"^twine==.*?(?=^\S)", "", lock, flags=re.MULTILINE | re.DOTALL)
    assert environment.run(find_links=str(wheels), requirements=without)["actions"] == ["made"]
    assert environment.python("import importlib.util as u; print(u.find_spec('twine'))") == "None"

    # The way back: what was there before is there still.
    back = environment.run(check=True, find_links=str(wheels))
    assert back["actions"] == ["linked"]
    assert environment.run(find_links=str(wheels)).values == back.values
    assert environment.path.readlink() == Path(back["environment"])
    assert environment.python("import twine; print('there')") == "there"


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
    assert not environment.path.is_symlink()
    assert environment.names() == []


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
    assert environment.run(find_links=str(wheels), requirements=without)["actions"] == ["made"]
    assert environment.python("import importlib.util as u; print(u.find_spec('devpi_tokens'))") == "None"


def test_environment_that_fails_its_trial_never_takes_the_place_of_one_that_works(environment, wheels):
    works = environment.run(find_links=str(wheels))["environment"]
    started = environment.path.lstat()
    said = environment.run(find_links=str(wheels), plugins={"devpi_shelf": "raise RuntimeError('it is broken')"})
    assert said["failed"]
    assert f"so {environment.path} is left as it was" in said["msg"]
    assert "it is broken" in said["msg"]
    assert environment.path.lstat() == started
    assert environment.path.readlink() == Path(works)
    assert environment.names() == [Path(works).name]


def test_environment_that_no_longer_works_is_made_anew(environment, wheels):
    environment.run(find_links=str(wheels))
    [package] = environment.path.glob("lib/python3*/site-packages/devpi_server")
    shutil.rmtree(package)
    assert environment.run(find_links=str(wheels))["actions"] == ["made"]
    assert environment.python("import devpi_server; print('there')") == "there"


def test_only_what_runs_and_the_one_before_stay(environment, wheels):
    made = []
    for content in "abc":
        said = environment.run_and_compile(find_links=str(wheels), plugins={"devpi_shelf": f"LABEL = {content!r}\n"})
        made.append(Path(said["environment"]).name)
    assert environment.names() == sorted(made[1:])


def test_environment_of_another_link_stays(environment, wheels):
    plugins = {"devpi_shelf": "LABEL = 'other'\n"}
    other = environment.run_and_compile(find_links=str(wheels), path=str(environment.path) + "-other", plugins=plugins)
    for content in "abc":
        environment.run_and_compile(find_links=str(wheels), plugins={"devpi_shelf": f"LABEL = {content!r}\n"})
    assert Path(other["environment"], "bin", "devpi-server").exists()
    assert len(environment.names()) == 3


def test_scripts_and_activation_name_no_draft(environment, wheels):
    environment.run(find_links=str(wheels))
    places = [environment.path / "bin", environment.path / "pyvenv.cfg"]
    said = subprocess.run(["grep", "-rIl", "[.]draft", *places], check=False)
    assert said.returncode == 1
    script = f". {environment.path}/bin/activate && command -v devpi && devpi --version"
    said = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[0] == f"{environment.path.readlink()}/bin/devpi"


def test_environment_of_an_earlier_release_is_replaced(environment, wheels):
    (environment.path / "bin").mkdir(parents=True)
    (environment.path / "elsewhere").symlink_to(wheels)
    (environment.path / "pyvenv.cfg").touch()
    (environment.path / "installed-from").write_text("python3 " + 64 * "a" + "\n")
    count = len([*wheels.iterdir()])
    assert environment.run(check=True, find_links=str(wheels))["actions"] == ["made"]
    assert environment.run(find_links=str(wheels))["actions"] == ["made"]
    assert environment.path.is_symlink()
    assert sorted(path.name for path in environment.path.parent.iterdir()) == ["venv", "venvs"]
    assert len([*wheels.iterdir()]) == count


def test_environment_made_by_hand_is_moved_aside_and_kept(environment, wheels):
    (environment.path / "bin").mkdir(parents=True)
    (environment.path / "pyvenv.cfg").touch()
    (environment.path / "bin" / "devpi-server").write_text("by hand")
    taken = environment.path.with_name("venv.before-wheelhouse")
    taken.mkdir()
    kept = environment.path.with_name("venv.before-wheelhouse-2")
    said = environment.run(find_links=str(wheels))
    assert said["actions"] == ["made", f"moved {environment.path} to {kept}"]
    assert (kept / "bin" / "devpi-server").read_text() == "by hand"
    assert environment.path.is_symlink()
    assert not environment.run(find_links=str(wheels))["changed"]


def test_what_is_somebodys_is_left_alone(environment, wheels):
    environment.path.mkdir()
    (environment.path / "thesis.tex").write_text("years of work")
    said = environment.run(find_links=str(wheels))
    assert said["failed"]
    assert "did not make" in said["msg"]
    assert (environment.path / "thesis.tex").read_text() == "years of work"
    assert not environment.store.exists()


def test_what_a_killed_run_left_goes_and_what_a_live_one_makes_stays(environment, wheels):
    environment.store.mkdir()
    dead, live = environment.store / ".environment.dead.draft", environment.store / ".environment.live.draft"
    for draft in (dead, live):
        (draft / "lib").mkdir(parents=True)
    (environment.path.parent / ".venv.dead.link").symlink_to(dead)
    held = os.open(live, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        said = environment.run(find_links=str(wheels))
        assert environment.names() == [live.name, Path(said["environment"]).name]
    finally:
        os.close(held)
    assert not environment.run(find_links=str(wheels))["changed"]
    assert environment.names() == [Path(said["environment"]).name]
    assert sorted(path.name for path in environment.path.parent.iterdir()) == ["venv", "venvs"]


def test_two_runs_at_once_both_end_well(environment, wheels):
    """Of the same environment, and of two different ones."""
    options = [{}, {}, {"plugins": {"devpi_shelf": "LABEL = 'other'\n"}, "path": str(environment.path) + "-other"}]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(environment.run, find_links=str(wheels), **each) for each in options]
    said = [run.result() for run in runs]
    assert [each.values.get("msg", "") for each in said] == ["", "", ""]
    assert environment.names() == sorted({Path(each["environment"]).name for each in said})
    assert len(environment.names()) == 2
    assert environment.python("import devpi_server; print('there')") == "there"


def test_directory_with_any_name_is_one_source(environment, wheels, tmp_path):
    odd = tmp_path / "my wheels, all $HOME of 100%"
    shutil.copytree(wheels, odd)
    assert environment.run(find_links=str(odd))["actions"] == ["made"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
