"""`detoxlm push`: what DetoxLM has written goes to the Hub, with its card: a detoxifier, a checkpoint or an adapter."""

from __future__ import annotations

import logging
from pathlib import Path

from detoxlm.adapters import ADAPTER_CONFIG
from detoxlm.checkpoints import CHECKPOINT_FILE
from detoxlm.descriptions import read_object
from detoxlm.errors import UsageError
from detoxlm.files import refuse_pointers
from detoxlm.hub import MODEL_FILES, upload
from detoxlm.methods import Detoxifier
from detoxlm.methods.folders import CONFIG_FILE

log = logging.getLogger(__name__)

CARD = "README.md"


def push(folder: Path, repo: str, *, public: bool) -> str:
    """Upload what is in a folder and return the repository's address.

    Args:
        folder: of `fit`, `run` (its `detoxifier` or `model`) or `export`.
        repo: a Hub id, `owner/name`; made where it is not there.
        public: whether everybody may see a repository that is made.

    Raises:
        UsageError: no such folder, or it holds nothing of ours, or not all of it; the Hub does not take it.
    """
    if not folder.is_dir():
        raise UsageError(f"folder: {folder} is no folder; `detoxlm fit METHOD MODEL -o DIR` makes one.")
    if (folder / CONFIG_FILE).is_file():
        return Detoxifier.from_pretrained(folder).push_to_hub(repo, private=not public)
    kind = next((name for name in (CHECKPOINT_FILE, ADAPTER_CONFIG) if (folder / name).is_file()), None)
    if kind is None:
        inner = [str(folder / name) for name in ("detoxifier", "model") if (folder / name).is_dir()]
        fix = f"name {' or '.join(inner)}." if inner else "`detoxlm export` writes one."
        raise UsageError(f"folder: {folder} has none of {CONFIG_FILE}, {CHECKPOINT_FILE} and {ADAPTER_CONFIG}; {fix}")
    refuse_pointers("folder", folder)
    if not any(folder.glob("*.safetensors")) or not (folder / CARD).is_file():
        raise UsageError(f"folder: {folder} lacks its weights (*.safetensors) or its card ({CARD}); export it again.")
    if kind == ADAPTER_CONFIG:
        _warn_of_base(folder)
    return upload(folder, repo, MODEL_FILES, private=not public)


def _warn_of_base(folder: Path) -> None:
    """Say so where an adapter's base is a folder of this machine, which nobody else has."""
    config = read_object(folder / ADAPTER_CONFIG, field="folder", fix="export it again.")
    base = str(config.get("base_model_name_or_path", ""))
    if Path(base).exists() or (folder / base).exists():
        log.warning(
            "%s names its base as a folder of this machine, %s: write the Hub id of the base there, or nobody else can "
            "load it.",
            folder / ADAPTER_CONFIG,
            base,
        )
