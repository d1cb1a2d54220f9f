"""What calibrators learn from: texts with their toxicity, given or the target's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detoxlm.errors import UsageError
from detoxlm.generation import encode, encode_after
from detoxlm.harvest import Sampled, counts, harvest, own_sampling
from detoxlm.methods.base import FitData
from detoxlm.methods.fusion.settings import FusionSettings
from detoxlm.methods.fusion.training import Passage
from detoxlm.models import Target
from detoxlm.scorers.base import Scorer

#: Fewer texts than this teach nothing; both variants refuse them.
FEWEST_TEXTS = 24


def scorer_of(data: FitData) -> Scorer:
    """Return the scorer; raise `UsageError` where there is none."""
    if data.scorer is None:
        raise UsageError("scorer: training a calibrator needs a scorer to tell which texts are toxic.")
    return data.scorer


#: (context, continuation, its toxicity in [0, 1] or None where the scorer is to say).
Row = tuple[str, str, float | None]


def score_passages(target: Target, rows: Sequence[Row], scorer: Scorer, max_length: int) -> list[Passage]:
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
        if context:
            before, tokens = encode(target, context, None)[-(max_length // 2) :], encode_after(target, text)
        else:
            before, tokens = [start], target.tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = tokens[: max_length - len(before)] if text.strip() else []
        if tokens:
            passages.append(Passage(before + tokens, len(before), known[i] if toxicity is None else toxicity))
    return passages


def harvested(target: Target, data: FitData, settings: FusionSettings, fitting: dict[str, Any]) -> list[Sampled]:
    """Let the target continue prompts, and score what it says."""
    prompts = data.to_continue()
    sampling = own_sampling(settings.samples, data.seed)
    made = harvest(target, prompts, scorer_of(data), sampling, batch_size=data.batch_size, workdir=data.workdir)
    fitting["harvest"] = counts(prompts, made)
    return made
