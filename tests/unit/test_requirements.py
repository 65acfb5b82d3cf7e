"""What devpi_venv_extra_packages and devpi_venv_lock may name."""

from __future__ import annotations

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._requirements import lock_problem, pin_problem

HASH = "--hash=sha256:" + 64 * "a"


@pytest.mark.parametrize(
    "package",
    [
        f"devpi-ldap==2.1 {HASH}",
        f"devpi-ldap[all,more] == 2.1.post1+local {HASH} {HASH}",
        f'ldap3==2.9; python_version >= "3.8" and sys_platform == "linux" {HASH}',
        "thing==1!2.0 --hash=sha512:" + 128 * "0",
    ],
)
def test_requirement_with_version_and_hash_is_taken(package: str) -> None:
    assert pin_problem(package, "devpi_venv_extra_packages[0]") == ""


@pytest.mark.parametrize(
    "package",
    [
        "devpi-ldap",
        "devpi-ldap==2.1",
        f"devpi-ldap>=2.1 {HASH}",
        f"devpi-ldap==2.* {HASH}",
        "devpi-ldap==2.1 --hash=sha256:…",
        "devpi-ldap==2.1 --hash=sha256:abc",
        "devpi-ldap==2.1 --hash=md5:" + 32 * "a",
        f"devpi-ldap==2.1 {HASH}\n--index-url=https://example.com/",
        f"devpi-ldap==2.1 {HASH}\n",
        f"devpi-ldap==2.1 {HASH} --index-url=https://example.com/",
        f"devpi-ldap==2.1 --index-url=https://example.com/ {HASH}",
        f"devpi-ldap==2.1; python_version > '3' -i https://example.com/ {HASH}",
        f"--index-url=https://example.com/#x==1 {HASH}",
        f"-e git+https://example.com/x#egg=x==1 {HASH}",
        f"thing @ https://example.com/thing==1.whl {HASH}",
        f"devpi-server==7.0.0 {HASH}",
        f"Devpi_Server==6.20.3 {HASH}",
        "",
    ],
)
def test_other_texts_are_refused_with_the_way_out(package: str) -> None:
    assert "; " in pin_problem(package, "devpi_venv_extra_packages[0]")


LOCKED = ["devpi-server==6.15.0", "devpi-server==6.20.3", "uv==0.9.1"]


def test_lock_of_devpi_6_is_taken() -> None:
    assert lock_problem("/a/devpi.lock", LOCKED) == ""


@pytest.mark.parametrize(
    ("locked", "words"),
    [
        ([], "is not a file"),
        (["twine==1", "uv==1"], "names no devpi-server"),
        (LOCKED[:2], "names no uv"),
        ([*LOCKED, "devpi-server==7.0.0b4"], "names devpi-server 7.0.0b4"),
        (["devpi-server==10.1", "uv==1"], "names devpi-server 10.1"),
    ],
)
def test_other_locks_are_refused(locked: list[str], words: str) -> None:
    problem = lock_problem("/a/devpi.lock", locked)
    assert problem.startswith(f"devpi_venv_lock /a/devpi.lock {words}")
    assert "; " in problem
