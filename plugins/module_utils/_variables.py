# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be refused by looking at the roles' variables alone, all at once and before any host is touched."""

from __future__ import annotations

import ipaddress
import re
import time
from typing import Any, Callable, Iterator, Mapping
from urllib.parse import urlsplit

from ansible_collections.wheelhouse.devpi.plugins.module_utils import _paths
from ansible_collections.wheelhouse.devpi.plugins.module_utils._arguments import (
    described,
    disagreements,
    shown,
    typed,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import NO_USER
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import (
    User,
    flaws_of_hash,
    flaws_of_name,
    flaws_of_password,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._program_file import unfit_value
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pypirc import PypircError, Repository
from ansible_collections.wheelhouse.devpi.plugins.module_utils._requirements import (
    lock_problem,
    locked_in,
    pin_problem,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._server_settings import (
    MANY_THREADS,
    environment_problems,
    option_problems,
    permission_problems,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tokens import PERMISSIONS, TokenError, declared_token

Check = Callable[[str, Any], Iterator[str]]

# As certificates and nginx's server_name take it; no wildcard, because the first one stands in links.
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
# A name that is all digits would be taken for the number of an account.
ACCOUNT = re.compile(r"(?![0-9]+\Z)[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}\$?")
PROGRAM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
# Characters that supervisor, nginx, a shell and the first line of a script take literally.
PATH = re.compile(r"[A-Za-z0-9_/.@+,=~-]+")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OPTION_NAME = re.compile(r"[a-z][a-z0-9-]*")
INTERPRETER = re.compile(r"python3(\.[0-9]{1,2})?")
SIZE = re.compile(r"[0-9]{1,12}(KB|MB|GB)?", re.IGNORECASE)
# Files are named after users, and the name of a file's draft is longer.
LONGEST_NAME = 200
LONGEST_TEXT = 2000

# Where the collection itself keeps something, whatever the variables say
OWN_PLACES = ("/etc/ssl/devpi", "/etc/xdg/devpi-server", "/opt/devpi/venvs")


def problems(
    specs: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Any],
    *,
    made_of: Mapping[str, set[str]] | None = None,
    proxied: bool = False,
) -> list[str]:
    """Return what is wrong with the variables, a sentence each: value, variable and way out.

    :param specs: by variable, its part of a role's argument specs.
    :param values: by variable, its value; a variable that is not in it is not checked.
    :param made_of: for a variable whose value is the roles' own default, the variables that it is made of. It is not
        looked at where one of those is wrong.
    :param proxied: whether nginx stands in front of the server.
    """
    made_of = made_of or {}
    found: dict[str, list[str]] = {}
    for derived in (False, True):
        for name, value in values.items():
            if (name in made_of) is derived and not made_of.get(name, set()) & set(found):
                wrong = list(_variable_problems(name, specs[name], value))
                if wrong:
                    found[name] = wrong
    valid = {name: typed(specs[name], value) for name, value in values.items() if name not in found}
    # A default that is made of wrong values is not checked.
    valid = {name: value for name, value in valid.items() if not made_of.get(name, set()) & set(found)}
    everything = [problem for name in values for problem in found.get(name, [])]
    everything += [
        *_port_problems(valid, proxied=proxied),
        *_path_problems(valid, made_of),
        *_combination_problems(valid, proxied=proxied),
    ]
    return list(dict.fromkeys(everything))


def _variable_problems(name: str, option: Mapping[str, Any], value: object) -> Iterator[str]:
    wrong = list(disagreements(name, option, value))
    if wrong:
        yield from wrong
        return
    value = typed(option, value)
    if isinstance(value, str) and not value.strip():
        if option.get("default") != "" and name not in MAY_BE_EMPTY:
            yield f"{name} is empty; give it a value, or remove its line"
        elif value:
            yield f"{name} contains only spaces; leave it empty, or give it a value"
        return
    check = CHECKS.get(name) or _usual_check(name, option)
    if check:
        yield from check(name, value)


def _usual_check(name: str, option: Mapping[str, Any]) -> Check | None:
    """Return the check that follows from a variable's type and name alone."""
    return _path if option.get("type") == "path" else BY_ENDING.get(name.rpartition("_")[2])


def _redacted(sentence: str, *texts: object) -> str:
    """Return the sentence with each of the values that it quotes as a message may show it."""
    for text in texts:
        if isinstance(text, str) and text:
            sentence = sentence.replace(repr(text), shown(text))
    return sentence


def _each(check: Check) -> Check:
    def each(place: str, value: Any) -> Iterator[str]:
        for number, element in enumerate(value):
            if isinstance(element, str) and not element.strip():
                yield f"{place}[{number}] is empty; give it a value, or remove it"
            else:
                yield from check(f"{place}[{number}]", element)

    return each


def _some(check: Check) -> Check:
    def some(place: str, value: Any) -> Iterator[str]:
        if not value:
            yield f"{place} is an empty list; name at least one"
        yield from _each(check)(place, value)

    return some


def _within(lowest: int, highest: int) -> Check:
    def within(place: str, value: int) -> Iterator[str]:
        if not lowest <= value <= highest:
            yield f"{place} {value} is out of range; name one from {lowest} to {highest}"

    return within


def _matching(pattern: re.Pattern[str], what: str, way: str) -> Check:
    def matching(place: str, value: str) -> Iterator[str]:
        if not pattern.fullmatch(value):
            yield f"{place} {shown(value)} is not {what}; {way}"

    return matching


def _is_address(text: str) -> bool:
    try:
        # A zone, behind a percent sign, is the host's own business and no part of a configuration.
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _host(place: str, value: str) -> Iterator[str]:
    numeric = re.fullmatch(r"[0-9.]+", value)
    if value != "*" and not _is_address(value) and (numeric or len(value) > 253 or not HOST_NAME.fullmatch(value)):
        yield f"{place} {shown(value)} is neither an address nor a host name; write it as 127.0.0.1 or ::1"


def _name_in_certificates(place: str, value: str) -> Iterator[str]:
    numeric = re.fullmatch(r"[0-9.]+", value)
    if not _is_address(value) and (numeric or len(value) > 253 or not HOST_NAME.fullmatch(value)):
        where, _bracket, _number = place.partition("[")
        yield (
            f"{where} has {shown(value)}, which is neither a host name nor an address; write it as index.example.com "
            "or 192.0.2.10"
        )


def _address(place: str, value: str) -> Iterator[str]:
    if not _is_address(value):
        yield f"{place} {shown(value)} is not an address; write it as 192.0.2.10, 2001:db8::1, 0.0.0.0 or '::'"


def _network(place: str, value: str) -> Iterator[str]:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        yield f"{place} {shown(value)} is not a network; write it as 192.0.2.0/24 or 2001:db8::/32, without host bits"


def _url(place: str, value: str) -> Iterator[str]:
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", 0
    whole = value.startswith(("http://", "https://")) and port != 0 and len(value) <= LONGEST_TEXT
    if not whole or not (_is_address(host) or HOST_NAME.fullmatch(host)):
        yield f"{place} {shown(value)} is not a web address; write it as https://index.example.com/path"
    elif re.search(r"""[\s"'<>\\^`{|}]""", value) or not value.isprintable():
        yield (
            f"{place} {shown(value)} has a character that a URL cannot contain; write it as a percent code, such as "
            "%20 for a space"
        )


def _outside_url(place: str, value: str) -> Iterator[str]:
    wrong = list(_url(place, value))
    if wrong:
        yield from wrong
        return
    rest = value.partition("://")[2]
    if "@" in rest:
        yield f"{place} has a login in it, which everyone would see; remove it"
    elif value.endswith("/"):
        yield f"{place} {shown(value)} ends with a slash; leave that out"
    elif not re.fullmatch(r"[\]\[A-Za-z0-9.:/_~-]+", rest):
        yield f"{place} {shown(value)} has more than a host, a port and a path; write it as https://index.example.com"


def _devpi_name(kind: str) -> Check:
    def devpi_name(place: str, value: str) -> Iterator[str]:
        yield from (_redacted(flaw, value) for flaw in flaws_of_name(value, kind, place))
        if kind == "user" and value == NO_USER:
            yield f"{place} is {NO_USER}, which stands for a token where people log in; choose another name"
        if len(value.encode("utf-8", "replace")) > LONGEST_NAME:
            yield f"{place} {shown(value)} is too long for a name; use at most {LONGEST_NAME} bytes"

    return devpi_name


def _index_path(place: str, value: str) -> Iterator[str]:
    user, slash, name = value.partition("/")
    if not (user and slash and name) or "/" in name:
        yield f"{place} {shown(value)} is not of the form user/index; write it so, for example root/pypi"
        return
    yield from _devpi_name("user")(place, user)
    yield from _devpi_name("index")(place, name)


def _path(place: str, value: str) -> Iterator[str]:
    yield from _path_that_is_read(place, value, made=True)


def _log(place: str, value: str) -> Iterator[str]:
    problems = list(_path(place, value))
    why = _paths.unfit_log(value)
    yield from problems or ([f"{place} {shown(value)} {why}"] if why else [])


def _path_that_is_read(place: str, value: str, *, made: bool = False) -> Iterator[str]:
    why = _paths.unfit(value) if made else _paths.unclear(value)
    if why:
        yield f"{place} {shown(value)} {why}"
    elif value in _paths.SYSTEM_DIRECTORIES:
        yield f"{place} {shown(value)} is a directory of the system; name a file"
    elif ":" in value:
        yield (
            f"{place} {shown(value)} has a colon in it, which ends a directory in PATH and in lists like it; name a "
            "path without one"
        )
    elif not PATH.fullmatch(value):
        yield (
            f"{place} {shown(value)} has a character in it that supervisor, nginx or a shell could misread; use only "
            "ASCII letters and digits and . _ - + @ , = ~"
        )


def _source(place: str, value: str) -> Iterator[str]:
    # A directory of the system is fine here: something may be mounted at it.
    if value not in _paths.SYSTEM_DIRECTORIES:
        yield from (_url if "://" in value else _path_that_is_read)(place, value)


def _lock(place: str, value: str) -> Iterator[str]:
    # It lies on the controller, where every path is allowed.
    if len(value) > _paths.LONGEST_PATH:
        yield f"{place} {shown(value)} is longer than a path can be; name a file on the controller"
        return
    problem = lock_problem(value, locked_in(value))
    if problem:
        yield problem


def _password(place: str, value: str) -> Iterator[str]:
    yield from flaws_of_password(value, place)


def _service_account(place: str, value: str) -> Iterator[str]:
    if value == "root":
        yield f"{place} is root, and whoever breaks into the server would be root; name an account of its own"
        return
    yield from _account(place, value)


_account = _matching(ACCOUNT, "the name of an account", "write it as alice or web-1")


def _group(place: str, value: str) -> Iterator[str]:
    if value == "root":
        yield f"{place} is root, and no service should be a member of it; name nginx's own group, such as www-data"
        return
    yield from _matching(ACCOUNT, "the name of a group", "write it as www-data")(place, value)


def _program(place: str, value: str) -> Iterator[str]:
    if not PROGRAM.fullmatch(value):
        yield (
            f"{place} {shown(value)} is not the name of a program; use letters, digits and _ . -, and do not begin "
            "with . or -"
        )
    elif value in ("all", "supervisord"):
        yield f"{place} {value!r} has a special meaning for supervisor; choose another name"
    elif re.search(r"-worker-[0-9]+$", value):
        yield f"{place} {value!r} ends like the name of a worker; choose another name"


def _python(place: str, value: str) -> Iterator[str]:
    if value.startswith("/"):
        yield from _path_that_is_read(place, value)
    elif not INTERPRETER.fullmatch(value):
        yield (
            f"{place} {shown(value)} is neither a Debian package such as python3 or python3.11 nor an absolute path; "
            "name one of these"
        )


def _environment(place: str, value: Mapping[str, object]) -> Iterator[str]:
    for name, each in value.items():
        if not ENVIRONMENT_NAME.fullmatch(name):
            yield f"{place} has {shown(name)}, which is not the name of a variable; use letters, digits and _"
        elif isinstance(each, bool) or not isinstance(each, (str, int, float)):
            yield f"{place}.{name} is {described(each, secret=True)} and has to be a text; put it in quotes"
        else:
            wrong = list(disagreements(f"{place}.{name}", {"type": "str", "no_log": True}, str(each)))
            reason = unfit_value(name, each)
            yield from wrong or ([f"{place}.{name} {reason}"] if reason else environment_problems({name: each}))


def _server_options(place: str, value: Mapping[str, object]) -> Iterator[str]:
    for name, each in value.items():
        # Preflight checks, on the host, which options the installed plugins have.
        found = option_problems({name: each}, plugins=True)
        if found:
            yield from found
        elif not OPTION_NAME.fullmatch(name):
            yield f"{place} has {shown(name)}, which is not an option of devpi-server; see devpi-server --help"
        elif each is None:
            yield f"{place}.{name} is null; give it a value, or remove its line"
        else:
            for text in each if isinstance(each, (list, tuple)) else [each]:
                if isinstance(text, str):
                    yield from disagreements(f"{place}.{name}", {"type": "str", "no_log": True}, text)
                elif not isinstance(text, (bool, int, float)):
                    yield (
                        f"{place}.{name} is {described(each, secret=True)} and has to be a text, a number or a truth "
                        "value; write it as one of these"
                    )


def _modifiers(place: str, value: str) -> Iterator[str]:
    wrong = permission_problems(value)
    yield from wrong
    for name in [] if wrong else value.split(","):
        yield from _devpi_name("user")(place, name.strip().lstrip(":"))


def _requirement(place: str, value: str) -> Iterator[str]:
    problem = pin_problem(value, place)
    if problem:
        yield problem


def _umask(place: str, value: str) -> Iterator[str]:
    if not re.fullmatch(r"0?0[0-7]{2}", value):
        yield (
            f"{place} {shown(value)} is not a umask with which the server can use its own files; write it as '077' or "
            "'027'"
        )
    elif int(value, 8) & 0o022 != 0o022:
        yield f"{place} {shown(value)} lets others change the server's files; write it as '077' or '027'"


def _tokens(place: str, value: list[Mapping[str, Any]]) -> Iterator[str]:
    for number, token in enumerate(value):
        here = f"{place}[{number}]"
        yield from _empty_value_problems(here, token, ("user", "path", "owner", "expires", "renew_before"))
        yield from _devpi_name("user")(f"{here}.user", token["user"])
        yield from _path(f"{here}.path", token["path"])
        if token.get("owner"):
            yield from _account(f"{here}.owner", token["owner"])
        for allowed in token.get("allowed") or []:
            if allowed not in PERMISSIONS:
                yield f"{here}.allowed has {shown(allowed)}, which is not a permission; name {', '.join(PERMISSIONS)}"
        if token.get("state") == "absent":
            continue
        given = {name: token.get(name) for name in ("allowed", "indexes", "projects")}
        times = {"expires": token.get("expires") or "365d", "renew_before": token.get("renew_before") or "30d"}
        try:
            declared_token({"not_before": None, "user": "", "path": "", **given, **times}, int(time.time()))
        except TokenError as error:
            listed = [each for given in token.values() for each in (given if isinstance(given, list) else [given])]
            yield from (f"{here}: {_redacted(problem, *listed)}" for problem in str(error).splitlines())


def _empty_value_problems(place: str, given: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if isinstance(given.get(name), str) and not given[name].strip():
            yield f"{place}.{name} is empty; give it a value, or remove its line"


def _repositories(place: str, value: list[Mapping[str, Any]]) -> Iterator[str]:
    places: dict[str, str] = {}
    for number, given in enumerate(value):
        here = f"{place}[{number}]"
        try:
            Repository(**{**{key: each for key, each in given.items() if each is not None}, "name": given["name"]})
        except PypircError as error:
            reason = str(error).partition("repositories: ")[2] or str(error)
            yield f"{here}: {_redacted(reason, *given.values())}"
        if given["name"] in places:
            yield f"{here}: {shown(given['name'])} is named by {places[given['name']]} already; join the two"
        places.setdefault(given["name"], here)


def _users(place: str, value: list[Mapping[str, Any]]) -> Iterator[str]:
    for number, user in enumerate(value):
        here = f"{place}[{number}]"
        yield from _devpi_name("user")(here, user["name"])
        yield from flaws_of_password(user.get("password") or "", f"{here}.password")
        if user.get("password_hash"):
            yield from flaws_of_hash(
                User(
                    user["name"],
                    here,
                    update_password=user.get("update_password") == "always",
                    password=user.get("password") or None,
                    password_hash=user["password_hash"],
                )
            )
        for position, index in enumerate(user.get("indexes") or []):
            yield from _devpi_name("index")(f"{here}.indexes[{position}]", index["name"])
            for base_number, base in enumerate(index.get("bases") or []):
                yield from _index_path(f"{here}.indexes[{position}].bases[{base_number}]", base)
            if index.get("mirror_url"):
                yield from _url(f"{here}.indexes[{position}].mirror_url", index["mirror_url"])


# By the last word of a name
BY_ENDING: dict[str, Check] = {
    "group": _group,
    "networks": _each(_network),
    "owner": _account,
    "password": _password,
    "port": _within(1, 65535),
    "umask": _umask,
    "url": _url,
    "user": _service_account,
}
# Where the check follows neither from the name's last word nor from the type
CHECKS: dict[str, Check] = {
    "devpi_host": _host,
    "devpi_url": _outside_url,
    "devpi_username": _devpi_name("user"),
    "devpi_index": _devpi_name("index"),
    "devpi_index_bases": _each(_index_path),
    "devpi_users": _users,
    "devpi_tokens": _tokens,
    "devpi_python": _python,
    "devpi_supervisor_program": _program,
    "devpi_ca_bundle": _path_that_is_read,
    "devpi_environment": _environment,
    "devpi_pypirc_repositories": _repositories,
    "devpi_proxy_names": _each(_name_in_certificates),
    "devpi_proxy_certificate": _path_that_is_read,
    "devpi_proxy_key": _path_that_is_read,
    "devpi_proxy_ca": _path_that_is_read,
    "devpi_server_workers": _within(0, 64),
    "devpi_min_memory": _within(0, 100_000_000),
    "devpi_min_disk": _within(0, 10_000_000_000),
    "devpi_venv_lock": _lock,
    "devpi_venv_extra_packages": _each(_requirement),
    "devpi_venv_find_links": _source,
    "devpi_server_restrict_modify": _modifiers,
    "devpi_server_threads": _within(1, MANY_THREADS),
    "devpi_server_argon2_memory_cost": _within(8, 4_194_304),
    "devpi_server_argon2_time_cost": _within(1, 1000),
    "devpi_server_argon2_parallelism": _within(1, 64),
    "devpi_server_options": _server_options,
    "devpi_supervisor_exitcodes": _some(_within(0, 255)),
    "devpi_supervisor_priority": _within(0, 1_000_000),
    "devpi_supervisor_startsecs": _within(0, 3600),
    "devpi_supervisor_log_file": _log,
    "devpi_supervisor_log_maxbytes": _matching(SIZE, "a size", "write it as 10MB, with the unit KB, MB or GB"),
    "devpi_supervisor_log_backups": _within(0, 1000),
    "devpi_supervisor_ready_timeout": _within(1, 3600),
    "devpi_proxy_addresses": _some(_address),
    "devpi_proxy_hsts": _within(0, 2_147_483_647),
    "devpi_proxy_request_rate": _within(0, 1_000_000),
    "devpi_proxy_connections": _within(0, 65535),
    "devpi_proxy_access_log": _log,
}
# These may be empty too, like those whose default is; each then stands for something else.
MAY_BE_EMPTY = frozenset({"devpi_proxy_ca", "devpi_server_restrict_modify"})


def _port_problems(valid: Mapping[str, Any], *, proxied: bool) -> Iterator[str]:
    """Yield where two programs would listen at one port."""
    if "devpi_port" not in valid:
        return
    port, workers = valid["devpi_port"], valid.get("devpi_server_workers", 0)
    if not proxied:
        return
    last = port + 1 + workers
    if workers and last > 65535:
        yield (f"devpi_server_workers {workers} asks for port {last}, and ports end at 65535; set devpi_port lower")
    if port in (80, 443):
        yield f"devpi_port {port} belongs to nginx on hosts of the group devpi_proxy; set it to another, like 3141"
    for worker in range(port + 2, last + 1):
        if worker in (80, 443):
            yield (
                f"devpi_server_workers {workers} asks for port {worker}, which nginx uses; set devpi_port so "
                "that the ports after it are free"
            )


def _is_inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


def _path_problems(valid: Mapping[str, Any], made_of: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield where one of the paths would replace, expose or fill what another one holds."""
    wrong: set[str] = set()
    trees = {
        name: str(valid[name])
        for name in ("devpi_venv_path", "devpi_server_dir", "devpi_credentials_dir")
        if name in valid
    }
    for name, path in trees.items():
        for other, place in {**trees, **{place: place for place in OWN_PLACES}}.items():
            if other != name and _is_inside(path, place) and not (path == place and other > name and other in trees):
                wrong |= {name, other}
                holder = f"{other} {place}" if other in trees else place
                relation = "is" if path == place else "lies in"
                yield (
                    f"{name} {path} {relation} {holder}, which holds something else with rights of its own; set one of "
                    "them to a directory beside the other"
                )
    made = {name: str(value) for name, value in valid.items() if CHECKS.get(name) is _log}
    if "devpi_server_secret_file" in valid:
        made["devpi_server_secret_file"] = str(valid["devpi_server_secret_file"])
    made.update(
        {f"devpi_tokens[{n}].path": str(each["path"]) for n, each in enumerate(valid.get("devpi_tokens") or [])}
    )
    read = {name: str(value) for name, value in valid.items() if CHECKS.get(name) is _path_that_is_read and value}
    server = trees.get("devpi_server_dir")
    # Of a default, the wrong variable that it is made of has been named already.
    made = {name: path for name, path in made.items() if not made_of.get(name, set()) & wrong}
    for number, (name, path) in enumerate(made.items()):
        for other, place in [*list(made.items())[:number], *read.items()]:
            if path == place:
                yield f"{name} {path} is {other} too; give each of them a file of its own"
        for other, place in {**trees, **{place: place for place in OWN_PLACES}}.items():
            if _is_inside(place, path):
                yield f"{name} {path} is a file, and {other} {place} lies in it; name another file"
            elif name.startswith("devpi_tokens") and other == "devpi_credentials_dir" and _is_inside(path, place):
                kept = path[len(place) + 1 :]
                users = {"root", *(str(user["name"]) for user in valid.get("devpi_users") or [])}
                if "/" in kept or not kept.endswith(".token") or kept in users:
                    yield (
                        f"{name} {path} lies in {other} {place}, where a file holds the password of the user whose "
                        "name it has; end its name in .token, or name a file elsewhere"
                    )
            elif _is_inside(path, place) and other != "devpi_server_dir":
                holder = f"{other} {place}" if other in trees else place
                yield f"{name} {path} lies in {holder}, which holds nothing else; name a file elsewhere"
        if server is None or not _is_inside(path, server) or path == server:
            continue
        if name != "devpi_server_secret_file":
            if not name.endswith("log_file") or _is_inside(path, f"{server}/+files"):
                yield f"{name} {path} lies in devpi_server_dir {server}, which is the server's; name a file elsewhere"
        elif path[len(server) + 1 :].startswith(("+", ".sqlite", ".nodeinfo", ".serverversion", ".event_serial")):
            yield (
                f"{name} {path} is where the server keeps other things, and nginx may show some of them; name it "
                f"{server}/.secret, or a file elsewhere"
            )


def _combination_problems(valid: Mapping[str, Any], *, proxied: bool) -> Iterator[str]:
    """Yield what is wrong with values together, each of which is right by itself."""
    memory, lanes = valid.get("devpi_server_argon2_memory_cost"), valid.get("devpi_server_argon2_parallelism")
    if memory is not None and lanes is not None and memory < 8 * lanes:
        yield (
            f"devpi_server_argon2_memory_cost {memory} is too little for devpi_server_argon2_parallelism {lanes}; give "
            f"at least {8 * lanes}"
        )
    umask = valid.get("devpi_supervisor_umask")
    if proxied and umask is not None and int(umask, 8) & 0o050:
        yield (
            f"devpi_supervisor_umask {umask!r} keeps nginx from reading release files, which it must do on hosts of "
            "the group devpi_proxy; write it as '027'"
        )
    if "devpi_proxy_names" in valid and proxied and not valid["devpi_proxy_names"]:
        yield "devpi_proxy_names is empty; give at least one name by which clients reach the server"
