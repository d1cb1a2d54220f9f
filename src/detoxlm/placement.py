"""Where a model goes and in which numbers: one device, or several that share it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import infer_auto_device_map, init_empty_weights
from accelerate.utils import CustomDtype, convert_file_size_to_int, get_balanced_memory, get_max_memory
from transformers import AutoConfig

from detoxlm.errors import UsageError, first_line

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: Ways of accelerate to share a model out over devices.
MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
#: Memory by device: a GPU's number, or `cpu` -> a size such as `10GiB`.
Memory = Mapping[int | str, int | str]


@dataclass(frozen=True)
class Placement:
    """Where a model goes."""

    device: torch.device  # all of it, or (`map`) what there is more of on this kind
    map: str | None = None  # one of MAPS; None: all of it goes to `device`
    memory: Mapping[int | str, int] | None = None  # bytes by device; None: what is free


def placement_of(device: str | None, device_map: str | None, max_memory: Memory | str | None) -> Placement:
    """Return where a model goes.

    Args:
        device: such as `cpu` or `cuda:1`; None: the accelerator if there is one.
        device_map: one of `MAPS`, or a device, as `device`.
        max_memory: the most that each device gives, `0=10GiB,cpu=20GiB` or a mapping; only with one of `MAPS`.

    Raises:
        UsageError: a device that is not here, both a device and a map, or memory that cannot be read or is of no use.
    """
    if device_map is not None and device is not None:
        raise UsageError(f"device_map: {device_map!r} says where the model goes, and so does device; leave one out.")
    if device_map in MAPS:
        return Placement(_device(None), device_map, _memory(max_memory))
    if max_memory is not None:
        raise UsageError(f"max_memory: it is for --device-map {', '.join(MAPS)}; name one of these, or leave it out.")
    if device_map is not None:
        try:
            torch.device(device_map)
        except RuntimeError:
            raise UsageError(
                f"device_map: unknown {device_map!r}; known: {', '.join(MAPS)}, or a device such as cpu."
            ) from None
    return Placement(_device(device_map if device is None else device))


def _memory(given: Memory | str | None) -> dict[int | str, int] | None:
    if given is None:
        return None
    parts: Any = given.items() if isinstance(given, Mapping) else [one.partition("=")[::2] for one in given.split(",")]
    found: dict[int | str, int] = {}
    gpus = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    for name, size in parts:
        key = str(name).strip()
        try:
            found[int(key) if key.isdigit() else key] = convert_file_size_to_int(
                size.strip() if isinstance(size, str) else size
            )
        except ValueError:
            raise UsageError(f"max_memory: {size!r} of {key!r} is no size; write 0=10GiB,cpu=20GiB.") from None
        if key != "cpu" and not (key.isdigit() and int(key) < gpus):
            known = f"a GPU's number below {gpus}, or cpu" if gpus else "cpu, the only one"
            raise UsageError(f"max_memory: there is no device {key!r} here; name {known}.")
    return found


def _device(device: str | None) -> torch.device:
    if device is None:
        found = torch.accelerator.current_accelerator(check_available=True)
        if found is None or found.type == "mps":
            return torch.device("cpu")
        rank = os.environ.get("LOCAL_RANK")  # of the processes that accelerate or torchrun started here
        device = found.type if rank is None else f"{found.type}:{rank}"
    if device.startswith("mps"):
        raise UsageError("device: mps has no float64, which sampling and measuring need; use cpu.")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device: {device!r} is not usable here: {first_line(error)}") from error
    return chosen


def dtype_of(dtype: str | None, device: torch.device) -> torch.dtype:
    """Return the type of the weights: float32 on a CPU (bfloat16 is slower there), else the accelerator's half.

    Raises:
        UsageError: one that is not known.
    """
    if dtype is not None:
        if dtype not in DTYPES:
            raise UsageError(f"dtype: unknown {dtype!r}; known: {', '.join(DTYPES)}.")
        return DTYPES[dtype]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float16


def shared_out(
    auto: Any, path: str, placement: Placement, dtype: torch.dtype, quantization: str | None, name: str, **options: Any
) -> dict[str, Any]:
    """Return the device of each part of a model, by a map of accelerate's, before its weights are read.

    Args:
        auto: the class of transformers that makes the model.
        path: its folder, or Hub id.
        placement: with a `map`.
        dtype: of its weights.
        quantization: what they are made to.
        name: what the user calls the model.
        options: `revision` and `trust_remote_code`.

    Raises:
        UsageError: it fits nowhere, or only with parts that wait on the CPU for their turn on a GPU.
    """
    config = AutoConfig.from_pretrained(path, **options)
    with init_empty_weights():
        model = auto.from_config(config, trust_remote_code=options["trust_remote_code"])
    model.tie_weights()
    sizes: Any = {"4bit": CustomDtype.INT4, "8bit": torch.int8, "int8": torch.int8}.get(quantization or "", dtype)
    whole = list(model._no_split_modules or [])
    memory = get_max_memory(dict(placement.memory) if placement.memory else None)
    if placement.map != "sequential":
        memory = get_balanced_memory(model, memory, whole, dtype=sizes, low_zero=placement.map == "balanced_low_0")
    found: dict[str, Any] = infer_auto_device_map(model, memory, whole, dtype=sizes)
    devices = set(found.values())
    if "disk" in devices:
        shown = ", ".join(f"{key}: {size / 1e9:.2f} GB" for key, size in memory.items())
        raise UsageError(
            f"device_map: {name!r} does not fit into what there is ({shown}). Raise --max-memory, take more GPUs, or "
            "make it smaller: --dtype bfloat16, --quantization 4bit."
        )
    if "cpu" in devices and len(devices) > 1:
        raise UsageError(
            f"device_map: {list(found.values()).count('cpu')} of {len(found)} parts of {name!r} would have to wait on "
            "the CPU for their turn on a GPU, which does not work yet. Take more GPUs, or make it smaller: --dtype "
            "bfloat16, --quantization 4bit."
        )
    return found
