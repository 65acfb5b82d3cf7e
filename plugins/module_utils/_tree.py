# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared tree of devpi users and their indexes: what may be written, in one spelling, and what is wrong.

Names, keys and defaults are those of devpi-server 6.15 to 6.20 (``devpi_server.model`` and ``devpi_server.mirror``);
``_dialect`` translates for 7.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, cast
from urllib.parse import urlsplit

from ansible_collections.wheelhouse.devpi.plugins.module_utils._dialect import ONLY_IN_7, inexpressible

STATE: dict[str, Any] = {"type": "str", "choices": ["present", "absent"], "default": "present"}
FORCE: dict[str, Any] = {"type": "bool", "default": False}

# What devpi-server 7 calls the types
TYPES_OF_7 = {"local": "stage", "remote": "mirror"}

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
    "type": {"type": "str", "choices": ["stage", "mirror", *TYPES_OF_7]},
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

# The first release that knows the key; older ones refuse it.
SINCE = {"mirror_ignore_serial_header": (6, 17), "mirror_provides_core_metadata": (6, 20)}

# What an index that lacks the key does. New stages get "intersection", but one without the key still unites.
MISSING: dict[str, Any] = {
    "bases": [],
    "acl_upload": [],
    "acl_toxresult_upload": [":ANONYMOUS:"],
    "mirror_whitelist": [],
    "mirror_whitelist_inheritance": "union",
    "mirror_use_external_urls": False,
    "mirror_no_project_list": False,
    "mirror_ignore_serial_header": False,
    "mirror_provides_core_metadata": False,
}
SETS = ("acl_upload", "acl_toxresult_upload", "mirror_whitelist")
TEXTS = ("title", "description", "custom_data", "email", "mirror_web_url_fmt")

# The keys of 6 and of 7 with the address of a mirror's upstream
UPSTREAMS = ("mirror_url", "remote_url")

# What role server makes, by devpi-init --no-root-pypi
FRESH_SERVER: dict[str, Any] = {"root": {"username": "root", "indexes": {}}}
# What devpi-init itself makes of root/pypi. One that is declared without an upstream is made like this.
ROOT_PYPI: dict[str, Any] = {
    "mirror_url": "https://pypi.org/simple/",
    "mirror_web_url_fmt": "https://pypi.org/project/{name}/",
    "title": "PyPI",
    "volatile": False,
}

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
    :param where: how messages call it, ``devpi_users[2].indexes[0] (alice/dev)``.
    :param purged: nobody declared it, and it goes for that; it has no packages, or they may go too.
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


@dataclass(frozen=True)
class User:
    """One declared user.

    :param keys: only what was declared, without the password.
    :param password: None where none was given; never part of the representation.
    :param password_hash: what devpi-server is to keep in the place of a hash of its own making; never shown either.
    :param update_password: whether the password also holds for a user who exists.
    :param credential_option: what the option with the password is called.
    :param known: the user exists or is declared elsewhere, and is no object of this declaration: its indexes are.
    :param purged: as an index's.
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

    :param users: dictionaries as ``USER_OPTIONS`` leaves them: all options there, None where undeclared.
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
        type=TYPES_OF_7.get(params["type"], params["type"]),
        keys={**{key: normalised(key, value) for key, value in declared.items()}, **plugin_keys},
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


def with_tox_results(index: Index, observed: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the keys that an index is to have: those declared and, for a stage, who may upload test results.

    devpi-server's own default lets anybody without a login store them. So where nothing is declared of them, those may
    who may upload releases: on a new stage, on one that has that default, and on one where it was so before. Any other
    list that somebody set on the server stays.

    :param observed: the index as the server shows it; None where it does not exist.
    """
    there = observed or {}
    if "acl_toxresult_upload" in index.keys or (index.type or there.get("type", "stage")) != "stage":
        return index.keys
    uploaders = there.get("acl_upload", MISSING["acl_upload"]) if observed is not None else [index.user]
    testers = there.get("acl_toxresult_upload", MISSING["acl_toxresult_upload"])
    if ":ANONYMOUS:" not in testers and set(testers) != set(uploaders):
        return index.keys
    return {**index.keys, "acl_toxresult_upload": list(index.keys.get("acl_upload", uploaders))}


def differs(key: str, declared: object, observed: Mapping[str, Any]) -> bool:
    """Whether an object as the server shows it differs from what is declared for the key.

    Of the lists only the order of ``bases`` counts; an empty text is the same as none.
    """
    there = observed.get(key, MISSING.get(key))
    if key in SETS:
        return set(cast("list[str]", declared)) != set(there)
    if key in TEXTS and not declared and not there:
        return False
    return json.dumps(declared, sort_keys=True) != json.dumps(there, sort_keys=True)


def keys_of_plugins(observed: Mapping[str, Any]) -> dict[str, Any]:
    """Return of an index, as the server shows it, what devpi-server itself does not know."""
    own = {"type", "projects", *INDEX_KEYS, *ONLY_IN_7}
    return {key: value for key, value in observed.items() if key not in own and value is not None}


def secrets_in(value: object) -> set[str]:
    """Return what no output may hold of parameters that are wrong in any way, for a module's ``no_log_values``.

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
        # Whole users in the place of a text.
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


def check(users: list[User], existing: Mapping[str, Any], version: tuple[int, ...] | None = None) -> list[str]:
    """Return what is wrong with declared users, one sentence for each: place, value and way out.

    :param existing: the ``result`` of ``GET /``, or ``FRESH_SERVER``.
    :param version: the server's, ``(6, 20, 3)``; None where it is not known.
    """
    return list(_Checks(users, existing, version).run())


class _Checks:
    def __init__(self, users: list[User], existing: Mapping[str, Any], version: tuple[int, ...] | None) -> None:
        self.users = users
        self.existing = existing
        self.version = version
        self.present = {user.name for user in users if not user.absent}
        self.gone = {user.name for user in users if user.absent}
        self.declared = {index.path: index for user in users for index in user.indexes}
        self.there = {
            f"{user}/{name}": config for user in existing for name, config in existing[user].get("indexes", {}).items()
        }

    def run(self) -> Iterator[str]:
        seen_users: dict[str, str] = {}
        seen_indexes: dict[str, str] = {}
        for user in self.users:
            if user.name in seen_users:
                yield f"{user.where}: this user is declared by {seen_users[user.name]} already; join the two"
            seen_users.setdefault(user.name, user.where)
            yield from self.user(user)
            for index in user.indexes:
                if index.path in seen_indexes:
                    yield f"{index.where}: this index is declared by {seen_indexes[index.path]} already; join the two"
                seen_indexes.setdefault(index.path, index.where)
                yield from self.index(index)
        _dummy, cycles = order(self.declared, self.there)
        for cycle in cycles:
            concerned = [self.declared[path].where for path in cycle if path in self.declared]
            yield f"{concerned[0]}: bases form a cycle, {' → '.join(cycle)}; take one of them out of the other's bases"

    def user(self, user: User) -> Iterator[str]:
        yield from flaws_of_name(user.name, "user", user.where)
        if user.password is not None:
            yield from flaws_of_password(user.password, user.where)
        if user.password_hash is not None:
            yield from flaws_of_hash(user)
        for key, value in user.keys.items():
            yield from _unstorable(key, value, user.where)
        if user.known and user.name not in self.existing and not all(index.absent for index in user.indexes):
            near = difflib.get_close_matches(user.name, self.existing, n=1)
            guess = f"did you mean {near[0]}?" if near else "make the user first"
            yield f"{user.where}: there is no user {user.name}; {guess}"
        if not user.absent:
            return
        if user.name == "root":
            yield f"{user.where}: root cannot be deleted; drop state: absent"
            return
        for index in user.indexes:
            if not index.absent:
                yield f"{index.where}: belongs to a user who is declared absent; drop the one or the other"
        indexes = self.existing.get(user.name, {}).get("indexes", {})
        if indexes and not user.force and not user.purged:
            yield (
                f"{user.where}: deleting this user deletes {_named(sorted(indexes))} with all packages; "
                "say force: true if that is meant"
            )
        for name in sorted(indexes):
            yield from self.still_a_base(f"{user.name}/{name}", user)

    def index(self, index: Index) -> Iterator[str]:
        yield from flaws_of_name(index.name, "index", index.where)
        observed = self.there.get(index.path)
        if index.absent:
            if observed is not None and not observed.get("volatile", True) and not (index.force or index.purged):
                yield (
                    f"{index.where}: this index is not volatile, so its packages are meant to stay; "
                    "say force: true to delete it with all of them"
                )
            if observed is not None and index.user not in self.gone:
                yield from self.still_a_base(index.path, index)
            return
        there = None if observed is None else observed.get("type", "stage")
        if index.type and there and index.type != there:
            yield (
                f"{index.where}: type {index.type} is declared and the index is a {there}, which devpi cannot change; "
                "choose another name, or delete the index first (state: absent)"
            )
        yield from self.keys(index, index.type or there or "stage", observed)

    def keys(self, index: Index, kind: str, observed: Mapping[str, Any] | None) -> Iterator[str]:
        for problem in inexpressible(index.keys, self.version):
            yield f"{index.where}: {problem}"
        for key in index.keys:
            if key in index.plugin_keys:
                continue
            if key in STAGE_KEYS and kind == "mirror":
                yield f"{index.where}: {key} is no key of a mirror; drop it, or declare it on a stage"
            elif key in MIRROR_KEYS and kind == "stage":
                yield f"{index.where}: {key} is a key of mirrors only; say type: mirror, or drop it"
            elif key in SINCE and self.version and self.version < SINCE[key]:
                yield (
                    f"{index.where}: {key} is known to devpi-server {'.'.join(map(str, SINCE[key]))} and newer and "
                    f"{'.'.join(map(str, self.version))} answers; drop it, or upgrade the server"
                )
        for key in index.plugin_keys:
            if key in INDEX_OPTIONS:
                yield f"{index.where}: options holds {key}, which is a key of its own; write it beside options"
            elif index.keys[key] is None:
                yield f"{index.where}: options.{key} is null, which devpi-server fails on; give it a value or drop it"
        for key, value in index.keys.items():
            yield from _unstorable(key, value, index.where)
        if kind == "mirror":
            yield from self.mirror(index, observed)
        else:
            yield from self.stage(index)

    def mirror(self, index: Index, observed: Mapping[str, Any] | None) -> Iterator[str]:
        url = index.keys.get("mirror_url")
        if url is None and observed is None and index.path != "root/pypi":
            yield f"{index.where}: a mirror needs a mirror_url; give the address of its upstream's simple page"
        if url is not None and not url.startswith(("http://", "https://")):
            yield f"{index.where}: mirror_url does not start with http:// or https://; give the whole address"
        if index.keys.get("mirror_cache_expiry", 0) < 0:
            yield (
                f"{index.where}: mirror_cache_expiry {index.keys['mirror_cache_expiry']} is negative; "
                "give seconds, 0 or more"
            )

    def stage(self, index: Index) -> Iterator[str]:
        bases = index.keys.get("bases", [])
        for position, base in enumerate(bases):
            if base in bases[:position]:
                yield f"{index.where}: bases names {base} twice; name it once"
            else:
                yield from self.base(index, base)
        for key in ("acl_upload", "acl_toxresult_upload"):
            for principal in index.keys.get(key, ()):
                yield from self.principal(index, key, principal)
        whitelist = index.keys.get("mirror_whitelist", [])
        for project in whitelist:
            if project != "*" and not PROJECT_NAME.fullmatch(project):
                yield f"{index.where}: mirror_whitelist holds {project!r}, which is no project name; correct or drop it"
        if "*" in whitelist and not index.accept_dependency_confusion:
            yield (
                f"{index.where}: mirror_whitelist '*' lets anyone who registers the name of a private project upstream "
                "put code into it (dependency confusion); list the projects that may come from both, "
                "or say accept_dependency_confusion: true"
            )

    def base(self, index: Index, base: str) -> Iterator[str]:
        user, slash, name = base.partition("/")
        if not (user and slash and name) or "/" in name:
            yield f"{index.where}: base {base!r} is not of the form user/index; write it so, for example root/pypi"
            return
        declared = self.declared.get(base)
        if user in self.gone or (declared is not None and declared.absent):
            yield f"{index.where}: base {base} is declared absent; drop it from bases, or keep it"
        elif declared is None and base not in self.there:
            near = difflib.get_close_matches(base, [*self.declared, *self.there], n=1)
            guess = f"did you mean {near[0]}?" if near else "declare it, or correct the name"
            yield f"{index.where}: base {base} neither exists nor is declared; {guess}"

    def principal(self, index: Index, key: str, principal: str) -> Iterator[str]:
        if principal.startswith(":"):
            # A group of an authentication plugin is ":name"; only the server's special principals end with a colon too.
            if principal not in SPECIAL_PRINCIPALS and (principal.endswith(":") or len(principal) == 1):
                yield f"{index.where}: {key} holds {principal!r}; devpi knows {' and '.join(SPECIAL_PRINCIPALS)}"
        elif principal in self.gone:
            yield f"{index.where}: {key} holds {principal!r}, who is declared absent; drop it from {key}"
        elif principal not in self.present and principal not in self.existing:
            near = difflib.get_close_matches(principal, [*self.present, *self.existing], n=1)
            guess = f"did you mean {near[0]}?" if near else "declare that user, or correct the name"
            yield f"{index.where}: {key} holds {principal!r}, a user who neither exists nor is declared; {guess}"

    def still_a_base(self, path: str, gone: User | Index) -> Iterator[str]:
        if gone.force:
            return
        option = "purge_force" if gone.purged else "force"
        for other, config in self.there.items():
            declared = self.declared.get(other)
            if other.split("/")[0] in self.gone or (declared is not None and declared.absent):
                continue
            if declared is not None and "bases" in declared.keys:
                continue
            if path in config.get("bases", ()):
                yield (
                    f"{gone.where}: {path} is a base of {other}; take it out of the bases there, or say {option}: true"
                )


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
            "remove it (from a file it comes off with the filter trim)"
        )
    if len(password) > LONGEST_PASSWORD:
        yield (
            f"{where}: the password has {len(password)} characters, and devpi-server takes no more than "
            f"{LONGEST_PASSWORD}; give a shorter one"
        )


def flaws_of_hash(user: User) -> Iterator[str]:
    """Yield what is wrong with a declared user's ``password_hash``, and with what stands beside it."""
    if user.password is not None:
        yield (
            f"{user.where}: {user.credential_option} and password_hash exclude each other; give the one or the other"
        )
    if not ARGON2.fullmatch(user.password_hash or ""):
        yield (
            f"{user.where}: password_hash is no hash of argon2 ($argon2id$v=…$m=…,t=…,p=…$salt$hash); "
            "make one with the filter wheelhouse.devpi.devpi_password_hash"
        )
    if user.update_password:
        yield (
            f"{user.where}: update_password: always compares, and a server shows no hash to compare with; "
            f"give {user.credential_option}, or leave update_password at on_create"
        )


def _unstorable(key: str, value: object, where: str) -> Iterator[str]:
    """Tell what devpi-server's serializer breaks on, with an internal error in place of an answer."""
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


def open_upload_problems(users: list[User]) -> list[str]:
    """Return which declared stages open uploads to everybody, which a server behind the collection's nginx cannot."""
    return [
        f"{index.where}: {key} holds ':ANONYMOUS:', and nginx lets nobody upload without a login; name who may, or say "
        "':AUTHENTICATED:' for all devpi users"
        for user in users
        for index in user.indexes
        for key in ("acl_upload", "acl_toxresult_upload")
        if not (user.absent or index.absent) and ":ANONYMOUS:" in index.keys.get(key, ())
    ]


def _named(names: list[str]) -> str:
    return ("index " if len(names) == 1 else "indexes ") + ", ".join(names)


def order(declared: Mapping[str, Index], there: Mapping[str, Mapping[str, Any]]) -> tuple[list[Index], list[list[str]]]:
    """Return the declared, present indexes with bases before those that build on them, and the cycles among them.

    :param declared: by path.
    :param there: the configuration of the indexes that exist, by path; what is not declared of them stays as it is.
    """

    def bases_of(path: str) -> list[str]:
        index = declared.get(path)
        bases = (
            there.get(path, {}).get("bases", []) if index is None or "bases" not in index.keys else index.keys["bases"]
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
