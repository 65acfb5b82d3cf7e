"""The helper of scenario faults that kills a run: nothing of what the run had started is left."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

SCENARIO = Path(__file__).parents[2] / "molecule" / "faults" / "test_2_kills.py"
# A worker that leads a session of its own, as each of Ansible's does, and that has started a program
RUN = """
import os, subprocess, sys, time
pipe, end = os.pipe()
for _worker in range(3):
    if os.fork() == 0:
        os.setsid()
        program = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True)
        os.write(end, f"{os.getpid()} {program.pid} ".encode())
        time.sleep(600)
time.sleep(1)
print(os.read(pipe, 1000).decode(), flush=True)
time.sleep(600)
"""


def test_nothing_of_a_killed_run_is_left() -> None:
    spec = importlib.util.spec_from_file_location("scenario_kills", SCENARIO)
    assert spec is not None
    assert spec.loader is not None
    scenario = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = scenario
    spec.loader.exec_module(scenario)
    command = [sys.executable, "-c", RUN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        pids = [int(word) for word in run.stdout.readline().split()]
        assert len(pids) == 6
        assert scenario.with_descendants(run.pid) == {run.pid, *pids}
        begun = time.monotonic()
        scenario.kill_all_of(run)
        assert time.monotonic() - begun < 20
    assert [pid for pid in (run.pid, *pids) if scenario.lives(pid)] == []
