"""What root runs: the system's programs, unbent by what a person's shell has in its environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _programs

# Each would have a program of the system load other code, or read another configuration.
BENT = {
    "PATH": "/home/eve/bin:/usr/bin",
    "LD_PRELOAD": "/home/eve/evil.so",
    "LD_LIBRARY_PATH": "/home/eve",
    "PYTHONPATH": "/home/eve",
    "PYTHONHOME": "/home/eve",
    "PERL5LIB": "/home/eve",
    "OPENSSL_CONF": "/home/eve/openssl.cnf",
    "OPENSSL_MODULES": "/home/eve",
    "APT_CONFIG": "/home/eve/apt.conf",
    "BASH_ENV": "/home/eve/rc",
    "ENV": "/home/eve/rc",
    "GCONV_PATH": "/home/eve",
    "NGINX": "3;4;",
}
KEPT = {"https_proxy": "http://proxy.example.com:3128", "LANG": "C.UTF-8", "SSL_CERT_FILE": "/etc/ssl/ca.pem"}


@pytest.fixture
def bent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**BENT, **KEPT}.items():
        monkeypatch.setenv(name, value)


def assert_straight(environment: dict[str, str]) -> None:
    assert environment["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"
    assert not (set(BENT) - {"PATH"}) & set(environment)
    assert not any("/home/eve" in value for value in environment.values())


@pytest.mark.usefixtures("bent")
def test_program_of_the_system_is_not_bent_and_keeps_the_proxy() -> None:
    environment = _programs.system_environment()
    assert_straight(environment)
    assert KEPT.items() <= environment.items()


class Module:
    """As much of an AnsibleModule as is needed."""

    run_command_environ_update: dict[str, str]


@pytest.mark.usefixtures("bent")
def test_what_a_module_runs_from_now_on_is_not_bent() -> None:
    module = Module()
    _programs.use_system_programs(module)
    # as run_command joins them
    assert_straight({**os.environ, **module.run_command_environ_update})
    assert KEPT.items() <= os.environ.items()


def test_every_module_that_runs_programs_has_them_straight() -> None:
    modules = Path(__file__).parents[2] / "plugins" / "modules"
    running = [path for path in modules.glob("*.py") if "run_command(" in path.read_text()]
    assert {path.stem for path in running} >= {"devpi_preflight", "supervisor_program"}
    assert [path.name for path in running if "    use_system_programs(module)\n" not in path.read_text()] == []
