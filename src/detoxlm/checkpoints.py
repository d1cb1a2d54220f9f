"""A detoxified model in folders that load anywhere: a plain checkpoint or an adapter, with card and tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import ModelCardData

from detoxlm.adapters import ADAPTER_CONFIG, base_of
from detoxlm.files import folder_written_atomically
from detoxlm.loading import quiet_transformers
from detoxlm.methods import Detoxifier
from detoxlm.models import EMBEDDED_HUB_ID, EMBEDDED_TARGET, Target
from detoxlm.progress import waiting
from detoxlm.results import DetoxifierInfo

#: By this file a checkpoint shows that we wrote it, and what is in it.
CHECKPOINT_FILE = "detoxlm.json"


def save_checkpoint(
    target: Target, detoxifier: Detoxifier, strength: float | None, folder: Path, card: str | None = None
) -> None:
    """Write the edited model, its tokenizer, what was done to it, and a card; `target` is edited too.

    Without `card`, one that says that nothing has measured the model at this strength: the detoxifier's own may be of
    another.

    Raises:
        UsageError: a detoxifier for another model or of a kind that has no such form, a strength out of its range, or
            a `folder` that is not a checkpoint of ours.
        DetoxError: the disk is full or the place not writable.
    """
    info = detoxifier.info(strength)
    merged = detoxifier.merge(target.model, strength)
    done = {"base": detoxifier.target, "detoxifier": info.model_dump(mode="json", exclude={"fitting"})}
    with (
        waiting("writing the model"),
        quiet_transformers(),
        folder_written_atomically(folder, replaces=CHECKPOINT_FILE) as temporary,
    ):
        merged.save_pretrained(temporary)
        target.save_tokenizer(temporary)
        (temporary / CHECKPOINT_FILE).write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card or _unmeasured_card(target, info), encoding="utf-8", errors="replace")


def save_adapter(target: Target, detoxifier: Detoxifier, strength: float | None, folder: Path) -> None:
    """Write the detoxifier as a PEFT adapter, with the tokenizer and a card; `target` is read, not changed.

    Raises:
        UsageError: a detoxifier for another model or of a kind that has no such form, a strength out of its range, or
            a `folder` that is no adapter's.
        DetoxError: the disk is full or the place not writable.
    """
    with waiting("writing the adapter"), folder_written_atomically(folder, replaces=ADAPTER_CONFIG) as temporary:
        detoxifier.save_adapter(target.model, temporary, strength)
        target.save_tokenizer(temporary)
        (temporary / "README.md").write_text(_adapter_card(target, detoxifier.info(strength)), encoding="utf-8")


def _adapter_card(target: Target, info: DetoxifierInfo) -> str:
    base, revision = base_of(target.model)
    local, embedded = Path(base).exists(), target.name == EMBEDDED_TARGET
    data = ModelCardData(
        base_model=EMBEDDED_HUB_ID if embedded else None if local else base,  # the Hub knows no folders
        library_name="peft",
        tags=["detoxification", info.method],
    )
    where = f"`{base}`" + (f" at commit `{revision}`" if revision else "")
    moved = (
        " That is a folder of the machine that wrote this: elsewhere, write there where the base is (in "
        f"`{ADAPTER_CONFIG}`; DetoxLM reads a path as from this folder too"
        + (", and finds its embedded model by itself)." if embedded else ").")
    )
    return (
        f"---\n{data.to_yaml()}\n---\n\n"
        f"# {info.method} at strength {info.strength:g} for {target.name}, as a LoRA adapter\n\n"
        f"Base model: {where}, which `base_model_name_or_path` names.{moved if local else ''}\n\n"
        f"The strength, {info.strength:g}, is in the adapter: its own scale is 1.\n\n"
        "Not measured yet: `detoxlm evaluate THIS_FOLDER -o results.json` does it, and on the base model too.\n\n"
        f"```python\n{_usage('AutoPeftModelForCausalLM', 'peft')}```\n\n"
        f"```json\n{json.dumps(info.settings, indent=1)}\n```\n"
    )


def _unmeasured_card(target: Target, info: DetoxifierInfo) -> str:
    """A model card for a checkpoint that nothing has measured yet."""
    data = ModelCardData(library_name="transformers", tags=["detoxification", info.method])
    return (
        f"---\n{data.to_yaml()}\n---\n\n"
        f"# {target.name} with {info.method} at strength {info.strength:g} in its weights\n\n"
        "Not measured yet: `detoxlm evaluate THIS_FOLDER -o results.json` does it, and on the untouched model too.\n\n"
        f"```python\n{checkpoint_usage()}```\n\n"
        f"```json\n{json.dumps(info.settings, indent=1)}\n```\n"
    )


def checkpoint_usage() -> str:
    """Return the Python snippet that the card of a checkpoint shows."""
    return _usage("AutoModelForCausalLM", "transformers")


def _usage(loader: str, package: str) -> str:
    imports = f"from {package} import {loader}\nfrom transformers import AutoTokenizer"
    if package == "transformers":
        imports = f"from transformers import {loader}, AutoTokenizer"
    return (
        f"{imports}\n\n"
        f'model = {loader}.from_pretrained("path/to/this/folder")\n'
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n'
        'inputs = tokenizer("The new neighbours are", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0], skip_special_tokens=True))\n"
    )
