"""Output-layer fusion with a calibration model (arXiv 2506.01266), the calibrator cut from the target.

The calibration model is the first n decoder layers of the target under its embeddings and final norm, trained on
non-toxic text. At every step its last hidden state g is mixed into the target's, before the head W:

    h~ = alpha g + (1 - alpha) h,    logits = W h~.

The released code feeds the calibrator only the newest token after the prompt; here it keeps its own KV cache and sees
the whole context, which the paper's equations ask for. Its cache layers live in the target's cache object, behind the
target's own, so that whatever happens to that cache (beam reordering, cropping, repeating) happens to both.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel

from detoxlm.architecture import Architecture
from detoxlm.data import Example, builtin_prompts
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Sampling
from detoxlm.harvest import harvest
from detoxlm.methods.base import Detoxifier, FitData, Method, describe_target
from detoxlm.models import Target
from detoxlm.progress import track
from detoxlm.settings import Settings


class FusionSettings(Settings):
    """Settings of `fusion`."""

    layers: int = Field(
        3, ge=1, description="Decoder layers n of the calibration model, from the bottom of the target."
    )
    steps: int = Field(250, ge=1, description="Training steps of the calibration model.")
    train_batch: int = Field(16, ge=1, description="Sequences in a training step.")
    max_length: int = Field(64, ge=8, description="Longest training sequence, tokens; longer ones are cut at the end.")
    learning_rate: float = Field(
        3e-4, gt=0, lt=1, description="AdamW's, decaying linearly to 0 (paper: 1e-5, 3 epochs)."
    )
    train_embeddings: bool = Field(
        False, description="Train the embeddings too, as the paper does; off, they are shared with the target."
    )
    samples: int = Field(8, ge=1, description="Continuations per prompt where the target makes its own data.")
    keep: float = Field(0.5, gt=0, le=1, description="Share of them that is kept: the least toxic of each prompt.")
    strength: float = Field(
        0.1, ge=0, le=1, description="Default alpha: the calibration model's share, as the paper's."
    )


# --- the mathematics ------------------------------------------------------------------------------------------------


def fuse(h: torch.Tensor, g: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return h~ = alpha g + (1 - alpha) h, all [..., d] (arXiv 2506.01266, fusion without alignment)."""
    return alpha * g + (1 - alpha) * h


def completion_loss(
    hidden: torch.Tensor, W: torch.Tensor, bias: torch.Tensor | None, labels: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy in nats over completion tokens only.

    Args:
        hidden: final hidden states [B, T, d].
        W: head [V, d].
        bias: the head's bias [V] or None.
        labels: token ids [B, T], -100 where the token is prompt or padding; position t is predicted from t - 1.
    """
    counted = labels[:, 1:] != -100
    logits = F.linear(hidden[:, :-1][counted], W, bias)  # only these rows meet the head, the largest matrix
    return F.cross_entropy(logits.float(), labels[:, 1:][counted])


# --- the calibration model ------------------------------------------------------------------------------------------


def cut_calibrator(model: PreTrainedModel, layers: int, *, own_embeddings: bool = False) -> PreTrainedModel:
    """Return the first `layers` decoder layers of `model` under its embeddings, final norm and head, as a model.

    Layers and norm are copies; embeddings and head are the target's own modules unless `own_embeddings`.

    Raises:
        UsageError: the target has no more layers than that, or an architecture that cannot be cut.
    """
    view = Architecture.of(model)
    if not layers < len(view.layers):
        raise UsageError(f"layers: {layers} is not below the target's {len(view.layers)} decoder layers.")
    if model.config.get_text_config() is not model.config or getattr(
        model.config, "scale_attn_by_inverse_layer_idx", False
    ):
        raise UsageError(f"fusion: {type(model).__name__} cannot be cut; use the text-only {view.name} model.")
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    cut = type(model)(config)
    weights = model.state_dict()
    cut.load_state_dict({name: weights[name] for name in cut.state_dict()})
    cut.to(model.device, model.dtype).eval().requires_grad_(False)
    # behind the target's layers in the shared cache; read at call time only, so setting it after building is enough
    for module in cut.modules():
        if isinstance(getattr(module, "layer_idx", None), int):
            module.layer_idx += len(view.layers)
    if not own_embeddings:  # last, so that nothing above touches the target's modules
        cut.set_input_embeddings(view.embeddings)
        cut.set_output_embeddings(view.head)
    return cut


def own_tensors(calibrator: PreTrainedModel, own_embeddings: bool) -> dict[str, torch.Tensor]:
    """Return the calibrator's weights that are not the target's, by name."""
    view = Architecture.of(calibrator)
    shared = () if own_embeddings else (id(view.embeddings.weight), id(view.head.weight), id(view.head.bias))
    return {name: p for name, p in calibrator.named_parameters() if id(p) not in shared}


@contextmanager
def fused(model: PreTrainedModel, calibrator: PreTrainedModel, alpha: float) -> Iterator[None]:
    """Mix the calibrator's hidden state into `model`'s within this context; leaving it removes every trace."""
    decoder = Architecture.of(model).decoder
    names = list(inspect.signature(decoder.forward).parameters)
    layers = len(Architecture.of(model).layers)
    pending: list[torch.Tensor] = []

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        # The calibrator goes first: it reads the length of the past from the target's layers, which this same call
        # is about to extend.
        kwargs = {**dict(zip(names, args, strict=False)), **kwargs}
        use_cache = kwargs.get("use_cache")
        if kwargs.get("past_key_values") is None and (model.config.use_cache if use_cache is None else use_cache):
            kwargs["past_key_values"] = DynamicCache(config=model.config)
        _make_room(kwargs.get("past_key_values"), layers, calibrator)
        passed = ("input_ids", "inputs_embeds", "attention_mask", "position_ids", "past_key_values", "use_cache")
        given = {name: kwargs[name] for name in passed if kwargs.get(name) is not None}
        pending[:] = [Architecture.of(calibrator).decoder(**given).last_hidden_state]
        return (), kwargs

    def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        mixed = fuse(output[0], pending.pop(), alpha)
        if isinstance(output, tuple):
            return (mixed, *output[1:])
        output.last_hidden_state = mixed
        return output

    handles = [decoder.register_forward_pre_hook(before, with_kwargs=True), decoder.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _make_room(cache: Any, layers: int, calibrator: PreTrainedModel) -> None:
    """Append the calibrator's cache layers behind the target's, once."""
    if cache is None:
        return
    if not isinstance(cache, DynamicCache):
        raise UsageError(
            f"cache: fusion needs a DynamicCache, not {type(cache).__name__}; leave out cache_implementation."
        )
    while len(cache.layers) < layers:  # a cache made without a config grows as it is used
        cache.layers.append(cache.layer_class_to_replicate())
    if len(cache.layers) == layers:
        cache.layers += DynamicCache(config=calibrator.config).layers
    if cache.get_seq_length(layers) != cache.get_seq_length():
        raise UsageError("cache: part of it was filled without this detoxifier; start from an empty cache.")


# --- detoxifier and method ------------------------------------------------------------------------------------------


@dataclass
class FusionDetoxifier(Detoxifier):
    """A trained calibration model, to be fused with the target that it was cut from."""

    method: ClassVar[str] = "fusion"
    kind: ClassVar = "decoding"
    settings_type: ClassVar = FusionSettings

    _built: tuple[PreTrainedModel, PreTrainedModel] | None = field(default=None, repr=False)

    @property
    def default_strength(self) -> float:
        """The strength used where none is given: alpha from the settings."""
        return float(self.settings.strength)  # type: ignore[attr-defined]

    @property
    def max_strength(self) -> float:
        """1: the calibration model alone."""
        return 1.0

    def _attach(self, model: PreTrainedModel, strength: float) -> Any:
        if self._built is None or self._built[0] is not model:
            self._built = (model, self._build(model))
        return fused(model, self._built[1], strength)

    def _build(self, model: PreTrainedModel) -> PreTrainedModel:
        settings: Any = self.settings
        calibrator = cut_calibrator(model, settings.layers, own_embeddings=settings.train_embeddings)
        own = own_tensors(calibrator, settings.train_embeddings)
        if own.keys() != self.tensors.keys():
            odd = sorted(own.keys() ^ self.tensors.keys())
            raise UsageError(f"detoxifier: its weights do not fit this model: {odd[0]} and {len(odd) - 1} more differ.")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(self.tensors[name])
        return calibrator


class Fusion(Method):
    """Train a calibration model on non-toxic text and fuse it with the target at decoding time."""

    name: ClassVar[str] = "fusion"
    paper: ClassVar[str] = "Output-layer fusion with a calibration model, arXiv 2506.01266"
    summary: ClassVar[str] = "Mixes a small model trained on non-toxic text into the target's last hidden state."
    detoxifier_type: ClassVar = FusionDetoxifier

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: FusionSettings) -> FusionDetoxifier:
        """Train the calibration model on `data.corpus`, or on the target's own least toxic continuations."""
        cut_calibrator(target.model, settings.layers)  # refuse before hours of harvesting, not after
        fitting: dict[str, Any] = {}
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
        fitting |= train(calibrator, sequences, settings, data.seed)
        tensors = {k: v.detach().clone() for k, v in own_tensors(calibrator, settings.train_embeddings).items()}
        return FusionDetoxifier(settings, describe_target(target), tensors, fitting)


def _own_corpus(target: Target, data: FitData, settings: FusionSettings, fitting: dict[str, Any]) -> list[Example]:
    """Let the target continue prompts and keep each prompt's least toxic continuations."""
    if data.scorer is None:
        raise UsageError("scorer: fitting without a corpus needs a scorer to tell which continuations are clean.")
    prompts = data.prompts if data.prompts is not None else builtin_prompts("fit")
    sampling = Sampling(max_new_tokens=20, samples=settings.samples, temperature=1.0, top_p=0.9, seed=data.seed)
    made = harvest(target, prompts, data.scorer, sampling, batch_size=data.batch_size, workdir=data.workdir)
    groups: dict[str, list[Any]] = {}
    for sample in made:
        groups.setdefault(sample.prompt, []).append(sample)
    kept = [
        sample
        for group in groups.values()
        for sample in sorted(group, key=lambda s: s.toxicity)[: max(1, round(settings.keep * len(group)))]
        if sample.toxicity < 0.5
    ]
    fitting["harvest"] = {
        "prompts": len(prompts),
        "continuations": len(made),
        "kept": len(kept),
        "mean_toxicity_all": sum(s.toxicity for s in made) / max(1, len(made)),
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


def train(
    calibrator: PreTrainedModel, sequences: Sequence[tuple[list[int], list[int]]], settings: FusionSettings, seed: int
) -> dict[str, Any]:
    """Train the calibrator in place; return its loss curve, held-out losses before and after, and counts.

    Raises:
        DetoxError: the loss became NaN or infinite.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(sequences), generator=generator).tolist()
    held = max(1, len(sequences) // 20)
    held_out, kept = [sequences[i] for i in order[:held]], [sequences[i] for i in order[held:]]
    parameters = list(own_tensors(calibrator, settings.train_embeddings).values())
    for parameter in parameters:
        parameter.requires_grad_(True).data = parameter.data.float()  # not the target's embeddings, if shared
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=settings.steps)
    before = _held_out_loss(calibrator, held_out, settings)
    curve: list[list[float]] = []
    queue: list[int] = []
    calibrator.train()
    try:
        with track("training the calibration model", settings.steps, "steps") as advance, torch.enable_grad():
            for step in range(settings.steps):
                if len(queue) < settings.train_batch:
                    queue += torch.randperm(len(kept), generator=generator).tolist()
                batch = [kept[queue.pop(0)] for _ in range(settings.train_batch)]
                loss = _loss(calibrator, batch)
                if not math.isfinite(loss.item()):
                    raise DetoxError(f"fusion: the training loss is {loss.item()} at step {step}; lower learning_rate.")
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                decay.step()
                curve.append([step + 1, round(loss.item(), 4)])
                advance(1)
    finally:
        calibrator.eval().requires_grad_(False)
    after = _held_out_loss(calibrator, held_out, settings)
    return {
        "texts": len(kept),
        "held_out_texts": held,
        "held_out_loss_before": before,
        "held_out_loss_after": after,
        "loss_curve": curve,
    }


@torch.no_grad()
def _held_out_loss(calibrator: PreTrainedModel, sequences: Sequence[Any], settings: FusionSettings) -> float:
    size = settings.train_batch
    batches = [sequences[i : i + size] for i in range(0, len(sequences), size)]
    return sum(float(_loss(calibrator, batch)) * len(batch) for batch in batches) / len(sequences)


def _loss(calibrator: PreTrainedModel, batch: Sequence[tuple[list[int], list[int]]]) -> torch.Tensor:
    view = Architecture.of(calibrator)
    longest = max(len(ids) for ids, _ in batch)
    device = calibrator.device
    ids = torch.tensor([row + [0] * (longest - len(row)) for row, _ in batch], device=device)
    labels = torch.tensor([row + [-100] * (longest - len(row)) for _, row in batch], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in batch], device=device)
    # the embeddings may be the target's, in its dtype; training is in float32
    inputs = view.embeddings(ids).float()
    hidden = view.decoder(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
    bias = None if view.head.bias is None else view.head.bias.float()
    return completion_loss(hidden, view.head.weight.float(), bias, labels)
