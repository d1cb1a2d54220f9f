"""Who pays, from texts to results, headline and report, on tiny models."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import as_row

from detoxlm.data import Example
from detoxlm.engines import here
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, generate
from detoxlm.likelihood import measure_texts, mention_tokens, text_batches
from detoxlm.measuring import SAYING_WHO, Done, write_of_people
from detoxlm.mentions import Mention, builtin_mentions, identity_prompts
from detoxlm.methods import Detoxifier, FitData
from detoxlm.methods.fusion import Fusion, FusionSettings
from detoxlm.models import Target
from detoxlm.recipes import Recipe, Task, measure
from detoxlm.results import Results
from detoxlm.scorers.base import Scorer

MENTIONS = [one for one in builtin_mentions(0.01) if not one.groups or one.groups[0] in ("deaf", "gay", "women")]
TASK = Task(
    recipe=Recipe("tiny", "for tests", Sampling(max_new_tokens=3), None),
    prompts=["one prompt", "another prompt"],
    prompts_source="test",
    fluency_text="The river runs past the old mill and under the bridge. " * 3,
    fluency_source="test",
    mentions=MENTIONS,
    mentions_source="test",
)


@pytest.fixture
def detoxifier(tiny: Callable[..., Target], letter_scorer: Scorer) -> Detoxifier:
    corpus = [Example(None, f"calm words {i}") for i in range(16)]
    settings = FusionSettings(variant="paper", layers=2, steps=3, train_batch=4, learning_rate=1e-2)
    return Fusion.fit(tiny(), FitData(corpus=corpus, scorer=letter_scorer), settings)


def log_probabilities(target: Target, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return target.model(as_row(target, ids), use_cache=False).logits[0].double().log_softmax(-1)


def test_texts_are_read_alone_with_and_without_the_detoxifier(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    target = tiny()
    results = measure(target, TASK, letter_scorer, detoxifier=detoxifier, strength=0.6)
    texts = [window for window in results.windows if window.groups is not None]
    assert [(tuple(one.groups or ()), one.template) for one in texts] == [(m.groups, m.template) for m in MENTIONS]
    for window, mention in list(zip(texts, MENTIONS, strict=True))[::4]:
        ids = target.tokenizer(mention.text)["input_ids"]
        base = log_probabilities(target, ids)
        with detoxifier.attached(target.model, 0.6):
            changed = log_probabilities(target, ids)
        said = torch.tensor(ids[1:])[:, None]
        assert window.tokens == len(ids) - 1
        assert window.base_nll == pytest.approx(-float(base[:-1].cpu().gather(-1, said).sum()), rel=1e-4)
        assert window.nll == pytest.approx(-float(changed[:-1].cpu().gather(-1, said).sum()), rel=1e-4)
        assert window.kl == pytest.approx(float((base.exp() * (base - changed))[:-1].sum()), rel=1e-3, abs=1e-4)
    assert results.who_pays is not None
    assert list(results.who_pays.groups) == ["women", "gay", "deaf"]


IDENTITY = [one for one in identity_prompts(0.01) if not one.groups or one.groups[0] in ("deaf", "gay")]


def test_identity_prompts_are_continued_by_the_model_that_is_measured(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    target, task = tiny(), replace(TASK, identity=[replace(one, words=("e",)) for one in IDENTITY])
    base = measure(target, task, letter_scorer)
    with detoxifier.attached(target.model, 1.0):
        made = [
            g for b in generate(target, [one.prompt for one in IDENTITY], SAYING_WHO["plain"]) for g in b.generations
        ]
    now = measure(target, task, letter_scorer, detoxifier=detoxifier, strength=1.0, baseline=base)
    assert [one.prompt for one in now.identity_rows] == [one.prompt for one in IDENTITY]
    assert [one.continuation for one in now.identity_rows] == [g.texts[0] for g in sorted(made, key=lambda g: g.index)]
    assert [one.named for one in now.identity_rows] == [
        task.identity[0].named_in(one.continuation) for one in now.identity_rows
    ]
    assert now.who_is_named is not None and now.comparison is not None and now.comparison.who_is_named is not None
    assert base.who_is_named is not None
    changed = now.who_is_named.all.dropped.value - base.who_is_named.all.dropped.value
    assert now.comparison.who_is_named.all.dropped.value == pytest.approx(changed)
    other = replace(task, identity=task.identity[:9])
    with pytest.raises(UsageError, match=r"texts of who pays \(who_pays_sha256\)"):
        measure(target, other, letter_scorer, detoxifier=detoxifier, baseline=base)


def test_processes_share_identity_prompts_and_what_is_done_is_not_written_again(tiny: Callable[..., Target]) -> None:
    engine = here.Here(tiny(), None, None)
    parts = [Done(None) for _ in range(3)]
    for part, share in zip(parts, ((0, 1), (0, 2), (1, 2)), strict=True):
        write_of_people(engine, IDENTITY, 4, part, share)
    whole, *halves = ([(row.prompt, row.continuation) for row in part.identity()] for part in parts)
    assert [prompt for prompt, _ in whole] == [one.prompt for one in IDENTITY]
    assert halves == [whole[0::2], whole[1::2]]
    write_of_people(engine, IDENTITY, 4, parts[0], (0, 1))
    assert len(parts[0].identity()) == len(IDENTITY)


def test_texts_of_one_length_are_read_together_without_padding() -> None:
    lengths = [5, 3, 300, 5, 3, 5, 300]
    batches = text_batches([[0] * length for length in lengths])
    assert batches == [[1, 4], [0, 3, 5], [2], [6]]  # two of 300 would be more than 512 tokens


def test_a_text_is_cut_to_the_window_and_one_of_a_single_token_is_refused(tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    [ids] = mention_tokens(target, [Mention("a long text " * 50, ())])
    assert len(ids) == target.model.config.max_position_embeddings
    assert measure_texts(target, [ids], None)[0].tokens == len(ids) - 1
    with pytest.raises(UsageError, match=r"who_pays: 'a' is one token"):
        mention_tokens(target, [Mention("a", ())])


def test_strength_zero_costs_nobody_anything_and_differences_are_paired(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    target = tiny()
    base = measure(target, TASK, letter_scorer)
    assert base.who_pays is None
    zero = measure(target, TASK, letter_scorer, detoxifier=detoxifier, strength=0.0, baseline=base)
    assert zero.who_pays is not None
    assert zero.comparison is not None
    for price in (zero.who_pays.without, zero.who_pays.all, *zero.who_pays.groups.values()):
        assert (price.rise.value, price.ratio.value, price.kl.value) == (1, 1, 0)
    assert zero.comparison.difference["identity_perplexity"].value == 0
    full = measure(target, TASK, letter_scorer, detoxifier=detoxifier, strength=1.0, baseline=base)
    assert full.who_pays is not None
    assert full.comparison is not None
    now, before = (one.metrics["comment_perplexity"].value for one in (full, base))
    assert full.who_pays.without.rise.value == pytest.approx(now / before)
    assert full.comparison.difference["comment_perplexity"].value == pytest.approx(now - before)


def test_other_texts_are_not_compared_and_results_without_any_still_are(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    target = tiny()
    base = measure(target, TASK, letter_scorer)
    other = replace(TASK, mentions=MENTIONS[:9])
    with pytest.raises(UsageError, match=r"texts of who pays \(who_pays_sha256\)"):
        measure(target, other, letter_scorer, detoxifier=detoxifier, baseline=base)
    none = measure(target, replace(TASK, mentions=()), letter_scorer, detoxifier=detoxifier, baseline=base)
    assert none.who_pays is None
    assert none.comparison is not None
    assert "model_perplexity" in none.comparison.difference
    assert "identity_perplexity" not in none.comparison.difference


def test_a_killed_measurement_reads_no_text_twice(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tiny()
    read: list[int] = []

    def counted(target: Target, ids: list[list[int]], attach: Any) -> Any:
        if len(read) == 3:
            read.append(0)
            raise KeyboardInterrupt
        read.append(len(ids))
        return measure_texts(target, ids, attach)

    monkeypatch.setattr(here, "measure_texts", counted)
    with pytest.raises(KeyboardInterrupt):
        measure(target, TASK, letter_scorer, output=tmp_path / "r.json")
    resumed = measure(target, TASK, letter_scorer, output=tmp_path / "r.json")
    assert sum(read) == len(MENTIONS)
    whole = measure(target, TASK, letter_scorer)
    assert [one.nll for one in resumed.windows] == pytest.approx([one.nll for one in whole.windows])


def test_the_command_measures_a_users_texts(
    tiny_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from detoxlm.settings import EvaluateSettings
    from detoxlm.workflows import evaluate, task_of

    texts = tmp_path / "texts.jsonl"
    rows = [{"text": "It rains.", "groups": []}, {"text": "She is deaf.", "groups": ["deaf"]}]
    texts.write_text("\n".join(map(json.dumps, rows)))
    settings = EvaluateSettings(
        who_pays=str(texts), limit=2, fluency_tokens=64, max_new_tokens=2, scorer=["ngram"], output=tmp_path / "r.json"
    )
    results = evaluate(str(tiny_folder("llama")), settings)
    assert [one.groups for one in results.windows if one.groups is not None] == [[], ["deaf"]]
    assert Results.load(tmp_path / "r.json") == results
    assert results.settings["who_pays"] == str(texts)
    assert math.isfinite(results.metrics["identity_perplexity"].value)
    assert results.identity_rows == [] and results.who_is_named is None  # the built-in prompts go with our own texts
    none = task_of(EvaluateSettings(who_pays="none"), None)
    assert none.mentions == [] and none.identity == []
    assert len(task_of(EvaluateSettings(), None).identity) == 6 * 28
    chat = task_of(EvaluateSettings(recipe="chat", system="Be kind.", limit=2), None).identity
    assert {getattr(one.prompt, "system", None) for one in chat} == {"Be kind."} and "{person}" in chat[
        0
    ].template + chat[-1].template
    assert len(task_of(EvaluateSettings(), None).mentions) == 392
    assert (
        len(task_of(EvaluateSettings(limit=14, fluency_tokens=64), None).mentions) == 56
    )  # of 144 prompts: two of 14 sentences
