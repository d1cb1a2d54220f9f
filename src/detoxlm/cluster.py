"""Ray, started quietly on this machine or found on a cluster, for what works on several processes."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import ray

from detoxlm.errors import DetoxError, first_line

#: Characters that Ray's own names leave for a folder's: the path of a socket has 107 at most.
LONGEST_FOLDER = 25


@contextmanager
def running() -> Iterator[list[dict[str, float]]]:
    """Start Ray, quietly, or use what runs already; yield the resources of each node. What was started is stopped.

    A cluster is used where `RAY_ADDRESS` names one. Else Ray runs on this machine, offline, with a temporary folder of
    its own, until the block ends.

    Raises:
        DetoxError: it does not start, or cannot be reached.
    """
    started = not ray.is_initialized()
    folder = None
    with redirect_stdout(sys.stderr):  # where Ray reports losses; commands print JSON on standard output
        if started:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 lets all else on the machine go first
            folder = None if os.environ.get("RAY_ADDRESS") else _folder()
            try:
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, _temp_dir=folder)
            except Exception as error:  # of many kinds: a wrong address, a machine too busy to start Ray in its 30 s
                _remove(folder)
                raise DetoxError(f"ray: not started: {first_line(error)} Mend RAY_ADDRESS, or try again.") from error
        try:
            yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
        finally:
            if started:
                ray.shutdown()
            _remove(folder)


def _folder() -> str:
    """Make a temporary folder with a name that is short enough for sockets."""
    place = tempfile.gettempdir()
    if os.name == "posix" and len(place) > LONGEST_FOLDER:
        place = "/tmp"
    return tempfile.mkdtemp(prefix="detoxlm-", dir=place)


def _remove(folder: str | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
