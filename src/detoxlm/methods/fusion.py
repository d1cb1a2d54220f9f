"""Output-layer fusion with a calibration model (arXiv 2506.01266): a small model beside the target at decoding time.

Two variants. `paper` mixes the last hidden state g of a model trained on non-toxic text into the target's, before the
head W (z~ = g, or LayerNorm(gA) where widths or tokenizers differ):

    h~ = alpha z~ + (1 - alpha) h,    logits = W h~.

`contrast`, the default, asks the small model for the *risk* s(v) of each token v that the target may choose
(`detoxlm.calibration.calibrator`), and lowers the logits of those after which it is likely to end toxic:

    logits_v  <-  logits_v - 24 strength max(0, sigmoid(s(v)) - threshold),    renormalised among the candidates.

The released code feeds the calibrator only the newest token after the prompt; here it keeps a KV cache of its own and
sees the whole context, which the paper's equations ask for (`as_released` is for comparison).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from transformers import LogitsProcessor, PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.calibration import mixing, training
from detoxlm.calibration.alignment import align
from detoxlm.calibration.calibrator import Calibrator, cut_calibrator
from detoxlm.calibration.reading import Reader, Retokenizer, SameTokens
from detoxlm.calibration.sources import Act, Recorded, SharedCache, Source, acting_on_logits, acting_on_states
from detoxlm.calibration.steering import Strength, contrast, fuse, mapped
from detoxlm.calibration.storage import (
    SHIPPED,
    pack_change,
    tokenizer_from_json,
    tokenizer_to_json,
    trunk_from,
    unpack_change,
    whole_trunk,
)
from detoxlm.calibration.vocabulary import common_tokens, same_tokens, spellings, stand_ins
from detoxlm.data import Example, builtin_prompts
from detoxlm.errors import UsageError, first_line
from detoxlm.harvest import Sampled, harvest, own_sampling
from detoxlm.methods.base import Detoxifier, FitData, Method, describe_target
from detoxlm.models import Target, load_target
from detoxlm.scorers.base import Scorer
from detoxlm.settings import Settings

log = logging.getLogger(__name__)


class FusionSettings(Settings):
    """Settings of `fusion`."""

    variant: Literal["contrast", "paper"] = Field(
        "contrast", description="contrast: lower risky tokens, the default; paper: the published mixture."
    )
    calibrator: str = Field(
        "auto",
        description="shipped: the one that comes with detoxlm; own: trained now; a fusion detoxifier's folder or Hub "
        "id: that one, aligned to this target; auto: own where data are given or the variant is paper, else shipped.",
    )
    strength: float | None = Field(
        None, ge=0, description="Default strength [default: contrast 0.5, paper 0.1, its alpha]."
    )
    threshold: float = Field(
        0.35, ge=0, lt=1, description="contrast: tokens with a smaller expected toxicity of the text are not touched."
    )
    candidates: int = Field(256, ge=1, description="contrast: how many of the target's likeliest tokens are judged.")
    layers: int = Field(3, ge=1, description="own: decoder layers of the calibrator, from the bottom of the target.")
    samples: int = Field(16, ge=1, description="own, without data: continuations of each prompt by the target.")
    max_length: int = Field(64, ge=8, description="own: longest training text, tokens; longer ones are cut at the end.")
    epochs: int = Field(2, ge=1, description="contrast, own: passes over the training texts.")
    batch: int = Field(64, ge=1, description="contrast, own: texts in a training step.")
    steps: int = Field(250, ge=1, description="paper: training steps of the calibrator.")
    train_batch: int = Field(16, ge=1, description="paper: texts in a training step.")
    learning_rate: float = Field(
        3e-4, gt=0, lt=1, description="AdamW's, decaying linearly (the paper's own: 1e-5 for 3 epochs)."
    )
    train_embeddings: bool = Field(
        False, description="paper: train the embeddings too, as published; off, they are shared with the target."
    )
    keep: float = Field(
        0.5, gt=0, le=1, description="paper, without data: share of own continuations kept, the cleanest."
    )
    alignment: Literal["input", "output"] = Field(
        "input", description="paper, for another target: the embeddings that the alignment matrix is fitted on."
    )
    as_released: bool = Field(
        False,
        description="paper: show the calibrator only the newest token after the prompt, as the released code does.",
    )


#: Fewer texts than this teach nothing; both variants refuse them.
FEWEST_TEXTS = 24


# --- the detoxifier -------------------------------------------------------------------------------------------------


@dataclass
class FusionDetoxifier(Detoxifier):
    """A calibrator for one target: attached to the model, or as a `LogitsProcessor`."""

    method: ClassVar[str] = "fusion"
    kind: ClassVar = "decoding"
    settings_type: ClassVar = FusionSettings

    _built: tuple[PreTrainedModel, dict[bool, _Fitted]] | None = field(default=None, repr=False)

    @property
    def default_strength(self) -> float:
        """The strength used where none is given: the setting, else 0.5 (contrast) or 0.1 (paper: alpha)."""
        chosen = self._options.strength
        return chosen if chosen is not None else 0.1 if self._options.variant == "paper" else 0.5

    @property
    def max_strength(self) -> float:
        """paper: 1, the calibrator alone. contrast: 4, where a token that is toxic for sure is as good as banned."""
        return 1.0 if self._options.variant == "paper" else 4.0

    @property
    def default_strengths(self) -> tuple[float, ...]:
        """What `run` measures where nothing is asked for."""
        return (0.1, 0.3) if self._options.variant == "paper" else (0.25, 0.5, 1.0)

    @property
    def _options(self) -> FusionSettings:
        assert isinstance(self.settings, FusionSettings)
        return self.settings

    @property
    def foreign(self) -> bool:
        """Whether the calibrator was cut from another model than the target."""
        return bool(self.files)

    def attached(self, model: PreTrainedModel, strength: Strength | None = None) -> AbstractContextManager[None]:
        """Return a context in which `model` is detoxified. Strength 0 leaves it untouched, bit for bit.

        Args:
            model: the model that this detoxifier was fitted for.
            strength: from 0 to `max_strength`, or one for each request of the batches to come (their beams and
                samples share it); None takes `default_strength`.

        Raises:
            UsageError: another model, or a strength out of range.
        """
        if strength is None or isinstance(strength, int | float):
            return super().attached(model, strength)
        checked = [self.check_strength(one) for one in strength]
        self.check_target(model)
        return self._attach(model, checked) if any(checked) else nullcontext()

    def _attach(self, model: PreTrainedModel, strength: Strength) -> AbstractContextManager[None]:
        options = self._options
        if options.as_released:
            if self.foreign:
                raise UsageError(
                    "as_released: the released code knows one tokenizer; fit for the calibrator's own target."
                )
            fitted = self._fitted(model, True)
            return acting_on_states(model, _NewestOnly(fitted), self._act(model, fitted, strength, states=True))
        if self.foreign:
            fitted = self._fitted(model, False)
            source: Source = Recorded(model, self._reader(model))
            return acting_on_logits(model, source, self._act(model, fitted, strength, states=False))
        fitted = self._fitted(model, True)
        source = SharedCache(model, fitted.decoder)
        # the paper's mixture costs one head product at the hidden state, two behind the head
        states = options.variant == "paper"
        acting = acting_on_states if states else acting_on_logits
        return acting(model, source, self._act(model, fitted, strength, states=states))

    def logits_processor(
        self, model: PreTrainedModel, strength: Strength | None = None, *, pad_token_id: int | None = None
    ) -> FusionProcessor:
        """Return fusion as a `LogitsProcessor`, for loops and engines that only show token ids and logits.

        The same logits as `attached`, to float rounding, at the same strengths; each call reads only what is new.

        Args:
            model: the model that this detoxifier was fitted for; it is read, not changed.
            strength: as in `attached`.
            pad_token_id: what rows are padded with on the left; None takes the model's, and where it has none the end
                token, as `generate` does. Rows that begin with that token as text need another one for padding.

        Raises:
            UsageError: another model, a strength out of range, or `paper` for a model with soft-capped logits (there
                the mixture is no function of the logits).
        """
        if strength is None or isinstance(strength, int | float):
            strength = self.check_strength(strength)
        else:
            strength = [self.check_strength(one) for one in strength]
        self.check_target(model)
        if self._options.as_released:
            raise UsageError("as_released: the released code works on hidden states; use attached().")
        act = self._act(model, self._fitted(model, False), strength, states=False)
        if pad_token_id is None:
            pad_token_id = _padding(model)
        return FusionProcessor(self._reader(model), act, pad_token_id)

    def _act(self, model: PreTrainedModel, fitted: _Fitted, strength: Strength, *, states: bool) -> Act:
        options = self._options
        if options.variant == "contrast":
            assert fitted.calibrator is not None
            head, vocabulary = fitted.calibrator.risk, self.tensors.get("vocabulary")
            if vocabulary is not None:
                vocabulary = vocabulary.long().to(model.device)

            def lower(logits: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
                return contrast(
                    logits,
                    g,
                    head,
                    strength,
                    threshold=options.threshold,
                    candidates=options.candidates,
                    vocabulary=vocabulary,
                )

            return lower
        matrix = self.tensors.get("alignment")
        if states:
            return lambda h, g: fuse(h, mapped(g, matrix), strength)
        view = Architecture.of(model)
        if view.softcap is not None:
            raise UsageError(
                f"fusion: this {view.name} model caps its logits softly, so the paper's mixture cannot be done on "
                "logits; use attached() with a calibrator of this model's own, or variant=contrast."
            )
        # (1 - alpha) (Wh + b) + alpha (W z~ + b): the same mixture, behind the head
        return lambda logits, g: fuse(logits, view.head(mapped(g, matrix).to(view.head.weight.dtype)), strength)

    def _reader(self, model: PreTrainedModel) -> Reader:
        fitted = self._fitted(model, False)
        translator = SameTokens() if "target_tokenizer" not in self.files else _retokenizer(self.files)
        config = fitted.decoder.config
        sliding = bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)
        if sliding and "target_tokenizer" in self.files:
            raise UsageError(
                "calibrator: its layers attend through a sliding window, which cannot follow text that is tokenised "
                "again; take one without, such as calibrator=shipped."
            )
        window = getattr(config, "max_position_embeddings", None)
        return Reader(fitted.decoder, translator, window, fitted.width, cached=not sliding)

    def _fitted(self, model: PreTrainedModel, behind: bool) -> _Fitted:
        """Build the calibrator for a model, once for each numbering of its cache layers."""
        if self._built is None or self._built[0] is not model:
            self._built = (model, {})
        made = self._built[1]
        if behind not in made:
            try:
                made[behind] = self._build(model, behind)
            except (KeyError, RuntimeError, ValueError, TypeError) as error:
                raise UsageError(
                    f"detoxifier: the weights of {self.folder or 'this one'} do not fit this model: {first_line(error)}"
                ) from error
        return made[behind]

    def _build(self, model: PreTrainedModel, behind: bool) -> _Fitted:
        options = self._options
        if self.foreign:
            trunk = trunk_from(json.loads(self.files["calibrator_config"]), self.tensors).to(model.device)
        else:
            paper = options.variant == "paper"
            own = paper and options.train_embeddings
            trunk = cut_calibrator(model, options.layers, own_embeddings=own, behind=behind)
        if options.variant == "contrast":
            calibrator = unpack_change(trunk, self.tensors)
            return _Fitted(calibrator.decoder, Architecture.of(trunk).hidden_size, calibrator)
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
        return _Fitted(Architecture.of(trunk).decoder, Architecture.of(trunk).hidden_size, None)


@dataclass
class _Fitted:
    """A calibrator ready to run."""

    decoder: torch.nn.Module
    width: int
    calibrator: Calibrator | None


class _NewestOnly:
    """What the released code shows the calibrator: the prompt once, then each new token alone, without a past."""

    def __init__(self, fitted: _Fitted) -> None:
        self._decoder, self._states = fitted.decoder, torch.empty(0)

    def before(self, arguments: dict[str, Any]) -> None:
        passed = ("input_ids", "inputs_embeds")
        given = {name: arguments[name] for name in passed if arguments.get(name) is not None}
        ids = next(iter(given.values()))
        mask = arguments.get("attention_mask")
        if mask is not None and ids.shape[1] == mask.shape[-1]:
            given["attention_mask"] = mask
        self._states = self._decoder(**given, use_cache=False).last_hidden_state

    def states(self, keep: int) -> torch.Tensor:
        return self._states[:, -keep:]


class FusionProcessor(LogitsProcessor):
    """Fusion on logits: `model.generate(..., logits_processor=[processor])`; also for beams and assisted generation."""

    def __init__(self, reader: Reader, act: Act, pad_token_id: int | None) -> None:
        """Take the calibrator's reader, what to do with its states, and the token that pads rows on the left."""
        self._reader, self._act, self._pad = reader, act, pad_token_id

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return the fused log-probabilities [B, V] of the next token after `input_ids` [B, T].

        Normalised, because beam search adds up what it is given.
        """
        rows = [self._without_padding(row) for row in input_ids.tolist()]
        states = self._reader.last_states(rows)
        fused = self._act(scores.clone()[:, None], states[:, None].to(scores.device))
        return fused[:, 0].log_softmax(-1)  # type: ignore[return-value]

    def _without_padding(self, row: list[int]) -> list[int]:
        start = 0
        while start < len(row) - 1 and row[start] == self._pad:
            start += 1
        return row[start:]


def _padding(model: PreTrainedModel) -> int | None:
    """Return the token that `model` pads with, as `generate` finds it; None where it has neither that nor an end."""
    for name in ("pad_token_id", "eos_token_id"):
        for config in (model.generation_config, model.config):
            found = getattr(config, name, None)
            if isinstance(found, list):
                found = found[0] if found else None
            if found is not None:
                return int(found)
    return None


def _retokenizer(files: dict[str, str]) -> Retokenizer:
    return Retokenizer(
        tokenizer_from_json(files["target_tokenizer"]), tokenizer_from_json(files["calibrator_tokenizer"])
    )


# --- fitting --------------------------------------------------------------------------------------------------------


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
            make = _own_mixture if settings.variant == "paper" else _own_contrast
            return make(target, data, settings)
        if choice == "shipped":
            if settings.variant == "paper":
                raise UsageError("calibrator: the shipped one is for variant=contrast; for paper use calibrator=own.")
            return _shipped(target, settings)
        found = Detoxifier.from_pretrained(choice)
        if not isinstance(found, FusionDetoxifier):
            raise UsageError(f"calibrator: {choice} holds {found.method}, not fusion.")
        return _realigned(found, target, settings, data.seed)


def _shipped(target: Target, settings: FusionSettings) -> FusionDetoxifier:
    """The calibrator that comes with detoxlm, for the model it was trained on or aligned to another."""
    from safetensors.torch import load_file

    tensors = load_file(SHIPPED)
    facts = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8"))
    settings = settings.model_copy(update={"layers": facts["layers"]})
    origin = {"source": "shipped", "base": facts["base"]}
    if target.architecture.is_of(facts["base"]):
        return FusionDetoxifier(settings, describe_target(target), tensors, {"calibrator": origin})
    base = load_target(facts["base"]["name"], device="cpu", dtype="float32")
    return _aligned(base, tensors, target, settings, origin, 0)


def _realigned(found: FusionDetoxifier, target: Target, settings: FusionSettings, seed: int) -> FusionDetoxifier:
    """A fitted calibrator from its folder, for its own target or aligned to another."""
    if found.foreign:
        raise UsageError(
            f"calibrator: {found.folder} is itself aligned from another model's; give the folder of the calibrator "
            f"that was trained for {found.fitting['calibrator']['base']['name']}, or calibrator=shipped."
        )
    if "variant" in settings.model_fields_set and settings.variant != found._options.variant:
        raise UsageError(
            f"variant: the calibrator in {found.folder} is of variant {found._options.variant}; leave variant out, or "
            "train another: --set calibrator=own."
        )
    kept = {name: getattr(found._options, name) for name in ("variant", "layers", "train_embeddings")}
    settings = settings.model_copy(update=kept)
    origin = {"source": str(found.folder), "base": {key: found.target[key] for key in ("name", "fingerprint")}}
    if target.architecture.is_of(found.target):
        return FusionDetoxifier(settings, found.target, found.tensors, {"calibrator": origin})
    base = load_target(found.target["name"], device="cpu", dtype="float32")
    found.check_target(base.model)
    if settings.variant == "contrast":
        return _aligned(base, found.tensors, target, settings, origin, seed)
    trunk = found._fitted(base.model, False)
    cut = cut_calibrator(base.model, settings.layers, own_embeddings=True, behind=False)
    Architecture.of(cut).decoder.load_state_dict(trunk.decoder.state_dict())
    return _with_base(cut, {}, base, target, settings, origin, seed)


def _aligned(
    base: Target,
    tensors: dict[str, torch.Tensor],
    target: Target,
    settings: FusionSettings,
    origin: dict[str, Any],
    seed: int,
) -> FusionDetoxifier:
    cut = cut_calibrator(base.model, settings.layers, own_embeddings=True, behind=False)
    return _with_base(cut, tensors, base, target, settings, origin, seed)


def _with_base(
    cut: PreTrainedModel,
    tensors: dict[str, torch.Tensor],
    base: Target,
    target: Target,
    settings: FusionSettings,
    origin: dict[str, Any],
    seed: int,
) -> FusionDetoxifier:
    """A detoxifier that carries its calibrator whole, with what ties the two vocabularies together."""
    config = cut.config.to_dict() | {"model_type": cut.config.model_type}
    files = {"calibrator_config": json.dumps(config)}
    tensors = {**tensors, **whole_trunk(cut)}
    fitting: dict[str, Any] = {"calibrator": origin}
    theirs = spellings(base.tokenizer, base.architecture.vocab_size)
    same = same_tokens(base.tokenizer, target.tokenizer)
    if not same:
        files |= {
            "target_tokenizer": tokenizer_to_json(target.tokenizer),
            "calibrator_tokenizer": tokenizer_to_json(base.tokenizer),
        }
    ours = spellings(target.tokenizer, target.architecture.vocab_size)
    pairs = common_tokens(theirs, ours)
    if settings.variant == "paper":
        view = target.architecture
        rows = view.embeddings.weight if settings.alignment == "input" else view.head.weight
        cut_view = base.architecture
        from_rows = cut_view.embeddings.weight if settings.alignment == "input" else cut_view.head.weight
        tensors["alignment"], fitting["alignment"] = align(from_rows, rows, pairs, seed=seed)
    elif not same or base.architecture.vocab_size != target.architecture.vocab_size:  # rows of padding differ
        vocabulary = stand_ins(ours, theirs, base.tokenizer)
        spelled = sum(spelling is not None for spelling in ours)
        covered = int((vocabulary >= 0).sum())
        if covered < FEWEST_TEXTS:
            raise UsageError(
                f"calibrator: {base.name} and {target.name} have no tokens in common, so its risks say nothing about "
                "this target's tokens; train one for it: --set calibrator=own."
            )
        tensors["vocabulary"] = vocabulary.int()
        fitting["vocabulary"] = {
            "tokens": spelled,
            "same_spelling": round(len(pairs) / spelled, 4),
            "covered": round(covered / spelled, 4),
        }
    return FusionDetoxifier(settings, describe_target(target), tensors, fitting, files=files)


def _own_contrast(target: Target, data: FitData, settings: FusionSettings) -> FusionDetoxifier:
    """Train a calibrator on texts with their toxicity: the target's own continuations, and what the user gave."""
    fitting: dict[str, Any] = {"calibrator": {"source": "own"}}
    rows: list[Row] = []
    if data.corpus is not None:
        rows += [(example.prompt or "", example.completion, None) for example in data.corpus]
    for pair in data.pairs or []:
        rows += [(pair.prompt or "", side, None) for side in (pair.nontoxic, pair.toxic)]
    if data.prompts is not None or not rows:
        made = _harvest(target, data, settings, fitting)
        rows += [(sample.prompt, sample.continuation, sample.toxicity) for sample in made]
    passages = score_passages(target, rows, _scorer_of(data), settings.max_length)
    toxic = sum(passage.toxicity >= 0.5 for passage in passages)
    if len(passages) < FEWEST_TEXTS:
        raise UsageError(
            f"corpus: {len(passages)} usable texts (of two tokens or more) are too few to train a calibrator on; at "
            f"least {FEWEST_TEXTS} are needed. Leave the data out to take the shipped one."
        )
    low, high = (pick(passage.toxicity for passage in passages) for pick in (min, max))
    if high - low < 0.05:
        raise UsageError(
            f"corpus: all {len(passages)} texts have a toxicity of {low:.2f} to {high:.2f} by {_scorer_of(data).name}; "
            "the contrast needs both kinds. Add --pairs or --prompts, or take the shipped calibrator."
        )
    if toxic < FEWEST_TEXTS:
        log.warning(
            "fusion: only %d of %d texts are toxic; a calibrator learns little from so few.", toxic, len(passages)
        )
    calibrator = fresh_calibrator(target.model, settings.layers)
    fitting |= training.train(
        calibrator,
        passages,
        epochs=settings.epochs,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        seed=data.seed,
    )
    tensors = pack_change(calibrator, cut_calibrator(target.model, settings.layers))
    return FusionDetoxifier(settings, describe_target(target), tensors, fitting)


def fresh_calibrator(model: PreTrainedModel, layers: int) -> Calibrator:
    """Return an untrained calibrator cut from `model`, ready for `training.train`."""
    return Calibrator(cut_calibrator(model, layers))


def _scorer_of(data: FitData) -> Scorer:
    if data.scorer is None:
        raise UsageError("scorer: training a calibrator needs a scorer to tell which texts are toxic.")
    return data.scorer


#: (context, continuation, its toxicity in [0, 1] or None where the scorer is to say).
Row = tuple[str, str, float | None]


def score_passages(target: Target, rows: Sequence[Row], scorer: Scorer, max_length: int) -> list[training.Passage]:
    """Tokenise rows; the scorer says how toxic the continuations of unknown toxicity are.

    Texts of fewer than two tokens are left out; a text without context stands after one end-of-text token.
    """
    missing = [i for i, row in enumerate(rows) if row[2] is None]
    scores = scorer.score([rows[i][1] for i in missing]) if missing else np.empty(0)
    known = dict(zip(missing, (float(score) for score in scores), strict=True))
    end, first = target.tokenizer.eos_token_id, target.tokenizer.bos_token_id
    start = next(token for token in (first, end, 0) if token is not None)
    passages = []
    for i, (context, text, toxicity) in enumerate(rows):
        before = (target.tokenizer(context)["input_ids"] if context else [start])[-(max_length // 2) :]
        tokens = target.tokenizer(text, add_special_tokens=False)["input_ids"] if text.strip() else []
        tokens = tokens[: max_length - len(before)]
        if tokens:
            passages.append(training.Passage(before + tokens, len(before), known[i] if toxicity is None else toxicity))
    return passages


def _harvest(target: Target, data: FitData, settings: FusionSettings, fitting: dict[str, Any]) -> list[Sampled]:
    """Let the target continue prompts, and score what it says."""
    prompts = data.prompts if data.prompts is not None else builtin_prompts("fit")
    sampling = own_sampling(settings.samples, data.seed)
    made = harvest(target, prompts, _scorer_of(data), sampling, batch_size=data.batch_size, workdir=data.workdir)
    fitting["harvest"] = {
        "prompts": len(prompts),
        "continuations": len(made),
        "mean_toxicity_all": sum(s.toxicity for s in made) / max(1, len(made)),
    }
    return made


# --- the paper's variant --------------------------------------------------------------------------------------------


def _own_mixture(target: Target, data: FitData, settings: FusionSettings) -> FusionDetoxifier:
    """Train the paper's calibration model on `data.corpus`, or on the target's own least toxic continuations."""
    fitting: dict[str, Any] = {"calibrator": {"source": "own"}}
    ended = data.corpus is not None  # harvested text stops mid-sentence: no end token belongs there
    corpus = data.corpus if data.corpus is not None else _own_corpus(target, data, settings, fitting)
    sequences = [tokens for example in corpus if (tokens := _tokenise(target, example, settings, ended))]
    if len(sequences) < 2 * settings.train_batch:
        needed = f"at least {2 * settings.train_batch} (twice train_batch) are needed"
        if data.corpus is None:
            raise UsageError(
                f"prompts: only {len(sequences)} of the target's own continuations are clean enough to learn from; "
                f"{needed}. Raise --set samples=…, give more --prompts, or give clean text with --corpus."
            )
        raise UsageError(f"corpus: {len(sequences)} usable texts (of two tokens or more) are too few; {needed}.")
    calibrator = cut_calibrator(target.model, settings.layers, own_embeddings=settings.train_embeddings)
    fitting |= mixing.train(
        calibrator,
        sequences,
        steps=settings.steps,
        batch=settings.train_batch,
        learning_rate=settings.learning_rate,
        own_embeddings=settings.train_embeddings,
        seed=data.seed,
    )
    own = mixing.own_tensors(calibrator, settings.train_embeddings)
    tensors = {f"mixture.{name}": value.detach().clone() for name, value in own.items()}
    return FusionDetoxifier(settings, describe_target(target), tensors, fitting)


def _own_corpus(target: Target, data: FitData, settings: FusionSettings, fitting: dict[str, Any]) -> list[Example]:
    """Keep the least toxic of the target's own continuations of each prompt."""
    groups: dict[str, list[Sampled]] = {}
    for sample in _harvest(target, data, settings, fitting):
        groups.setdefault(sample.prompt, []).append(sample)
    kept = [
        sample
        for group in groups.values()
        for sample in sorted(group, key=lambda s: s.toxicity)[: max(1, round(settings.keep * len(group)))]
        if sample.toxicity < 0.5
    ]
    fitting["harvest"] |= {
        "kept": len(kept),
        "mean_toxicity_kept": sum(s.toxicity for s in kept) / max(1, len(kept)),
    }
    return [Example(sample.prompt, sample.continuation) for sample in kept]


def _tokenise(
    target: Target, example: Example, settings: FusionSettings, ended: bool
) -> tuple[list[int], list[int]] | None:
    """Return (token ids, labels) of prompt + completion (+ end token); labels are -100 on the prompt."""
    prompt, completion = example.prompt or "", example.completion
    if prompt and not (prompt[-1].isspace() or completion[:1].isspace()) and ended:
        prompt += "\n"  # the paper's form for question and answer; text that continues brings its own space
    before = target.tokenizer(prompt)["input_ids"] if prompt else []
    tokens = target.tokenizer(completion, add_special_tokens=not prompt)["input_ids"]
    if ended and target.tokenizer.eos_token_id is not None:
        tokens = [*tokens, target.tokenizer.eos_token_id]
    ids = (before + tokens)[: settings.max_length]
    labels = ([-100] * len(before) + tokens)[: settings.max_length]
    return (ids, labels) if any(label != -100 for label in labels[1:]) else None
