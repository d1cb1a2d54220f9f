"""The offline scorer `reader`: the embedded model's own lower layers, taught to say what readers say, and `embedded`.

The model knows more of the language than the small encoder of `embedded`; the two together agree better with readers
than either, and are several times as slow. What ships is a low-rank change of the layers (LoRA, arXiv 2106.09685) and a
head: `weights/reader.safetensors`. The layers come from the package of the embedded model. Measured validity and known
failures are beside the weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.scorers.base import EMPTY_SCORE, Scorer
from detoxlm.scorers.embedded import EmbeddedScorer, by_length, of_texts
from detoxlm.scorers.package import INSTALL_MODEL, package_folder, reader_lacks
from detoxlm.scorers.perspective_like import log_odds

WEIGHTS = Path(__file__).parent / "weights" / "reader.safetensors"
#: Layers that are read, and the first that is changed.
LAYERS, FIRST = 16, 3
#: Tokens read at a time, without the mark at the beginning; longer texts are read in windows that share OVERLAP tokens.
WINDOW, OVERLAP = 128, 32


class Changed(nn.Module):
    """A matrix with a change of low rank: W x + B A x."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return [..., out_features] for states [..., in_features]."""
        low = F.linear(states, self.a.to(states.dtype))
        return self.base(states) + F.linear(low, self.b.to(states.dtype))


class Judge(nn.Module):
    """The lower layers of a decoder and a head on the mean and the maximum of a text's states: ids to one logit."""

    def __init__(self, decoder: Any) -> None:
        """Take the lower layers of `decoder`, whose list of layers is cut."""
        super().__init__()
        decoder.layers = decoder.layers[:LAYERS]
        self.decoder = decoder.requires_grad_(False)
        self.head = nn.Linear(2 * decoder.config.hidden_size, 1)

    def matrices(self) -> dict[str, tuple[nn.Module, str, Any]]:
        """Return the matrices that are changed, by name: (the module that has it, its attribute, the matrix)."""
        return {
            f"{number}.{part}.{name}": (module, name, matrix)
            for number, layer in enumerate(self.decoder.layers)
            if number >= FIRST
            for part, module in (("attention", layer.self_attn), ("mlp", layer.mlp))
            for name, matrix in list(module.named_children())
            if isinstance(matrix, nn.Linear | Changed)
        }

    def pool(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return mean and maximum over a text's tokens but the mark, float32 [texts, 2 * hidden].

        Shapes: ids and mask [texts, tokens], the first token the mark.
        """
        states = self.decoder(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state.float()
        own = mask.clone()
        own[:, 0] = False
        mean = (states * own[..., None]).sum(1) / own.sum(1, keepdim=True).clamp_min(1)
        largest = states.masked_fill(~own[..., None], -1e4).amax(1)
        return torch.cat([mean, largest.masked_fill(~own.any(1, keepdim=True), 0)], -1)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return logits, float32 [texts]."""
        return self.head(self.pool(ids, mask))[:, 0]


def tokenised(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of texts, of any length, behind the mark that begins a text."""
    whole = [text.encode("utf-8", "replace").decode() for text in texts]  # a lone half of a character cannot be read
    # the tokenizer below transformers' own: that one may be called by one thread at a time alone
    read = tokenizer.backend_tokenizer.encode_batch(whole, add_special_tokens=False)
    return [[tokenizer.bos_token_id, *one.ids] for one in read]


def windows(ids: list[int]) -> list[list[int]]:
    """Cut token ids that are too long into overlapping windows, the mark before each."""
    mark, inner = ids[:1], ids[1:]
    if len(inner) <= WINDOW:
        return [ids]
    starts = range(0, len(inner) - OVERLAP, WINDOW - OVERLAP)
    return [mark + inner[start : start + WINDOW] for start in starts]


def change(judge: Judge) -> dict[str, torch.Tensor]:
    """Return the tensors to ship: what training changed."""
    tensors = {f"head.{name}": value.detach().clone() for name, value in judge.head.named_parameters()}
    for name, (_, _, matrix) in judge.matrices().items():
        tensors[f"a.{name}"], tensors[f"b.{name}"] = matrix.a.detach().half(), matrix.b.detach().half()
    return tensors


@torch.no_grad()
def changed(decoder: Any, tensors: dict[str, torch.Tensor]) -> Judge:
    """Return the judge that `change` described, its matrices merged; changes `decoder` in place.

    Raises:
        KeyError: a tensor is missing.
    """
    judge = Judge(decoder)
    for name, (_, _, matrix) in judge.matrices().items():
        matrix.weight.add_((tensors[f"b.{name}"].float() @ tensors[f"a.{name}"].float()).to(matrix.weight))
    judge.head.load_state_dict({name: tensors[f"head.{name}"].float() for name in ("weight", "bias")})
    return judge.eval()


class ReaderScorer(Scorer):
    """The offline scorer that agrees best with readers: the embedded model, taught to judge, and `embedded`.

    The score is the probability that a reader calls the text toxic (docs/reading.md), as far as the text alone says it:
    the two are weighed in log-odds, because they err in different places. English only; any text gets a score. A text
    of more than `WINDOW` tokens is read in windows; their power mean stays close to the most toxic one.
    """

    name = "reader"
    version = "1"
    batch_size = 256
    summary: ClassVar[str] = "offline judge of machine text, nearest to readers, shipped with detoxlm"

    def __init__(self, folder: Path, weights: Path = WEIGHTS, device: str | None = None) -> None:
        """Load the parts: the encoder of `embedded` from its `folder`, the embedded model's layers, our weights.

        Raises:
            DetoxError: a file is missing, damaged, or not the one that the weights were trained on.
        """
        from safetensors.torch import load

        from detoxlm.models import EMBEDDED_PACKAGE, EMBEDDED_SHA256, load_target

        self._embedded = EmbeddedScorer(folder, device=device)
        self.device = self._embedded.device
        target = load_target("embedded", dtype="float32", device="cpu")  # merged there: the same weights everywhere
        if not target.revision.startswith(f"{EMBEDDED_PACKAGE} "):
            raise DetoxError(
                f"scorer reader: {target.name} came from the Hub, unquantised, and the scorer fits the weights of its "
                f"package alone: {INSTALL_MODEL}"
            )
        self._tokenizer = target.tokenizer
        self._tokenizer.backend_tokenizer.no_truncation()
        self._tokenizer.backend_tokenizer.no_padding()
        try:
            data = weights.read_bytes()
            tensors = load(data)
            self._model = changed(target.model.get_decoder(), tensors)
            self._slope, self._offset = tensors["calibration"].double().tolist()
            self._mixture = tensors["mixture"].double().tolist()
        except Exception as error:
            raise DetoxError(
                f"scorer reader: {weights} is missing or damaged ({first_line(error)}). Reinstall detoxlm."
            ) from error
        self._model.to(self.device)
        parts = "".join([hashlib.sha256(data).hexdigest(), EMBEDDED_SHA256, self._embedded.revision])
        self.revision = hashlib.sha256(parts.encode()).hexdigest()[:12]
        beside = weights.with_suffix(".json")
        self.validity = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else None

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        judge, embedded = self.opinions(texts)
        weight, other, offset = self._mixture
        mixed = weight * log_odds(judge) + other * log_odds(embedded) + offset
        return np.where(embedded == EMPTY_SCORE, EMPTY_SCORE, 1 / (1 + np.exp(-mixed)))

    def opinions(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return what the model says of the texts, and what `embedded` says: float64 [texts] each, in [0, 1]."""
        owner, logits = self.window_logits(texts)
        scores = 1.0 / (1.0 + np.exp(-(logits * self._slope + self._offset)))
        return of_texts(scores, owner, len(texts)), self._embedded.score(texts)

    def window_logits(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return, for every window of the texts, the number of its text and what the head says before calibration.

        Two arrays: int64 [windows], float64 [windows]; windows are in the order of the texts.
        """
        ids = tokenised(self._tokenizer, texts)
        parts = [(i, window) for i, row in enumerate(ids) for window in windows(row)]
        logits = np.empty(len(parts))
        for chosen in by_length([window for _, window in parts]):
            rows = [parts[number][1] for number in chosen]
            longest = len(rows[-1])
            padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.device)
            mask = torch.arange(longest, device=self.device) < torch.tensor(
                [[len(row)] for row in rows], device=self.device
            )
            with torch.inference_mode():
                logits[chosen] = self._model(padded, mask).cpu().double().numpy()
        return np.array([i for i, _ in parts], dtype=np.int64), logits


def create(argument: str, device: str | None) -> ReaderScorer:
    """Return the shipped scorer.

    Raises:
        UsageError: the specification has an argument, or a package that it reads with is not installed, or the embedded
            model's file is not that of the version that we trained on.
        DetoxError: a weight file is missing, damaged, or not the one that we trained on.
    """
    if argument:
        raise UsageError(f"scorer: reader takes no argument, got {argument!r}. Write `reader`.")
    if lacking := reader_lacks():
        raise UsageError(f"scorer reader: {lacking}")
    folder = package_folder()
    assert folder is not None, "it lacks nothing"
    return ReaderScorer(folder, device=device)
