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
    def fit(cls, target: Target, data: FitData, settings: FusionSettings) -> FusionDetoxifier:
        """Take the shipped calibrator, another folder's, or train one on `data` or the target's own continuations."""
        choice = settings.calibrator
        given = [name for name in ("corpus", "pairs", "prompts") if getattr(data, name) is not None]
        if choice == "auto":
            choice = "own" if given or settings.variant == "paper" else "shipped"
        if choice != "own" and given:
            raise UsageError(
                f"{given[0]}: the calibrator {choice} is trained already and reads no data; leave it out, or train "
                "one: --set calibrator=own."
            )
        if settings.variant == "paper" and data.pairs is not None:
            raise UsageError("pairs: the paper's calibrator learns non-toxic text alone; give --corpus.")
        if choice == "own":
            cut_calibrator(target.model, settings.layers)  # refuse before hours of harvesting, not after
            make = own_mixture if settings.variant == "paper" else own_contrast
            return make(target, data, settings)
        if choice == "shipped":
            if settings.variant == "paper":
                raise UsageError("calibrator: the shipped one is for variant=contrast; for paper use calibrator=own.")
            return shipped(target, settings)
        found = Detoxifier.from_pretrained(choice)
        if not isinstance(found, FusionDetoxifier):
            raise UsageError(f"calibrator: {choice} holds {found.method}, not fusion.")
        return realigned(found, target, settings, data.seed)
