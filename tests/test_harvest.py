"""The target's own continuations: scored, without empty ones, and none made twice after a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detoxlm import generation
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Sampling, generate
from detoxlm.harvest import Sampled, harvest
from detoxlm.models import Target
from detoxlm.scorers.base import Scorer

PROMPTS = ["Hello there", "a", "The eel sees the bee", "No", "One more prompt", "e", "seven"]
SAMPLING = Sampling(max_new_tokens=8, samples=3, temperature=1.0, top_p=0.9, seed=5)
BATCH = 6  # two prompts at once: four batches


class LetterScorer(Scorer):
    """Toxicity = share of the letter `e`."""

    name, version, revision = "letters", "1", "test"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([text.count("e") / len(text) for text in texts])


class Killed(BaseException):
    """A kill: nothing in the library catches it."""


class Mortal(LetterScorer):
    """A scorer during whose n-th call the process is killed."""

    def __init__(self, lives: int) -> None:
        self.lives = lives

    def score(self, *args: Any, **kwargs: Any) -> np.ndarray:
        if not self.lives:
            raise Killed
        self.lives -= 1
        return super().score(*args, **kwargs)


@pytest.fixture
def target(tiny: Callable[..., Target]) -> Target:
    """A model that often ends at once: a third of its continuations are empty."""
    target = tiny("llama")
    free = [g for batch in generate(target, PROMPTS, SAMPLING) for g in batch.generations]
    target.model.generation_config.eos_token_id = sorted({g.token_ids[0][0] for g in free[::2]})
    return target


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The prompts of every batch that was generated."""
    batches: list[list[str]] = []
    real = generation.sample_batch

    def counted(target: Target, prompts: list[str], sampling: Sampling) -> Any:
        batches.append(prompts)
        return real(target, prompts, sampling)

    monkeypatch.setattr(generation, "sample_batch", counted)
    return batches


def test_every_continuation_with_text_is_there_once_with_its_score(target: Target, letter_scorer: Scorer) -> None:
    texts = [
        (g.prompt, text, g.index)
        for batch in generate(target, PROMPTS, SAMPLING, batch_size=BATCH)
        for g in batch.generations
        for text in g.texts
    ]
    expected = [
        Sampled(prompt, text, text.count("e") / len(text), number) for prompt, text, number in texts if text.strip()
    ]
    assert len(texts) == 21
    assert 5 < len(expected) < 20  # some were empty and some were not
    assert harvest(target, PROMPTS, letter_scorer, SAMPLING, batch_size=BATCH) == expected


def test_the_batch_size_changes_the_order_at_most(target: Target, letter_scorer: Scorer) -> None:
    runs = [harvest(target, PROMPTS, letter_scorer, SAMPLING, batch_size=size) for size in (1, 6, 64)]
    keys = [sorted((s.prompt, s.continuation, s.toxicity) for s in run) for run in runs]
    assert keys[0] == keys[1] == keys[2]


def test_no_prompts_give_nothing(target: Target, letter_scorer: Scorer, tmp_path: Path) -> None:
    assert harvest(target, [], letter_scorer, SAMPLING, batch_size=BATCH, workdir=tmp_path) == []


@pytest.mark.parametrize("lives", range(4))
def test_a_killed_harvest_continues_to_the_same_samples_and_makes_no_finished_batch_again(
    lives: int, target: Target, made: list[list[str]], tmp_path: Path
) -> None:
    whole = harvest(target, PROMPTS, LetterScorer(), SAMPLING, batch_size=BATCH, workdir=tmp_path / "whole")
    plan = list(made)
    assert len(plan) == 4
    made.clear()
    with pytest.raises(Killed):
        harvest(target, PROMPTS, Mortal(lives), SAMPLING, batch_size=BATCH, workdir=tmp_path / "killed")
    assert made == plan[: lives + 1]  # the last was made and lost with its scores
    made.clear()
    again = harvest(target, PROMPTS, LetterScorer(), SAMPLING, batch_size=BATCH, workdir=tmp_path / "killed")
    assert again == whole
    assert made == plan[lives:]
    files = [next((tmp_path / name).glob("harvest-*.jsonl")) for name in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_looks_at_the_scores_sees_those_of_before_a_kill_too(target: Target, tmp_path: Path) -> None:
    def run(scorer: Scorer, name: str) -> list[list[float]]:
        seen: list[list[float]] = []
        folder = tmp_path / name
        harvest(target, PROMPTS, scorer, SAMPLING, batch_size=BATCH, workdir=folder, check=lambda s: seen.append([*s]))
        return seen

    whole = run(LetterScorer(), "whole")
    assert len(whole) == 4
    with pytest.raises(Killed):
        run(Mortal(2), "killed")
    assert run(LetterScorer(), "killed") == whole
    assert run(Mortal(0), "killed") == whole


def test_a_finished_harvest_is_read_and_not_made_again(target: Target, made: list[list[str]], tmp_path: Path) -> None:
    first = harvest(target, PROMPTS, LetterScorer(), SAMPLING, batch_size=BATCH, workdir=tmp_path)
    made.clear()
    assert harvest(target, PROMPTS, Mortal(0), SAMPLING, batch_size=BATCH, workdir=tmp_path) == first
    assert made == []


class Other(LetterScorer):
    """The toy scorer in another version."""

    version = "2"


@pytest.mark.parametrize(
    "change",
    [
        {"prompts": [*PROMPTS[:-1], "other"]},
        {"sampling": SAMPLING.model_copy(update={"seed": 6})},
        {"scorer": Other()},
        {"batch_size": 3},
        {"target": ("llama", 1, "float32")},
        {"target": ("llama", 0, "bfloat16")},
    ],
    ids=["prompts", "seed", "scorer", "batch size", "model", "dtype"],
)
def test_another_harvest_in_the_same_place_is_made_and_leaves_the_first_alone(
    change: dict[str, Any], target: Target, tiny: Callable[..., Target], tmp_path: Path
) -> None:
    def run(folder: Path | None, **changes: Any) -> list[Sampled]:
        given: dict[str, Any] = {
            "target": target,
            "prompts": PROMPTS,
            "scorer": LetterScorer(),
            "sampling": SAMPLING,
            "batch_size": BATCH,
            **changes,
        }
        if isinstance(given["target"], tuple):
            kind, seed, dtype = given["target"]
            given["target"] = tiny(kind, seed, dtype=dtype)
        return harvest(**given, workdir=folder)

    first = run(tmp_path)
    assert run(tmp_path, **change) == run(None, **change)
    assert run(tmp_path, scorer=Mortal(0)) == first


def test_a_failing_scorer_stops_the_harvest_and_no_score_is_made_up(target: Target, tmp_path: Path) -> None:
    class Broken(LetterScorer):
        def _score_batch(self, texts: list[str]) -> np.ndarray:
            return np.full(len(texts), np.nan)

    with pytest.raises(DetoxError, match="score nan"):
        harvest(target, PROMPTS, Broken(), SAMPLING, batch_size=BATCH, workdir=tmp_path)
    assert next(tmp_path.glob("harvest-*.jsonl")).read_bytes().count(b"\n") == 1  # the key alone


def test_a_prompt_of_white_space_is_refused(target: Target, letter_scorer: Scorer) -> None:
    with pytest.raises(UsageError, match="prompt 2 is white space alone"):
        harvest(target, ["a", " "], letter_scorer, SAMPLING, batch_size=BATCH)
