"""What of a model's parts methods need, and the refusal of a model of which that is not known, or not to be changed."""

from __future__ import annotations

from typing import Literal

from detoxlm.architecture import Architecture
from detoxlm.errors import UsageError
from detoxlm.models import Target

#: What a detoxifier does: acts on the next token, changes weights, or changes them by an adapter.
Kind = Literal["decoding", "weights", "adapter"]
#: What of a model's parts a method needs: only what goes in and comes out; its final states too; its decoder layers;
#: matrices by which its MLPs write to the stream, or also the rows that gate them.
Need = Literal["text", "states", "layers", "values", "gates"]

_NEEDED: dict[Need, str] = {
    "text": "text",
    "states": "the final states",
    "layers": "the decoder layers",
    "values": "the matrices by which MLPs write to the residual stream",
    "gates": "the matrices that gate an MLP's neurons",
}


def lacks(view: Architecture, need: Need) -> str | None:
    """Return what is not known of a model that a method needs, as the end of a sentence; None: it has all of it."""
    if need == "text":
        return None
    why = view.why_not("decoder" if need == "states" else "layers")
    if why is not None or need in ("states", "layers"):
        return why
    try:
        numbers = range(len(view.layers))
        some = [view.writers(layer, "value") if need == "values" else view.gates(layer) for layer in numbers]
    except UsageError as error:
        return str(error).removeprefix("model: ").rstrip(".")
    return None if any(some) else "no layer has an MLP that could be shown to write there by a matrix"


def refuse_without(method: str, need: Need, target: Target) -> None:
    """Raise `UsageError` where it is not known of a target what a method needs; the message names the method."""
    if (why := lacks(target.architecture, need)) is not None:
        raise UsageError(
            f"{method}: it needs {_NEEDED[need]}, but of this {target.architecture.name} model they cannot be told: "
            f"{why}. Use a method that reads text and logits alone, such as fusion with its shipped calibrator."
        )


def refuse_quantised(method: str, kind: Kind, target: Target) -> None:
    """Raise `UsageError` where a method would change weights that are quantised; the message has the way out."""
    quantization = target.architecture.quantization
    if quantization is not None and kind != "decoding":
        raise UsageError(
            f"{method}: it changes weights, and those of this model are quantised, {quantization}. Fit it to the "
            f"unquantised model, write that with `detoxlm export MODEL DETOXIFIER -o NEW`, and quantise NEW."
        )
