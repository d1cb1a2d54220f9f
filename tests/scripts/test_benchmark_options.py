"""What benchmarks are asked for, and what they say of few texts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import chat_frontier
import loophole
import perspective_scale
import who_pays

from detoxlm.errors import UsageError
from detoxlm.labels.files import Label
from detoxlm.labels.texts import sha256_of
from detoxlm.metrics import METRICS
from detoxlm.models import Target


def asked(script: Any, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", [script.__name__, *options])
    script.main()


@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        (who_pays, ["--identity", "a.jsonl"], "--identity, --comments: each needs the other"),
        (who_pays, ["--rows", "fusion"], "--rows: fusion is not METHOD@STRENGTH"),
        (loophole, ["--recipes", "quick", "emt-25"], "--recipes: one of them"),
        (loophole, ["--rows", "fusion"], "unrecognized arguments: --rows"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_work(
    script: Any, options: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        asked(script, monkeypatch, *options)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_method_comes_before_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fusion").mkdir()
    (tmp_path / "mine").mkdir()

    def read(folder: str) -> Any:
        raise UsageError(f"read {folder}")

    fitted = SimpleNamespace(
        detoxifier_type=SimpleNamespace(
            settings_type=SimpleNamespace(model_validate_strings=lambda given: given, __call__=dict)
        ),
        fit=lambda _, data, settings: f"fitted for {data.scorer} with {settings}",
    )
    for script in (who_pays, chat_frontier):
        monkeypatch.setattr(script.Detoxifier, "from_pretrained", read)
    monkeypatch.setattr(who_pays, "get_method", lambda _: fitted)
    monkeypatch.setattr(who_pays, "load_scorer", lambda name: name)
    found = who_pays.row_of("fusion[threshold=0.5]@2", None, "embedded:2")
    assert found == ("fitted for embedded:2 with {'threshold': '0.5'}", 2.0)
    for row in ("mine@2", "./fusion@2"):
        with pytest.raises(UsageError, match=f"read {row[:-2]}"):
            who_pays.row_of(row, None, "embedded")
        with pytest.raises(UsageError, match=f"read {row[:-2]}"):
            chat_frontier.detoxifier_of(row, None, None, tmp_path, 0)


def test_a_comment_without_a_label_is_not_taken_for_harmless(tmp_path: Path) -> None:
    about = tmp_path / "identity.jsonl"
    about.write_text('{"text": "My neighbour is a woman.", "groups": ["women"]}\n')
    comments = tmp_path / "comments.jsonl"
    options = argparse.Namespace(identity=about, comments=comments, seed=0, texts=1)
    text = '"text": "The library opens at nine."'
    comments.write_text(f"{{{text}}}\n")
    with pytest.raises(SystemExit, match=r"--comments: it has 0 such texts"):
        who_pays.texts(options)
    comments.write_text(f'{{{text}, "toxicity": 0.1}}\n')
    assert [one.groups for one in who_pays.texts(options)] == [("women",), ()]


def test_loophole_compares_and_keeps_what_it_measures(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(loophole.SHOWN) <= set(METRICS)
    monkeypatch.setattr(loophole, "load_target", lambda _: tiny())
    monkeypatch.setattr(loophole, "load_scorer", lambda _: letter_scorer)
    monkeypatch.setattr(loophole, "favourites", lambda *_: torch.arange(97, 123))
    given = {"model": "tiny", "scorer": "letters", "recipes": ["challenge-10"], "prompts": None, "limit": 3}
    options = argparse.Namespace(**given, fluency_text=None, fluency_tokens=64, batch_size=4)
    loophole.written(options, tmp_path)
    base, now = (loophole.Results.load(tmp_path / f"{name}.json") for name in ("untouched", "penalised"))
    assert now.comparison is not None and now.fluency_judge == base.fluency_judge
    assert [row.continuations for row in now.rows] != [row.continuations for row in base.rows]
    assert (tmp_path / "texts.jsonl").exists()


def test_a_folder_of_a_methods_name_has_results_of_its_own() -> None:
    names = [chat_frontier.file_of(row, 0.5) for row in ("fusion", "fusion@0.5", "./fusion@0.5")]
    assert names == ["fusion-0-5.json", "fusion-0-5.json", "folder-fusion-0-5.json"]


def test_a_share_of_none_claims_no_certainty_and_equal_prompts_are_one_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [SimpleNamespace(prompt=prompt, continuations=["x"]) for prompt in ("a", "b", "b")]
    labels = [Label((sha256_of("x"), sha256_of(prompt)), "not toxic", "r", "") for prompt in "ab"]
    monkeypatch.setattr(loophole.Results, "load", lambda _: SimpleNamespace(rows=rows))
    monkeypatch.setattr(loophole, "read_labels", lambda _: labels)
    loophole.read(tmp_path, tmp_path / "labels.jsonl")
    bound = 1 - 0.025 ** (1 / 2)  # two units, not three
    assert capsys.readouterr().out.splitlines() == [
        f"untouched: 0 of 3 toxic to readers, 0.0000, 95% [0.0000, {bound:.4f}]",
        f"penalised: 0 of 3 toxic to readers, 0.0000, 95% [0.0000, {bound:.4f}]",
        "difference 0.0000, 95% [0.0000, 0.0000]",
    ]


def test_a_scorer_of_one_attribute_and_few_texts_get_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    part = '{"text": "a text", "toxicity": 0.5}'
    prompts.write_text(f'{{"prompt": {part}, "continuation": {part}}}\n' * 3)
    few = SimpleNamespace(score_dimensions=lambda texts: {"toxicity": np.full(len(texts), 0.5)})
    monkeypatch.setattr(perspective_scale, "load_scorer", lambda _: few)
    asked(perspective_scale, monkeypatch, "--prompts", str(prompts), "-o", str(tmp_path / "scale.png"))
    assert (tmp_path / "scale.png").exists()
    assert capsys.readouterr().out == "toxicity: 6 texts\n"
