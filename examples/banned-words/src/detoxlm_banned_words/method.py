"""Words to avoid: the tokens that begin them get lower logits."""

from typing import ClassVar

import torch
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from detoxlm.errors import UsageError
from detoxlm.methods.base import FitData, Method, describe_target
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.models import Target
from detoxlm.settings import Settings


class BannedWordsSettings(Settings):
    """Settings of `banned-words`: a description says the unit; help texts add the range that `ge` and `le` enforce."""

    words: str = Field("damn,hell", description="Words to avoid, separated by commas.")
    strength: float = Field(
        5.0, ge=0, le=100, description="By how much logits fall where nothing else is said, in nats."
    )


class Lowering(Steering):
    """Lowers the logits of some tokens. It reads nothing, so it holds nothing of any text."""

    name = "banned-words"

    def __init__(self, banned: torch.Tensor) -> None:
        """Take 1 for each token to lower and 0 for the others: [V]."""
        self._banned = banned

    def act(self, x: torch.Tensor, said: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        """Return logits [N, V], lowered by the strength of each row [N]."""
        return x - (strength[:, None] * self._banned.to(x.device)).to(x.dtype)


class BannedWordsDetoxifier(DecodingDetoxifier):
    """Knows the tokens that begin a banned word. Saving, loading and every host come with its base."""

    method: ClassVar[str] = "banned-words"
    settings_type: ClassVar = BannedWordsSettings
    settings: BannedWordsSettings

    @property
    def default_strength(self) -> float:
        """What the fit was told, in nats."""
        return self.settings.strength

    @property
    def max_strength(self) -> float:
        """100 nats: such a token is never said."""
        return 100.0

    def _steer(self, model: PreTrainedModel) -> Steering:
        return Lowering(self.tensors["banned"].to(model.device))


class BannedWords(Method):
    """Lower the logits of the words on a list."""

    name: ClassVar[str] = "banned-words"
    paper: ClassVar[str] = "none: a baseline"
    summary: ClassVar[str] = "Lowers the logits of the words on a list. No weights change."
    detoxifier_type: ClassVar = BannedWordsDetoxifier
    reads: ClassVar[frozenset[str]] = frozenset()  # of the data files that `fit` may be given; any other is refused

    @classmethod
    def fit(cls, target: Target, data: FitData, settings: BannedWordsSettings) -> BannedWordsDetoxifier:
        """Look the words up in the target's tokenizer.

        Raises:
            UsageError: no word is named.
        """
        words = [word.strip() for word in settings.words.split(",") if word.strip()]
        if not words:
            raise UsageError("words: name at least one, such as --set words=damn,hell.")
        banned = torch.zeros(target.architecture.vocab_size)
        for word in words:
            banned[beginnings(target.tokenizer, word)] = 1
        return BannedWordsDetoxifier(settings, describe_target(target), {"banned": banned}, {"words": len(words)})


def beginnings(tokenizer: PreTrainedTokenizerBase, word: str) -> list[int]:
    """Return the tokens that begin a word: at the start of a text, and after a space."""
    found = []
    for text in (word, f" {word}"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        found.append(next(one for one in ids if tokenizer.decode([one]).strip()))
    return found
