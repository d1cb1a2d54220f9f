"""Writes docs/architectures.md: which method serves which architecture, found on the tiny models of the tests.

`python scripts/architecture_page.py` (a minute) after a change of how parts are found or of what a method needs; a test
marked `more` fails until then.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import generated
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from detoxlm.architecture import FAMILIES, Architecture
from detoxlm.caching import cached_as
from detoxlm.methods import METHODS
from detoxlm.methods.needs import Need, lacks

sys.path.insert(0, str(generated.ROOT / "tests"))

PATH = generated.ROOT / "docs" / "architectures.md"
#: What methods need, from the least to the most.
NEEDS: tuple[Need, ...] = ("text", "states", "layers", "values", "gates")
INTRODUCTION = """\
# Architectures

`evaluate`, `run`, `generate` and harvests work with every causal language model that transformers loads. Of {listed}
it is written down where they keep their parts, and every method serves them. Of any other model the parts are looked
for when a method needs them: the model reads a few tokens, and a part is taken only where it proves itself (logits that
are recomputed from the last layer are the model's own; what a matrix is said to write moves the stream, and nothing
else does). What cannot be proved is refused by the methods that need it, with the reason.

Methods by what they need:

{methods}

What was found on tiny random models of {count} further model types, by transformers {version}; the tests hold each of
them to it (`pytest -m more tests/test_any_model.py`). *Experts* are edited one and all, those that all tokens share
too, and routers are left alone. A model that keeps no cache that can be followed is read whole at every step: slow, and
right; with its own `generate` give `use_cache=False`.

| model type | {columns} | cache |
|---|{lines}---|
{rows}

Written by `scripts/architecture_page.py`.

## What does not work yet

- An adapter (`export --form adapter`) of experts that are fused into one tensor is refused: export a checkpoint.
- `calibrator=own`, `dexperts` and `gedi` copy layers of the target: what cannot be made again with fewer is refused.
- Models that read pictures too (LLaVA, Qwen-VL) are loaded for their text; no test holds them to it yet.
"""


def architecture_page() -> str:
    """Return the whole page."""
    from any_models import SHAPES  # type: ignore[import-not-found]
    from transformers import __version__

    by_need: dict[str, list[str]] = {need: [] for need in NEEDS}
    for name, method in METHODS.items():
        by_need[method.needs].append(f"`{name}`")
    said = {
        "text": "text and logits",
        "states": "the final states",
        "layers": "the decoder layers",
        "values": "the matrices by which MLPs write to the residual stream",
        "gates": "the matrices that gate an MLP's neurons",
    }
    rows, reasons = [], {}
    for kind in sorted(SHAPES):
        found, cache, why = _served(kind)
        rows.append(f"| `{kind}` | " + " | ".join(found) + f" | {cache} |")
        reasons.update({kind: why} if why else {})
    rows += ["", *(f"- `{kind}`: {why}." for kind, why in reasons.items())]
    return INTRODUCTION.format(
        listed=", ".join(f"`{kind}`" for kind in sorted(FAMILIES)),
        methods="\n".join(f"- {said[need]}: {', '.join(by_need[need])}" for need in NEEDS),
        count=len(SHAPES),
        version=__version__,
        columns=" | ".join(NEEDS),
        lines="---|" * len(NEEDS),
        rows="\n".join(rows),
    )


def _served(kind: str) -> tuple[list[str], str, str | None]:
    """Return yes or no for each of `NEEDS`, how the model keeps what it has read, and the reason of the first no."""
    from any_models import config_of

    logging.set_verbosity_error()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = AutoModelForCausalLM.from_config(config_of(kind)).eval().requires_grad_(False)
        view = Architecture.of(model)
        missing = {need: lacks(view, need) for need in NEEDS}
        cache = "yes" if cached_as(model) is not None else "read whole"
    experts = False
    if missing["values"] is None:
        every = (one for layer in range(len(view.layers)) for one in view.writers(layer, "value"))
        experts = any(one.matrix.ndim == 3 for one in every)
    words = [
        "no" if missing[need] else "experts" if experts and need in ("values", "gates") else "yes" for need in NEEDS
    ]
    return words, cache, next((why for why in missing.values() if why), None)


if __name__ == "__main__":
    generated.main(PATH, architecture_page())
