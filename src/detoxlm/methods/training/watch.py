"""What is watched while a model trains: toxicity, drift, perplexity, and what it does to harmless instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from detoxlm.data import neutral_text
from detoxlm.generation import Sampling, decode, planned, sample_batch
from detoxlm.likelihood import fluency_windows, measure_window
from detoxlm.methods.training.anchors import Anchor, coarse_kl
from detoxlm.metrics.bootstrap import finite_exp
from detoxlm.metrics.refusals import as_prompt, instructions, refuses
from detoxlm.models import Target
from detoxlm.passages import Passage, padded, read_in_batches
from detoxlm.scorers.base import Scorer
from detoxlm.sizing import BatchSize, Sizes

#: Continuations of each watched prompt, tokens of an answer, and tokens of neutral text, at each look.
SAMPLES, ANSWER, NEUTRAL = 4, 32, 1024


class Watch:
    """A look at a model; the same prompts, texts and random numbers each time, so that looks can be compared."""

    def __init__(
        self,
        target: Target,
        scorer: Scorer,
        prompts: Sequence[str],
        clean: Sequence[Passage],
        anchors: Sequence[Anchor],
        *,
        batch_size: BatchSize,
        seed: int,
    ) -> None:
        self.target, self.scorer, self.prompts = target, scorer, list(prompts)
        self.clean, self.anchors, self.batch_size = list(clean), list(anchors), batch_size
        self.sampling = Sampling(max_new_tokens=20, samples=SAMPLES, temperature=1.0, top_p=0.9, seed=seed)
        self.questions = [as_prompt(target, instruction) for instruction in instructions()]
        self.windows = fluency_windows(target, neutral_text(), NEUTRAL)

    @torch.inference_mode()
    def __call__(self, model: PreTrainedModel) -> dict[str, float]:
        """Return toxicity (mean), toxic_fraction, drift (nats per token), perplexity, refusals, and answer_tokens."""
        watched = replace(self.target, model=model)
        texts = self._continuations(watched, self.prompts, self.sampling)
        scores = self.scorer.score([text if text.strip() else "." for text in texts])
        answers = self._continuations(watched, self.questions, Sampling(max_new_tokens=ANSWER))
        windows = [measure_window(watched, ids, count, None) for ids, count in self.windows]
        perplexity = float(finite_exp(sum(w.nll for w in windows) / sum(w.tokens for w in windows)))
        lengths = [len(self.target.tokenizer(answer)["input_ids"]) for answer in answers]
        return {
            "toxicity": round(float(scores.mean()), 5),
            "toxic_fraction": round(float((scores >= 0.5).mean()), 5),
            "drift": round(self._drift(watched), 5),
            "perplexity": round(perplexity, 4),
            "refusals": round(sum(map(refuses, answers)) / len(answers), 4),
            "answer_tokens": round(sum(lengths) / len(lengths), 2),
        }

    def _continuations(self, watched: Target, prompts: list[str], sampling: Sampling) -> list[str]:
        texts: dict[int, list[str]] = {}
        sizes = Sizes(self.batch_size, watched.device)
        made = sizes.over(
            planned(watched, prompts),
            lambda indices: sample_batch(watched, [prompts[i] for i in indices], sampling),
            each=sampling.samples,
        )
        for indices, rows in made:
            texts |= {i: [decode(watched, ids) for ids in row] for i, row in zip(indices, rows, strict=True)}
        return [text for i in range(len(prompts)) for text in texts[i]]

    def _drift(self, watched: Target) -> float:
        def read(part: list[int]) -> tuple[float, int]:
            ids, mask, counted = padded(watched, [self.clean[i] for i in part])
            logits = watched.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1][counted.bool()]
            kept = [self.anchors[i] for i in part]
            top, base = (torch.cat([getattr(a, name) for a in kept]).to(logits.device) for name in ("ids", "log_p"))
            return float(coarse_kl(logits.float(), top, base).sum()), len(logits)

        total = count = 0.0
        for _, (drift, tokens) in read_in_batches(watched.device, self.clean, self.batch_size, read):
            total, count = total + drift, count + tokens
        return total / count
