"""What a measurement ran on: the versions that its numbers may depend on."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import torch


def versions() -> dict[str, str]:
    """Return them by name: of Python, of packages, of the machine, and how many threads torch uses."""
    packages = ("detoxlm", "torch", "transformers", "tokenizers", "numpy")
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": str(torch.get_num_threads()),
    }
