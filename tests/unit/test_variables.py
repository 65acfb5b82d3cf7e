"""The check of all variables before anything changes: what it refuses, in which words, and that the rest does no harm.

Here the lookup runs in this process, with the roles' own defaults and Ansible's own templates. Whole hosts are the
scenarios faults and hostile's.
"""

from __future__ import annotations

import configparser
import datetime
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.utils.display import Display
from ansible_collections.wheelhouse.devpi.plugins.lookup import variable_problems
from ansible_collections.wheelhouse.devpi.plugins.lookup.variable_problems import LookupModule, defaults_of, specs_of
from ansible_collections.wheelhouse.devpi.plugins.module_utils._variables import problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROLES = variable_problems.all_roles()
SPECS = {name: option for role in ROLES for name, option in specs_of(role).items()}
ALL_DEFAULTS = {name: value for role in ROLES for name, value in defaults_of(role).items()}
LOADER = DataLoader()
CANARY = "Canary7f3"
# What a message says that a machine made: Python's words, Jinja's, Ansible's
RAW = re.compile(
    r"Traceback|Error\b|NoneType|<class|object of type|has no attribute|unable to convert|argument '|elements value|"
    r"undefined|Jinja|\bstr\b|\bint\b|\bdict\b|\bNone\b|got an|Validation of arguments",
)


def inventory(**given: Any) -> dict[str, Any]:
    """Return the variables of a host of which the inventory says this much."""
    variables: dict[str, Any] = {}
    for role in ROLES:
        for part in ("defaults", "vars"):
            file = variable_problems.ROLES / role / part / "main.yml"
            if file.exists():
                variables |= LOADER.load_from_file(str(file), trusted_as_template=True) or {}
    # Without a lookup of the account that runs this
    variables["__devpi_person"] = "alice"
    return {
        **variables,
        "inventory_hostname": "index.example.com",
        "group_names": ["devpi"],
        "role_path": str(variable_problems.ROLES / "checks"),
        **given,
    }


DEFAULTS = inventory()
PROXIED = {"group_names": ["devpi", "devpi_proxy"]}


def refusals(*roles: str, **given: Any) -> list[str]:
    """Return what the check says of a host whose inventory says this much."""
    variables = {**DEFAULTS, **given}
    lookup = LookupModule(loader=LOADER, templar=Templar(LOADER, variables))
    return list(lookup.run(list(roles), variables))


@pytest.mark.parametrize("given", [{}, PROXIED], ids=["alone", "behind nginx"])
def test_defaults_are_right(given: dict[str, Any]) -> None:
    assert refusals(**given) == []


@pytest.mark.parametrize("name", ["howto", "localhost", "production"])
def test_inventories_are_right(name: str) -> None:
    text = (variable_problems.ROLES.parent / "inventory" / name).read_text("utf-8")
    found = yaml.safe_load(text)
    given = {**found["devpi"]["vars"], **found.get("devpi_proxy", {}).get("vars", {}), "devpi_ca_bundle": ""}
    groups = {"group_names": list(found)}
    assert refusals(**given, **groups) == []


def test_token_may_lie_beside_the_passwords_under_a_name_of_its_own() -> None:
    assert refusals(devpi_tokens=[{"user": "alice", "path": "/etc/devpi/credentials/alice.token"}]) == []


@pytest.mark.parametrize(
    ("name", "option", "value", "words"),
    [
        ("devpi_new_port", {"type": "int"}, 70000, "is out of range; name one from 1 to 65535"),
        ("devpi_new_directory", {"type": "path"}, "/etc", "is a directory of the system"),
        ("devpi_new_url", {"type": "str"}, "ftp://example.com", "is not a web address"),
        ("devpi_new_group", {"type": "str"}, "root", "is root, and no service should be a member of it"),
        ("devpi_new_user", {"type": "str"}, "root", "is root, and whoever breaks into the server would be root"),
        ("devpi_new_owner", {"type": "str"}, "a b", "is not the name of an account"),
        ("devpi_new_umask", {"type": "str"}, "000", "lets others change the server's files"),
        ("devpi_new_networks", {"type": "list", "elements": "str"}, ["192.0.2.1/24"], "is not a network"),
        ("devpi_new_password", {"type": "str", "no_log": True}, "x" * 4097, "has 4097 characters"),
        ("devpi_new_name", {"type": "str", "default": "x"}, "", "is empty; give it a value"),
        ("devpi_new_url", {"type": "str", "default": ""}, "", ""),
        ("devpi_new_size", {"type": "int"}, -1, ""),
    ],
)
def test_new_variable_is_checked_by_its_spec_and_its_name(
    name: str, option: dict[str, Any], value: object, words: str
) -> None:
    found = problems({name: option}, {name: value})
    assert len(found) == bool(words)
    assert words in "".join(found)


def test_variables_of_all_roles_are_told_at_once() -> None:
    found = refusals(
        devpi_port="eighty",
        devpi_users=None,
        devpi_password=4711,
        devpi_environment="A=1",
        devpi_supervisor_umask="999",
        devpi_proxy_addresses="192.0.2.1",
        devpi_venv_path="/etc",
    )
    assert [problem.split()[0] for problem in sorted(found)] == [
        "devpi_environment",
        "devpi_password",
        "devpi_port",
        "devpi_proxy_addresses",
        "devpi_supervisor_umask",
        "devpi_users",
        "devpi_venv_path",
    ]


def test_only_the_roles_of_the_play_are_looked_at() -> None:
    given = {"devpi_proxy_addresses": "192.0.2.1", "devpi_supervisor_umask": 27}
    (problem,) = refusals("wheelhouse.devpi.proxy", "somebody.elses.role", **given)
    assert problem.startswith(
        "devpi_proxy_addresses is the text '192.0.2.1' and has to be a list; write it as [192.0.2.1]"
    )


def test_text_from_the_command_line_is_read_as_a_number() -> None:
    assert refusals(devpi_port="3142", devpi_private="yes", devpi_supervisor_autorestart=False) == []


def test_default_that_is_made_of_a_wrong_value_is_not_told_too() -> None:
    given = {"devpi_server_dir": "/opt/devpi/venv/data", "devpi_host": 7, **PROXIED}
    assert sorted(problem.split()[0] for problem in refusals(**given)) == ["devpi_host", "devpi_server_dir"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{{ nowhere }}", "devpi_index is a template that needs nowhere, and that is not defined; define it"),
        ("{{ given.by.nobody }}", "devpi_index is a template that needs"),
        ("{{ 1 / 0 }}", "devpi_index is a template that cannot be filled in; correct it"),
        ("{{ outer }}", "devpi_index is a template that needs inner"),
        ("{{ devpi_index }}", "devpi_index refers to itself, or is nested too deeply; write it without that"),
    ],
)
def test_template_that_cannot_be_filled_in_is_named(value: str, words: str) -> None:
    (problem,) = refusals(devpi_index=trust_as_template(value), outer=trust_as_template("{{ inner }}"))
    assert problem.startswith(words)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what Ansible's own display is given as warnings."""
    said: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _self, text, **_more: said.append(text))
    return said


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("devpi_prot", "devpi_port"),
        ("devpi_privat", "devpi_private"),
        ("devpi_user", "devpi_users"),
        ("devpi_supervisor_umaks", "devpi_supervisor_umask"),
        ("depvi_proxy_names", "devpi_proxy_names"),
        ("devpi_Host", "devpi_host"),
    ],
)
def test_variable_that_is_misspelt_is_warned_of_and_the_run_goes_on(warnings: list[str], name: str, meant: str) -> None:
    assert refusals(**{name: CANARY, "devpi_colour": "blue", "device": "x", "__devpi_prot": 1}) == []
    assert warnings == [
        f"{name} is not a variable of wheelhouse.devpi, so it changes nothing there; write {meant} if that was meant"
    ]


def test_warning_of_a_misspelt_variable_says_where_it_stands(warnings: list[str], tmp_path: Path) -> None:
    file = tmp_path / "all.yml"
    file.write_text(f"---\ndevpi_pasword: {CANARY}\ndevpi_privat: true\ndevpi_tokes:\n  - user: ann\n")
    assert refusals(**LOADER.load_from_file(str(file), trusted_as_template=True)) == []
    assert [re.findall(r"^(\w+) \((.+?)\) is not a variable", text) for text in warnings] == [
        [("devpi_pasword", f"{file}:2")],
        [("devpi_privat", f"{file}:3")],
        [("devpi_tokes", f"{file}:4")],
    ]
    assert CANARY not in "\n".join(warnings)


def test_variable_that_is_right_is_not_warned_of(warnings: list[str]) -> None:
    assert refusals(**PROXIED, **dict.fromkeys(["ansible_user", "my_devpi_port", "devpi"], "x")) == []
    assert warnings == []


def test_variables_of_roles_that_are_not_in_the_play_are_known() -> None:
    assert refusals("pypirc", devpi_supervisor_umask="077") == []


@pytest.mark.parametrize(
    "given",
    [
        {"devpi_password": [CANARY]},
        {"devpi_password": f"{CANARY}\n"},
        {"devpi_root_password": {"a": CANARY}},
        {"devpi_users": f"name: ann, password: {CANARY}"},
        {"devpi_users": [f"ann:{CANARY}"]},
        {"devpi_users": [{"name": {"password": CANARY}}]},
        {"devpi_users": [{"name": "ann", "password": {"x": CANARY}}]},
        {"devpi_users": [{"name": "ann", "password_hash": CANARY}]},
        {"devpi_users": [{"name": "ann", f"{CANARY} x": 1}]},
        {"devpi_users": [{"name": "ann", "indexes": f"- password: {CANARY}"}]},
        {"devpi_users": [{"name": "ann", "indexes": [{"name": "m", "mirror_url": f"ftp://u:{CANARY}@example.com"}]}]},
        {"devpi_environment": CANARY},
        {"devpi_environment": {"A": [CANARY]}},
        {"devpi_environment": {"A": f"{CANARY}\nB"}},
        {"devpi_environment": [{"A": CANARY}]},
        {"devpi_server_options": {"ldap-password": [{"x": CANARY}]}},
        {"devpi_server_options": {"ldap-password": f"{CANARY}\n"}},
        {"devpi_mirror_url": f"https://u:{CANARY}@exa mple.com"},
        {"devpi_url": f"https://u:{CANARY}@example.com/"},
        {"devpi_venv_index_url": f"https://u:{CANARY}@example.com:99999/"},
        {"devpi_venv_find_links": f"s3://u:{CANARY}@example.com/"},
        {"devpi_venv_extra_packages": [f"@ https://u:{CANARY}@example.com/x"]},
        {"devpi_pypirc_repositories": [{"name": "x", "repository": "y", "password": [CANARY]}]},
        {"devpi_pypirc_repositories": [{"name": "x", "repository": f"https://u:{CANARY}@example.com/"}]},
        {"devpi_pypirc_repositories": [{"name": "x", "repository": "https://example.com", "password": f"{CANARY}\n"}]},
        {"devpi_pypirc_repositories": f"x {CANARY}"},
    ],
    ids=json.dumps,
)
def test_no_secret_is_shown(given: dict[str, Any]) -> None:
    found = refusals(**given)
    assert found
    assert CANARY not in "\n".join(found)


PATHS = [name for name, option in SPECS.items() if option["type"] == "path" and name != "devpi_venv_lock"]
# What the roles only read; they make what is at the other paths.
READ = ["devpi_ca_bundle", "devpi_proxy_certificate", "devpi_proxy_key", "devpi_proxy_ca"]
MADE = [name for name in PATHS if name not in READ]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    "path",
    [
        "srv/x",
        "~/x",
        "./x",
        "/srv/../etc/x",
        "/srv/x/",
        "//srv/x",
        "/srv/a b",
        "/srv/$x",
        "/srv/x;",
        "/srv/%h",
        "/srv/é",
        "/srv/a:b",
    ],
)
def test_paths_that_are_not_plain_are_refused(name: str, path: str) -> None:
    (problem,) = [each for each in refusals(**{name: path}) if each.startswith(f"{name} ")]
    assert f"{path!r}" in problem
    assert ";" in problem


@pytest.mark.parametrize("name", READ)
def test_directory_of_the_system_is_no_file_to_read(name: str) -> None:
    (problem,) = [each for each in refusals(**{name: "/etc/ssl"}) if each.startswith(f"{name} ")]
    assert problem == f"{name} '/etc/ssl' is a directory of the system; name a file"


@pytest.mark.parametrize("place", ["/srv", "/mnt", "/media"])
def test_distributions_may_lie_where_something_is_mounted(place: str) -> None:
    assert refusals(devpi_venv_find_links=place) == []


def test_colon_in_a_path_is_told_with_its_reason() -> None:
    (problem,) = refusals(devpi_venv_path="/opt/devpi:venv")
    assert problem == (
        "devpi_venv_path '/opt/devpi:venv' has a colon in it, which ends a directory in PATH and in lists like it; "
        "name a path without one"
    )
    (problem,) = refusals(devpi_python="/opt/a:b/bin/python3")
    assert problem.startswith("devpi_python '/opt/a:b/bin/python3' has a colon in it")


LONG = "p" * 4096


@pytest.mark.parametrize(
    ("name", "give"),
    [
        ("devpi_password", lambda text: {"devpi_password": text}),
        ("devpi_root_password", lambda text: {"devpi_root_password": text}),
        ("devpi_users[0].password", lambda text: {"devpi_users": [{"name": "ann", "password": text}]}),
    ],
)
def test_password_that_devpi_cannot_hash_is_refused(name: str, give: Callable[[str], dict[str, Any]]) -> None:
    assert refusals(**give(LONG)) == []
    assert refusals(**give("é" * 4096)) == []
    (problem,) = refusals(**give(LONG + "p"))
    assert problem == (
        f"{name}: the password has 4097 characters, and devpi-server takes no more than 4096; give a shorter one"
    )


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Return a lock like the collection's own."""
    path = tmp_path / "own.lock"
    path.write_text("devpi-server==6.20.3 \\\n    --hash=sha256:0\nuv==0.9.1\n")
    return path


def test_lock_of_ones_own_is_taken(lock: Path) -> None:
    assert refusals(devpi_venv_lock=str(lock)) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.lock", "is not a file with name==version lines where Ansible runs; name one that is"),
        (".", "is not a file with name==version lines where Ansible runs"),
        ("binary.lock", "is not a file with name==version lines where Ansible runs"),
        ("closed.lock", "is not a file with name==version lines where Ansible runs"),
        ("empty.lock", "is not a file with name==version lines where Ansible runs"),
        ("seven.lock", "names devpi-server 7.0.0b4, but the roles support only devpi-server 6"),
        ("no-uv.lock", "names no uv==VERSION"),
    ],
)
def test_lock_that_cannot_be_installed_is_told_with_the_rest(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "binary.lock").write_bytes(b"devpi-server==6.20.3\nuv==1\n\xff\xfe")
    (tmp_path / "closed.lock").symlink_to("/proc/self/mem")
    (tmp_path / "empty.lock").touch()
    (tmp_path / "seven.lock").write_text("devpi-server==7.0.0b4\nuv==0.9.1\n")
    (tmp_path / "no-uv.lock").write_text("devpi-server==6.20.3\n")
    path = os.path.normpath(tmp_path / name)
    port, told = sorted(refusals(devpi_venv_lock=path, devpi_port=0))
    assert port.startswith("devpi_port 0")
    assert told.startswith(f"devpi_venv_lock {path} {words}")


@pytest.mark.parametrize("path", ["own.lock", "~/own.lock", "./own.lock"])
def test_lock_by_a_relative_path_is_looked_for_where_ansible_was_started(
    path: str, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lock.parent)
    monkeypatch.setenv("HOME", str(lock.parent))
    assert refusals(devpi_venv_lock=path) == []
    # What the roles read, whose own directory is another one
    assert Templar(LOADER, {**DEFAULTS, "devpi_venv_lock": path}).template(DEFAULTS["__devpi_venv_lock"]) == str(lock)


HASH = "--hash=sha256:" + 64 * "a"


@pytest.mark.parametrize(
    "package",
    [
        f"x==1 {HASH} --index-url https://index.example.com/",
        f"x==1 --index-url=https://index.example.com/ {HASH}",
        f"x==1 {HASH} -i https://index.example.com/",
        f"x==1; python_version > '3' --pre {HASH}",
        "x==1 --index-url https://index.example.com/",
        "x @ https://index.example.com/x-1-py3-none-any.whl",
        "https://index.example.com/x-1-py3-none-any.whl",
        "-r /etc/passwd",
        "x==1",
        "x>=1",
        f"devpi-server==6.20.3 {HASH}",
    ],
)
def test_what_is_no_pinned_requirement_is_refused(package: str) -> None:
    right = f"devpi-ldap==2.1; python_version >= '3.8' {HASH}"
    assert refusals(devpi_venv_extra_packages=[right]) == []
    (problem,) = refusals(devpi_venv_extra_packages=[right, package])
    assert problem.startswith("devpi_venv_extra_packages[1] ")
    assert "; " in problem


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("path", ["/", "/etc", "/home", "/var/lib", "/proc/self", "/usr/local/bin"])
def test_directories_of_the_system_are_refused(name: str, path: str) -> None:
    (problem,) = [each for each in refusals(**{name: path}) if each.startswith(f"{name} ")]
    assert problem.startswith(f"{name} {path!r} is ")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"devpi_venv_path": "/var/lib/devpi/venv"}, "devpi_venv_path /var/lib/devpi/venv lies in devpi_server_dir"),
        ({"devpi_venv_path": "/var/lib/devpi"}, "devpi_venv_path /var/lib/devpi is devpi_server_dir"),
        ({"devpi_server_dir": "/opt/devpi/venvs/x"}, "devpi_server_dir /opt/devpi/venvs/x lies in /opt/devpi/venvs"),
        ({"devpi_credentials_dir": "/var/lib/devpi/p"}, "devpi_credentials_dir /var/lib/devpi/p lies in devpi_server_"),
        ({"devpi_server_dir": "/etc/devpi/credentials/x"}, "devpi_server_dir /etc/devpi/credentials/x lies in devpi_c"),
        ({"devpi_server_secret_file": "/opt/devpi/venv/s"}, "devpi_server_secret_file /opt/devpi/venv/s lies in devpi"),
        ({"devpi_server_secret_file": "/var/lib/devpi/+files/s"}, "devpi_server_secret_file /var/lib/devpi/+files/s"),
        ({"devpi_server_secret_file": "/var/lib/devpi/.sqlite"}, "devpi_server_secret_file /var/lib/devpi/.sqlite"),
        ({"devpi_server_secret_file": "/etc/devpi"}, "devpi_server_secret_file /etc/devpi is a file, and"),
        ({"devpi_supervisor_log_file": "/var/lib/devpi/+files/log"}, "devpi_supervisor_log_file /var/lib/devpi/+fil"),
        (
            {"devpi_supervisor_log_file": "/etc/cron.d/devpi"},
            "devpi_supervisor_log_file '/etc/cron.d/devpi' lies below",
        ),
        ({"devpi_proxy_access_log": "/etc/passwd"}, "devpi_proxy_access_log '/etc/passwd' lies below /etc/, where pro"),
        ({"devpi_supervisor_log_file": "/opt/devpi/venv/log"}, "devpi_supervisor_log_file /opt/devpi/venv/log lies"),
        ({"devpi_supervisor_log_file": "/var/lib/devpi/.secret"}, "devpi_server_secret_file /var/lib/devpi/.secret is"),
        ({"devpi_proxy_access_log": "/srv/k", "devpi_proxy_key": "/srv/k"}, "devpi_proxy_access_log /srv/k is devpi_p"),
        ({"devpi_tokens": [{"user": "a", "path": "/etc/devpi/credentials/a"}]}, "devpi_tokens[0].path /etc/devpi/cred"),
        (
            {
                "devpi_users": [{"name": "x.token"}],
                "devpi_tokens": [{"user": "x.token", "path": "/etc/devpi/credentials/x.token"}],
            },
            "devpi_tokens[0].path /etc/devpi/credentials/x.token lies in devpi_credentials_dir",
        ),
        (
            {"devpi_tokens": [{"user": "a", "path": "/srv/t"}] * 2},
            "devpi_tokens[1].path /srv/t is devpi_tokens[0].path",
        ),
        ({"devpi_tokens": [{"user": "a", "path": "/etc"}]}, "devpi_tokens[0].path '/etc' is a directory of the system"),
    ],
    ids=str,
)
def test_paths_that_would_replace_or_expose_one_another_are_refused(given: dict[str, Any], words: str) -> None:
    (problem,) = refusals(**given)
    assert problem.startswith(words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"devpi_port": 443, **PROXIED}, "devpi_port 443 belongs to nginx"),
        ({"devpi_port": 440, "devpi_server_workers": 3, **PROXIED}, "devpi_server_workers 3 asks for port 443"),
        ({"devpi_port": 65533, "devpi_server_workers": 2, **PROXIED}, "devpi_server_workers 2 asks for port 65536"),
        ({"devpi_supervisor_umask": "077", **PROXIED}, "devpi_supervisor_umask '077' keeps nginx from reading"),
        ({"devpi_server_argon2_memory_cost": 16}, "devpi_server_argon2_memory_cost 16 is too little for"),
        ({"devpi_server_threads": 501}, "devpi_server_threads 501 is out of range; name one from 1 to 500"),
        ({"devpi_server_restrict_modify": "root,,a"}, "devpi_server_restrict_modify 'root,,a' has an empty name in it"),
        (
            {"devpi_server_restrict_modify": ":anonymous:"},
            "devpi_server_restrict_modify ':anonymous:' lets anyone change and delete",
        ),
        ({"devpi_server_user": "root"}, "devpi_server_user is root, and"),
        ({"devpi_supervisor_program": "../x"}, "devpi_supervisor_program '../x' is not the name of a program"),
        (
            {"devpi_supervisor_program": "x-worker-1"},
            "devpi_supervisor_program 'x-worker-1' ends like the name of a worker",
        ),
        ({"devpi_supervisor_exitcodes": [0, 256]}, "devpi_supervisor_exitcodes[1] 256 is out of range"),
        ({"devpi_venv_extra_packages": ["a==1\nb==2"]}, "devpi_venv_extra_packages[0], 'a==1\\nb==2', has a newline"),
        ({"devpi_venv_extra_packages": ["--index-url=https://x"]}, "devpi_venv_extra_packages[0] '--index-url"),
        ({"devpi_index_bases": ["pypi"]}, "devpi_index_bases[0] 'pypi' is not of the form user/index"),
        ({"devpi_tokens": [{"user": "a"}]}, "devpi_tokens[0] lacks path"),
        (
            {"devpi_tokens": [{"user": "a", "path": "/srv/t", "expires": "99999999999999d"}]},
            "devpi_tokens[0]: expires: '99999999999999d' is longer than 1000 years; write never",
        ),
        ({"devpi_username": "__token__"}, "devpi_username is __token__, which stands for a token where people log in"),
        ({"devpi_users": [{"name": "__token__"}]}, "devpi_users[0] is __token__, which stands for a token where"),
        ({"devpi_state": True}, "devpi_state is true and has to be one of started, stopped; name one of these"),
        ({"devpi_users_purge": 1}, "devpi_users_purge is the number 1 and has to be one of none, indexes, users; name"),
        ({"devpi_index": datetime.date(2030, 1, 31)}, "devpi_index is a date and has to be a text; put it in quotes"),
        ({"devpi_users": [{"indexes": []}]}, "devpi_users[0] lacks name"),
        (
            {"devpi_supervisor_stopsignal": "STOP"},
            "devpi_supervisor_stopsignal is the text 'STOP' and has to be one of",
        ),
    ],
    ids=str,
)
def test_values_that_cannot_work_are_refused(given: dict[str, Any], words: str) -> None:
    (problem,) = refusals(**given)
    assert problem.startswith(words)


# What stands in the place of a value, by what it tries
BAD: dict[str, Any] = {
    "null": None,
    "empty": "",
    "spaces": "   ",
    "empty list": [],
    "empty dictionary": {},
    "number": 4711,
    "negative number": -1,
    "huge number": 10**30,
    "fraction": 1.5,
    "true": True,
    "false": False,
    "not a number": float("nan"),
    "infinite": float("inf"),
    "date": datetime.date(2030, 1, 31),
    "moment": datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.timezone.utc),
    "digits of another script": "\uff13\uff11\uff14\uff11",
    "digits with a space": " 3141",
    "hexadecimal": "0x1F",
    "list": ["a", "b"],
    "list of null": [None],
    "list of lists": [[["a"]]],
    "list of numbers": [1, 2],
    "list of dictionaries": [{"a": 1}],
    "dictionary": {"a": "b"},
    "nested dictionary": {"a": {"b": ["c"]}},
    "dictionary with a number for a name": {1: 2},
    "text": "some text",
    "word": "word",
    "newline": "a\nb",
    "newline at the end": "a\n",
    "carriage return": "a\rb",
    "section of an ini": "x\n[program:x]\ncommand=/bin/sh",
    "tabulator": "a\tb",
    "NUL": "a\x00b",
    "escape": "a\x1b[31mb",
    "quote": 'a"b',
    "apostrophe": "a'b",
    "backslash": "a\\b",
    "percent": "100%",
    "expansion": "%(ENV_HOME)s",
    "dollar": "$HOME",
    "command": "$(id)",
    "backtick": "`id`",
    "semicolon": "a ;b",
    "end of a directive": "a; } server { listen 1;",
    "hash": "a #b",
    "colon": "a: b",
    "template as data": "{{ x }}",
    "statement as data": "{% for %}",
    "template": trust_as_template("{{ nowhere }}"),
    "template of an unknown key": trust_as_template("{{ devpi_environment.nowhere }}"),
    "broken template": trust_as_template("{{ 1 + }}"),
    "template that fails": trust_as_template("{{ 'a' | int / 0 }}"),
    "long": "x" * 5000,
    "long path": "/srv/" + "x" * 5000,
    "long address": "https://example.com/" + "x" * 5000,
    "unicode": "ünïcödé",
    "other script": "パッケージ",
    "right to left": "a\u202eb",
    "line separator": "a\u2028b",
    "half a character": "a\ud800b",
    "emoji": "📦",
    "root": "root",
    "dot": ".",
    "dots": "..",
    "reserved in addresses": "+simple",
    "reserved in supervisor": "all",
    "reserved in pypirc": "distutils",
    "reserved in logins": "__token__",
    "long number": "9" * 5000,
    "long duration": "9" * 5000 + "d",
    "none": "none",
    "option": "--help",
    "yes": "yes",
    "path": "/srv/x",
    "path of the system": "/etc",
    "relative path": "../x",
    "home": "~",
    "address": "https://example.com/x",
    "address with a login": f"https://u:{CANARY}@example.com/",
    "other protocol": "file:///etc/passwd",
    "script": "javascript:alert(1)",
}
# What has to be beside a key that is tried
BESIDE = {"name": "ann", "user": "ann", "path": "/srv/t", "repository": "https://example.com/x"}


def within() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield what stands in a value, an element or a key, each with the variable that has something bad there."""
    for name, option in SPECS.items():
        if option["type"] == "dict":
            key = "keyfs-cache-size" if name == "devpi_server_options" else "NAME"
            yield f"{name}{{}}", lambda bad, name=name, key=key: {name: {key: bad}}
        elif option.get("elements") == "dict":
            beside = {key: value for key, value in BESIDE.items() if key in option["options"]}
            for key in option["options"]:
                yield (
                    f"{name}[].{key}",
                    lambda bad, name=name, key=key, beside=beside: {name: [{**beside, key: bad}]},
                )
        elif option["type"] == "list":
            yield f"{name}[]", lambda bad, name=name: {name: [bad]}
    for key in SPECS["devpi_users"]["options"]["indexes"]["options"]:
        yield (
            f"devpi_users[].indexes[].{key}",
            lambda bad, key=key: {"devpi_users": [{"name": "ann", "indexes": [{"name": "dev", key: bad}]}]},
        )


def cases() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for kind, bad in BAD.items():
        for name in SPECS:
            yield name, kind, {name: bad}
        for place, give in within():
            yield place, kind, give(bad)
    # Any sign of ASCII, and some beyond, in the middle of what is right
    signs = [character for character in map(chr, range(128)) if not character.isalnum() or character in "0aA"]
    for character in [*signs, "\x80", "\xa0", "\u200b", "\u2028", "\ufeff", "é", "Ⅻ"]:
        for name, option in SPECS.items():
            right = DEFAULTS[name]
            if option["type"] in ("str", "path") and isinstance(right, str) and "{{" not in right and right:
                middle = len(right) // 2
                yield name, f"with {character!r}", {name: right[:middle] + character + right[middle:]}


class Figures:
    """What came of the cases."""

    def __init__(self) -> None:
        self.tried = self.refused = self.worked = 0
        self.wrong: dict[str, list[str]] = {
            "in raw words": [],
            "unnamed": [],
            "with a secret": [],
            "late": [],
            "harmful": [],
        }

    def __str__(self) -> str:
        counted = ", ".join(f"{len(found)} {what}" for what, found in self.wrong.items())
        return f"bad inputs: {self.tried} tried, {self.refused} refused, {self.worked} worked; {counted}"


VALUES = {name: Templar(LOADER, DEFAULTS).template(raw) for name, raw in DEFAULTS.items() if name in SPECS}
MADE_OF = {name: variable_problems._names_in(name, DEFAULTS) for name in SPECS if DEFAULTS[name] == ALL_DEFAULTS[name]}
PARTS = {file.name: file for role in ROLES for file in (variable_problems.ROLES / role / "templates").glob("*.j2")}
OTHERS = {
    "ansible_managed": "Ansible",
    "__devpi_program": trust_as_template("{{ devpi_supervisor_program }}"),
    "__devpi_program_number": 0,
    "__devpi_supervisor_reads": [],
    "__devpi_proxy_digest": "0",
}


def taken_in(file: str) -> set[str]:
    """Return the templates that one is made of, without itself."""
    named = set(re.findall(r"{% (?:include|import) '([^']+)'", PARTS[file].read_text("utf-8")))
    return named.union(*map(taken_in, named))


# Of a file that is laid down, all that its template is made of
TEMPLATES = {
    file: "".join(PARTS[part].read_text("utf-8") for part in sorted({file, *taken_in(file)}))
    for file in sorted(set(PARTS).difference(*map(taken_in, PARTS)))
}
NAMES_IN = {
    file: set().union(
        *(
            {name, *variable_problems._names_in(name, DEFAULTS)}
            for name in set(variable_problems.NAMED.findall(text)) & set(DEFAULTS)
        )
    )
    for file, text in TEMPLATES.items()
}


def found_in(kind: str, given: dict[str, Any]) -> list[str]:
    """Return what the check says; templates are filled in only where there are any."""
    if "template" in kind and "as data" not in kind:
        return refusals(**given)
    derived = {name: names for name, names in MADE_OF.items() if name not in given}
    stale = {name for name, names in derived.items() if names & set(given)}
    return problems(
        SPECS, {name: value for name, value in {**VALUES, **given}.items() if name not in stale}, made_of=derived
    )


# Each keeps what it compiled.
RENDERERS = {file: Templar(LOADER).copy_with_new_env(searchpath=[str(PARTS[file].parent)]) for file in TEMPLATES}


def rendered(file: str, given: dict[str, Any]) -> str:
    RENDERERS[file].available_variables = {**DEFAULTS, **OTHERS, **given, **PROXIED}
    return str(RENDERERS[file].template(trust_as_template(PARTS[file].read_text("utf-8"))))


def skeleton(file: str, text: str) -> Any:
    """Return what a file's reader sees of its structure: sections and keys, or blocks and the names of directives."""
    if file == "program.conf.j2":
        parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
        parser.read_string(text)
        # An environment is a line of its own only where there is one.
        return {section.split(":")[0]: sorted({*parser[section]} - {"environment"}) for section in parser.sections()}
    if file == "devpi-server.yml.j2":
        return list(yaml.safe_load(text))
    if file in ("open.conf.j2", "private.conf.j2"):
        bare = re.sub(r'"(\\.|[^"\\])*"', "", text)
        return [bare.count("server {"), bare.count("{") - bare.count("}"), bare.count("location ")]
    return type(json.loads(text))


SKELETONS = {file: skeleton(file, rendered(file, {})) for file in TEMPLATES}


def harm(given: dict[str, Any]) -> Iterator[str]:
    """Yield where values that were let pass would be refused later, or read as something else."""
    # What the roles say when their turn comes
    said = ArgumentSpecValidator(SPECS).validate({**VALUES, **given}, validate_role_argument_spec=True).error_messages
    yield from (f"late: {each}" for each in said)
    # What is made of them by default
    stale = {name for name, names in MADE_OF.items() if names & set(given) and name not in given}
    if stale:
        templar = Templar(LOADER, {**DEFAULTS, **given})
        anew = {name: templar.template(DEFAULTS[name]) for name in stale}
        yield from (f"late: {each}" for each in problems(SPECS, {**VALUES, **given, **anew}))
    for file, names in NAMES_IN.items():
        # What is true or false chooses among structures.
        if names & {name for name in given if SPECS[name]["type"] != "bool"}:
            try:
                seen = skeleton(file, rendered(file, given))
            except Exception as error:
                yield f"harmful: {file} cannot be made or read, {type(error).__name__} {error}"
            else:
                if seen != SKELETONS[file]:
                    yield f"harmful: {file} has another structure, {seen}"


def test_bad_inputs_are_refused_in_plain_words_or_do_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    figures = Figures()
    began = time.monotonic()
    for place, kind, given in cases():
        figures.tried += 1
        label = f"{place}, {kind}"
        (name,) = given
        try:
            said = found_in(kind, given)
        except Exception as error:
            figures.wrong["in raw words"].append(f"{label}: {type(error).__name__} {error}")
            continue
        if not said:
            figures.worked += 1
            for told in harm(given):
                figures.wrong[told.split(":")[0]].append(f"{label}: {told}")
            continue
        figures.refused += 1
        text = "\n".join(said)
        if CANARY in text:
            figures.wrong["with a secret"].append(f"{label}: {text}")
        for problem in said:
            if RAW.search(re.sub(r"'.*'", "", problem)):
                figures.wrong["in raw words"].append(f"{label}: {problem}")
            if not problem.startswith(name) or not re.search(r"[;.:] \w", problem) or len(problem) > 600:
                figures.wrong["unnamed"].append(f"{label}: {problem}")
    with capsys.disabled():
        print(f"\n{figures} ({time.monotonic() - began:.1f} s)")
    assert figures.tried > 5000
    assert figures.worked > 100
    assert {what: found for what, found in figures.wrong.items() if found} == {}


def test_all_that_the_roles_decide_is_told_with_the_rest() -> None:
    given = {
        "devpi_server_options": {"host": "0.0.0.0", "--Keep_Docs_Packed": False, "theme": None},  # noqa: S104
        "devpi_environment": {"DEVPISERVER_LISTEN": "*:1", "XDG_CONFIG_DIRS": "/srv"},
        "devpi_server_threads": 0,
    }
    told = "\n".join(refusals("server", "supervisor", **given))
    for part in ("'host'", "set devpi_host", "'--Keep_Docs_Packed'", "theme is null", "'DEVPISERVER_LISTEN'", "XDG_"):
        assert part in told
    assert "devpi_server_threads" in told
