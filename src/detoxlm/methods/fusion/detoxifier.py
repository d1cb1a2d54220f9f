"""A fitted calibrator for one target, and what it does to the target's next token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import torch
from transformers import PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.errors import UsageError
from detoxlm.methods.decoding.contract import Place, Steering
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.methods.decoding.reading import counts_columns
from detoxlm.methods.decoding.translation import SameTokens, Translator
from detoxlm.methods.folders import CONFIG_FILE
from detoxlm.methods.fusion import mixing
from detoxlm.methods.fusion.calibrator import Calibrator, cut_calibrator
from detoxlm.methods.fusion.retokenizing import Retokenizer
from detoxlm.methods.fusion.settings import FusionSettings
from detoxlm.methods.fusion.spared import kept_shares
from detoxlm.methods.fusion.steering import Contrast, Mixture
from detoxlm.methods.fusion.storage import tokenizer_from_json, trunk_from, unpack_change


@dataclass
class FusionDetoxifier(DecodingDetoxifier):
    """A calibrator for one target."""

    method: ClassVar[str] = "fusion"
    settings_type: ClassVar = FusionSettings

    @property
    def default_strength(self) -> float:
        """The strength used where none is given: the setting, else 0.5 (contrast) or 0.1 (paper: alpha)."""
        chosen = self.options.strength
        return chosen if chosen is not None else 0.1 if self.options.variant == "paper" else 0.5

    @property
    def max_strength(self) -> float:
        """paper: 1, the calibrator alone. contrast: 4, where a token that is toxic for sure is as good as banned."""
        return 1.0 if self.options.variant == "paper" else 4.0

    @property
    def default_strengths(self) -> tuple[float, ...]:
        """What `run` measures where nothing is asked for."""
        return (0.1, 0.3) if self.options.variant == "paper" else (0.25, 0.5, 1.0)

    @property
    def options(self) -> FusionSettings:
        """The settings, by their type."""
        assert isinstance(self.settings, FusionSettings)
        return self.settings

    @property
    def foreign(self) -> bool:
        """Whether the calibrator was cut from another model than the target."""
        return bool(self.files)

    def __post_init__(self) -> None:
        """Raise `UsageError` where a calibrator of another model has lost the files that describe it."""
        needed = {"calibrator_config"} if any(name.startswith("base.") for name in self.tensors) else set()
        needed |= {"calibrator_tokenizer"} if "target_tokenizer" in self.files else set()
        if lacking := needed - self.files.keys():
            raise UsageError(
                f"detoxifier: `files` in {self.folder or '.'}/{CONFIG_FILE} lacks {min(lacking)}, which a calibrator "
                "of another model needs; take the file from a copy, or fit it again."
            )

    def _steer(self, model: PreTrainedModel) -> Steering:
        options = self.options
        if options.as_released and options.variant != "paper":
            raise UsageError("as_released: the released code mixes states; it goes with variant=paper.")
        if options.as_released and self.foreign:
            raise UsageError("as_released: the released code knows one tokenizer; fit for the calibrator's own target.")
        calibrator = self.calibrator(model)
        steering: Steering
        if isinstance(calibrator, Calibrator):
            decoder, vocabulary = calibrator.decoder, self.tensors.get("vocabulary")
            if vocabulary is not None:
                vocabulary = vocabulary.long().to(model.device)
            kept = None
            if options.spared:
                size = Architecture.of(model).vocab_size
                kept = kept_shares(self.tensors["spared"], options.spared, size).to(model.device)
            steering = Contrast(calibrator.risk, options.threshold, options.candidates, vocabulary, kept)
        else:
            decoder = Architecture.of(calibrator).decoder
            # a calibrator of another model is read by content, behind the target's pass
            place: Place = "logits" if self.foreign else "states"
            steering = Mixture(Architecture.of(model), self.tensors.get("alignment"), place)
        steering.readers, steering.keeps_past = (decoder,), not options.as_released
        steering.context = getattr(decoder.config, "max_position_embeddings", None)
        if self.foreign:
            steering.translator = self._translator(decoder)
        return steering

    def calibrator(self, model: PreTrainedModel) -> Calibrator | PreTrainedModel:
        """Return the calibrator for `model`: with its risk head (contrast), or the trunk alone (paper).

        Raises:
            KeyError, RuntimeError, ValueError, TypeError: the tensors are not for this model.
        """
        options = self.options
        paper = options.variant == "paper"
        if self.foreign:
            trunk = trunk_from(json.loads(self.files["calibrator_config"]), self.tensors).to(model.device)
        else:
            trunk = cut_calibrator(model, options.layers, own_embeddings=paper and options.train_embeddings)
        if not paper:
            return unpack_change(trunk, self.tensors)
        if not self.foreign:
            expected = mixing.own_tensors(trunk, options.train_embeddings)
            stored = {
                name.removeprefix("mixture."): t for name, t in self.tensors.items() if name.startswith("mixture.")
            }
            if expected.keys() != stored.keys():
                raise KeyError(f"{sorted(expected.keys() ^ stored.keys())[0]} is in only one of them")
            with torch.no_grad():
                for name, parameter in expected.items():
                    parameter.copy_(stored[name])
        return trunk

    def _translator(self, decoder: torch.nn.Module) -> Translator:
        """What turns the target's tokens into those of a calibrator that was cut from another model."""
        if "target_tokenizer" not in self.files:
            return SameTokens()
        if counts_columns(decoder.config):
            raise UsageError(
                "calibrator: its layers attend through a sliding window, which cannot follow text that is tokenised "
                "again; take one without, such as calibrator=shipped."
            )
        return Retokenizer(
            tokenizer_from_json(self.files["target_tokenizer"]), tokenizer_from_json(self.files["calibrator_tokenizer"])
        )
