"""Commands in a process of its own that has further packages: what entry points do is decided when Python starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: One process for all, because importing torch takes longer than most commands.
_SCRIPT = """
import contextlib, io, json, sys
from detoxlm.cli import main
for line in sys.stdin:
    sys.argv, out, err = ["detoxlm", *json.loads(line)], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main()
        except SystemExit as end:
            code = end.code
    print(json.dumps([code or 0, out.getvalue(), err.getvalue()]))
"""


def environment_with(packages: Path) -> dict[str, str]:
    """What a process needs to find the packages of a folder beside ours."""
    path = os.pathsep.join([str(packages), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}


def run_commands(packages: Path, cwd: Path, *commands: Sequence[str]) -> list[tuple[int, str, str]]:
    """Return exit code, output and errors of each `detoxlm` command, carried out in this order in `cwd`."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input="".join(json.dumps(command) + "\n" for command in commands),
        env=environment_with(packages),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]
