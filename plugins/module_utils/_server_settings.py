# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the options, the environment and the address of a devpi-server, by their values alone.

The options are those of devpi-server 6.15 to 6.20 with devpi-web; those of other plugins are not known here.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from typing import Iterator, Mapping
from urllib.parse import urlsplit

LISTENS = "the server listens at devpi_host and devpi_port alone; set these"
REPLICA = "it turns this server into another kind, which the roles do not set up; drop it"
NO_SETTING = "it is not a setting of a configuration file; drop it"
# Each option that the roles decide, with what to do in its place
DECIDED = {
    "absolute-urls": "links lead to where the reader came from, or to devpi_url; set that one",
    "argon2-memory-cost": "set devpi_server_argon2_memory_cost",
    "argon2-parallelism": "set devpi_server_argon2_parallelism",
    "argon2-time-cost": "set devpi_server_argon2_time_cost",
    "configfile": NO_SETTING,
    "documentation-path": "documentation stays packed, so nothing is put there; drop it",
    "help": NO_SETTING,
    "host": "set devpi_host",
    "indexer-backend": (
        "set devpi_server_search, and mirror_no_project_list of root/pypi in devpi_users where only packages of your "
        "own are to be found"
    ),
    "keep-docs-packed": (
        "it is always true, because documentation that the server unpacks can reach its other files; drop it"
    ),
    "listen": LISTENS,
    "master-url": REPLICA,
    "nginx-socket": "it is set on hosts of the group devpi_proxy; drop it",
    "no-replica-streaming": REPLICA,
    "outside-url": "set devpi_url",
    "passwd": "set devpi_root_password, or a password in devpi_users",
    "port": "set devpi_port",
    "primary-url": REPLICA,
    "proxy-timeout": REPLICA,
    "replica-cert": REPLICA,
    "replica-file-search-path": REPLICA,
    "replica-max-retries": REPLICA,
    "requests-only": "set devpi_server_workers",
    "restrict-modify": "set devpi_server_restrict_modify",
    "role": "below 6.20.2 a primary gives the hashes of all passwords to anyone, and replicas are not set up; drop it",
    "secretfile": "set devpi_server_secret_file",
    "serverdir": "set devpi_server_dir",
    "storage": "the database is SQLite, which devpi-init has made; drop it",
    "threads": "set devpi_server_threads",
    "unix-socket": LISTENS,
    "unix-socket-perms": LISTENS,
    "version": NO_SETTING,
}
NUMBERS = (
    "connection-limit",
    "file-replication-threads",
    "keyfs-cache-size",
    "max-request-body-size",
    "mirror-cache-expiry",
    "profile-requests",
    "request-timeout",
    "trusted-proxy-count",
)
SWITCHES = ("autocreate-users", "debug", "debug-macros", "enable-core-metadata", "hard-links", "offline-mode")
TEXTS = ("file-replication-skip-indexes", "logger-cfg", "theme", "trusted-proxy", "trusted-proxy-headers")
FREE = (*NUMBERS, *SWITCHES, *TEXTS)
# As devpi-server reads a switch; YAML's own words are among them.
SWITCH = re.compile(r"y|yes|t|true|on|1|n|no|f|false|off|0", re.IGNORECASE)
# devpi-server looks for its configuration where these point, before it looks where role server writes it.
CONFIGURATION_ELSEWHERE = ("HOME", "XDG_CONFIG_DIRS", "XDG_CONFIG_HOME")
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
PATH = re.compile(r"(/[A-Za-z0-9._~+-]+)*")
MANY_THREADS = 500


def option_problems(options: object, plugins: bool = False) -> list[str]:
    """Return what is wrong with ``devpi_server_options``, one sentence for each: value, origin and way out.

    :param options: what the variable holds.
    :param plugins: whether other distributions are installed than those of the collection's lock, which may have
        options that nobody here knows.
    """
    if not isinstance(options, Mapping):
        return [f"devpi_server_options is {shown(options)}, and has to be a mapping of options, such as debug: true"]
    return [problem for name, value in options.items() for problem in _option(str(name), value, plugins)]


def _option(given: str, value: object, plugins: bool) -> Iterator[str]:
    where = f"devpi_server_options has {shown(given)}"
    name = given.strip().lstrip("-").replace("_", "-").lower()
    name = {"c": "configfile", "h": "help"}.get(name, name)
    if name in DECIDED:
        yield f"{where}, which the roles decide: {DECIDED[name]}"
        return
    if name in FREE and name != given:
        yield f"{where}, which devpi-server does not read; write it as {name}"
    elif name not in FREE and not plugins:
        near = difflib.get_close_matches(name, [*FREE, *DECIDED], 1, 0.8)
        guess = f"write it as {near[0]} if that is meant" if near else "correct it as devpi-server --help says"
        yield (
            f"{where}, which is not an option of devpi-server; {guess}, or name the plugin whose option it is in "
            "devpi_venv_extra_packages"
        )
    yield from _value(f"devpi_server_options.{given}", name, value)


def _value(where: str, name: str, value: object) -> Iterator[str]:
    if value is None or isinstance(value, (Mapping, list, tuple)):
        # A plugin's option may hold a password.
        kind = "null" if value is None else "a mapping" if isinstance(value, Mapping) else "a list"
        yield f"{where} is {kind}, and devpi-server takes one text, number or true or false there; give one"
        return
    text = str(value)
    if not text.strip():
        yield f"{where} is empty; give it a value, or drop it"
    elif not text.isprintable():
        yield f"{where} holds a newline or another character that does not print; write it in one line"
    elif name == "connection-limit" and not re.fullmatch("0*[1-9][0-9]{0,2}", text):
        yield f"{where} is {shown(value)}, and the server breaks above a thousand connections; give 1 to 999"
    elif name in NUMBERS and (isinstance(value, bool) or not re.fullmatch("[0-9]{1,18}", text)):
        yield f"{where} is {shown(value)}, and has to be a whole number; give 0 or more"
    elif name in SWITCHES and not SWITCH.fullmatch(text):
        yield f"{where} is {shown(value)}, and is a switch; give true or false"
    elif name in TEXTS and isinstance(value, bool):
        yield f"{where} is {shown(value)}, and has to be a text; devpi-server --help says which"


def environment_problems(environment: object) -> list[str]:
    """Return which variables of ``devpi_environment`` would change what the roles configure; values are not looked at.

    :param environment: what the variable holds.
    """
    if not isinstance(environment, Mapping):
        # The value may be a password.
        kind = "null" if environment is None else f"a {type(environment).__name__}"
        return [f"devpi_environment is {kind}, and has to be a mapping of names and values; write {{}} for none"]
    return [problem for name in environment for problem in _variable(str(name))]


def _variable(name: str) -> Iterator[str]:
    where = f"devpi_environment has {shown(name)}"
    if name == "DEVPI_SERVERDIR":
        yield f"{where}, which devpi-server takes before its configuration; {DECIDED['serverdir']}"
    elif name.startswith("DEVPISERVER_"):
        option = name[len("DEVPISERVER_") :].lower().replace("_", "-")
        way_out = DECIDED.get(option, f"write {option} in devpi_server_options")
        yield f"{where}, which devpi-server takes before its configuration: {way_out}"
    elif name in CONFIGURATION_ELSEWHERE:
        yield f"{where}, with which devpi-server may find another configuration than that of the roles; drop it"


def url_problems(url: object, proxied: bool, users: tuple[str, ...] = ()) -> list[str]:
    """Return why ``devpi_url`` is not an address at which clients could reach the server.

    :param url: what the variable holds.
    :param proxied: whether the collection's nginx stands in front.
    :param users: the devpi users. The server takes the path of its address off each request, so it may begin with no
        user's name.
    """
    if not isinstance(url, str) or not url.isprintable() or re.search(r"[\s\"'`$\\<>;{}|^]", url):
        return [f"devpi_url is {shown(url)}; write it as https://packages.example.com, without other characters"]
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        return [f"devpi_url {shown(url)} is not an address ({error}); write it as https://packages.example.com"]
    if "@" in parts.netloc:
        # What stands before the @ may be a password, and the server would show it to everybody in links.
        return ["devpi_url holds a user or a password, which everybody would read in links; take them out"]
    found = []
    if parts.scheme not in ("http", "https"):
        found.append("does not begin with http:// or https://")
    elif not _is_host(host) or port == 0 or parts.netloc.endswith(":"):
        found.append("names no host that clients could call, or a port that does not exist")
    if "?" in url or "#" in url:
        found.append("holds a query or a fragment, which the address of a server does not have")
    if parts.path.endswith("/"):
        found.append("ends in a slash, which makes the server take the slash off each path that is requested")
    elif parts.path and proxied:
        found.append(f"holds the path {parts.path}, and nginx, as the roles set it up, serves the root of its host")
    elif not PATH.fullmatch(parts.path) or {".", ".."} & set(parts.path.split("/")):
        found.append(f"holds the path {parts.path}, which has other characters than letters, digits and - . _ ~ +")
    elif parts.path and parts.path.split("/")[1] in users:
        found.append(f"holds the path {parts.path}, which begins with the name of a devpi user")
    return [f"devpi_url {shown(url)} {' and '.join(found)}; write it as https://packages.example.com"] if found else []


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(HOST_NAME.fullmatch(host)) and len(host) < 254
    return True


def permission_problems(restrict_modify: object) -> list[str]:
    """Return what is wrong with ``devpi_server_restrict_modify``.

    :param restrict_modify: what the variable holds.
    """
    variable = "devpi_server_restrict_modify"
    if not isinstance(restrict_modify, str):
        return [f"{variable} is {shown(restrict_modify)}, and has to be a text of names with commas between"]
    if not restrict_modify:
        return []
    names = [name.strip() for name in restrict_modify.split(",")]
    if not all(names) or not restrict_modify.isprintable():
        return [f"{variable} {shown(restrict_modify)} has an empty name in it; write it as root,alice"]
    if ":ANONYMOUS:" in (name.upper() for name in names):
        return [
            f"{variable} {shown(restrict_modify)} lets anyone change and delete all users and indexes without a login; "
            "name the users who may"
        ]
    return []


def shown(value: object) -> str:
    """Return the value as a message shows it: short, in one line, without what may be an address's password."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = re.sub(r"//[^/]*@", "//********@", repr(value))
    return text if len(text) <= 100 else f"{text[:100]}…"
