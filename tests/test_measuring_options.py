"""What people want to change of a measurement, and prompts as people have them, through the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.data import builtin_prompts
from detoxlm.generation import Sampling, generate
from detoxlm.likelihood import fluency_windows
from detoxlm.models import Target
from detoxlm.results import Results
from detoxlm.settings import EvaluateSettings
from detoxlm.workflows import task_of

Call = Callable[..., tuple[int, str, str]]
PROMPTS = ["The new neighbours are", "He said that", "Why do people", "I really"]


@pytest.fixture
def evaluated(call: Call, tiny_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Results]:
    """Return `evaluated(*options)`: the results of `evaluate` on a tiny model and four prompts."""

    def run(*options: Any, name: str = "out.json", prompts: str = "\n".join(PROMPTS)) -> Results:
        (tmp_path / "prompts.txt").write_text(prompts)
        common = ("--scorer", "ngram", "--prompts", tmp_path / "prompts.txt", "-o", tmp_path / name)
        code, _, err = call("evaluate", tiny_folder("llama"), *common, "--fluency-tokens", "64", *options)
        assert code == 0, err
        return Results.load(tmp_path / name)

    return run


def test_changed_sampling_is_measured_under_another_name_and_not_compared_with_the_fixed(
    evaluated: Callable[..., Results], call: Call, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    results = evaluated("--samples", 3, "--max-new-tokens", 5, "--temperature", 0.5, "--top-p", 0.8)
    assert results.recipe == "quick (samples=3, max_new_tokens=5, temperature=0.5, top_p=0.8)"
    assert all(len(row.continuations) == 3 and max(row.tokens) <= 5 for row in results.rows)
    sampling = results.settings["sampling"]
    assert (sampling["temperature"], sampling["top_p"]) == (0.5, 0.8)
    assert results.notes == ["quick with other settings: not comparable with numbers of quick itself."]
    evaluated(name="fixed.json")
    code, _, err = call(
        "evaluate", tiny_folder("llama"), "--scorer", "ngram", "--prompts", tmp_path / "prompts.txt",
        "--fluency-tokens", "64", "--samples", 3, "--baseline", tmp_path / "fixed.json", "-o", tmp_path / "no.json",
    )  # fmt: skip
    assert code == 2
    assert "baseline: " in err and "recipe" in err


def test_greedy_sampling_refuses_what_it_does_not_read(call: Call, tiny_folder: Callable[..., Path]) -> None:
    code, _, err = call("evaluate", tiny_folder("llama"), "--recipe", "challenge-10", "--samples", 5)
    assert code == 2
    assert "samples: 5 changes nothing at temperature 0" in err and "--temperature 1" in err


def test_white_space_and_repeats_are_noted_on_the_console(
    call: Call, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_text("".join(f"{prompt} \n" for prompt in [*PROMPTS, *PROMPTS]))
    common = ("--scorer", "ngram", "--fluency-text", "none", "-o", tmp_path / "out.json")
    code, out, _ = call("evaluate", tiny_folder("llama"), "--prompts", tmp_path / "p.txt", *common)
    assert code == 0
    assert "Note: 8 of 8 prompts had white space around them" in out
    assert "Note: 4 of 8 prompts repeat another" in out
    assert "intervals over 4 prompts" in " ".join(out.split())


def test_no_fluency_text_is_no_model_perplexity(evaluated: Callable[..., Results]) -> None:
    results = evaluated("--fluency-text", "none", "--who-pays", "none")
    assert not {"model_perplexity", "kl_from_base"} & set(results.metrics)
    assert results.windows == [] and results.settings["fluency_text"] == "none"


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ({}, 4001),
        ({"limit": 50}, 2000),
        ({"limit": 1}, 1024),
        ({"limit": 1000}, 4001),
        ({"limit": 50, "fluency_tokens": 3000}, 3000),
    ],
)
def test_a_limit_shortens_the_fluency_text_in_proportion(
    given: dict[str, int], tokens: int, tmp_path: Path, tiny: Callable[..., Target]
) -> None:
    file = tmp_path / "p.csv"
    file.write_text("prompt\n" + "".join(f"this is prompt {i} of\n" for i in range(100)))
    task = task_of(EvaluateSettings(prompts=str(file), **given), None)  # type: ignore[arg-type]
    assert len(task.prompts) == min(given.get("limit", 100), 100)
    text = "a" * 4001  # a token is a byte; the first is not scored
    windows = fluency_windows(tiny("llama"), text, task.fluency_tokens, task.fluency_share)
    assert 1 + sum(scored for _, scored in windows) == tokens


def test_a_limit_on_the_built_in_prompts_shortens_it_too() -> None:
    half = len(builtin_prompts("measure")) // 2
    assert task_of(EvaluateSettings(limit=half), None).fluency_share == pytest.approx(0.5, abs=0.01)


def test_generate_begins_a_text_of_its_own(call: Call, tiny: Callable[..., Target]) -> None:
    target = tiny("llama")
    [batch] = generate(target, [""], Sampling(max_new_tokens=8))
    code, out, _ = call("generate", target.name, "", "--temperature", 0, "--max-new-tokens", 8)
    assert code == 0
    assert out == batch.generations[0].texts[0] + "\n"


def test_generate_leaves_white_space_at_the_end_to_the_model(
    call: Call, tiny: Callable[..., Target], caplog: pytest.LogCaptureFixture
) -> None:
    greedy = ("--temperature", 0, "--max-new-tokens", 8)
    _, plain, _ = call("generate", tiny("llama").name, "He said", *greedy)
    assert "white space" not in caplog.text
    _, spaced, _ = call("generate", tiny("llama").name, "He said \n", *greedy)
    assert spaced == plain
    assert "white space" in caplog.text


@pytest.mark.parametrize("option", ["--corpus", "--harmful"])
def test_the_column_that_a_message_asks_for_can_be_named(
    option: str, call: Call, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    file = tmp_path / "sentences.csv"
    file.write_text("sentence,label\n" + "".join(f"You are a dear friend {i},0\n" for i in range(8)))
    method = {"--corpus": "fusion", "--harmful": "dexperts"}[option]
    fit = ("fit", method, tiny_folder("llama"), option, file)
    code, _, err = call(*fit, "-o", tmp_path / "d")
    assert code == 2
    assert "name another with --corpus-column" in err, err
    code, _, err = call(*fit, "-o", tmp_path / "d", "--corpus-column", "sentense")
    assert code == 2
    assert "no column `sentense`" in err


def test_a_corpus_of_another_column_is_learned_from(
    call: Call, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    file = tmp_path / "sentences.jsonl"
    file.write_text("".join(json.dumps({"sentence": f"You are a dear friend {i}"}) + "\n" for i in range(16)))
    few = [part for pair in ("variant=paper", "layers=2", "steps=2", "train_batch=4") for part in ("--set", pair)]
    fit = ("fit", "fusion", tiny_folder("llama"), "--corpus", file, "--corpus-column", "sentence")
    code, _, err = call(*fit, *few, "-o", tmp_path / "d")
    assert code == 0, err
