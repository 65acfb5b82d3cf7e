"""The file of supervisor's program: what it is given arrives, as supervisor's own parser reads it, or is refused."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from ansible._internal._templating._engine import TemplateOptions
from ansible._internal._templating._jinja_bits import TemplateOverrides
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _paths, _program_file
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from supervisor.options import ServerOptions

SOURCE = trust_as_template((Path(__file__).parents[2] / "roles/supervisor/templates/program.conf.j2").read_text())
PROGRAM: dict[str, Any] = {
    "ansible_managed": "Ansible managed",
    "__devpi_program": "devpi",
    "__devpi_program_number": 0,
    "__devpi_listens_on_loopback": True,
    "__devpi_server_config": "/etc/xdg/devpi-server/devpi-server.yml",
    "__devpi_worker_ports": [3143, 3144],
    "devpi_host": "192.0.2.1",
    "devpi_port": 3141,
    "devpi_venv_path": "/opt/devpi/venv",
    "devpi_supervisor_log_file": "/var/log/devpi.log",
    "devpi_server_user": "nobody",
    "devpi_supervisor_directory": "/",
    "devpi_supervisor_autostart": True,
    "devpi_supervisor_exitcodes": [0],
    "devpi_supervisor_autorestart": "unexpected",
    "devpi_supervisor_priority": 300,
    "devpi_supervisor_startsecs": 5,
    "devpi_supervisor_redirect_stderr": True,
    "devpi_supervisor_stopsignal": "TERM",
    "devpi_supervisor_umask": "077",
    "devpi_supervisor_log_maxbytes": "10MB",
    "devpi_supervisor_log_backups": 5,
    "__devpi_supervisor_environment": {},
}


def rendered(**variables: Any) -> str:
    templar = Templar(DataLoader(), {**PROGRAM, **variables})
    # As the lookup template does it, with Ansible's own default for blocks
    options = TemplateOptions(escape_backslashes=False, overrides=TemplateOverrides.from_kwargs({"trim_blocks": True}))
    return str(templar._engine.template(SOURCE, options=options))


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Return what has supervisor read the program's file from where the roles put it."""
    etc = tmp_path_factory.mktemp("etc")
    (etc / "conf.d").mkdir()
    main = etc / "supervisord.conf"
    main.write_text("[supervisord]\n[include]\nfiles = conf.d/*.conf\n")

    def read(**variables):
        (etc / "conf.d" / "devpi.conf").write_text(rendered(**variables), encoding="utf-8")
        options = ServerOptions()
        options.configfile = str(main)
        options.process_config(do_usage=False)
        (group,) = options.process_group_configs
        (program,) = group.process_configs
        return program

    return read


# Any character that is no control character, and often those that have a meaning for supervisor
CHARACTERS = st.one_of(
    st.sampled_from(" ;#%()'\"\\\\=,:[]"),
    st.characters(exclude_categories=_program_file.NO_TEXT),
    st.sampled_from(["%(here)s", " ;", " #", "%s", "%(ENV_HOME)s", "here"]),
)
TEXTS = st.lists(CHARACTERS, max_size=20).map("".join)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, TEXTS)
@example("a, b ;c", 'say "hi" #x')
@example("100%", "%(here)s")
@example("%%(here)s", "\\")
@example(" both ends ", "'")
@example("", "a\\")
def test_every_value_arrives_as_it_was_given_or_is_refused(read, first, second):
    environment = {"A": first, "B": second}
    refused = {each.split("'")[1] for each in _program_file.problems(environment)}
    given_values = {name: value for name, value in environment.items() if name not in refused}
    if given_values:
        assert read(__devpi_supervisor_environment=given_values).environment == given_values
    # Only quotes of both kinds keep a value out, each inside it or at an end.
    for name in refused:
        assert environment[name].count("'") + environment[name].count('"') >= 1


@pytest.mark.parametrize(
    "value", ["a, b ;c", 'say "hi" #x', "100%", "it's", "http://u:p%40x@proxy:3128", "grün ✓ 👩\u200d💻", "x" * 5000, 7]
)
def test_what_people_write_is_never_refused(read, value):
    assert _program_file.problems({"A": value}) == []
    assert read(__devpi_supervisor_environment={"A": value}).environment == {"A": str(value)}


@pytest.mark.parametrize("name", ["A B", "1A", "A=B", "", "A\n", "A\nB", "Ä", "A-B", "A\x00"])
def test_what_is_no_name_is_refused_with_the_way_out(name):
    (problem,) = _program_file.problems({name: "x"})
    assert problem.startswith(f"devpi_environment {name!r} ")
    assert "; " in problem


@pytest.mark.parametrize(
    "value",
    ["a\nb", "a\x00b", "\x1b[0m", "a\u2028b", "a\x85", "\ud800", True, None, [], {}, "x" * 140_000, '"q"', "'\""],
)
def test_what_cannot_arrive_is_refused_and_not_shown(value):
    (problem,) = _program_file.problems({"SECRET": value})
    assert problem.startswith("devpi_environment 'SECRET' ")
    assert "; " in problem
    assert len(problem) < 300


def test_what_is_no_dictionary_is_refused():
    (problem,) = _program_file.problems("A=b")
    assert problem.startswith("devpi_environment has to be a dictionary; ")


# As paths are checked: printable, absolute
PATHS = (
    st.lists(CHARACTERS, min_size=1, max_size=12).map("".join).map(lambda text: f"/var/log/{text.replace('/', '')}x")
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATHS)
@example("/var/log/a b;c #d 100% %(here)s 'x' \"y")
def test_paths_and_the_command_arrive_as_they_were_given(read, path):
    found = read(devpi_venv_path=path, devpi_supervisor_log_file=path, devpi_supervisor_directory=path)
    assert (found.directory, found.stdout_logfile) == (path, path)
    assert shlex.split(found.command)[0] == f"{path}/bin/devpi-server"


def test_a_newline_in_ansibles_own_mark_is_no_line_of_the_file(read):
    assert read(ansible_managed="made by us\nuser=root\n[program:evil]\ncommand=/bin/sh").uid != 0


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Return a directory that stands for /etc/supervisor, with a log that nobody else can replace."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "supervisord.conf").write_text("[supervisord]\n[include]\nfiles = %(here)s/conf.d/*.conf ; all\n")
    monkeypatch.setattr(_program_file, "MAIN_FILE", tmp_path / "supervisord.conf")
    monkeypatch.setattr(_program_file, "PROGRAMS", tmp_path / "conf.d")
    monkeypatch.setattr(_paths, "exposed", lambda path: Path("/theirs") if path.startswith("/theirs") else None)
    return tmp_path


def on(host, log="log"):
    return _program_file.problems_on_host("devpi", str(host / log) if not log.startswith("/") else log)


OURS = "[program:devpi]\ncommand=/opt/devpi/venv/bin/devpi-server\nstdout_logfile={}\n"


def test_an_empty_host_and_our_own_program_are_no_problem(host):
    assert on(host) == []
    (host / "log").write_text("")
    assert on(host) == []
    (host / "conf.d/devpi.conf").write_text(OURS.format(host / "log"))
    (host / "log").write_text("ours")
    assert on(host) == []


def test_somebody_elses_program_file_is_named(host):
    (host / "conf.d/devpi.conf").write_text("[program:devpi]\ncommand=/usr/bin/other\n")
    (problem,) = on(host)
    assert f"{host}/conf.d/devpi.conf is somebody else's program" in problem


@pytest.mark.parametrize("kind", ["program", "group", "eventlistener"])
def test_a_program_of_that_name_in_another_file_is_named(host, kind):
    (host / "conf.d/web.conf").write_text(f"[{kind}:devpi]\ncommand=/usr/bin/other\n")
    (problem,) = on(host)
    assert f"{host}/conf.d/web.conf has a program of that name" in problem


def test_a_main_file_that_includes_other_places_is_named(host):
    (host / "supervisord.conf").write_text("[supervisord]\n[include]\nfiles = /etc/other/*.ini\n[x]\n")
    (problem,) = on(host)
    assert "does not include" in problem
    (host / "supervisord.conf").write_text("[supervisord]\n[include]\nfiles =\n  /etc/other/*.ini\n  conf.d/*.conf\n")
    assert on(host) == []


@pytest.mark.parametrize("kind", ["file", "link", "pipe", "directory"])
def test_a_log_that_is_somebody_elses_is_named(host, kind):
    log = host / "log"
    if kind == "file":
        log.write_text("precious")
    elif kind == "link":
        log.symlink_to("/etc/passwd")
    elif kind == "pipe":
        os.mkfifo(log)
    else:
        log.mkdir()
    (problem,) = on(host)
    assert "exists and belongs to somebody else; " in problem


def test_a_log_that_others_can_replace_or_that_has_no_directory_is_named(host):
    (problem,) = on(host, "/theirs/log")
    assert "lies in /theirs, where another account can put something else" in problem
    (problem,) = on(host, "none/log")
    assert "is not a directory" in problem


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("[program:devpi]\ncommand=/usr/sbin/nginx\n", False),
        ("; Ansible managed\n[program:devpi]\ncommand=/usr/sbin/nginx\n", False),
        ("[program:other]\ncommand=/opt/devpi/venv/bin/devpi-server\n", False),
        (OURS + "[program:other]\ncommand=/usr/bin/other\n", False),
        ("", False),
        ("[program:devpi]\ncommand = /home/x/devpi_venv/bin/devpi-server --port=3141\nuser=x\n", True),
    ],
)
def test_a_file_is_ours_where_it_runs_nothing_but_a_devpi_server(host, text, ours):
    (host / "conf.d/devpi.conf").write_text(text)
    assert _program_file.is_ours(host / "conf.d/devpi.conf") is ours


def test_only_our_own_workers_are_known(host):
    (host / "conf.d/devpi-worker-9.conf").write_text("[program:devpi-worker-9]\ncommand=/usr/bin/celery worker\n")
    ours = "[program:devpi-worker-2]\ncommand=/opt/devpi/venv/bin/devpi-server --requests-only --port=1\n"
    (host / "conf.d/devpi-worker-2.conf").write_text(ours)
    assert _program_file.workers_of("devpi") == {"devpi-worker-2"}


COMMAND = ["/opt/devpi/venv/bin/devpi-server", "--configfile=/etc/xdg/devpi-server/devpi-server.yml"]


@pytest.mark.parametrize(
    ("number", "loopback", "options"),
    [
        (0, True, []),
        (0, False, ["--host=192.0.2.1", "--port=3141"]),
        (2, True, ["--requests-only", "--host=127.0.0.1", "--port=3144"]),
        (2, False, ["--requests-only", "--host=127.0.0.1", "--port=3144"]),
    ],
)
def test_server_and_workers_are_told_where_their_configuration_is(read, number, loopback, options):
    """By itself devpi-server takes one in the account's own directory first."""
    found = read(__devpi_program_number=number, __devpi_listens_on_loopback=loopback)
    assert shlex.split(found.command) == [*COMMAND, *options]
    assert found.stdout_logfile == ("/var/log/devpi-worker-2.log" if number else "/var/log/devpi.log")


def test_configuration_of_devpi_server_makes_no_program_ours(host):
    path = host / "conf.d/devpi.conf"
    path.write_text("[program:devpi]\ncommand=/usr/bin/other --configfile=/etc/xdg/devpi-server/devpi-server.yml\n")
    assert not _program_file.is_ours(path)
    path.write_text(
        "[program:devpi]\ncommand=/x/bin/devpi-server --configfile=/etc/xdg/devpi-server/devpi-server.yml\n"
    )
    assert _program_file.is_ours(path)
