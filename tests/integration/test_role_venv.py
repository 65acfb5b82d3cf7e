"""The tasks of role venv: real environments, from a directory, from an index of one's own, and after interruptions.

What common and preflight do is left out; what they would have seen of the host comes from the same code.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import functools
import hashlib
import http.server
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from conftest import CHECKOUT, Devpi

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLE = CHECKOUT / "roles" / "venv"
LOCK = ROLE / "files" / "devpi.lock"
NO_NETWORK = dict.fromkeys(
    ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9"
)
MADE, POINTED, REMOVED = (
    "Install devpi into a new environment, which takes half a minute, and let the service's account try it",
    "Point devpi_venv_path at the environment",
    "Delete environments that are no longer needed",
)
# Runs in the place of devpi-server, and like it loads the plugins that it finds, but for those of the role itself.
SERVER = """
import importlib.metadata as metadata
def main():
    for plugin in metadata.distributions():
        if plugin.metadata["Name"] == "devpi-shelf":
            [each.load() for each in plugin.entry_points]
    print("6.99")
"""


def wheel(directory: Path, release: str, source: str, entry_points: str, needs: str = "") -> str:
    """Build a wheel of one module, the same each time, and return the requirement that names it with its hash."""
    name, version = release.split("==")
    module, about = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    path = directory / f"{module}-{version}-py3-none-any.whl"
    files = {
        f"{module}.py": source,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": entry_points,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in {**files, f"{about}/RECORD": "".join(f"{file},,\n" for file in files)}.items():
            archive.writestr(zipfile.ZipInfo(file), content)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def server(directory: Path, needs: str = "") -> str:
    return wheel(
        directory, "devpi-server==6.99", SERVER, "[console_scripts]\ndevpi-server = devpi_server:main\n", needs
    )


def download(directory: Path, *locks: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    files = [argument for lock in locks for argument in ("-r", lock)]
    subprocess.run([*command, "--require-hashes", *files, "-d", directory], check=True)


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with all that the locks name, as a person takes it along to a network without an index."""
    directory = tmp_path_factory.mktemp("everything")
    download(directory, LOCK, *(ROLE / "files" / f"devpi-{plugin}.lock" for plugin in ("tokens", "lockdown")))
    return directory


class Wheels(NamedTuple):
    """Few and small ones that an environment can be made of, and locks that name them; with uv takes longer."""

    directory: Path
    lock: Path
    lock_with_uv: Path


@pytest.fixture(scope="session")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("uv")
    download(directory, CHECKOUT / "requirements" / "uv.txt")
    return directory


def wheels_for(directory: Path, uv: Path, needs: str = "") -> Wheels:
    directory.mkdir()
    for file in uv.iterdir():
        (directory / file.name).symlink_to(file)
    lock, lock_with_uv = (directory.parent / f"{directory.name}{each}.lock" for each in ("", "-with-uv"))
    line = f"{server(directory, needs)}\n"
    lock.write_text(line)
    # with what comes before and after it in a lock
    lock_with_uv.write_text(line + (CHECKOUT / "requirements" / "uv.txt").read_text())
    return Wheels(directory, lock, lock_with_uv)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory, uv: Path) -> Wheels:
    return wheels_for(tmp_path_factory.mktemp("small") / "wheels", uv)


class Run(NamedTuple):
    """A run of the role that has ended."""

    code: int
    said: str
    result: dict[str, Any]

    @property
    def changed(self) -> list[str]:
        """The tasks that changed something, as people see it."""
        found, task = [], ""
        for line in self.said.splitlines():
            task = line.split(" : ", 1)[1].rpartition("]")[0] if line.startswith("TASK [venv : ") else task
            found += [task] if line.startswith("changed: ") else []
        return [each for each in found if each != "Copy the collection's plugins for devpi-server"]

    @property
    def name(self) -> str:
        return Path(self.result["environment"]).name


class Environment:
    """One environment that the role is to make."""

    def __init__(self, directory: Path, wheels: Wheels) -> None:
        self.directory = directory
        self.path = directory / "venv"
        self.store = directory / "venvs"
        self.wheels = wheels
        self.numbers = iter(range(1000))

    def shelf(self, source: str) -> dict[str, Any]:
        """Return variables that add a plugin with this source."""
        directory = self.directory / f"shelf-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        if not directory.exists():
            shutil.copytree(self.wheels.directory, directory, symlinks=True)
        requirement = wheel(directory, "devpi-shelf==1", source, "[devpi_server]\nshelf = devpi_shelf\n")
        return {"devpi_venv_find_links": str(directory), "devpi_venv_extra_packages": [requirement]}

    def command(self, *options: str, **variables: Any) -> list[str]:
        number = next(self.numbers)
        roles = self.directory / "roles" / "venv"
        if not roles.exists():
            roles.mkdir(parents=True)
            for part in ("defaults", "files", "tasks", "vars"):
                (roles / part).symlink_to(ROLE / part)
        common = CHECKOUT / "roles" / "common"
        given = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "devpi_venv_path": str(self.path),
            "devpi_venv_lock": str(self.wheels.lock),
            "devpi_venv_find_links": str(self.wheels.directory),
            # the interpreter of the tests may be one that no other account can run
            "devpi_server_user": pwd.getpwuid(os.geteuid()).pw_name,
            "devpi_python": sys.executable,
            "devpi_environment": NO_NETWORK,
            "__devpi_venv_store": str(self.store),
            "__devpi_test_result": {
                "changed": "{{ __devpi_venv_changed }}",
                "environment": "{{ __devpi_venv_directory }}",
            },
            **variables,
        }
        seen = (given["devpi_venv_path"], given["devpi_python"], given["devpi_server_user"])
        if "__devpi_host" not in given:
            given["__devpi_host"] = {"missing_packages": [], "environment": self.facts(*seen)}
        result = {"content": "{{ __devpi_test_result | to_json }}", "dest": str(self.directory / f"{number}.result")}
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars_files": [str(common / "defaults" / "main.yml"), str(common / "vars" / "main.yml")],
            "roles": ["venv"],
            "tasks": [{"ansible.builtin.copy": result, "check_mode": False, "changed_when": False}],
        }
        (self.directory / f"{number}.yml").write_text(json.dumps([play]))
        (self.directory / f"{number}.json").write_text(json.dumps(given))
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        inputs = ["-i", "localhost,", "-e", f"@{self.directory}/{number}.json", f"{self.directory}/{number}.yml"]
        return [program, "--diff", *options, *inputs]

    def facts(self, path: str, python: str, account: str) -> dict[str, Any]:
        code = (
            "import json, subprocess, sys\n"
            "from ansible_collections.wheelhouse.devpi.plugins.module_utils._environment import facts\n"
            "run = lambda command: subprocess.run(command, capture_output=True, text=True, check=False).stdout\n"
            "print(json.dumps(facts(*sys.argv[1:4], run=run, store=sys.argv[4])))\n"
        )
        command = [sys.executable, "-c", code, path, python, account, str(self.store)]
        said = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        return dict(json.loads(said.stdout))

    def environment(self) -> dict[str, str]:
        return {**Devpi.environment(), "ANSIBLE_ROLES_PATH": str(self.directory / "roles"), "ANSIBLE_NOCOLOR": "1"}

    def run(self, *options: str, **variables: Any) -> Run:
        command = self.command(*options, **variables)
        directory, environment = self.directory, self.environment()
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        result = Path(command[-1]).with_suffix(".result")
        return Run(
            done.returncode, done.stdout + done.stderr, json.loads(result.read_text()) if result.exists() else {}
        )

    def deploy(self, *options: str, **variables: Any) -> Run:
        """Run to a good end."""
        run = self.run(*options, **variables)
        assert run.code == 0, run.said
        return run

    def names(self) -> list[str]:
        """Return the environments in the store, drafts included."""
        ours = (".links", ".lock")
        return sorted(
            path.name
            for path in self.store.iterdir()
            if path.name not in ours and not path.name.startswith(".tidy-") and path.suffix != ".inputs"
        )

    def python(self, code: str) -> str:
        return subprocess.check_output([self.path / "bin" / "python", "-c", code], text=True).strip()


@pytest.fixture
def environment(tmp_path: Path, wheels: Wheels) -> Environment:
    return Environment(tmp_path, wheels)


def test_plugin_is_one_that_the_server_finds(environment: Environment) -> None:
    """It comes with the environment, changes as its source does, and goes when it is no longer named."""
    run = environment.deploy(**environment.shelf("LABEL = 'new'\n"))
    assert run.changed == [MADE, POINTED]
    assert environment.python("import devpi_shelf; print(devpi_shelf.LABEL)") == "new"
    assert environment.deploy(**environment.shelf("LABEL = 'new'\n")).changed == []

    assert environment.deploy(**environment.shelf("LABEL = 'changed'\n")).changed == [MADE, POINTED]
    assert environment.python("import devpi_shelf; print(devpi_shelf.LABEL)") == "changed"

    # One more than is kept
    assert environment.deploy("--check").changed == [MADE, POINTED, REMOVED]
    assert len(environment.names()) == 2
    assert environment.deploy().changed == [MADE, POINTED, REMOVED]
    assert [*environment.path.glob("lib/python3*/site-packages/devpi_shelf*")] == []


def test_plugins_of_the_role_are_a_package_that_the_server_finds(environment: Environment) -> None:
    environment.deploy()
    code = (
        "import importlib.metadata as metadata; points = metadata.distribution('devpi-wheelhouse').entry_points; "
        "print(sorted(each.name for each in points))"
    )
    expected = sorted(path.stem for path in (CHECKOUT / "server_plugins").glob("devpi_*.py"))
    assert environment.python(code) == str(expected)


def test_from_a_directory_without_a_network(environment: Environment, everything: Path, tmp_path: Path) -> None:
    real = {"devpi_venv_find_links": str(everything), "devpi_venv_lock": str(LOCK)}
    predicted = environment.deploy("--check", **real)
    assert predicted.changed == [MADE, POINTED]
    assert not environment.path.is_symlink()
    assert not environment.store.exists()
    made = environment.deploy(**real)
    assert made.changed == predicted.changed
    assert made.result == predicted.result
    assert environment.python("import devpi_server, devpi_web, devpi, twine, devpi_access; print('all')") == "all"
    # compiled, for the service cannot write there
    code = "import devpi_server, importlib.util as u; print(u.cache_from_source(devpi_server.__file__))"
    assert Path(environment.python(code)).exists()
    again = environment.deploy(**real)
    assert again.changed == []
    assert again.result == {"changed": False, "environment": made.result["environment"]}

    # Another lock means another content: one package less here.
    without = tmp_path / "without.lock"
    without.write_text(re.sub(r"^twine==.*?(?=^\S)", "", LOCK.read_text(), flags=re.MULTILINE | re.DOTALL))
    other = environment.deploy(**{**real, "devpi_venv_lock": str(without)})
    assert other.changed == [MADE, POINTED]
    assert environment.python("import importlib.util as u; print(u.find_spec('twine'))") == "None"

    # The way back: what was there before is there still.
    back = environment.deploy("--check", **real)
    assert back.changed == [POINTED]
    gone = environment.deploy(**real)
    assert (gone.changed, gone.result) == ([POINTED], back.result)
    assert environment.path.readlink() == Path(gone.result["environment"])
    assert environment.python("import twine; print('there')") == "there"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path, wheels: Wheels) -> Iterator[str]:
    simple = tmp_path / "index" / "simple"
    for file in wheels.directory.iterdir():
        project = re.sub(r"[-_.]+", "-", file.name.split("-")[0]).lower()
        (simple / project).mkdir(parents=True, exist_ok=True)
        (simple / project / file.name).symlink_to(file)
        with (simple / project / "index.html").open("a") as page:
            page.write(f'<a href="{file.name}">{file.name}</a>\n')
    handler = functools.partial(Quiet, directory=str(simple.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{serving.server_port}/simple"
        serving.shutdown()


def test_from_an_index_of_ones_own_without_a_word_of_its_password(environment: Environment, index: str) -> None:
    secrets = {**NO_NETWORK, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", "TOKEN": "CANARY-environment"}
    variables = {
        "devpi_venv_lock": str(environment.wheels.lock_with_uv),
        "devpi_venv_index_url": f"http://somebody:CANARY-url@{index}",
        "devpi_venv_find_links": "",
        "devpi_environment": secrets,
    }
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            seen.update(line for line in command_lines() if "CANARY" in line)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run = environment.run("-vvv", **variables)
    over.set()
    watcher.join()
    assert run.code == 0, run.said
    assert "CANARY" not in run.said
    assert seen == set()
    assert environment.python("import devpi_server; print('there')") == "there"
    assert files_with(environment.store, "CANARY") == []

    # and where it fails
    more = environment.shelf("A = 'more'\n")["devpi_venv_extra_packages"]
    gone = environment.run("-vvv", **{**variables, "devpi_venv_extra_packages": more})
    assert gone.code != 0
    assert "so the running server is left alone" in gone.said
    assert "CANARY" not in gone.said
    assert files_with(environment.store, "CANARY") == []


def files_with(directory: Path, word: str) -> list[str]:
    done = subprocess.run(["grep", "-rlF", word, directory], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1)
    return done.stdout.splitlines()


def command_lines() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return found


def test_a_wheel_with_another_content_is_refused(environment: Environment, tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    shutil.copytree(environment.wheels.directory, forged, symlinks=True)
    package = next(forged.glob("devpi_server-*.whl"))
    package.write_bytes(package.read_bytes() + b"\0")
    run = environment.run(devpi_venv_find_links=str(forged))
    assert run.code != 0
    assert "devpi-server" in run.said
    assert not environment.path.is_symlink()
    assert environment.names() == []


def test_a_lock_that_lacks_a_dependency_is_refused(tmp_path: Path, uv: Path) -> None:
    environment = Environment(tmp_path, wheels_for(tmp_path / "needy", uv, "Requires-Dist: devpi-missing\n"))
    run = environment.run()
    assert run.code != 0
    assert "devpi-missing" in run.said
    assert environment.names() == []


def requirements_of_the_role(directory: Path, **variables: Any) -> str:
    """Return the lock as the role lays it down."""
    given = {**yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()), "role_path": str(ROLE), **variables}
    task = {"ansible.builtin.copy": {"content": "{{ __devpi_venv_requirements }}", "dest": str(directory / "lock")}}
    files = [str(ROLE.parent / "common" / "defaults" / "main.yml"), str(ROLE / "vars" / "main.yml")]
    play = {"hosts": "localhost", "gather_facts": False, "vars": given, "vars_files": files, "tasks": [task]}
    (directory / "play.yml").write_text(json.dumps([play]))
    command = [Path(sys.executable).with_name("ansible-playbook"), directory / "play.yml", "-i", "localhost,"]
    local = ["-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    subprocess.run([*command, *local], env=Devpi.environment(), check=True, capture_output=True)
    return (directory / "lock").read_text()


def test_a_lock_with_uv_is_installed_by_it(environment: Environment) -> None:
    variables = {"devpi_venv_lock": str(environment.wheels.lock_with_uv), **environment.shelf("LABEL = 'by uv'\n")}
    assert environment.deploy(**variables).changed == [MADE, POINTED]
    assert environment.python("import devpi_shelf; print(devpi_shelf.LABEL)") == "by uv"
    [installer] = environment.path.glob("lib/python3*/site-packages/devpi_shelf-1.dist-info/INSTALLER")
    assert installer.read_text() == "uv"
    assert environment.deploy(**variables).changed == []


def test_with_the_plugin_for_tokens_when_it_is_asked_for(
    environment: Environment, everything: Path, tmp_path: Path
) -> None:
    assert requirements_of_the_role(tmp_path).strip() == LOCK.read_text().strip()
    more = ["another==1 --hash=sha256:0", "third==1 --hash=sha256:1"]
    all_three = requirements_of_the_role(tmp_path, devpi_venv_tokens=True, devpi_venv_extra_packages=more)
    assert all_three.splitlines()[-2:] == more
    real = {"devpi_venv_find_links": str(everything), "devpi_venv_lock": str(LOCK), "devpi_venv_tokens": True}
    assert environment.deploy(**real).changed == [MADE, POINTED]
    assert environment.python("import devpi_tokens.server, devpi_web; print('there')") == "there"


def test_environment_that_fails_its_trial_never_takes_the_place_of_one_that_works(environment: Environment) -> None:
    works = environment.deploy().name
    started = environment.path.lstat().st_ino
    run = environment.run(**environment.shelf("raise RuntimeError('it is broken')\n"))
    assert run.code != 0
    assert "cannot run devpi-server of the new environment, so the running server is left alone" in run.said
    assert "it is broken" in run.said
    assert environment.path.lstat().st_ino == started
    assert environment.path.readlink().name == works
    assert environment.names() == [works]


def test_environment_that_no_longer_works_is_made_anew(environment: Environment) -> None:
    environment.deploy()
    [module] = environment.path.glob("lib/python3*/site-packages/devpi_server.py")
    module.unlink()
    assert environment.deploy("--check").changed
    assert not module.exists()
    assert MADE in environment.deploy().changed
    assert environment.python("import devpi_server; print('there')") == "there"
    assert environment.deploy().changed == []


def test_way_back_to_an_environment_that_was_damaged_is_refused_and_then_mended(environment: Environment) -> None:
    first, shelf = environment.deploy().name, environment.shelf("LABEL = 'b'\n")
    second = environment.deploy(**shelf).name
    [module] = environment.store.glob(f"{first}/lib/python3*/site-packages/devpi_server.py")
    module.unlink()
    run = environment.run()
    assert run.code != 0
    assert "was not changed; run again" in run.said
    assert environment.path.readlink().name == second
    assert MADE in environment.deploy().changed
    assert environment.python("import devpi_server; print('there')") == "there"


def test_what_runs_and_what_ran_last_stay(environment: Environment) -> None:
    shelves = {name: environment.shelf(f"A = {name!r}\n") for name in "abcd"}
    made = {name: environment.deploy(**shelves[name]).name for name in "abc"}
    assert environment.names() == sorted([made["b"], made["c"]])
    # of the way back, too, what ran last is the one before
    assert environment.deploy(**shelves["b"]).name == made["b"]
    assert environment.deploy("--check", **shelves["d"]).changed == [MADE, POINTED, REMOVED]
    run = environment.deploy(**shelves["d"])
    assert run.changed == [MADE, POINTED, REMOVED]
    assert environment.names() == sorted([made["b"], run.name])
    fewer = environment.deploy(devpi_venv_keep=0, **shelves["d"])
    assert (fewer.changed, environment.names()) == ([REMOVED], [run.name])


def test_environment_of_another_link_stays_and_so_does_what_runs(environment: Environment) -> None:
    other = environment.deploy(
        devpi_venv_path=f"{environment.path}-other", devpi_venv_keep=0, **environment.shelf("A = 'other'\n")
    )
    first = environment.deploy(devpi_venv_keep=0, **environment.shelf("A = 'a'\n"))
    command = [f"{environment.path.readlink()}/bin/python", "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        second = environment.deploy(devpi_venv_keep=0, **environment.shelf("A = 'b'\n"))
        assert environment.names() == sorted([other.name, first.name, second.name])
        process.communicate(b"\n")
    assert environment.deploy(devpi_venv_keep=0, **environment.shelf("A = 'b'\n")).changed == [REMOVED]
    assert environment.names() == sorted([other.name, second.name])


def test_scripts_and_activation_name_no_draft(environment: Environment) -> None:
    environment.deploy()
    places = [environment.path / "bin", environment.path / "pyvenv.cfg"]
    assert subprocess.run(["grep", "-rIl", "[.]draft", *places], check=False).returncode == 1
    script = f". {environment.path}/bin/activate && command -v devpi-server && devpi-server"
    said = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [f"{environment.path.readlink()}/bin/devpi-server", "6.99"]


def test_environment_of_an_earlier_release_is_replaced(environment: Environment, wheels: Wheels) -> None:
    (environment.path / "bin").mkdir(parents=True)
    (environment.path / "elsewhere").symlink_to(wheels.directory)
    (environment.path / "pyvenv.cfg").touch()
    (environment.path / "installed-from").write_text("python3 " + 64 * "a" + "\n")
    count = len([*wheels.directory.iterdir()])
    assert environment.deploy("--check").changed == [MADE, POINTED]
    assert (environment.path / "pyvenv.cfg").exists()
    assert environment.deploy().changed == [MADE, POINTED]
    assert environment.path.is_symlink()
    assert sorted(path.name for path in environment.directory.glob("*venv*")) == ["venv", "venvs"]
    assert [*environment.directory.glob(".*")] == []
    assert len([*wheels.directory.iterdir()]) == count


def test_environment_made_by_hand_is_moved_aside_and_kept(environment: Environment) -> None:
    (environment.path / "bin").mkdir(parents=True)
    (environment.path / "pyvenv.cfg").touch()
    (environment.path / "bin" / "devpi-server").write_text("by hand")
    environment.path.with_name("venv.before-wheelhouse").mkdir()
    kept = environment.path.with_name("venv.before-wheelhouse-2")
    run = environment.deploy("-v")
    assert f"moved {environment.path} to {kept}" in run.said
    assert (kept / "bin" / "devpi-server").read_text() == "by hand"
    assert environment.path.is_symlink()
    assert environment.deploy().changed == []


def test_what_came_to_the_place_after_it_was_looked_at_is_left_alone(environment: Environment) -> None:
    seen = (str(environment.path), sys.executable, pwd.getpwuid(os.geteuid()).pw_name)
    host = {"missing_packages": [], "environment": environment.facts(*seen)}
    environment.path.mkdir()
    (environment.path / "thesis.tex").write_text("years of work")
    run = environment.run(__devpi_host=host)
    assert run.code != 0
    assert (environment.path / "thesis.tex").read_text() == "years of work"


def test_run_that_is_killed_is_mended_by_the_next(environment: Environment) -> None:
    lock = {"devpi_venv_lock": str(environment.wheels.lock_with_uv)}
    started = subprocess.Popen(
        environment.command(**lock),
        cwd=environment.directory,
        env=environment.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not [*environment.store.glob(".*.draft/bin/uv")]:
        assert started.poll() is None
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert not environment.path.is_symlink()
    run = environment.deploy(**lock)
    assert environment.names() == [run.name]
    assert environment.python("import devpi_server; print('there')") == "there"
    assert environment.deploy(**lock).changed == []


def test_leftovers_go_and_what_a_live_run_holds_is_waited_for(environment: Environment) -> None:
    environment.store.mkdir()
    for draft in (".environment.dead.draft", ".0123456789abcdef.draft"):
        (environment.store / draft / "lib").mkdir(parents=True)
    (environment.directory / ".venv.link").symlink_to(environment.store)
    held = os.open(environment.store / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(environment.deploy)
        time.sleep(5)
        assert not running.done()
        assert len(environment.names()) == 2
        os.close(held)
        run = running.result()
    assert environment.names() == [run.name]
    assert [*environment.directory.glob(".*")] == []
    assert environment.store.joinpath(".lock").stat().st_mode & 0o777 == 0o600


def test_two_runs_at_once_both_end_well(environment: Environment) -> None:
    """Of the same environment, and of two different ones."""
    other = {**environment.shelf("A = 'other'\n"), "devpi_venv_path": f"{environment.path}-other"}
    environment.command()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        runs = [run.result() for run in [pool.submit(environment.run, **each) for each in ({}, {}, other)]]
    assert [run.code for run in runs] == [0, 0, 0], "\n".join(run.said for run in runs)
    assert environment.names() == sorted({run.name for run in runs})
    assert len(environment.names()) == 2
    assert environment.python("import devpi_server; print('there')") == "there"


def test_directory_with_any_name_is_one_source(environment: Environment) -> None:
    odd = environment.directory / "my wheels, all $HOME of 100%"
    shutil.copytree(environment.wheels.directory, odd, symlinks=True)
    lock = str(environment.wheels.lock_with_uv)
    assert MADE in environment.deploy(devpi_venv_find_links=str(odd), devpi_venv_lock=lock).changed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts for other accounts")
def test_link_in_the_directory_of_another_account_is_made_with_its_rights(
    environment: Environment,
) -> None:
    account = pwd.getpwnam("nobody")
    # other accounts cannot enter pytest's
    home = Path(tempfile.mkdtemp(dir="/srv"))
    try:
        shutil.chown(home, account.pw_uid)
        link = home / "my $HOME; venv"
        (link / "bin").mkdir(parents=True)
        (link / "pyvenv.cfg").touch()
        (link / "installed-from").write_text("python3 " + 64 * "a" + "\n")
        run = environment.deploy(devpi_venv_path=str(link))
        assert link.readlink().name == run.name
        assert link.lstat().st_uid == account.pw_uid
        assert [path.name for path in home.iterdir()] == [link.name]
        assert environment.deploy(devpi_venv_path=str(link)).changed == []
    finally:
        shutil.rmtree(home)
