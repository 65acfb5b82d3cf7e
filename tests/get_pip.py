"""Stands in for the get-pip script that ansible-test downloads: the interpreter's own pip, then pip PIP_VERSION.

The arguments that ansible-test gives go on to pip, but for the two that only the original knows.
"""

from __future__ import annotations

import subprocess
import sys

OWN = ("--no-setuptools", "--no-wheel")

subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
arguments = [argument for argument in sys.argv[1:] if argument not in OWN]
command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *arguments, "pip==PIP_VERSION"]
sys.exit(subprocess.run(command, check=False).returncode)
