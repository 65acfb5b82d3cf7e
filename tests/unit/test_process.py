"""Programs that a module starts."""

from __future__ import annotations

import sys
import time

from ansible_collections.wheelhouse.devpi.plugins.module_utils._process import detach


def test_detached_program_takes_nothing_from_the_directory_of_its_caller(tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("")
    monkeypatch.chdir(tmp_path)
    found = tmp_path / "found"
    program = f"import importlib.util as u; open({str(found)!r}, 'w').write(str(u.find_spec('planted')) + '.')"
    detach([sys.executable, "-c", program])
    for _attempt in range(100):
        if found.exists() and found.read_text():
            break
        time.sleep(0.05)
    assert found.read_text() == "None."
