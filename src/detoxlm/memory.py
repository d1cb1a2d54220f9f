"""Peak memory of a stretch of work, and the memory that is left."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch


def begin(*devices: torch.device) -> int:
    """Begin a new peak on devices, where the system can, and return the bytes that are used now, as `peak` counts them.

    CUDA resets a counter of each GPU, Linux the process's high-water mark.
    """
    gpus = _gpus(devices)
    for gpu in gpus:
        torch.cuda.reset_peak_memory_stats(gpu)
    with suppress(OSError):  # other systems: the peak since the process started, which is still an upper bound
        Path("/proc/self/clear_refs").write_text("5")
    if gpus:
        return sum(map(torch.cuda.memory_allocated, gpus))
    return _kilobytes("/proc/self/status", "VmRSS") or _resident_peak()


def peak(*devices: torch.device) -> int:
    """Return the most bytes that were used since `begin`: of all GPUs among the devices, else resident memory.

    Of several GPUs it is the sum of what each had at its own most.
    """
    gpus = _gpus(devices)
    return sum(map(torch.cuda.max_memory_allocated, gpus)) if gpus else _resident_peak()


def free(device: torch.device) -> float:
    """Return the bytes that are left on a GPU, else of the machine's memory; infinite where the system does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    return _kilobytes("/proc/meminfo", "MemAvailable") or math.inf


def _gpus(devices: Iterable[torch.device]) -> set[torch.device]:
    return {device for device in devices if device.type == "cuda"}


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
