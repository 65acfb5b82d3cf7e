"""Lets the tests import the checkout as the collection wheelhouse.devpi."""

from __future__ import annotations

import sys
from pathlib import Path

# script/_setup puts a link there in each virtual environment that it makes.
sys.path.insert(0, str(Path(sys.prefix, "collections")))
