"""A scorer that counts words of a list: `wordlist:<file>`."""

import hashlib
from pathlib import Path

import numpy as np

from detoxlm.errors import UsageError
from detoxlm.scorers.base import Scorer
from detoxlm.scorers.entry import ScorerEntry


class WordListScorer(Scorer):
    """The share of a text's words that are on a list."""

    name = "wordlist"
    version = "1"  # change it whenever the same text could get another score
    batch_size = 256

    def __init__(self, path: Path) -> None:
        """Read a text file with a word a line.

        Raises:
            UsageError: it is not there.
        """
        if not path.is_file():
            raise UsageError(f"scorer: wordlist:{path} does not exist; name a text file with a word a line.")
        data = path.read_bytes()
        self.revision = hashlib.sha256(data).hexdigest()[:12]  # the exact list
        self._words = set(data.decode().lower().split())

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        split = [text.lower().split() for text in texts]
        return np.array([sum(word in self._words for word in words) / max(1, len(words)) for words in split])


def create(argument: str, device: str | None) -> WordListScorer:
    """Return the scorer of `wordlist:<argument>`."""
    return WordListScorer(Path(argument))


#: What the entry point leads to.
WORDLIST = ScorerEntry(
    spec="wordlist:<file>",
    summary="the share of a text's words that are on a list, a word a line; needs nothing",
    factory="detoxlm_banned_words.scorer:create",
    cached=False,  # True where a score costs a network call or a large model
    missing=lambda: None,  # else what is missing here and how to get it
)
