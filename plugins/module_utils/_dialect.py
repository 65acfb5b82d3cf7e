# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translates an index between the names of devpi-server 6, which all other code uses, and those of 7.

They correspond as ``devpi-import`` of 7.0.0b4 reads an export of 6 (``devpi_server.importexport``).
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping

TYPES = {"stage": "local", "mirror": "remote"}
KEYS = {
    "mirror_url": "remote_url",
    "mirror_web_url_fmt": "remote_web_url_fmt",
    "mirror_cache_expiry": "remote_refresh_delay",
    "mirror_use_external_urls": "remote_use_external_urls",
    "mirror_no_project_list": "remote_no_project_list",
}
# The keys that only an index of 7 has
ONLY_IN_7 = (*KEYS.values(), "project_inheritance_rules", "trust_inheritance_rules_from")
# A server without these keys does as if they were false.
ONLY_IN_6 = ("mirror_ignore_serial_header", "mirror_provides_core_metadata")
EVERY_PROJECT = "allow all"
NO_PROJECT = "block type:remote if local_exists"
INHERITANCE = {"intersection": "none", "union": "type:not remote"}


def is_new(version: tuple[int, ...] | None) -> bool:
    """Whether the server speaks the dialect of devpi-server 7."""
    return version is not None and version[0] >= 7


def from_dialect(tree: Mapping[str, Any], version: tuple[int, ...] | None) -> dict[str, Any]:
    """Return the ``result`` of ``GET /`` with the keys of every index under their names of 6, beside those of 7."""
    if not is_new(version):
        return dict(tree)
    return {
        name: {
            **user,
            "indexes": {
                index: index_from_dialect(config, version) for index, config in user.get("indexes", {}).items()
            },
        }
        for name, user in tree.items()
    }


def index_from_dialect(config: Mapping[str, Any], version: tuple[int, ...] | None) -> dict[str, Any]:
    """Return one index as :func:`from_dialect` does."""
    if not is_new(version):
        return dict(config)
    of_6 = {old: config[new] for old, new in KEYS.items() if new in config}
    kinds = {new: old for old, new in TYPES.items()}
    of_6["type"] = kinds.get(config.get("type", "local"), config.get("type"))
    if of_6["type"] != "mirror":
        of_6["mirror_whitelist"] = ["*"] if EVERY_PROJECT in config.get("project_inheritance_rules", ()) else []
        inheritance = {new: old for old, new in INHERITANCE.items()}
        rule = config.get("trust_inheritance_rules_from", INHERITANCE["intersection"])
        of_6["mirror_whitelist_inheritance"] = inheritance.get(rule, rule)
    return {**config, **of_6}


def to_dialect(body: Mapping[str, Any], version: tuple[int, ...] | None) -> dict[str, Any]:
    """Return the keys of an index under the names that the server takes."""
    if not is_new(version):
        return dict(body)
    translated: dict[str, Any] = {}
    for key, value in body.items():
        if key == "type":
            translated[key] = TYPES.get(value, value)
        elif key == "mirror_whitelist":
            translated["project_inheritance_rules"] = [EVERY_PROJECT if "*" in value else NO_PROJECT]
        elif key == "mirror_whitelist_inheritance":
            translated["trust_inheritance_rules_from"] = INHERITANCE[value]
        elif key not in ONLY_IN_6:
            translated[KEYS.get(key, key)] = value
    return translated


def inexpressible(keys: Mapping[str, Any], version: tuple[int, ...] | None) -> Iterator[str]:
    """Yield which declared keys of an index the server cannot express, each with the way out."""
    if not is_new(version):
        return
    named = sorted(set(keys.get("mirror_whitelist", ())) - {"*"})
    if named:
        yield (
            f"mirror_whitelist names {', '.join(named)}, and devpi-server 7 keeps such a rule with each project, "
            "where an index cannot declare it; leave the list empty there and set inheritance_rules of the project"
        )
    for key in ONLY_IN_6:
        if keys.get(key):
            yield f"{key} is not a key of devpi-server 7; drop it"
