# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared users with their indexes, in one spelling, and what is wrong with them by their values alone.

Names and keys are those of devpi-server 6.15 to 6.20 (``devpi_server.model`` and ``devpi_server.mirror``); ``_dialect``
translates for 7.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

STATE: dict[str, Any] = {"type": "str", "choices": ["present", "absent"], "default": "present"}
FORCE: dict[str, Any] = {"type": "bool", "default": False}

# devpi's own types as 6 and as 7 calls them. Those of plugins are stages with settings of their own.
TYPES = {"stage": "stage", "mirror": "mirror", "local": "stage", "remote": "mirror"}
TYPE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")

BOTH_TYPES_KEYS: dict[str, Any] = {
    "volatile": {"type": "bool"},
    "title": {"type": "str"},
    "description": {"type": "str"},
    "custom_data": {"type": "raw"},
}
STAGE_KEYS: dict[str, Any] = {
    "bases": {"type": "list", "elements": "str"},
    "acl_upload": {"type": "list", "elements": "str"},
    "acl_toxresult_upload": {"type": "list", "elements": "str"},
    "mirror_whitelist": {"type": "list", "elements": "str"},
    "mirror_whitelist_inheritance": {"type": "str", "choices": ["intersection", "union"]},
}
MIRROR_KEYS: dict[str, Any] = {
    "mirror_url": {"type": "str", "aliases": ["remote_url"]},
    "mirror_web_url_fmt": {"type": "str", "aliases": ["remote_web_url_fmt"]},
    "mirror_cache_expiry": {"type": "int", "aliases": ["remote_refresh_delay"]},
    "mirror_use_external_urls": {"type": "bool", "aliases": ["remote_use_external_urls"]},
    "mirror_no_project_list": {"type": "bool", "aliases": ["remote_no_project_list"]},
    "mirror_ignore_serial_header": {"type": "bool"},
    "mirror_provides_core_metadata": {"type": "bool"},
}
INDEX_KEYS: dict[str, Any] = {**BOTH_TYPES_KEYS, **STAGE_KEYS, **MIRROR_KEYS}
INDEX_OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": STATE,
    "type": {"type": "str"},
    **INDEX_KEYS,
    "options": {"type": "dict"},
    "accept_dependency_confusion": {"type": "bool", "default": False},
    "force": FORCE,
}
USER_KEYS: dict[str, Any] = {
    "email": {"type": "str"},
    "title": {"type": "str"},
    "description": {"type": "str"},
    "custom_data": {"type": "raw"},
}
USER_OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": STATE,
    "password": {"type": "str", "no_log": True},
    "password_hash": {"type": "str", "no_log": True},
    "update_password": {"choices": ["on_create", "always"], "default": "on_create", "no_log": False},
    **USER_KEYS,
    "force": FORCE,
    "indexes": {"type": "list", "elements": "dict", "options": INDEX_OPTIONS},
}

# The keys of 6 and of 7 with the address of a mirror's upstream
UPSTREAMS = ("mirror_url", "remote_url")
# What devpi-init makes of root/pypi. One that is declared without an upstream is made like this.
ROOT_PYPI: dict[str, Any] = {
    "mirror_url": "https://pypi.org/simple/",
    "mirror_web_url_fmt": "https://pypi.org/project/{name}/",
    "title": "PyPI",
    "volatile": False,
}

# The keys that have an option of their own, each with its option's name; ``options`` must not hold them
NAMED = {alias: name for name, option in INDEX_OPTIONS.items() for alias in (name, *option.get("aliases", ()))}

SPECIAL_PRINCIPALS = (":ANONYMOUS:", ":AUTHENTICATED:")
# devpi-server refuses every ASCII character that is neither a letter, a digit nor one of -.@_
FORBIDDEN_IN_NAMES = re.compile(r"[\x00-,/:-?\[-^`{-\x7f]")
# More characters than this devpi-server does not hash: the request that sets such a password ends in 500.
LONGEST_PASSWORD = 4096
ARGON2 = re.compile(r"\$argon2(id|i|d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
PROJECT_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Index:
    """One declared index.

    :param keys: only what was declared, in the server's spelling, plugin keys included.
    :param plugin_keys: what ``options`` holds; what has an option of its own is refused there.
    :param where: how messages call it, ``devpi_users[2].indexes[0] (alice/dev)``.
    :param purged: whether it is deleted because nobody declared it; then it has no packages, or these may go too.
    """

    user: str
    name: str
    where: str
    absent: bool = False
    type: str | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)
    plugin_keys: tuple[str, ...] = ()
    force: bool = False
    purged: bool = False
    accept_dependency_confusion: bool = False

    @property
    def path(self) -> str:
        """Return ``user/index``, as bases name it."""
        return f"{self.user}/{self.name}"

    def kind(self, observed: Mapping[str, Any] | None) -> str:
        """Return its type, which is that of the index on the server where none is declared."""
        return str(self.type or (observed or {}).get("type") or "stage")


@dataclass(frozen=True)
class User:
    """One declared user.

    :param keys: only what was declared, without the password.
    :param password: None where none was given; never part of the representation.
    :param password_hash: what devpi-server is to keep in the place of a hash of its own making; never shown either.
    :param update_password: whether the password also holds for a user who exists.
    :param credential_option: what the option with the password is called.
    :param known: whether the user exists or is declared elsewhere, and only its indexes are declared here.
    :param purged: whether it is deleted because nobody declared it.
    """

    name: str
    where: str
    absent: bool = False
    keys: Mapping[str, Any] = field(default_factory=dict)
    password: str | None = field(default=None, repr=False)
    password_hash: str | None = field(default=None, repr=False)
    update_password: bool = False
    credential_option: str = "password"
    known: bool = False
    force: bool = False
    purged: bool = False
    indexes: tuple[Index, ...] = ()


def parse(users: Iterable[Mapping[str, Any]], where: str) -> list[User]:
    """Return the declared users in one spelling.

    :param users: dictionaries with all ``USER_OPTIONS``, None for those that are not declared.
    :param where: the variable or option that holds them, for messages.
    """
    return [
        parse_user(each, f"{where}[{number}] ({each['name']})", f"{where}[{number}]")
        for number, each in enumerate(users)
    ]


def parse_user(params: Mapping[str, Any], where: str, path: str = "", credential_option: str = "password") -> User:
    """Return one declared user with its indexes.

    :param where: how messages call the user.
    :param path: where the user stands in the variable; empty where no index is declared beside it.
    :param credential_option: the key of the user's own password.
    """
    name = params["name"]
    return User(
        name=name,
        where=where,
        absent=params["state"] == "absent",
        keys={key: params[key] for key in USER_KEYS if params[key] is not None},
        # An inventory's default for "none given" is the empty string; nobody is ever given an empty password.
        password=params[credential_option] or None,
        password_hash=params["password_hash"] or None,
        update_password=params["update_password"] == "always",  # noqa: S105 - a choice, no password
        credential_option=credential_option,
        force=params["force"],
        indexes=tuple(
            parse_index(name, each, f"{path}.indexes[{number}] ({name}/{each['name']})")
            for number, each in enumerate(params.get("indexes") or ())
        ),
    )


def parse_index(user: str, params: Mapping[str, Any], where: str) -> Index:
    """Return one declared index.

    :param where: how messages call it.
    """
    declared = {key: params[key] for key in INDEX_KEYS if params[key] is not None}
    plugin_keys = params["options"] or {}
    return Index(
        user=user,
        name=params["name"],
        where=where,
        absent=params["state"] == "absent",
        type=TYPES.get(params["type"], params["type"]),
        keys={
            **{key: normalised(key, value) for key, value in declared.items()},
            **{key: value for key, value in plugin_keys.items() if key not in NAMED},
        },
        plugin_keys=tuple(plugin_keys),
        force=params["force"],
        accept_dependency_confusion=params["accept_dependency_confusion"],
    )


def normalised(key: str, value: Any) -> Any:
    """Return the value as devpi-server stores it."""
    if INDEX_KEYS[key]["type"] == "list":
        value = [each.strip() for each in value]
    if key in ("acl_upload", "acl_toxresult_upload"):
        return [each.upper() if each.upper() in SPECIAL_PRINCIPALS else each for each in value]
    if key == "mirror_whitelist":
        return [each if each == "*" else re.sub(r"[^A-Za-z0-9]+", "-", each).lower() for each in value]
    return value


def secrets_in(value: object) -> set[str]:
    """Return the secrets in parameters of whatever form, even a wrong one, for a module's ``no_log_values``.

    :param value: the parameters as they were given; all under a key that looks like ``password`` is a secret.
    """
    found: set[str] = set()
    if isinstance(value, dict):
        for key, each in value.items():
            secret = re.search("pas|pw|secret", str(key), re.IGNORECASE) and key != "update_password"
            found |= _texts(each) if secret else secrets_in(each)
        found |= mirror_passwords(value)
    elif isinstance(value, (list, tuple)):
        for each in value:
            found |= secrets_in(each)
    elif isinstance(value, str) and re.search(r"pass\w*['\"]?\s*[:=]", value, re.IGNORECASE):
        # This text may hold whole users.
        found.add(value)
    return found


def _texts(value: object) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(_texts, value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*map(_texts, value))
    return {str(value)} if value not in (None, "") else set()


def mirror_passwords(index: Mapping[str, Any]) -> set[str]:
    """Return the passwords inside the addresses of the index's upstream, if there are any."""
    found = set()
    for key in UPSTREAMS:
        try:
            found.add(urlsplit(str(index.get(key) or "")).password)
        except ValueError:
            continue
    return {password for password in found if password}


def flaws(users: list[User]) -> Iterator[str]:
    """Yield what is wrong with declared users whatever the server holds, one sentence for each: place and way out."""
    places: dict[str, str] = {}
    for user in users:
        yield from _flaws_of_object(user, user.name, "user", places)
        yield from flaws_of_password(user.password or "", user.where)
        if user.password_hash is not None:
            yield from flaws_of_hash(user)
        if user.absent and user.name == "root":
            yield f"{user.where}: root cannot be deleted; drop state: absent"
        for index in user.indexes:
            if user.absent and not index.absent:
                yield f"{index.where}: belongs to a user who is declared absent; remove one of the two declarations"
            yield from _flaws_of_object(index, index.path, "index", places)
            if not index.absent:
                yield from (f"{index.where}: {flaw}" for flaw in _flaws_of_index(index))


def _flaws_of_object(each: User | Index, path: str, kind: str, places: dict[str, str]) -> Iterator[str]:
    if path in places:
        yield f"{each.where}: this {kind} is declared by {places[path]} already; join the two"
    places.setdefault(path, each.where)
    yield from flaws_of_name(each.name, kind, each.where)
    for key, value in each.keys.items():
        yield from _unstorable(key, value, each.where)


def _flaws_of_index(index: Index) -> Iterator[str]:
    if index.type not in (None, *TYPES):
        near = difflib.get_close_matches(str(index.type), TYPES, n=1, cutoff=0.7)
        if near:
            yield f"type {index.type!r} is spelt nearly like one of devpi's own; did you mean {near[0]}?"
        elif not TYPE_NAME.fullmatch(str(index.type)):
            yield f"type {index.type!r} is not the name of a type; write stage, mirror, or the one that a plugin has"
    for key in index.plugin_keys:
        if key in NAMED:
            write = "it" if NAMED[key] == key else NAMED[key]
            yield f"options holds {key}, which has an option of its own; write {write} beside options"
        elif index.keys[key] is None:
            yield f"options.{key} is null, which devpi-server fails on; give it a value or drop it"
    if not str(index.keys.get("mirror_url", "http://")).startswith(("http://", "https://")):
        yield "mirror_url does not start with http:// or https://; give the whole address"
    if index.keys.get("mirror_cache_expiry", 0) < 0:
        yield f"mirror_cache_expiry {index.keys['mirror_cache_expiry']} is negative; give seconds, 0 or more"
    bases = index.keys.get("bases", [])
    for position, base in enumerate(bases):
        if base in bases[:position]:
            yield f"bases names {base} twice; name it once"
        elif not is_path(base):
            yield f"base {base!r} is not of the form user/index; write it so, for example root/pypi"
    for key in ("acl_upload", "acl_toxresult_upload"):
        for each in index.keys.get(key, ()):
            # A group of an authentication plugin is ":name"; only the special principals end with a colon too.
            if each.startswith(":") and each not in SPECIAL_PRINCIPALS and (each.endswith(":") or len(each) == 1):
                yield f"{key} holds {each!r}; devpi knows {' and '.join(SPECIAL_PRINCIPALS)}"
    for project in index.keys.get("mirror_whitelist", ()):
        if project == "*" and not index.accept_dependency_confusion:
            yield (
                "mirror_whitelist '*' lets anyone who registers the name of a private project upstream put code into "
                "it (dependency confusion); list the projects that may come from both, or say "
                "accept_dependency_confusion: true"
            )
        elif project != "*" and not PROJECT_NAME.fullmatch(project):
            yield f"mirror_whitelist holds {project!r}, which is not the name of a project; correct or drop it"


def is_path(text: str) -> bool:
    """Whether the text is of the form ``user/index``."""
    return all(text.split("/")) and text.count("/") == 1


def flaws_of_name(name: str, kind: str, where: str) -> Iterator[str]:
    """Yield why devpi, or a path or address made of it, does not take the name.

    :param kind: what it names, ``user`` or ``index``.
    :param where: how messages call its place.
    """
    if not name.strip():
        yield f"{where}: the {kind}'s name is empty; give it one"
    elif FORBIDDEN_IN_NAMES.search(name) or not name.isprintable():
        yield f"{where}: {kind} name {name!r} is not allowed; use letters, digits and - . @ _"
    elif name in (".", ".."):
        yield f"{where}: {kind} name {name!r} stands for a directory in addresses and paths; choose another"


def flaws_of_password(password: str, where: str) -> Iterator[str]:
    """Yield what keeps a password from being one of a devpi user; it is not shown.

    :param where: how messages call it, ``devpi_users[0].password``.
    """
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in password):
        yield (
            f"{where}: the password holds a newline or another control character, which no prompt takes; "
            "remove it (the filter trim takes it off the text of a file)"
        )
    if len(password) > LONGEST_PASSWORD:
        yield (
            f"{where}: the password has {len(password)} characters, and devpi-server takes no more than "
            f"{LONGEST_PASSWORD}; give a shorter one"
        )


def flaws_of_hash(user: User) -> Iterator[str]:
    """Yield what is wrong with a declared user's ``password_hash``, and with what stands beside it."""
    if user.password is not None:
        yield (f"{user.where}: {user.credential_option} and password_hash exclude each other; give only one of them")
    if not ARGON2.fullmatch(user.password_hash or ""):
        yield (
            f"{user.where}: password_hash is not an argon2 hash ($argon2id$v=…$m=…,t=…,p=…$salt$hash); "
            "make one with the filter wheelhouse.devpi.devpi_password_hash"
        )
    if user.update_password:
        yield (
            f"{user.where}: update_password: always compares, and a server shows no hash to compare with; "
            f"give {user.credential_option}, or leave update_password at on_create"
        )


def _unstorable(key: str, value: object, where: str) -> Iterator[str]:
    """Yield what devpi-server cannot serialize, and would answer with an internal error."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _unstorable(f"a key of {key}", name, where)
            yield from _unstorable(f"{key}.{name}", each, where)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _unstorable(f"{key}[{number}]", each, where)
    elif isinstance(value, int) and value < -(2**31):
        yield f"{where}: {key} is {value}, and devpi-server cannot store numbers below {-(2**31)}; write it in quotes"
    elif isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        yield f"{where}: {key} holds half a character (a lone surrogate), which devpi-server cannot store; remove it"


def order(
    declared: Mapping[str, Index], existing: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Index], list[list[str]]]:
    """Return the declared, present indexes with bases before those that build on them, and the cycles among them.

    :param declared: by path.
    :param existing: the configuration of the indexes that exist, by path; what is not declared of them stays as it is.
    """

    def bases_of(path: str) -> list[str]:
        index = declared.get(path)
        bases = (
            existing.get(path, {}).get("bases", [])
            if index is None or "bases" not in index.keys
            else index.keys["bases"]
        )
        return list(bases)

    ordered: list[Index] = []
    cycles: list[list[str]] = []
    done: set[str] = set()
    for start in declared:
        branch: list[str] = []
        todo = [(start, False)]
        while todo:
            path, left = todo.pop()
            if left:
                branch.pop()
                done.add(path)
                if path in declared and not declared[path].absent:
                    ordered.append(declared[path])
            elif path in branch:
                cycle = [*branch[branch.index(path) :], path]
                if any(each in declared and "bases" in declared[each].keys for each in cycle):
                    cycles.append(cycle)
            elif path not in done:
                branch.append(path)
                todo.append((path, True))
                todo.extend((base, False) for base in reversed(bases_of(path)))
    return ordered, cycles
