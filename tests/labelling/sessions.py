"""Sessions of `detoxlm label`: a process with a terminal of its own, and one that serves a page."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

#: Seconds until a test gives up on a process that says nothing.
PATIENCE = 60
PROMPT = "q quit"


def environment() -> dict[str, str]:
    """Where a process of our own finds the package; 80 columns, and no settings of the caller's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DETOXLM_")}
    return {**clean, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "80", "LINES": "40"}


def heard() -> None:
    """Hear the signals that the caller may have been told to pass over, as SIGHUP by nohup."""
    for one in (signal.SIGHUP, signal.SIGINT):
        signal.signal(one, signal.SIG_DFL)


class Terminal:
    """`detoxlm label` in a pseudo-terminal."""

    def __init__(self, *arguments: Any) -> None:
        self._ours, theirs = os.openpty()
        self._shown = ""
        command = [sys.executable, "-m", "detoxlm.cli", "label", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(),
            start_new_session=True,
            preexec_fn=heard,
        )
        os.close(theirs)

    def until(self, wanted: str = PROMPT) -> str:
        """Return what is shown up to `wanted`, by default up to the line that waits for a key."""
        end = time.monotonic() + PATIENCE
        while wanted not in self._shown:
            ready = select.select([self._ours], [], [], max(0, end - time.monotonic()))[0]
            assert ready, f"{wanted!r} does not come after {self._shown!r}"
            more = self._read()
            assert more, f"ended without {wanted!r}: {self._shown!r}"
            self._shown += more
        before, found, self._shown = self._shown.partition(wanted)
        return before + found

    def press(self, keys: str) -> None:
        """Type keys, all at once."""
        os.write(self._ours, keys.encode())

    def rest(self) -> str:
        """Return what is shown to the end, which must be a good one."""
        shown = self._shown
        while more := self._read():
            shown += more
        assert self.process.wait(PATIENCE) == 0, shown
        return shown

    def _read(self) -> str:
        try:
            return os.read(self._ours, 65536).decode().replace("\r\n", "\n")
        except OSError:  # Linux says so at the end of a pseudo-terminal
            return ""

    def close(self) -> None:
        """End what is left."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


class Page:
    """`detoxlm label --page` as a process, and a browser without scripts."""

    def __init__(self, log: Path, *arguments: Any) -> None:
        command = [sys.executable, "-m", "detoxlm.cli", "label", "--page", "--port", "0", *map(str, arguments)]
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(), preexec_fn=heard
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, line + log.read_text()
        self.client = httpx.Client(base_url=address[0], timeout=PATIENCE, trust_env=False, follow_redirects=True)

    def fields(self, shown: str) -> dict[str, str]:
        """The hidden fields of the form that is shown."""
        return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown))

    def press(self, shown: str, action: str, **fields: str) -> httpx.Response:
        """Send the form that is shown."""
        return self.client.post(action, data={**self.fields(shown), **fields})

    def close(self) -> None:
        """End what is left."""
        self.client.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def verdicts(path: Path) -> list[str]:
    """The labels of a file, in its order."""
    return [json.loads(line)["label"] for line in path.read_text("utf-8").splitlines()]
