"""The hosts that the scenario deploys to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from molecule.conftest import Target


@pytest.fixture(scope="session")
def deployed(target: Callable[[str], Target]) -> Target:
    """The host that the scenario's converge has deployed."""
    return target("devpi-faults")


@pytest.fixture(scope="session")
def bare(target: Callable[[str], Target]) -> Target:
    """The host on which nothing was ever done."""
    return target("devpi-faults-bare")
