"""The offline scorer `ngram`: a small calibrated linear model over hashed word and character n-grams.

It needs numpy alone, no download, and scores thousands of short texts a second on one core. It stands in for the
scorer `embedded` where that one's encoder is not installed; its measured validity and its known failures are beside the
weights (`weights/ngram.md`, `weights/ngram.json`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from detoxlm.errors import DetoxError, UsageError
from detoxlm.scorers.base import EMPTY_SCORE, Scorer
from detoxlm.scorers.text import join_spaced, plain_unicode, shorten_runs, unmask

WEIGHTS = Path(__file__).parent / "weights" / "ngram.safetensors"
#: Number of hash buckets: a power of two, so that a bucket is the low bits of the hash.
BUCKETS = 2**20

CHAR_N = (2, 3, 4, 5)
WORD_N = (1, 2, 3)
#: How much the character and the word family count in the score; chosen on RTP texts left out of the fit.
FAMILY_SCALE = np.array([1.5, 1.0])
#: Longest word prefix that is hashed as a word; longer tokens (URLs, noise) differ in their character n-grams.
WORD_CHARS = 32
_WORD_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_NGRAM_MULTIPLIER = np.uint64(0xC2B2AE3D27D4EB4F)
_FNV_PRIME = np.uint64(0x100000001B3)
_FNV_OFFSET = 0xCBF29CE484222325
_SPACE = 32

_TOKEN = re.compile(r"[^\W_]+(?:['’*][^\W_]+)*|[^\w\s]|_", re.UNICODE)


def normalise(text: str) -> str:
    """Return the text as the scorer reads it: lower-case tokens separated by single spaces, disguises undone."""
    return " ".join(_TOKEN.findall(shorten_runs(unmask(join_spaced(plain_unicode(text).casefold())))))


class Features(NamedTuple):
    """The distinct n-grams of a batch of texts, one entry per (text, family, bucket), sorted by it."""

    #: Index of the text, int64.
    row: np.ndarray
    #: Family, int64: 0 character n-grams, 1 word n-grams. Each family has its own unit norm.
    family: np.ndarray
    #: Hash bucket in [0, BUCKETS), int64.
    bucket: np.ndarray


def _finish(hashes: np.ndarray) -> np.ndarray:
    """Mix the high bits into the low ones and keep a bucket number."""
    hashes = hashes ^ (hashes >> np.uint64(33))
    hashes = hashes * np.uint64(0xFF51AFD7ED558CCD)
    hashes = hashes ^ (hashes >> np.uint64(33))
    return (hashes & np.uint64(BUCKETS - 1)).astype(np.int64)


def featurise(texts: Sequence[str]) -> Features:
    """Return the hashed n-grams of texts that are already normalised.

    Characters: n-grams of 2-5 characters within a word, the space on either side included. Words: runs of 1-3 tokens.
    All arithmetic is modulo 2^64 on code points, so the result is the same on every machine and in every process.
    """
    padded = [f" {text} " for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    codes = codes.astype(np.uint64)
    rows = np.repeat(np.arange(len(texts)), [len(text) for text in padded])
    space = codes == _SPACE
    row_parts, family_parts, bucket_parts = [], [], []

    for n in CHAR_N:
        count = len(codes) - n + 1
        if count <= 0:
            continue
        hashes = np.full(count, _FNV_OFFSET ^ n, dtype=np.uint64)
        inner_space = np.zeros(count, dtype=bool)
        for offset in range(n):
            hashes = (hashes ^ codes[offset : offset + count]) * _FNV_PRIME
            if 0 < offset < n - 1:
                inner_space |= space[offset : offset + count]
        keep = ~inner_space & ~(space[:count] & space[n - 1 : n - 1 + count] & (n == 2))
        row_parts.append(rows[:count][keep])
        bucket_parts.append(_finish(hashes[keep]))
        family_parts.append(np.zeros(len(bucket_parts[-1]), dtype=np.int64))

    starts = np.flatnonzero(~space[1:] & space[:-1]) + 1
    if len(starts):
        words, word_rows = _hash_words(codes, space, starts), rows[starts]
        combined = np.zeros(len(words), dtype=np.uint64)
        for n in WORD_N:
            count = len(words) - n + 1
            if count <= 0:
                break
            combined = combined[:count] * _NGRAM_MULTIPLIER + words[n - 1 :]
            same_text = word_rows[:count] == word_rows[n - 1 :]
            row_parts.append(word_rows[:count][same_text])
            bucket_parts.append(_finish((combined ^ np.uint64(n))[same_text]))
            family_parts.append(np.ones(len(bucket_parts[-1]), dtype=np.int64))

    if not row_parts:
        nothing = np.zeros(0, dtype=np.int64)
        return Features(nothing, nothing, nothing)
    keys = (np.concatenate(row_parts) * 2 + np.concatenate(family_parts)) * BUCKETS
    keys = np.unique(keys + np.concatenate(bucket_parts))
    return Features(keys // (2 * BUCKETS), keys // BUCKETS % 2, keys % BUCKETS)


def _hash_words(codes: np.ndarray, space: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Polynomial hash of every word: sum of (code point + 1) * multiplier^position, modulo 2^64."""
    powers = np.full(WORD_CHARS, _WORD_MULTIPLIER)
    powers[0] = 1
    powers = np.multiply.accumulate(powers)
    is_start = np.zeros(len(codes), dtype=bool)
    is_start[starts] = True
    word = np.cumsum(is_start) - 1
    place = np.arange(len(codes)) - starts[word.clip(0)]
    used = ~space & (place < WORD_CHARS)
    terms = np.zeros(len(codes), dtype=np.uint64)
    terms[used] = (codes[used] + np.uint64(1)) * powers[place[used]]
    return np.add.reduceat(terms, starts)


def feature_values(features: Features, count: int, idf: np.ndarray) -> np.ndarray:
    """Return the value of each n-gram of `count` texts, float64 [len(features.row)].

    Each family of each text is a vector of idf values, scaled to length `FAMILY_SCALE`, so a long text does not
    outweigh a short one.
    """
    value = idf[features.bucket]
    group = features.row * 2 + features.family
    norm = np.sqrt(np.bincount(group, value * value, minlength=2 * count))
    norm[norm == 0] = 1.0
    return value / norm[group] * FAMILY_SCALE[features.family]


class NgramScorer(Scorer):
    """The offline scorer: hashed n-grams, one weight each, calibrated to the Perspective API's scale on RTP text.

    0.5 means what Perspective's 0.5 means on RealToxicityPrompts sentences. English only in what it knows; any text
    gets a score. `validity` holds the numbers measured when the weights were trained (`weights/ngram.json`).
    """

    name = "ngram"
    version = "1"
    batch_size = 256
    summary: ClassVar[str] = "offline n-gram model shipped with detoxlm; needs nothing"

    def __init__(self, weights: Path = WEIGHTS) -> None:
        """Load the weights, and the validity numbers from the JSON beside them when there is one.

        Raises:
            DetoxError: the weights are missing or not of this format.
        """
        from safetensors.numpy import load

        try:
            data = weights.read_bytes()
            tensors = load(data)
            self._weights = tensors["weights"].astype(np.float64)
            self._idf = tensors["idf"].astype(np.float64)
            self._bias, self._slope, self._offset = tensors["calibration"].astype(np.float64)
        except Exception as error:
            raise DetoxError(
                f"scorer ngram: {weights} is missing or damaged ({type(error).__name__}). Reinstall detoxlm."
            ) from error
        if self._weights.shape != (BUCKETS,) or self._idf.shape != (BUCKETS,):
            raise DetoxError(
                f"scorer ngram: {weights} is of another version ({self._weights.size} buckets, not {BUCKETS}). "
                "Reinstall detoxlm."
            )
        self.revision = hashlib.sha256(data).hexdigest()[:12]
        beside = weights.with_suffix(".json")
        self.validity = json.loads(beside.read_text()) if beside.exists() else None

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        normal = [normalise(text) for text in texts]
        features = featurise(normal)
        parts = feature_values(features, len(texts), self._idf) * self._weights[features.bucket]
        log_odds = self._bias + np.bincount(features.row, parts, minlength=len(texts))
        scores = 1.0 / (1.0 + np.exp(-(self._slope * log_odds + self._offset)))
        return np.where([bool(text) for text in normal], scores, EMPTY_SCORE)


def create(argument: str, device: str | None) -> Scorer:
    """Return the shipped scorer; it runs on the CPU whatever `device` says, because it is numpy alone.

    Raises:
        UsageError: the specification has an argument.
    """
    if argument:
        raise UsageError(f"scorer: ngram takes no argument, got {argument!r}. Write `ngram`.")
    return NgramScorer()
