"""Publish a package to the index that was made by hand, as its maker would, with the page's password."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

with tempfile.TemporaryDirectory() as directory:
    wheel = Path(directory, "kept-1-py3-none-any.whl")
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr("kept.py", "")
        content.writestr("kept-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: kept\nVersion: 1\n")
        content.writestr("kept-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        content.writestr("kept-1.dist-info/RECORD", "")
    upload = [sys.executable, "-m", "twine", "upload", "--non-interactive", "--repository-url"]
    upload += ["http://localhost:3141/pbernatchez/dev/", "-u", "pbernatchez", "-p", "somepassword", str(wheel)]
    subprocess.run(upload, check=True)
