"""What a measurement ran on: the versions that its numbers may depend on."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import torch


def packages() -> dict[str, str]:
    """Return the versions of Python and of packages by name."""
    names = ("detoxlm", "torch", "transformers", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def versions() -> dict[str, str]:
    """Return `packages`, what the machine is, and how many threads torch uses."""
    return {
        **packages(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": str(torch.get_num_threads()),
    }
