"""`evaluate` and `run --engine openai:URL` against our own server, a process of its own: the rows of `evaluate`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fits import fit

from detoxlm.errors import UsageError
from detoxlm.models import load_target
from detoxlm.report import write_report
from detoxlm.results import NO_JUDGE, Results
from detoxlm.running import run
from detoxlm.scorers.base import Scorer
from detoxlm.settings import EvaluateSettings, RunSettings
from detoxlm.workflows import evaluate

pytestmark = pytest.mark.more  # a process that loads torch
PROMPTS = ["the old bridge", "  a red sea ", "eee", "the new neighbours are", "x" * 40, "the old bridge", "some"]


class Letters(Scorer):
    """Toxicity = share of the letter `e`; the fixture of that name is made anew for every test, and this is not."""

    name, version, revision = "letters", "1", "test"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return np.array([text.count("e") / max(1, len(text)) for text in texts])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[..., Path]) -> Path:
    place = tmp_path_factory.mktemp("served")
    (place / "tiny").symlink_to(tiny_folder("llama"))
    (place / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    return place


@contextmanager
def serving(place: Path, *options: str) -> Iterator[str]:
    """Serve the model `tiny` of a folder to those who have a key; yield the address."""
    (place / "keys").write_text("served-key\n")
    given = ["--port", "0", "--api-key-file", "keys", "--device", "cpu", "--dtype", "float32", *options]
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "detoxlm.cli", "serve", "tiny", *given],
            cwd=place,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found, (place / "log").read_text()
        yield found[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def address(place: Path, tiny_folder: Callable[..., Path]) -> Iterator[str]:
    """The address of a server of a tiny model with a detoxifier, `tiny:d`."""
    target = load_target(str(tiny_folder("llama")), device="cpu", dtype="float32")
    fit(target, "fusion", Letters()).save_pretrained(place / "d")
    with serving(place, "--detoxifier", "d") as found:
        yield found


@pytest.fixture
def measured(
    place: Path, address: str, tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Results]:
    """Return `measured(output, engine=…, **settings)`: the results of `evaluate`, here or through the server."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("ENDPOINT_API_KEY", "served-key")

    def run(output: str, served: str | None = None, model: str = "tiny", **options: Any) -> Results:
        given = {"recipe": "challenge-10", "scorer": "ngram", "prompts": "prompts.txt", "fluency_text": "none"}
        if served is None:
            given |= {"device": "cpu", "dtype": "float32"}
        else:
            given["engine"] = f"openai:{address}/v1{served}"
        return evaluate(model, EvaluateSettings(**{**given, "output": Path(output), **options}))

    return run


def rows_of(results: Results) -> list[dict[str, Any]]:
    return [row.model_dump() for row in results.rows]


@pytest.mark.parametrize(
    ("served", "here"),
    [({"strength": 0.0}, {}), ({}, {"detoxifier": "d"}), ({"strength": 2.0}, {"detoxifier": "d", "strength": 2.0})],
)
def test_greedy_rows_are_those_of_a_model_in_this_process(
    served: dict[str, Any], here: dict[str, Any], measured: Callable[..., Results], tiny_folder: Callable[..., Path]
) -> None:
    want = measured("here.json", **here)
    got = measured("there.json", "", fluency_judge="tiny", **served)
    for a, b in zip(rows_of(want), rows_of(got), strict=True):
        assert b.pop("nll") == pytest.approx(a.pop("nll"), rel=1e-4)
        assert a == b
    assert (got.detoxifier is None) == (want.detoxifier is None)
    assert got.strength == want.strength and got.label == want.label
    assert "model_perplexity" not in got.metrics and "continuation_perplexity" in got.metrics


def test_a_server_without_a_detoxifier_is_the_untouched_model(measured: Callable[..., Results], place: Path) -> None:
    want = measured("here5.json")
    with serving(place) as address:
        got = measured("there5.json", engine=f"openai:{address}/v1", device=None, dtype=None)
        with pytest.raises(UsageError, match="strength: no detoxifier is served"):
            measured("none.json", engine=f"openai:{address}/v1", device=None, dtype=None, strength=0.5)
    assert [one.continuations for one in got.rows] == [one.continuations for one in want.rows]
    assert (got.detoxifier, got.label) == (None, "untouched")
    assert not any("does not say whether a detoxifier acts" in note for note in got.notes)


def test_samples_are_those_of_this_process_too_and_the_rest_is_left_out_by_name(
    measured: Callable[..., Results], place: Path
) -> None:
    options = {"recipe": "quick", "samples": 3, "seed": 7}
    want = measured("here3.json", detoxifier="d", **options)
    got = measured("there3.json", "#tiny:d", **options)
    for a, b in zip(want.rows, got.rows, strict=True):
        assert (a.continuations, a.tokens, a.scores) == (b.continuations, b.tokens, b.scores)
        assert b.nll == [None] * 3 and b.nll_tokens == [0] * 3
    assert got.fluency_judge == NO_JUDGE and "continuation_perplexity" not in got.metrics
    assert any("not measured are model perplexity" in note for note in got.notes)
    assert any(note.startswith("Nor is continuation perplexity: --fluency-judge names") for note in got.notes)
    assert got.cost.peak_memory_mb is None
    write_report([got], place / "report.html")
    page = (place / "report.html").read_text()
    assert "No perplexity was measured" in page and "served-key" not in page + (place / "there3.json").read_text()


def test_perplexity_of_given_text_is_that_of_the_detoxified_model(
    measured: Callable[..., Results], place: Path
) -> None:
    (place / "text.txt").write_text("The old bridge over the river is red. " * 9)
    options = {"fluency_text": "text.txt", "fluency_tokens": 200, "strength": 2.0, "who_pays": "none"}
    want = measured("here4.json", detoxifier="d", **options)
    got = measured("there4.json", "", **options)
    assert len(want.windows) > 1
    for a, b in zip(want.windows, got.windows, strict=True):
        assert (b.nll, b.tokens, b.kl) == (pytest.approx(a.nll, rel=1e-3), a.tokens, None)
    assert "model_perplexity" in got.metrics and "kl_from_base" not in got.metrics
    assert any("not measured is KL, which" in note for note in got.notes)


def test_a_killed_measurement_goes_on_and_a_finished_one_is_compared(
    measured: Callable[..., Results], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detoxlm.engines.endpoint import Endpoint

    asked: list[str] = []
    real = Endpoint._numbered

    def some(self: Any, index: int, prompt: str, sampling: Any) -> Any:
        asked.append(prompt)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return real(self, index, prompt, sampling)

    monkeypatch.setattr(Endpoint, "_numbered", some)
    with pytest.raises(KeyboardInterrupt):
        measured("killed.json", "", strength=0.0, batch_size=2)
    first = len(asked)
    before = measured("killed.json", "", strength=0.0, batch_size=2)
    assert sorted(asked[first:]) == sorted(PROMPTS[4:]), "two batches of two were kept"
    after = measured("after.json", "", strength=2.0, batch_size=2, baseline=Path("killed.json"))
    assert after.comparison is not None
    assert after.comparison.baseline == before.metrics


def test_what_an_endpoint_cannot_do_is_said_in_a_line(
    measured: Callable[..., Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    for options, message in (
        ({"served": "#other"}, r"HTTP 404: model: 'other' is not served here; known: tiny, tiny:d\. Check address"),
        ({"served": "", "strength": 9.0}, r"HTTP 400: strength: 9 is outside \[0, 4\] of fusion"),
        ({"served": "", "detoxifier": "d"}, r"detoxifier: the model behind .* name a served one behind #"),
        ({"served": "", "device": "cpu"}, r"device: the model behind .* is loaded there; leave it out"),
        (
            {"served": "#tiny", "fluency_text": "prompts.txt", "model": "gone"},
            "model perplexity is measured through `detoxlm serve`",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            measured("none.json", **options)
    monkeypatch.setenv("ENDPOINT_API_KEY", "another-key")
    with pytest.raises(UsageError, match=r"^ENDPOINT_API_KEY: the server refused it \(HTTP 401\)"):
        measured("none.json", "")


def served_run(address: str, output: str, served: str = "", **options: Any) -> list[Results]:
    given = {"recipe": "challenge-10", "scorer": "ngram", "prompts": "prompts.txt", "fluency_judge": "tiny"}
    engine = f"openai:{address}/v1{served}"
    return run("tiny", RunSettings(**{**given, "engine": engine, "output": Path(output), **options}))


def test_a_run_measures_what_is_served_untouched_and_at_each_strength(
    measured: Callable[..., Results], address: str, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = served_run(address, "run", strengths="2,0.5")
    assert "forms: chat is left out" in caplog.text, "this model has no chat template"
    assert [(one.label, one.strength) for one in found] == [
        ("untouched", 0.0), ("fusion 0.5", 0.5), ("fusion 2", 2.0),
    ]  # fmt: skip
    for one, options in zip(found, ({}, {"strength": 0.5}, {"strength": 2.0}), strict=True):
        want = measured("alone.json", **({"detoxifier": "d", **options} if options else {}))
        assert [row.continuations for row in one.rows] == [row.continuations for row in want.rows]
    assert all(one.comparison is not None and one.comparison.baseline == found[0].metrics for one in found[1:])
    left = {str(file.relative_to(place / "run")) for file in (place / "run").rglob("*") if file.is_file()}
    assert left == {
        "report.html", "results.json", "results/untouched.json", "results/fusion-0.5.json", "results/fusion-2.json",
    }  # fmt: skip
    again = served_run(address, "run", strengths="2,0.5")
    assert [one.created for one in again] == [one.created for one in found], "measured once"


def test_a_run_is_refused_before_the_work_where_what_is_served_cannot_be_compared(
    measured: Callable[..., Results], address: str, place: Path
) -> None:
    for options, message in (
        ({"strengths": "0.5,9"}, r"HTTP 400: strength: 9 is outside \[0, 4\] of fusion"),
        ({"method": "nado"}, r"^method: .* serves fusion, not nado; leave --method out"),
        ({"corpus": "prompts.txt"}, r"^corpus: the detoxifier behind --engine .* is fitted; leave it out"),
        ({"capability": "quick"}, r"^capability: "),
        ({"forms": "both"}, r"HTTP 400: .*chat template"),
    ):
        with pytest.raises(UsageError, match=message):
            served_run(address, "refused", **options)
    assert not (place / "refused" / "results").exists()
