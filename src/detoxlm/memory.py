"""Peak memory of a stretch of work, and the memory that is left."""

from __future__ import annotations

import math
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
    return _resident_peak() / 1e6


def begin(device: torch.device) -> int:
    """Begin a new peak, as `start_peak`, and return the bytes that are used now."""
    start_peak()
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _kilobytes("/proc/self/status", "VmRSS") or _resident_peak()


def peak(device: torch.device) -> int:
    """Return the most bytes that were used since `begin`: of a GPU, else resident memory."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident_peak()


def free(device: torch.device) -> float:
    """Return the bytes that are left on a GPU, else of the machine's memory; infinite where the system does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    return _kilobytes("/proc/meminfo", "MemAvailable") or math.inf


def _resident_peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return _kilobytes("/proc/self/status", "VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _kilobytes(file: str, name: str) -> int:
    """Return the bytes of a line such as `VmRSS: 12 kB`; 0 where there is none."""
    try:
        lines = Path(file).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
    except (OSError, StopIteration):
        return 0
