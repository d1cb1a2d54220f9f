"""Tokens that the contrast spares: function words, which by themselves say nothing of anybody.

The shipped calibrator finds text about some groups of people risky whatever it says, and expects an insult behind *are*
and *a*; so a good part of what such text pays, it pays at these words (docs/who-pays.md). To spare them only puts the
penalty off: what they lead to is judged when it comes.
"""

from __future__ import annotations

from typing import Any

import torch

from detoxlm.errors import UsageError
from detoxlm.methods.fusion.vocabulary import spellings

#: English articles, forms of be, have and do, modal verbs, prepositions, conjunctions, and words that point or ask.
#: Personal pronouns are not among them: *you* turns a text against somebody.
_WORDS = """
    a an the this that these those some any each every both either such other another
    am is are was were be been being have has had having do does did
    can could may might must shall should will would
    of in on at by for from to into onto with without within about against between among through during before after
    above below over under across along around behind beside near off out up down since until upon toward towards
    and or but nor so yet if because although though while as than whether unless
    who whom whose which what when where why how
    not no also too very just only even still again then there here now
"""
FUNCTION_WORDS = frozenset(_WORDS.split())


def function_tokens(tokenizer: Any, size: int) -> torch.Tensor:
    """Return the ids, int32 [n], of the tokens of a vocabulary of `size` that are a function word behind a space.

    Without the space a token may be a piece of another word (*fasc-is-t*), and is not among them.

    Raises:
        UsageError: there is none.
    """
    found = [
        token
        for token, spelling in enumerate(spellings(tokenizer, size))
        if spelling is not None
        and spelling[:1] == b" "
        and spelling[1:].decode("utf-8", "replace").lower() in FUNCTION_WORDS
    ]
    if not found:
        raise UsageError(
            "spared: no token of this model is an English function word behind a space; leave it at 0, which spares "
            "none."
        )
    return torch.tensor(found, dtype=torch.int32)


def kept_shares(tokens: torch.Tensor, share: float, size: int) -> torch.Tensor:
    """Return of each of `size` tokens which share of its penalty is kept, float32 [size]: 1 - `share` of `tokens`."""
    kept = torch.ones(size)
    kept[tokens.long()] = 1 - share
    return kept
