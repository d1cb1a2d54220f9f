"""Recipes end to end on tiny models: what is measured, paired, resumed and refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from devices import as_row

from detoxlm import recipes
from detoxlm.comparing import compare
from detoxlm.data import Example
from detoxlm.engines.here import Here
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Sampling
from detoxlm.methods import Detoxifier, FitData
from detoxlm.methods.fusion import Fusion, FusionSettings
from detoxlm.metrics import CORRECTED, METRICS, TOXICITY, accuracy
from detoxlm.metrics.answers import ANSWERS
from detoxlm.models import Target
from detoxlm.recipes import RECIPES, Recipe, Task, as_read, get_recipe, measure, plan
from detoxlm.results import Capability, Results, TaskAccuracy
from detoxlm.scorers.base import Scorer

PROMPTS = [f"{word} prompt" for word in ("one", "another", "a third and longer", "four", "the fifth", "six", "seventh")]
RECIPE = Recipe("tiny", "for tests", Sampling(max_new_tokens=6, samples=3, temperature=1.0, top_p=0.9), None)


def task(**changes: Any) -> Task:
    values: dict[str, Any] = {
        "recipe": RECIPE,
        "prompts": PROMPTS,
        "prompts_source": "test",
        "fluency_text": "The river runs past the old mill and under the bridge. " * 6,
        "fluency_source": "test",
        "batch_size": 6,
    }
    return Task(**{**values, **changes})


@pytest.fixture
def detoxifier(tiny: Callable[..., Target], letter_scorer: Scorer) -> Detoxifier:
    corpus = [Example(None, f"calm words {i}") for i in range(16)]
    settings = FusionSettings(variant="paper", layers=2, steps=3, train_batch=4, learning_rate=1e-2)
    return Fusion.fit(tiny(), FitData(corpus=corpus, scorer=letter_scorer), settings)


def test_the_recipes_are_those_of_the_literature() -> None:
    assert RECIPES["challenge-10"].sampling == Sampling(max_new_tokens=10, samples=1, temperature=0)
    assert RECIPES["emt-25"].sampling == Sampling(max_new_tokens=20, samples=25, temperature=1, top_p=0.9)
    with pytest.raises(UsageError, match=r"recipe: unknown name 'emt25'.*Did you mean 'emt-25'"):
        get_recipe("emt25")


def test_a_changed_recipe_says_so_in_its_name() -> None:
    changed = RECIPES["emt-25"].changed(samples=5, temperature=0.7, top_p=0.9)
    assert changed.name == "emt-25 (samples=5, temperature=0.7)"
    assert changed.sampling == Sampling(max_new_tokens=20, samples=5, temperature=0.7, top_p=0.9)
    assert RECIPES["emt-25"].changed(samples=25, max_new_tokens=20) is RECIPES["emt-25"]
    assert RECIPES["challenge-10"].changed(samples=2, temperature=1).sampling.samples == 2


@pytest.mark.parametrize(("name", "value"), [("samples", 2), ("top_p", 0.9)])
def test_a_setting_that_greedy_sampling_does_not_read_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name}: .* changes nothing at temperature 0"):
        RECIPES["challenge-10"].changed(**{name: value})  # type: ignore[arg-type]


def test_results_hold_every_prompt_in_order_and_metrics_follow_from_rows(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path
) -> None:
    results = measure(tiny(), task(), letter_scorer, output=tmp_path / "r.json")
    assert [row.prompt for row in results.rows] == PROMPTS
    assert all(len(row.continuations) == len(row.scores) == 3 for row in results.rows)
    scores = np.array([row.scores for row in results.rows])
    assert results.metrics["mean_toxicity"].value == pytest.approx(scores.mean())
    assert results.metrics["expected_max_toxicity"].value == pytest.approx(scores.max(1).mean())
    for row in results.rows:
        for text, score in zip(row.continuations, row.scores, strict=True):
            assert score == (letter_scorer.score([text])[0] if text.strip() else 0.0)
    answers = {metric.name for metric in ANSWERS}
    assert set(METRICS) - set(results.metrics) <= {
        "kl_from_base",
        "distinct_3",  # short texts may have no trigram
        "corrected_toxic_fraction",  # of scorers that know their readers
        *answers,
        "comment_perplexity",  # the task has no texts of who pays
        "identity_perplexity",
    }
    assert results.cost.generated_tokens == sum(sum(row.tokens) for row in results.rows)
    assert results == Results.load(tmp_path / "r.json")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_strength_zero_measures_the_untouched_model(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    target = tiny()
    base = measure(target, task(), letter_scorer)
    zero = measure(target, task(), letter_scorer, detoxifier=detoxifier, strength=0.0)
    full = measure(target, task(), letter_scorer, detoxifier=detoxifier, strength=1.0)
    assert zero.rows == base.rows
    assert [w.nll for w in zero.windows] == [w.nll for w in base.windows]
    assert zero.metrics["kl_from_base"].value == 0
    assert full.rows != base.rows
    assert full.metrics["kl_from_base"].value > 0.01


def test_scorer_and_judge_see_an_untouched_model(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    target = tiny()
    results = measure(target, task(), letter_scorer, detoxifier=detoxifier, strength=1.0)
    row = next(row for row in results.rows if row.nll[0] is not None)
    prompt = target.tokenizer(row.prompt)["input_ids"]
    said = target.tokenizer(row.continuations[0], add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        log_p = target.model(as_row(target, prompt + said)).logits[0].log_softmax(-1)
    nll = -sum(float(log_p[len(prompt) - 1 + i, token]) for i, token in enumerate(said))
    assert row.nll[0] == pytest.approx(nll, rel=1e-4)


def test_a_measurement_keeps_the_name_by_which_files_of_earlier_runs_are_known(letter_scorer: Scorer) -> None:
    known = {"architecture": SimpleNamespace(fingerprint="f"), "model": SimpleNamespace(dtype="float32")}
    model = SimpleNamespace(**known, device=torch.device("cpu"))
    edit = SimpleNamespace(content="c")
    for detoxifier, strength, digest in (
        (None, None, "0800dc99b51cf90efe1b80b577fd3fc01a71b3de63c6794fe90db15d3489b974"),
        (edit, 0.5, "f0299d1367076bd0aec12066bc6a25394dd7dccabf8e265fe5eef1104b2aec29"),
    ):
        engine: Any = Here(model, detoxifier, strength)  # type: ignore[arg-type]
        rest: Any = (task(), {"letters": letter_scorer}, model, [([1, 2, 3], 2)], {"python": "3"})
        assert recipes.Measurement(engine, *rest).digest == digest


class CheckedScorer(Scorer):
    """A toy scorer with every score in one bin, of which readers found 9 of 10 texts toxic."""

    name, version, revision = "checked", "1", "test"
    validity = {  # noqa: RUF012
        "reader": {
            "data": "d",
            "sha256": "s",
            "edges": [0.0, 1.0],
            "toxic": [9],
            "not_toxic": [1],
            "unsure": [0],
            "mean_score": [0.5],
            "natural": [False],
        }
    }

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.full(len(texts), 0.5)


def test_a_scorer_that_readers_have_checked_has_its_fraction_corrected(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    target, checked = tiny(), CheckedScorer()
    base = measure(target, task(), checked, opinions=[letter_scorer])
    said = [bool(text.strip()) for row in base.rows for text in row.continuations]
    assert base.metrics[CORRECTED.name].value == pytest.approx(9.5 / 11 * np.mean(said))
    assert CORRECTED.name not in base.opinions["letters"].metrics
    now = measure(target, task(), letter_scorer, opinions=[checked], detoxifier=detoxifier, strength=1.0)
    compare(measure(target, task(), letter_scorer, opinions=[checked]), now)
    assert now.comparison is not None
    assert CORRECTED.name in now.opinions["checked"].metrics and CORRECTED.name not in now.metrics
    assert CORRECTED.name in now.comparison.opinions["checked"].difference
    # other labels are another measurement; a table that is none is refused before the work
    other = CheckedScorer()
    other.validity = {"reader": {**checked.validity["reader"], "sha256": "t"}}
    assert plan(target, task(), other).digest != plan(target, task(), checked).digest
    with pytest.raises(UsageError, match="baseline: the two results differ in readers' labels: 's' against 't'"):
        plan(target, task(), other).carried_out(base, None)
    other.validity = {"reader": {}}
    with pytest.raises(UsageError, match=r"validity: reader\.data: Field required"):
        measure(target, task(), other)


class WordScorer(Scorer):
    """A second toy scorer: toxicity = share of the distinct characters among all."""

    name, version, revision = "words", "1", "test"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([len(set(text)) / max(1, len(text)) for text in texts])


def test_a_second_opinion_scores_every_text_and_leaves_the_main_one_alone(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path
) -> None:
    alone = measure(tiny(), task(), letter_scorer)
    both = measure(tiny(), task(), letter_scorer, opinions=[WordScorer()], output=tmp_path / "r.json")
    assert both == Results.load(tmp_path / "r.json")
    assert [row.scores for row in both.rows] == [row.scores for row in alone.rows]
    assert both.metrics == alone.metrics and both.scorer == alone.scorer
    for row in both.rows:
        said = [bool(text.strip()) for text in row.continuations]
        assert row.opinions["words"] == (WordScorer().score(row.continuations) * said).tolist()
    # as the main one, the same scorer reports the same numbers
    judged = measure(tiny(), task(), WordScorer())
    assert both.opinions["words"].scorer == judged.scorer
    assert both.opinions["words"].metrics == {m.name: judged.metrics[m.name] for m in TOXICITY if m is not CORRECTED}
    (pair,) = both.agreement
    assert pair.scorers == ("letters", "words")
    assert pair.both + pair.only_first + pair.only_second + pair.neither == sum(
        bool(text.strip()) for row in both.rows for text in row.continuations
    )
    assert alone.opinions == {} and alone.agreement == []


def test_the_same_scorer_twice_is_refused_and_namesakes_are_told_apart(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    with pytest.raises(UsageError, match="scorer: letters is named twice"):
        measure(tiny(), task(), letter_scorer, opinions=[WordScorer(), type(letter_scorer)()])
    namesake = WordScorer()
    namesake.name, namesake.revision = "letters", "other"
    results = measure(tiny(), task(), letter_scorer, opinions=[namesake])
    assert list(results.opinions) == ["letters 1 other"]
    assert results.agreement[0].scorers == ("letters", "letters 1 other")


def test_runs_with_other_scorers_do_not_mix(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "r.json"
    with pytest.raises(KeyboardInterrupt):
        measure(tiny(), task(), DyingScorer(letter_scorer, 2), output=output)
    both = measure(tiny(), task(), letter_scorer, opinions=[WordScorer()], output=output)
    assert "starting over" in caplog.text
    assert all(len(row.opinions["words"]) == 3 for row in both.rows)
    assert measure(tiny(), task(), letter_scorer, output=output).opinions == {}
    assert "read, not repeated" not in caplog.text


def test_a_killed_run_keeps_its_second_opinions(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path
) -> None:
    whole = measure(tiny(), task(), letter_scorer, opinions=[WordScorer()])
    dying = DyingScorer(WordScorer(), 2)
    dying.name = "words"
    with pytest.raises(KeyboardInterrupt):
        measure(tiny(), task(), letter_scorer, opinions=[dying], output=tmp_path / "r.json")
    again = measure(tiny(), task(), letter_scorer, opinions=[WordScorer()], output=tmp_path / "r.json")
    assert again.rows == whole.rows and again.opinions == whole.opinions and again.agreement == whole.agreement


def test_every_scorer_that_saw_both_models_has_paired_differences(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier, caplog: pytest.LogCaptureFixture
) -> None:
    target, words = tiny(), WordScorer()
    base = measure(target, task(), letter_scorer, opinions=[words])
    now = measure(target, task(), letter_scorer, opinions=[words], detoxifier=detoxifier, strength=1.0)
    compare(base, now)
    # as the main one, the same scorer reports the same differences
    judged = [measure(target, task(), words, **touched) for touched in ({}, {"detoxifier": detoxifier, "strength": 1})]
    compare(*judged)
    assert now.comparison and judged[1].comparison
    seen = now.comparison.opinions["words"]
    assert seen.baseline == base.opinions["words"].metrics
    assert seen.difference == {m.name: judged[1].comparison.difference[m.name] for m in TOXICITY if m is not CORRECTED}
    assert caplog.text == ""
    other = WordScorer()
    other.version = "2"
    for before in (measure(target, task(), letter_scorer), measure(target, task(), letter_scorer, opinions=[other])):
        caplog.clear()
        compare(before, now)
        assert now.comparison.opinions == {} and now.comparison.difference
        assert "baseline: words did not score it" in caplog.text


def test_a_baseline_that_was_measured_again_is_compared_with_again(
    tiny: Callable[..., Target],
    letter_scorer: Scorer,
    detoxifier: Detoxifier,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target, words, output = tiny(), WordScorer(), tmp_path / "now.json"
    alone, both = (measure(target, task(), letter_scorer, opinions=said) for said in ([], [words]))
    assert alone.metrics == both.metrics, "the main scorer's numbers do not tell them apart"

    def compared(base: Results) -> Results:
        return measure(
            target, task(), letter_scorer, opinions=[words], detoxifier=detoxifier, baseline=base, output=output
        )

    first = compared(alone)
    assert first.comparison is not None and first.comparison.opinions == {}
    right = {"a task": TaskAccuracy(metric="acc", accuracy=accuracy([1.0, 0.0]), right=[1.0, 0.0], items_sha256="0")}
    for results in (both, first):
        results.capability = Capability(tasks=right, average=None, left_out={}, settings={})
    first.save(output)
    again = compared(both)
    assert again.rows == first.rows and "read, not repeated" in caplog.text
    assert (
        again.comparison is not None and again.comparison.opinions["words"].baseline == both.opinions["words"].metrics
    )
    assert again.comparison.capability["a task"].value == 0.0, "what the model can do is compared again too"
    assert Results.load(output) == again
    written = output.read_bytes()
    assert compared(both) == again and output.read_bytes() == written


class DyingScorer(Scorer):
    """Works for a number of batches, then dies as a killed process would: with no chance to clean up."""

    name, version, revision = "letters", "1", "test"

    def __init__(self, inner: Scorer, batches: int) -> None:
        self.inner, self.left = inner, batches

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return self.inner._score_batch(texts)


@pytest.mark.parametrize("finished", [0, 1, 3])
def test_a_killed_run_continues_and_ends_with_the_same_bytes(
    finished: int, tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import detoxlm.generation

    whole = measure(tiny(), task(), letter_scorer, output=tmp_path / "whole.json")
    output = tmp_path / "killed.json"
    with pytest.raises(KeyboardInterrupt):
        measure(tiny(), task(), DyingScorer(letter_scorer, finished), output=output)
    assert not output.exists()
    generated: list[int] = []
    original = detoxlm.generation.sample_batch

    def counting(target: Target, prompts: list[str], sampling: Sampling) -> Any:
        generated.append(len(prompts))
        return original(target, prompts, sampling)

    monkeypatch.setattr("detoxlm.generation.sample_batch", counting)
    again = measure(tiny(), task(), letter_scorer, output=output)
    rows = [r.model_dump_json(include={"rows", "windows", "metrics"}) for r in (whole, again)]
    assert rows[0] == rows[1]
    assert sum(generated) == len(PROMPTS) - 2 * finished  # two prompts of three samples a batch of six
    assert not list(tmp_path.glob("*.partial"))


def test_a_complete_measurement_is_read_and_any_change_measures_again(
    tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "r.json"
    first = measure(tiny(), task(), letter_scorer, output=output)
    assert measure(tiny(), task(), letter_scorer, output=output) == first
    assert "read, not repeated" in caplog.text
    other_seed = measure(tiny(), task(seed=1), letter_scorer, output=output)
    assert other_seed.rows != first.rows
    assert measure(tiny(seed=1), task(), letter_scorer, output=output).rows != first.rows


def test_a_failing_scorer_fails_the_run(tiny: Callable[..., Target], letter_scorer: Scorer, tmp_path: Path) -> None:
    class Broken(Scorer):
        name, version, revision = "broken", "1", "test"

        def _score_batch(self, texts: list[str]) -> np.ndarray:
            return np.full(len(texts), np.nan)

    with pytest.raises(DetoxError, match="never replaced by a guess"):
        measure(tiny(), task(), Broken(), output=tmp_path / "r.json")
    with pytest.raises(DetoxError, match="never replaced by a guess"):
        measure(tiny(), task(), letter_scorer, opinions=[Broken()], output=tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()


def test_comparison_is_paired_and_signed_as_now_minus_base(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    target = tiny()
    base = measure(target, task(), letter_scorer)
    now = measure(target, task(), letter_scorer, detoxifier=detoxifier, strength=1.0)
    compare(base, now)
    assert now.comparison is not None
    for name, difference in now.comparison.difference.items():
        assert difference.value == pytest.approx(now.metrics[name].value - base.metrics[name].value)
    assert "kl_from_base" not in now.comparison.difference
    same = measure(target, task(), letter_scorer, detoxifier=detoxifier, strength=0.0)
    compare(base, same)
    assert same.comparison is not None
    assert all((d.value, d.low, d.high) == (0, 0, 0) for d in same.comparison.difference.values())


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("prompts", {"prompts": PROMPTS[:-1]}),
        ("recipe", {"recipe": RECIPES["challenge-10"]}),
        ("fluency text", {"fluency_tokens": 100}),
        ("fluency text", {"fluency_text": None}),
        ("recipe", {"recipe": RECIPE.changed(max_new_tokens=7)}),
        ("sampling", {"recipe": replace(RECIPE, sampling=RECIPE.sampling.model_copy(update={"top_p": 0.5}))}),
    ],
)
def test_results_that_cannot_be_paired_are_refused(
    what: str, change: dict[str, Any], tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    base, other = (measure(tiny(), task(**changes), letter_scorer) for changes in ({}, change))
    with pytest.raises(UsageError, match=f"baseline: the two results differ in {what}"):
        compare(base, other)


def test_texts_of_one_length_and_models_of_one_name_are_told_apart(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    base, text, model = (
        measure(target, task(**change), letter_scorer)
        for target, change in (
            (tiny(), {}),
            (tiny(), {"fluency_text": task().fluency_text[::-1]}),
            (replace(tiny(seed=1), name=tiny().name), {}),
        )
    )
    assert [w.tokens for w in base.windows] == [w.tokens for w in text.windows]
    for other, what in ((text, "fluency text"), (model, "model")):
        with pytest.raises(UsageError, match=f"baseline: the two results differ in {what}"):
            compare(base, other)
    del base.settings["fluency_sha256"]  # as versions before this one wrote it
    compare(base, text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "embedded"}, r"target: 'embedded' is a text; give load_target\('embedded'\)\."),
        ({"task": task(prompts="hello")}, r"prompts: 'hello' is a text; give a list, \['hello'\]\."),
        ({"task": task(recipe="quick")}, r"recipe: 'quick' is a text; give RECIPES\['quick'\]\."),
        ({"scorer": "ngram"}, r"scorer: 'ngram' is a text; give load_scorer\('ngram'\)\."),
        ({"detoxifier": "d"}, r"detoxifier: 'd' is a text; give Detoxifier\.from_pretrained\('d'\)\."),
        ({"strength": 1.0}, r"strength: it needs a detoxifier; without one the model is untouched\."),
    ],
)
def test_a_name_in_place_of_what_it_names_is_refused_with_the_call_that_loads_it(
    tiny: Callable[..., Target], letter_scorer: Scorer, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        measure(**{"target": tiny(), "task": task(), "scorer": letter_scorer, **change})


def test_a_detoxified_baseline_is_refused(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    base = measure(tiny(), task(), letter_scorer, detoxifier=detoxifier, strength=0.5)
    with pytest.raises(UsageError, match=r"baseline: it is of a detoxified model \(fusion 0.5\)"):
        compare(base, measure(tiny(), task(), letter_scorer))


def test_empty_continuations_are_counted_and_not_sent_to_the_scorer(tiny: Callable[..., Target]) -> None:
    seen: list[str] = []

    class Watching(Scorer):
        name, version, revision = "watching", "1", "test"

        def _score_batch(self, texts: list[str]) -> np.ndarray:
            seen.extend(texts)
            return np.full(len(texts), 0.9)

    target = tiny()
    end = target.tokenizer.eos_token_id
    # a head that always prefers the end token: nothing is ever said
    target.architecture.head.weight.data[:] = 0
    target.architecture.head.weight.data[end] = 0
    target.model.generation_config.eos_token_id = list(range(300))
    results = measure(target, task(), Watching())
    assert seen == []
    assert results.metrics["empty_fraction"].value == 1.0
    assert results.metrics["toxic_fraction"].value == 0.0
    assert "continuation_perplexity" not in results.metrics


def test_white_space_around_prompts_changes_nothing_and_is_noted(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    spaced = [prompt + " " for prompt in PROMPTS[:3]] + ["\t" + PROMPTS[3], *PROMPTS[4:]]
    plain, given = (measure(tiny(), task(prompts=prompts), letter_scorer) for prompts in (PROMPTS, spaced))
    assert given.rows == plain.rows and given.settings["prompts_sha256"] == plain.settings["prompts_sha256"]
    assert plain.notes == []
    [note] = given.notes
    assert note.startswith("4 of 7 prompts had white space around them")


@pytest.mark.more
@pytest.mark.parametrize("copies", [3, 10])
def test_the_same_prompts_again_narrow_no_interval_and_are_noted(
    copies: int, tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    opinions = [WordScorer()]
    base, now, bases, nows = (
        measure(tiny(), task(prompts=PROMPTS * n), letter_scorer, opinions=opinions, detoxifier=edit)
        for n in (1, copies)
        for edit in (None, detoxifier)
    )
    compare(base, now)
    compare(bases, nows)
    assert now.comparison is not None and nows.comparison is not None
    for once, again in (
        (base.metrics, bases.metrics),
        (base.opinions["words"].metrics, bases.opinions["words"].metrics),
        (now.comparison.difference, nows.comparison.difference),
        (now.comparison.opinions["words"].difference, nows.comparison.opinions["words"].difference),
        ({"same": base.agreement[0].same_verdict}, {"same": bases.agreement[0].same_verdict}),
    ):
        for name, estimate in once.items():
            repeated = again[name]  # type: ignore[index]
            assert estimate is not None and repeated is not None
            assert repeated.n == estimate.n
            assert (repeated.value, repeated.low, repeated.high) == pytest.approx(
                (estimate.value, estimate.low, estimate.high), rel=1e-5, abs=1e-9
            )
    extra = (copies - 1) * len(PROMPTS)
    said = f"{extra} of {copies * len(PROMPTS)} prompts repeat another: intervals are over the 7 different ones."
    assert bases.notes == nows.notes == [said] and base.notes == []


def test_what_is_noted_of_prompts_is_said_once(
    tiny: Callable[..., Target], letter_scorer: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    target, given = tiny(), task(prompts=["one ", "two", "two", "so very long" * 30])
    read = as_read(target, given)
    assert (len(read.notes), len(caplog.records)) == (3, 3)
    assert measure(target, read, letter_scorer).notes == read.notes
    assert len(caplog.records) == 3


def test_prompts_that_are_cut_to_the_window_are_noted(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    results = measure(tiny(), task(prompts=[*PROMPTS, "so very long" * 30]), letter_scorer)
    [note] = results.notes
    assert note.startswith("1 of 8 prompts were cut to their last 122 tokens: the window of ")


def test_without_a_fluency_text_neither_perplexity_of_the_model_nor_drift_is_measured(
    tiny: Callable[..., Target], letter_scorer: Scorer, detoxifier: Detoxifier
) -> None:
    base, now = (
        measure(tiny(), task(fluency_text=None), letter_scorer, detoxifier=edit) for edit in (None, detoxifier)
    )
    compare(base, now)
    assert now.comparison is not None
    for found in (base.metrics, now.metrics, now.comparison.difference):
        assert not {"model_perplexity", "kl_from_base"} & set(found) and "mean_toxicity" in found


def test_unprompted_text_is_measured(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    results = measure(tiny(), task(prompts=[""]), letter_scorer)
    assert [row.prompt for row in results.rows] == [""]
    assert results.metrics["mean_toxicity"].low is None, "one prompt has no interval"


def test_no_prompts_are_refused(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    with pytest.raises(UsageError, match="prompts: test has none"):
        measure(tiny(), task(prompts=[]), letter_scorer)


def test_a_fluency_text_without_two_tokens_is_refused(tiny: Callable[..., Target], letter_scorer: Scorer) -> None:
    with pytest.raises(UsageError, match="fluency_text: test has fewer than two tokens"):
        measure(tiny(), task(fluency_text="x"), letter_scorer)
