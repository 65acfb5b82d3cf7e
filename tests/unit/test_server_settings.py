"""What may be given to devpi-server: options, environment, address. Each refusal names value, origin and way out."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.wheelhouse.devpi.plugins.module_utils._server_settings import (
    DECIDED,
    environment_problems,
    option_problems,
    permission_problems,
    url_problems,
)


@pytest.mark.parametrize("option", DECIDED)
@pytest.mark.parametrize("spelling", ["{}", "--{}", "-{}", " {} "])
def test_what_the_roles_decide_is_refused_in_each_spelling(option: str, spelling: str) -> None:
    given = {option, option.upper(), option.title(), option.replace("-", "_"), option.replace("-", "_").upper()}
    for name in (spelling.format(each) for each in given):
        (problem,) = option_problems({name: "x"})
        assert name in problem
        assert DECIDED[option] in problem
        # a plugin's options are its own to know, and these are none
        assert option_problems({name: "x"}, plugins=True) == [problem]


@pytest.mark.parametrize(
    ("option", "variable"),
    [
        ("host", "devpi_host"),
        ("port", "devpi_port"),
        ("listen", "devpi_host"),
        ("serverdir", "devpi_server_dir"),
        ("secretfile", "devpi_server_secret_file"),
        ("outside-url", "devpi_url"),
        ("restrict-modify", "devpi_server_restrict_modify"),
        ("threads", "devpi_server_threads"),
        ("requests-only", "devpi_server_workers"),
        ("indexer-backend", "devpi_server_search"),
        ("argon2-time-cost", "devpi_server_argon2_time_cost"),
        ("keep-docs-packed", "unpacks can reach its other files"),
        ("role", "passwords"),
    ],
)
def test_the_refusal_names_what_to_use(option: str, variable: str) -> None:
    for value in (False, True, "x", None, [], {}):
        assert variable in option_problems({option: value})[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"debug": True, "offline-mode": "yes", "request-timeout": 30, "mirror-cache-expiry": "600"},
        {"theme": "/srv/theme: #1 'x' \"y\" {z}", "logger-cfg": "/etc/devpi/log.yml", "trusted-proxy": "192.0.2.1"},
        {"max-request-body-size": 2**31, "connection-limit": 900},
    ],
)
def test_what_devpi_server_takes_is_taken(options: dict[str, Any]) -> None:
    assert option_problems(options) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, "devpi_server_options is null, and has to be a mapping"),
        ([], "devpi_server_options is [], and has to be a mapping"),
        ("debug", "devpi_server_options is 'debug', and has to be a mapping"),
        (7, "devpi_server_options is 7, and has to be a mapping"),
        ({"request_timeout": 5}, "'request_timeout', which devpi-server does not read; write it as request-timeout"),
        ({"--Debug": True}, "'--Debug', which devpi-server does not read; write it as debug"),
        ({"request-timout": 5}, "is not an option of devpi-server; write it as request-timeout if that is meant"),
        ({"nonsense": 5}, "is not an option of devpi-server; correct it as devpi-server --help says"),
        ({7: 5}, "'7', which is not an option of devpi-server"),
        ({"": 5}, "'', which is not an option of devpi-server"),
        ({"debug": None}, "devpi_server_options.debug is null"),
        ({"theme": ["a"]}, "devpi_server_options.theme is a list"),
        ({"theme": {"a": 1}}, "devpi_server_options.theme is a mapping"),
        ({"theme": ""}, "devpi_server_options.theme is empty"),
        ({"theme": "  "}, "devpi_server_options.theme is empty"),
        ({"theme": True}, "devpi_server_options.theme is true, and has to be a text"),
        ({"theme": "a\nhost: 0.0.0.0"}, "devpi_server_options.theme holds a newline"),
        ({"theme": "a\x00"}, "devpi_server_options.theme holds a newline or another character"),
        ({"request-timeout": "soon"}, "devpi_server_options.request-timeout is 'soon', and has to be a whole number"),
        ({"request-timeout": -1}, "devpi_server_options.request-timeout is -1, and has to be a whole number"),
        ({"request-timeout": True}, "devpi_server_options.request-timeout is true, and has to be a whole number"),
        ({"debug": "perhaps"}, "devpi_server_options.debug is 'perhaps', and is a switch; give true or false"),
        ({"connection-limit": 1100}, "breaks above a thousand connections; give 1 to 999"),
        ({"connection-limit": 0}, "give 1 to 999"),
    ],
)
def test_options_that_are_refused(options: object, message: str) -> None:
    (problem,) = option_problems(options)
    assert message in problem


def test_an_option_of_a_plugin_is_the_plugins_to_know() -> None:
    assert option_problems({"ldap-config": "/etc/devpi/ldap.yml"}, plugins=True) == []
    assert len(option_problems({"ldap-config": None}, plugins=True)) == 1
    assert len(option_problems({"ldap-config": "/etc/devpi/ldap.yml"})) == 1


def test_all_problems_come_at_once_and_are_short() -> None:
    problems = option_problems({"host": "x", "nonsense": 1, "theme": ["x" * 5000], "y" * 5000: 1})
    assert len(problems) == 4
    assert max(map(len, problems)) < 400
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("DEVPISERVER_HOST", "set devpi_host"),
        ("DEVPISERVER_KEEP_DOCS_PACKED", "it is always true"),
        ("DEVPISERVER_RESTRICT_MODIFY", "set devpi_server_restrict_modify"),
        ("DEVPISERVER_DEBUG", "write debug in devpi_server_options"),
        ("DEVPISERVER_", "devpi_server_options"),
        ("DEVPI_SERVERDIR", "set devpi_server_dir"),
        ("XDG_CONFIG_DIRS", "another configuration"),
        ("XDG_CONFIG_HOME", "another configuration"),
        ("HOME", "another configuration"),
    ],
)
def test_variables_that_come_before_the_configuration_are_refused(name: str, way_out: str) -> None:
    (problem,) = environment_problems({"NO_PROXY": "x", name: "CANARY"})
    assert problem.startswith(f"devpi_environment has '{name}'")
    assert way_out in problem
    assert "CANARY" not in problem


def test_an_environment_is_a_mapping_and_its_values_are_not_shown() -> None:
    assert environment_problems({"HTTPS_PROXY": "http://u:p@proxy:8080", "home": "x"}) == []
    for given in (None, "A=CANARY", ["A=CANARY"], 7):
        (problem,) = environment_problems(given)
        assert problem.startswith("devpi_environment is ")
        assert "CANARY" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:3141",
        "http://[::1]:3141",
        "http://localhost:3141",
        "https://packages.example.com",
        "https://my_host.example.",
        "https://192.0.2.1:8443",
    ],
)
@pytest.mark.parametrize("proxied", [True, False])
def test_addresses(url: str, proxied: bool) -> None:
    assert url_problems(url, proxied, ("team",)) == []


def test_a_path_is_for_a_proxy_that_is_not_ours() -> None:
    url = "https://example.com/python/index"
    assert url_problems(url, False, ("team",)) == []
    assert "nginx, as the roles set it up, serves the root of its host" in url_problems(url, True)[0]
    assert "begins with the name of a devpi user" in url_problems("https://example.com/team/x", False, ("team",))[0]


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        [],
        {"a": 1},
        "packages.example.com",
        "packages.example.com:3141",
        "ftp://packages.example.com",
        "http://",
        "http:///x",
        "https://packages.example.com/",
        "https://packages.example.com//",
        "https://packages.example.com/x/",
        "https://packages.example.com/x//y",
        "https://packages.example.com/../x",
        "https://packages.example.com/a%2fb",
        "https://packages.example.com?x=1",
        "https://packages.example.com#x",
        "https://packages.example.com?",
        "https://packages.example.com:0",
        "https://packages.example.com:",
        "https://packages.example.com:99999",
        "https://packages.example.com:port",
        "https://packages example.com",
        "https://packages.example.com\n  host: 0.0.0.0",
        'https://packages.example.com"',
        "https://packages.example.com'",
        "https://packages.example.com$x",
        "https://{{ name }}",
        "https://-x.example.com",
        "https://x..example.com",
        "https://[::1",
        "https://exa\u0308mple.com",
        "https://" + "x" * 5000,
        " https://packages.example.com",
    ],
)
def test_no_addresses(url: object) -> None:
    for proxied in (True, False):
        (problem,) = url_problems(url, proxied)
        assert problem.startswith("devpi_url ")
        assert "write it as https://packages.example.com" in problem
        assert "\n" not in problem
        assert len(problem) < 400


def test_a_password_in_the_address_is_not_shown() -> None:
    for url in ("https://u:CANARY@packages.example.com", "https://CANARY@packages.example.com/x?y"):
        (problem,) = url_problems(url, False)
        assert "take them out" in problem
        assert "CANARY" not in problem


def test_who_may_change_others() -> None:
    for good in ("", "root", "root,alice", "root, :developers"):
        assert permission_problems(good) == []
    for bad in (None, ["root"], 7, " ", "root,", ",", "root,,alice", ":ANONYMOUS:", "root, :anonymous:", "root\nx: y"):
        (problem,) = permission_problems(bad)
        assert problem.startswith("devpi_server_restrict_modify ")
