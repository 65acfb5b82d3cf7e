"""A plugin of devpi-server that gives indexes a key, house_rule, which an index lacks until it is set.

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
