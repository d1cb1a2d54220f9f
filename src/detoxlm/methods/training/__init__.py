"""What all methods that train share: texts, losses, the trainer, the looks at it, and what it leaves.

Importing this package is cheap; its modules need the extra `finetune`, which `check_installed` says.
"""

from __future__ import annotations

import os
from importlib import import_module

from detoxlm.errors import UsageError


def check_installed(method: str) -> None:
    """Say what a training of `method` lacks here, before hours of sampling.

    Raises:
        UsageError: what it needs is not installed, or accelerate was told to shard the model by FSDP 1.
    """
    # what `accelerate launch` hands on of its configuration
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and os.environ.get("FSDP_VERSION", "1") != "2":
        raise UsageError(
            f"fsdp_version: {method} cannot read weights that FSDP 1 has flattened; train with version 2; see "
            "configs/accelerate/fsdp.yaml."
        )
    try:
        import_module("detoxlm.methods.training.fit")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{method}: fine-tuning needs {error.name}, which is not installed: pip install 'detoxlm[finetune]'"
        ) from error
