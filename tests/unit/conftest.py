"""Lets the tests import the checkout as the collection wheelhouse.devpi."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# script/_setup puts a link there in each virtual environment that it makes.
sys.path.insert(0, str(Path(sys.prefix, "collections")))

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Give the process its environment back: a module that ran in it takes out what would bend programs."""
    with mock.patch.dict(os.environ):
        yield
