"""The method: takes the shipped calibrator, another folder's, or trains one."""

from __future__ import annotations

from typing import ClassVar

from detoxlm.errors import UsageError
from detoxlm.methods.base import Detoxifier, FitData, Method
from detoxlm.methods.fusion.calibrator import cut_calibrator
from detoxlm.methods.fusion.contrast import own_contrast
from detoxlm.methods.fusion.detoxifier import FusionDetoxifier
from detoxlm.methods.fusion.foreign import realigned, shipped
from detoxlm.methods.fusion.mixture import own_mixture
from detoxlm.methods.fusion.settings import FusionSettings
from detoxlm.methods.fusion.spared import function_tokens
from detoxlm.methods.needs import refuse_without
from detoxlm.models import Target


class Fusion(Method):
    """Train or align a small calibration model, and fuse it with the target at decoding time."""

    name: ClassVar[str] = "fusion"
    paper: ClassVar[str] = "Output-layer fusion with a calibration model, arXiv 2506.01266"
    summary: ClassVar[str] = (
        "A small calibrator, shipped or trained, steers the target's next token. No weights change."
    )
    detoxifier_type: ClassVar = FusionDetoxifier
    reads: ClassVar[frozenset[str]] = frozenset({"corpus", "pairs", "prompts"})

    @classmethod
    def check(cls, data: FitData, settings: FusionSettings, target: Target | None = None) -> None:
        """Refuse data that the calibrator would not read, a folder without one, a strength out of range, few layers."""
        choice, unfitted = _choice(data, settings), settings
        given = _given(data)
        if choice != "own" and given:
            raise UsageError(
                f"{given[0]}: the calibrator {choice} is trained already and reads no data; leave it out, or train "
                "one: --set calibrator=own."
            )
        if settings.variant == "paper" and data.pairs is not None:
            raise UsageError("pairs: the paper's calibrator learns non-toxic text alone; give --corpus.")
        if settings.variant == "paper" and settings.spared:
            raise UsageError("spared: the paper's mixture lowers no single words; leave it out, or variant=contrast.")
        if choice == "own":
            if target is not None:
                refuse_without(cls.name, "layers", target)
                cut_calibrator(target.model, settings.layers)
        elif choice == "shipped":
            if settings.variant == "paper":
                raise UsageError("calibrator: the shipped one is for variant=contrast; for paper use calibrator=own.")
        elif target is None:  # later the fit itself finds it
            unfitted = settings.model_copy(update={"variant": _found(choice).options.variant})
        if settings.strength == 0:  # a folder of an earlier version may have it
            raise UsageError("strength: a default of 0 would change nothing; give one above 0, or none.")
        FusionDetoxifier(unfitted, {}, {}).check_strength(None)

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: FusionSettings) -> FusionDetoxifier:
        """Take the shipped calibrator, another folder's, or train one on `data` or the target's own continuations."""
        cls.check(data, settings, target)
        spared = function_tokens(target.tokenizer, target.architecture.vocab_size) if settings.spared else None
        made = _made(target, data, settings)
        made.check_strength(None)  # a calibrator's variant, and with it the range, may be another than the settings say
        if spared is not None:
            if made.options.variant == "paper":
                raise UsageError(
                    f"spared: the calibrator {settings.calibrator} is of variant paper, whose mixture lowers no single "
                    "words; leave it out."
                )
            made.tensors = {**made.tensors, "spared": spared}
        return made


def _made(target: Target, data: FitData, settings: FusionSettings) -> FusionDetoxifier:
    choice = _choice(data, settings)
    if choice == "own":
        make = own_mixture if settings.variant == "paper" else own_contrast
        return make(target, data, settings)
    if choice == "shipped":
        return shipped(target, settings)
    return realigned(_found(choice), target, settings, data.seed)


def _given(data: FitData) -> list[str]:
    """What there is to train a calibrator on."""
    return [name for name in ("corpus", "pairs", "prompts") if getattr(data, name) is not None]


def _choice(data: FitData, settings: FusionSettings) -> str:
    """Return `own`, `shipped`, or the folder or Hub id of a calibrator."""
    if settings.calibrator != "auto":
        return settings.calibrator
    return "own" if _given(data) or settings.variant == "paper" else "shipped"


def _found(choice: str) -> FusionDetoxifier:
    """Load another folder's calibrator; raise `UsageError` where there is none."""
    found = Detoxifier.from_pretrained(choice)
    if not isinstance(found, FusionDetoxifier):
        raise UsageError(f"calibrator: {choice} holds {found.method}, not fusion.")
    return found
