"""Peak memory of a stretch of work."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch


def start_peak() -> None:
    """Begin a new peak, where the system can: Linux resets the process's high-water mark, CUDA its own counter."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # other systems: the peak since the process started, which is still an upper bound
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Return the peak since `start_peak` in MB (10^6 bytes): GPU memory where a GPU was used, else resident memory."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e6
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
