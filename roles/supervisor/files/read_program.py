"""Has supervisor's own parser read a program's file before it takes its place: read_program.py MAIN_FILE PATH DRAFT.

It reads the whole configuration as supervisord does at its start, with the draft in the place of the file that it is to
become, and exits with 1 where supervisord would not start. Values are not shown, for they may be passwords.
"""

import fnmatch
import glob
import io
import os
import re
import sys
from pathlib import Path
from typing import Any, Dict, List

FOUND = glob.glob


def environment() -> Dict[str, str]:
    """Return the variables of the supervisord that runs, which its files may use; none where it does not run."""
    try:
        pid = int(Path("/run/supervisord.pid").read_text(encoding="ascii"))
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return {}
    return dict(os.fsdecode(pair).split("=", 1) for pair in pairs if b"=" in pair)


def refusal(main_file: str, path: str, draft: str) -> str:
    """Return why supervisord would not start, nothing where it would.

    :param main_file: supervisor's own.
    :param path: the file that the draft is to become.
    :param draft: the path of the draft; empty for the configuration without that file.
    """
    from supervisor import options  # noqa: PLC0415 - it takes the environment at once

    def with_draft(pattern: str, *arguments: Any, **named: Any) -> List[str]:
        real = os.path.realpath(path)
        names = [each for each in FOUND(pattern, *arguments, **named) if os.path.realpath(each) != real]
        return [*names, draft] if draft and fnmatch.fnmatch(path, pattern) else names

    glob.glob = with_draft
    server = options.ServerOptions()
    server.stdout = server.stderr = said = io.StringIO()
    try:
        server.realize(["-c", main_file])
    except SystemExit:
        return without_values(said.getvalue().strip()) or "it would end"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def without_values(said: str) -> str:
    """Return what supervisor said of its configuration without the values that it quotes."""
    said = re.sub(r"\n?For help, use .*", "", said)
    where = re.search(r" in section '[^']*' \(file: '[^']*'\)\s*$", said)
    quoted = re.search(r"in value |Format string |\[line +\d+\]: ", said)
    return f"{said[: quoted.end()]}********{where.group() if where else ''}" if quoted else said[:500]


def main() -> None:
    """Read it, and say why supervisor cannot."""
    main_file, path, draft = sys.argv[1:]
    os.environ.update(environment())
    said = refusal(main_file, path, draft)
    if said:
        without = refusal(main_file, path, "")
        sys.exit(
            f"supervisor cannot read its configuration, with or without {path}; fix that. It said: {without}"
            if without
            else f"supervisor would not start with the new {path}, so the file was not changed. It said: {said}"
        )


if __name__ == "__main__":
    main()
