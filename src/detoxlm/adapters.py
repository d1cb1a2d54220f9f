"""PEFT adapters (LoRA and its kin) as they are found: where one lies, what it is for, and its way into the weights."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from detoxlm.errors import UsageError, first_line
from detoxlm.files import refuse_pointers
from detoxlm.hub import hub_file
from detoxlm.loading import quiet_transformers

log = logging.getLogger(__name__)

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
#: What of an adapter's repository is fetched: no pickles, and no checkpoints of the training.
_FETCHED = ["*.json", ADAPTER_WEIGHTS, "*.model", "*.txt", "*.jinja", "*.tiktoken"]


@dataclass(frozen=True)
class Adapter:
    """An adapter on this disk, and the model that it is for."""

    name: str  # as the user calls it
    folder: Path
    base: str  # a folder, or a Hub id
    revision: str | None  # of the base on the Hub; None: its default branch


def adapter_at(path: str, revision: str, name: str) -> Adapter | None:
    """Return the adapter in a folder or a repository; None: there is a whole model.

    Args:
        path: the folder, or the Hub id.
        revision: the commit on the Hub.
        name: what the user calls it.

    Raises:
        UsageError: Git LFS pointers, pickled weights, another task than causal language modelling, a kind that cannot
            become weights, no word on its base, or the package peft is missing.
    """
    if not Path(path).is_dir():
        if hub_file(path, ADAPTER_CONFIG, revision) is None:
            return None
        try:
            path = huggingface_hub.snapshot_download(path, revision=revision, allow_patterns=_FETCHED)
        except Exception as error:  # the Hub client's error classes differ between its versions
            raise UsageError(f"model: the adapter {name!r} on the Hub: {first_line(error)}") from error
    folder = Path(path)
    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        return None
    refuse_pointers("model", folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        whole = f", or delete {file} if the folder is to be a whole model" if (folder / "config.json").is_file() else ""
        raise UsageError(
            f"model: the adapter {name!r} has no {ADAPTER_WEIGHTS}. Pickled weights are never loaded: save it again "
            f"with `model.save_pretrained(folder)`{whole}."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"model: cannot load the adapter {name!r}: {file} is not JSON: {first_line(error)}") from error
    config = config if isinstance(config, dict) else {}
    if (task := config.get("task_type")) not in (None, "CAUSAL_LM"):
        raise UsageError(f"model: the adapter {name!r} is for {task}; give one of a causal language model (CAUSAL_LM).")
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        raise UsageError(
            f"model: {file} has no base_model_name_or_path; write the folder or the Hub id of the adapter's base there."
        )
    _check_mergeable(folder, name)
    named = config.get("revision")
    return Adapter(name, folder, _base_path(base, folder), named if isinstance(named, str) and named else None)


def _base_path(base: str, folder: Path) -> str:
    """Where the base is: a path is read from here, as PEFT does, else from the adapter's own folder."""
    if not Path(base).expanduser().exists() and (folder / base).exists():
        return str((folder / base).resolve())
    return base


def _check_mergeable(folder: Path, name: str) -> None:
    try:
        from peft import PeftConfig
    except ImportError:
        raise UsageError(
            f"model: {name!r} is a PEFT adapter, which needs the package peft: pip install 'detoxlm[finetune]'."
        ) from None
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            config = PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # PEFT raises what its parts raise
        raise UsageError(f"model: cannot load the adapter {name!r}: {ADAPTER_CONFIG}: {first_line(error)}") from error
    for one in said:  # such as of settings that a newer PEFT has written
        log.warning("model: the adapter %r: %s", name, first_line(one.message)[:400])  # type: ignore[arg-type]
    if getattr(config, "is_prompt_learning", False) or getattr(config, "is_adaption_prompt", False):
        raise UsageError(
            f"model: the adapter {name!r} is of kind {config.peft_type.value}, which changes no weights; give a "
            "LoRA, or another kind that can be merged."
        )


def base_of(model: PreTrainedModel) -> tuple[str, str | None]:
    """Return how an adapter's configuration names a loaded model as its base: folder or Hub id, and the Hub's commit.

    Of a GGUF file, the embedded model's too, it is the converted folder in the cache: what other libraries can load.

    Raises:
        UsageError: the model was loaded from nowhere.
    """
    name = model.name_or_path
    if not name:
        raise UsageError(
            "adapter: its configuration must name the base model, and this one was not loaded from a folder or the "
            "Hub. Save it with save_pretrained and load it from there."
        )
    if Path(name).exists():
        return str(Path(name).absolute()), None
    return name, getattr(model.config, "_commit_hash", None)


def merged(model: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """Return the base `model` with the adapter added to its weights, which are changed in place.

    Raises:
        UsageError: the adapter is for another model: its modules or their sizes are not those of this one; or it holds
            NaN.
    """
    from peft import PeftConfig, get_peft_model

    try:
        _make_room(model, adapter.folder / ADAPTER_WEIGHTS)
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is left out or made up is looked for below
            config = PeftConfig.from_pretrained(str(adapter.folder))
            config.inference_mode = True
            wrapped: Any = get_peft_model(model, config)
            loading = wrapped.load_adapter(str(adapter.folder), "default", torch_device=str(model.device))
            _check_all_used(adapter, loading.missing_keys, loading.unexpected_keys)
            whole: PreTrainedModel = wrapped.merge_and_unload(safe_merge=True)
    except UsageError:
        raise
    except (SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        what = " ".join(str(error).split())
        raise UsageError(
            f"model: the adapter {adapter.name!r} does not fit its base {adapter.base!r}: {what[:200]}. Give "
            f"{ADAPTER_CONFIG} the base that it was trained on."
        ) from error
    if hasattr(whole, "peft_config"):
        del whole.peft_config  # else PEFT takes the next training for a second adapter
    whole.name_or_path = whole.config.name_or_path = str(adapter.folder)  # the base's is not where these weights are
    return whole


def _make_room(model: PreTrainedModel, weights: Path) -> None:
    """Give the base as many embeddings as the adapter brings along: it was trained with tokens that were added."""
    embeddings = model.get_input_embeddings()
    path = next(name for name, module in model.named_modules() if module is embeddings)
    with safe_open(weights, "pt") as file:
        # the whole table, whatever it is wrapped in; a LoRA of it and single tokens that were trained are no table
        whole = [
            name
            for name in file.keys()  # noqa: SIM118 - it is no mapping
            if name.startswith(f"base_model.model.{path}.") and name.endswith(".weight") and "lora_" not in name
        ]
        rows = {file.get_slice(name).get_shape()[0] for name in whole}
    if len(rows) == 1 and rows != {embeddings.weight.shape[0]}:
        model.resize_token_embeddings(rows.pop(), mean_resizing=False)


def _check_all_used(adapter: Adapter, missing: Sequence[str], unexpected: Sequence[str]) -> None:
    if missing or unexpected:
        what = f"lacks {missing[0]}" if missing else f"has {unexpected[0]}, for which the base has no place"
        raise UsageError(
            f"model: the adapter {adapter.name!r} {what} ({len(missing)} missing, {len(unexpected)} too many): it is "
            f"not for the base {adapter.base!r}. Give {ADAPTER_CONFIG} the base that it was trained on."
        )
