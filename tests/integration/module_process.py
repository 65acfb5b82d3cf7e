"""Runs modules as processes of their own. They are forked from one that has loaded Ansible, which takes the longest."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import sys
import tempfile
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHECKOUT = Path(__file__).parents[2]
OURS = "ansible_collections.wheelhouse.devpi.plugins.module_utils"

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "ansible.module_utils.basic",
        "ansible.module_utils.urls",
        *(f"{OURS}.{path.stem}" for path in sorted((CHECKOUT / "plugins" / "module_utils").glob("_[a-z]*.py"))),
    ]
)


def start(module: str, arguments: Mapping[str, Any], environment: Mapping[str, str]) -> Callable[[], tuple[str, str]]:
    """Start a module, and return what waits for its end and returns its standard output and its standard error."""
    streams = [tempfile.NamedTemporaryFile("w+") for _stream in range(3)]  # noqa: SIM115 - finish closes them
    json.dump({"ANSIBLE_MODULE_ARGS": arguments}, streams[0])
    streams[0].flush()
    path = str(CHECKOUT / "plugins" / "modules" / f"{module}.py")
    process = CONTEXT.Process(target=_run, args=(path, dict(environment), [stream.name for stream in streams]))
    # Every process would load pytest, which is the main module of this one.
    with mock.patch.dict(sys.modules, {"__main__": types.ModuleType("__main__")}):
        process.start()

    def finish() -> tuple[str, str]:
        process.join()
        for stream in streams:
            stream.seek(0)
        stdout, stderr = streams[1].read(), streams[2].read()
        for stream in streams:
            stream.close()
        return stdout, stderr

    return finish


def _run(path: str, environment: dict[str, str], streams: list[str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name in enumerate(streams):
        file = os.open(name, os.O_RDWR)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, "rw"[number > 0], closefd=False) for number in range(3))
    sys.argv = [path]
    try:
        runpy.run_path(path, run_name="__main__")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
