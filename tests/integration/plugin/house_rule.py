"""A plugin of devpi-server that gives indexes a key, house_rule, which an index lacks until it is set, and has a type.

An index of the type ``house`` has a list of its own, ``house_guests``, and takes no uploads, as those of
devpi-constrained.

The server of the tests finds it on PYTHONPATH, by the entry point in the directory beside it.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from pluggy import HookimplMarker

try:
    RemoveValue = importlib.import_module("devpi_server.model.config").RemoveValue
except ModuleNotFoundError:  # devpi-server 6
    RemoveValue = importlib.import_module("devpi_server.model").RemoveValue


@HookimplMarker("devpiserver")
def devpiserver_indexconfig_defaults(index_type: str) -> dict[str, object]:
    return {} if Path(os.environ["HOUSE_RULE_IS_GONE"]).exists() else {"house_rule": RemoveValue}


class House:
    readonly = True

    def get_possible_indexconfig_keys(self) -> tuple[str, ...]:
        return ("house_guests",)

    def get_default_config_items(self) -> list[tuple[str, object]]:
        return [("house_guests", [])]

    def normalize_indexconfig_value(self, key: str, value: object) -> object:
        return value if key == "house_guests" else None

    def validate_config(self, oldconfig: object, newconfig: object) -> None:
        """Take any."""


@HookimplMarker("devpiserver")
def devpiserver_get_stage_customizer_classes() -> list[tuple[str, type]]:
    return [("house", House)]
