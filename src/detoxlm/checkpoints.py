"""A detoxified model as a plain checkpoint: its folder, its card, and the snippet that loads it."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import ModelCardData

from detoxlm.files import folder_written_atomically
from detoxlm.loading import quiet_transformers
from detoxlm.methods import Detoxifier
from detoxlm.models import Target
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
        target.tokenizer.save_pretrained(temporary)
        (temporary / CHECKPOINT_FILE).write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card or _unmeasured_card(target, info), encoding="utf-8", errors="replace")


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
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")\n'
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n'
        'inputs = tokenizer("The new neighbours are", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0], skip_special_tokens=True))\n"
    )
