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
    """Return the bytes that are left on a GPU, else of the machine's memory, of a container's where that is less.

    Infinite where the system does not say.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    return min(_kilobytes("/proc/meminfo", "MemAvailable") or math.inf, *map(_left_in, _groups()))


#: Where Linux keeps the limits of control groups, which is how containers are limited.
_CGROUPS = Path("/sys/fs/cgroup")
#: Of version 2 and of version 1: the limit, what is used, and the name of the part that is files' pages.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _groups() -> list[Path]:
    """Return the folders of this process's control groups and all above: each may have a limit, or not be there."""
    found = [_CGROUPS, _CGROUPS / "memory"]  # a container sees its own as the root
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kind, path = line.split(":", 2)
            root = {"": _CGROUPS, "memory": _CGROUPS / "memory"}.get(kind)
            if root is not None:
                own = root / path.lstrip("/")
                found += [folder for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return found


def _left_in(group: Path) -> float:
    """Return the bytes that a control group has left: to its limit, pages of files, which make room, not counted."""
    for limit, used, files in _GROUP_FILES:
        with suppress(OSError, ValueError):  # `max` is no number: it has no limit
            unused = int((group / limit).read_text()) - int((group / used).read_text())
            return float(max(0, unused + _number(group / "memory.stat", files)))
    return math.inf


def _gpus(devices: Iterable[torch.device]) -> set[torch.device]:
    return {device for device in devices if device.type == "cuda"}


def _resident_peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return _kilobytes("/proc/self/status", "VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _kilobytes(file: str, name: str) -> int:
    """Return the bytes of a line such as `VmRSS: 12 kB`; 0 where there is none."""
    return _number(Path(file), f"{name}:") * 1024


def _number(file: Path, name: str) -> int:
    """Return the number of a line that begins with a word, such as `inactive_file 12`; 0 where there is none."""
    try:
        lines = map(str.split, file.read_text().splitlines())
        return next(int(words[1]) for words in lines if words and words[0] == name)
    except (OSError, StopIteration):
        return 0
