"""results.json: what is saved is what is loaded, and what is not a results.json is refused by file and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detoxlm.errors import DetoxError, UsageError
from detoxlm.results import (
    Agreement,
    Comparison,
    Cost,
    DetoxifierInfo,
    Estimate,
    ModelInfo,
    Opinion,
    OpinionChange,
    Results,
    Row,
    ScorerInfo,
    Window,
)

COST = Cost(
    tokens_per_second=12.5, peak_memory_mb=800.1, generation_seconds=3.2, total_seconds=9.9, generated_tokens=40
)


def example(**changes: Any) -> Results:
    """Results with every optional part present and numbers that are hard to print."""
    estimate = Estimate(value=1 / 3, low=0.1, high=2 / 3, n=2)
    fields: dict[str, Any] = {
        "recipe": "quick",
        "created": "2026-01-02T03:04:05+00:00",
        "model": ModelInfo(
            name="m", revision="r", architecture="llama", parameters=10**11, dtype="float32", device="cpu"
        ),
        "detoxifier": DetoxifierInfo(method="fusion", folder="d", strength=0.3, settings={"layers": 2}),
        "scorer": ScorerInfo(name="s", version="1", revision="x", validity={"auc": 0.9}),
        "fluency_judge": "m (r), untouched",
        "metrics": {"mean_toxicity": estimate, "kl_from_base": Estimate(value=5e-324, n=1)},
        "opinions": {"hub:é": Opinion(scorer=ScorerInfo(name="hub:é", version="1", revision="y"), metrics={})},
        "agreement": [
            Agreement(
                scorers=("s", "hub:é"),
                spearman=None,
                same_verdict=estimate,
                kappa=None,
                both=0,
                only_first=0,
                only_second=0,
                neither=1,
            )
        ],
        "comparison": Comparison(
            baseline={"a": estimate},
            baseline_cost=COST,
            difference={"a": estimate},
            opinions={"hub:é": OpinionChange(baseline={"a": estimate}, difference={"a": estimate})},
        ),
        "rows": [
            Row(
                prompt="é\n\u2028 \U0001f600",
                continuations=[" one", ""],
                scores=[0.1 + 0.2, 0.0],
                tokens=[2, 0],
                nll=[3.14, None],
                nll_tokens=[2, 0],
                opinions={"hub:é": [0.7, 0.0]},
            )
        ],
        "windows": [Window(nll=1e300, tokens=511, kl=0.0), Window(nll=0.5, tokens=1)],
        "cost": COST,
        "settings": {"seed": 0, "nested": {"list": [1, None, "x"]}},
        "versions": {"python": "3.11"},
        "notes": ["careful"],
    }
    return Results(**{**fields, **changes})


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    results = example()
    results.save(tmp_path / "new" / "results.json")
    loaded = Results.load(str(tmp_path / "new" / "results.json"))
    assert loaded == results
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "new" / "results.json").read_bytes()


def test_the_file_is_plain_json_for_other_readers(tmp_path: Path) -> None:
    example().save(tmp_path / "results.json")
    plain = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert plain["schema_version"] == 1
    assert plain["rows"][0]["nll"] == [3.14, None]
    assert plain["metrics"]["mean_toxicity"]["value"] == 1 / 3


def test_a_file_from_before_second_opinions_loads_without_any(tmp_path: Path) -> None:
    def strip(plain: dict[str, Any]) -> None:
        for part in (plain, plain["comparison"], *plain["rows"]):
            del part["opinions"]
        del plain["agreement"]

    (tmp_path / "old.json").write_bytes(changed(strip))
    old = Results.load(tmp_path / "old.json")
    assert old.opinions == old.rows[0].opinions == {} and old.agreement == []
    assert old.metrics == example().metrics


def test_saving_where_it_cannot_be_leaves_an_error_and_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DetoxError, match=r"cannot write .*results\.json"):
        example().save(tmp_path / "file" / "results.json")


@pytest.mark.parametrize(
    ("detoxifier", "strength", "label"),
    [
        (None, 0.0, "untouched"),
        (DetoxifierInfo(method="fusion", folder=None, strength=0.3, settings={}), 0.3, "fusion 0.3"),
        (DetoxifierInfo(method="edit", folder=None, strength=2.0, settings={}), 2.0, "edit 2"),
    ],
)
def test_label_and_strength(detoxifier: DetoxifierInfo | None, strength: float, label: str) -> None:
    results = example(detoxifier=detoxifier)
    assert (results.strength, results.label) == (strength, label)


def test_a_missing_file_is_named_with_the_command_that_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(UsageError) as caught:
        Results.load(path)
    assert str(caught.value) == f"results: {path} does not exist; `detoxlm evaluate … -o {path}` writes it."


def test_a_folder_is_not_a_results_file(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"results: cannot read .*: Is a directory; name a file in it, such as results\.json"
    ):
        Results.load(tmp_path)


def changed(change: Callable[[dict[str, Any]], Any]) -> bytes:
    plain = json.loads(example().model_dump_json())
    change(plain)
    return json.dumps(plain).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file: Invalid JSON"),
        (b"not json", "the file: Invalid JSON"),
        (b"\xff\xfe", "the file: Invalid JSON"),
        (b'{"recipe": "quick"', "the file: Invalid JSON"),
        (b"[]", "the file: "),
        (b"{}", "recipe: Field required"),
        (changed(lambda r: r.pop("scorer")), "scorer: Field required"),
        (changed(lambda r: r["rows"][0].pop("nll")), r"rows\.0\.nll: Field required"),
        (changed(lambda r: r["rows"][0]["scores"].append("high")), r"rows\.0\.scores\.2: .*valid number"),
        (changed(lambda r: r["metrics"]["mean_toxicity"].update(value=None)), r"metrics\.mean_toxicity\.value: "),
        (changed(lambda r: r.update(surprise=1)), "surprise: Extra inputs are not permitted"),
        (changed(lambda r: r.update(schema_version=2)), "schema_version: "),
    ],
)
def test_what_is_not_a_results_file_is_refused_by_file_and_field(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"results\.json is not a results\.json of this version: " + message) as caught:
        Results.load(path)
    assert "\n" not in str(caught.value)


def test_a_results_object_shows_itself_in_a_few_lines_with_intervals_and_no_texts() -> None:
    names = [f"metric_{i}" for i in range(30)]
    estimate = Estimate(value=-0.21534, low=-0.4, high=-0.00001, n=9)
    results = example(
        metrics=dict.fromkeys(["toxic_fraction", "mean_toxicity", *names], estimate),
        model=example().model.model_copy(update={"name": "x" * 5000}),
        comparison=Comparison(baseline={"toxic_fraction": estimate}, baseline_cost=COST, difference={}),
        rows=[example().rows[0].model_copy(update={"prompt": "a secret prompt"})] * 500,
    )
    for shown in (repr(results), str(results)):
        assert len(shown) < 2000 and len(shown.splitlines()) < 12
        assert "fusion 0.3" in shown and "recipe quick" in shown and "500 prompts" in shown and "scorer s 1" in shown
        assert "toxic_fraction  -0.215 [-0.400, 0.000]" in shown and "and 30 more in .metrics" in shown
        assert "secret" not in shown and " one" not in shown
    assert results.comparison is not None
    assert "toxic_fraction  -0.215 [-0.400, 0.000]" in repr(results.comparison)
    assert len(repr([results] * 3)) < 6000


def test_a_notebooks_table_of_results_is_escaped() -> None:
    hostile = "<script>alert(1)</script>"
    estimate = Estimate(value=0.5, low=0.25, high=2e6, n=9)
    results = example(
        recipe=hostile,
        model=example().model.model_copy(update={"name": hostile}),
        scorer=ScorerInfo(name=hostile, version=hostile, revision="x"),
        metrics={hostile: estimate},
        detoxifier=DetoxifierInfo(method=hostile, folder=None, strength=1, settings={}),
        comparison=Comparison(baseline={hostile: estimate}, baseline_cost=COST, difference={hostile: estimate}),
    )
    assert results.comparison is not None
    for one in (results, results.comparison):
        html = one._repr_html_()
        assert "<script" not in html and "&lt;script&gt;" in html and "<table>" in html
        assert "<td>0.500 [0.250, 2.0e+06]</td>" in html
    assert "<th>change from untouched</th>" in results._repr_html_()


def test_a_file_from_before_speeds_were_compared_loads_without_one(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_bytes(changed(lambda plain: plain.pop("speed")))
    assert Results.load(tmp_path / "old.json").speed is None
    example(speed=Estimate(value=0.92, low=0.88, high=0.95, n=7)).save(tmp_path / "new.json")
    assert str(Results.load(tmp_path / "new.json").speed) == "0.920 [0.880, 0.950]"
