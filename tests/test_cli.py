"""The command line: what it prints, what it refuses, and that a killed command continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from detoxlm.metrics import METRICS
from detoxlm.models import load_target
from detoxlm.results import Results
from detoxlm.scorers import Scorer, load_scorer
from detoxlm.scorers.adapter import DIMENSIONS

FAST = [
    "--set",
    "variant=paper",
    "--set",
    "layers=2",
    "--set",
    "steps=3",
    "--set",
    "train_batch=4",
    "--set",
    "samples=2",
]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": {"text": f"this is prompt {i} of"}}) + "\n" for i in range(12)))
    return file


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("The mill by the river has been still for many years. " * 5)
    return file


class Spaces(Scorer):
    """Toxicity = 0.6 of the share of the characters that are not letters."""

    name, version, revision = "spaces", "3", "test"

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return 0.6 * np.array([sum(not c.isalpha() for c in text) / max(1, len(text)) for text in texts])


@pytest.fixture
def toy_scorers(letter_scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more names for --scorer: `letters` and `spaces`."""
    toys = {"letters": letter_scorer, "spaces": Spaces()}
    for module in ("workflows", "scorers.several", "validity.study"):
        monkeypatch.setattr(
            f"detoxlm.{module}.load_scorer", lambda spec, **options: toys.get(spec) or load_scorer(spec, **options)
        )


def last_line(stderr: str) -> str:
    return stderr.strip().splitlines()[-1]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['detoxlm', '--help']\n"
        "from detoxlm.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'matplotlib', 'pyarrow', 'jinja2', 'httpx'} & set(sys.modules)\n"
        "heavy |= {'starlette', 'uvicorn', 'py3langid'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("run", "evaluate", "fit", "generate", "score", "report", "methods"))


@pytest.mark.parametrize("command", ["run", "evaluate", "fit", "generate", "score"])
def test_every_setting_of_a_command_is_an_option_with_its_description(
    command: str, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import detoxlm.settings as definitions

    monkeypatch.setenv("COLUMNS", "240")
    _, out, _ = call(command, "--help")
    shown = " ".join(out.replace("│", " ").split())
    for name, field in getattr(definitions, f"{command.capitalize()}Settings").model_fields.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert " ".join(field.description.split())[:30] in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "MODEL", "--prompts", "nope.jsonl"], "prompts: nope.jsonl does not exist"),
        (["evaluate", "MODEL", "--recipe", "emt25"], "recipe: unknown name 'emt25'. Did you mean 'emt-25'?"),
        (["evaluate", "MODEL", "--scorer", "embeded"], "scorer: unknown name 'embeded'. Did you mean 'embedded'?"),
        (["evaluate", "./nowhere"], "model: the folder ./nowhere does not exist"),
        (["evaluate", "MODEL", "--detoxifier", "./nowhere"], "detoxifier: nowhere does not exist"),
        (["evaluate", "MODEL", "--strength", "0.5"], "strength: it needs --detoxifier DIR"),
        (["evaluate", "MODEL", "--baseline", "nope.json"], "results: nope.json does not exist"),
        (["evaluate", "MODEL", "--dtype", "float8"], "dtype: unknown 'float8'"),
        (["evaluate", "MODEL", "--fluency-text", "nope.txt"], "fluency_text: cannot read nope.txt"),
        (["evaluate", "MODEL", "--limit", "0"], "limit (--limit): Input should be greater than or equal to 1"),
        (["fit", "fusoin", "MODEL"], "method: unknown name 'fusoin'. Did you mean 'fusion'?"),
        (
            ["fit", "fusion", "MODEL", "--set", "layer=2"],
            "layer (--set): no such setting. Did you mean 'layers'? Known: variant",
        ),
        (["fit", "fusion", "MODEL", "--set", "layers=two"], "layers (--set): Input should be a valid integer"),
        (["fit", "fusion", "MODEL", "--set", "layers"], "--set: 'layers' is not key=value"),
        (["fit", "fusion", "MODEL", "--corpus", "nope.txt"], "corpus: nope.txt does not exist"),
        (["run", "MODEL", "--strengths", "0,0.5"], "strengths: '0,0.5' is not a list of numbers above 0"),
        (["run", "MODEL", "--config", "nope.toml"], "config: cannot read nope.toml"),
        (["score"], "score: give either texts or --file FILE"),
        (["score", "--file", "nope.jsonl"], "nope.jsonl does not exist"),
        (["report", "nope.json"], "results: nope.json does not exist"),
    ],
)
def test_bad_usage_is_one_line_with_exit_code_2_and_writes_nothing(
    arguments: list[str],
    message: str,
    call: Callable[..., Any],
    tiny_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = str(tiny_folder("llama"))
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*(folder if argument == "MODEL" else argument for argument in arguments))
    assert code == 2
    assert message in last_line(err)
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"title": "x"}\n', "prompts.jsonl:1: "),
        (b'{"prompt": "fine"}\n{"prompt": ""}\n', "prompts.jsonl:2: "),
        (b'{"prompt": "fine"}\n\xff\xfe\n', "prompts.jsonl:2: "),
        (b"", "prompts.jsonl"),
    ],
    ids=["wrong column", "empty prompt", "broken UTF-8", "empty file"],
)
def test_bad_rows_name_file_and_line(
    content: bytes, message: str, call: Callable[..., Any], tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "prompts.jsonl").write_bytes(content)
    code, _, err = call(
        "evaluate", tiny_folder("llama"), "--prompts", tmp_path / "prompts.jsonl", "-o", tmp_path / "r.json"
    )
    assert code == 2
    assert message in last_line(err)
    assert not (tmp_path / "r.json").exists()


def test_skipped_rows_are_counted_in_the_results(
    call: Callable[..., Any],
    tiny_folder: Callable[..., Path],
    tmp_path: Path,
    text: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "good one"}\nnot json\n{"prompt": "and another"}\n')
    code, _, _ = call(
        *("evaluate", tiny_folder("llama"), "--prompts", tmp_path / "p.jsonl", "--skip-bad-rows"),
        *("--recipe", "challenge-10", "--fluency-text", text, "-o", tmp_path / "r.json"),
    )
    assert code == 0
    assert "1 of 3 rows skipped" in caplog.text
    results = Results.load(tmp_path / "r.json")
    assert len(results.rows) == 2
    assert any("1 of 3 rows skipped" in note for note in results.notes)


def test_nan_logits_fail_with_exit_code_1_and_leave_no_results(
    call: Callable[..., Any], tiny: Callable[..., Any], tmp_path: Path, prompts: Path, text: Path
) -> None:
    target = tiny("llama", dtype="float32")
    target.model.model.norm.weight.data.fill_(float("nan"))
    target.model.save_pretrained(tmp_path / "broken")
    target.tokenizer.save_pretrained(tmp_path / "broken")
    code, _, err = call(
        "evaluate", tmp_path / "broken", "--prompts", prompts, "--fluency-text", text, "-o", tmp_path / "r.json"
    )
    assert code == 1
    assert "logits are NaN or infinite" in last_line(err)
    assert not (tmp_path / "r.json").exists()


def test_fit_evaluate_generate_and_report_work_together(
    call: Callable[..., Any], tiny_folder: Callable[..., Path], tmp_path: Path, prompts: Path, text: Path
) -> None:
    model, folder = tiny_folder("llama"), tmp_path / "detoxifier"
    code, out, _ = call("fit", "fusion", model, "--prompts", prompts, *FAST, "-o", folder, "--json")
    assert code == 0
    assert json.loads(out)["fitting"]["harvest"]["prompts"] == 12
    assert not (tmp_path / "detoxifier.work").exists()

    common = ["--recipe", "challenge-10", "--prompts", prompts, "--fluency-text", text]
    assert call("evaluate", model, *common, "-o", tmp_path / "base.json")[0] == 0
    more = ["--detoxifier", folder, "--strength", "0.5", "--baseline", tmp_path / "base.json"]
    code, out, _ = call("evaluate", model, *common, *more, "-o", tmp_path / "now.json", "--json")
    assert code == 0
    saved = json.loads((tmp_path / "now.json").read_text())
    assert saved["metrics"] == json.loads(out)["metrics"]
    for name in ("mean_toxicity", "toxic_fraction", "model_perplexity", "continuation_perplexity", "kl_from_base"):
        assert saved["metrics"][name].keys() >= {"value", "low", "high"}
    assert saved["detoxifier"]["strength"] == 0.5
    assert saved["comparison"]["difference"]["model_perplexity"]["value"] != 0
    assert saved["cost"]["tokens_per_second"] > 0
    assert saved["cost"]["peak_memory_mb"] > 0
    assert saved["settings"]["command"].startswith("detoxlm evaluate")
    assert len(saved["rows"]) == 12

    code, out, _ = call("generate", model, "this is", "--detoxifier", folder, "--max-new-tokens", "5", "--json")
    assert code == 0
    assert json.loads(out)[0]["prompt"] == "this is"
    page = tmp_path / "report.html"
    assert call("report", tmp_path / "base.json", tmp_path / "now.json", "-o", page)[0] == 0
    assert "fusion 0.5" in page.read_text()


def test_run_leaves_everything_and_running_it_again_redoes_nothing(
    call: Callable[..., Any],
    tiny_folder: Callable[..., Path],
    tmp_path: Path,
    prompts: Path,
    text: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "out"
    command = ["run", tiny_folder("gpt2"), "--prompts", prompts, "--fluency-text", text, "--strengths", "0.2,0.6"]
    command += [*FAST, "-o", out]
    code, printed, _ = call(*command)
    assert code == 0
    assert "Nothing is recommended" in printed, "noise is not toxic"
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {
        "report.html",
        "results.json",
        "results/untouched.json",
        "results/fusion-0.2.json",
        "results/fusion-0.6.json",
        "detoxifier/detoxifier.json",
        "detoxifier/model.safetensors",
        "detoxifier/README.md",
    }
    card = (out / "detoxifier" / "README.md").read_text()
    assert "model-index" in card
    before = {path: path.read_bytes() for path in (out / "results").iterdir()}
    assert call(*command)[0] == 0
    assert caplog.text.count("read, not repeated") == 3
    assert caplog.text.count("loaded, not repeated") == 1
    assert before == {path: path.read_bytes() for path in (out / "results").iterdir()}


def test_settings_come_from_toml_environment_and_command_line(
    call: Callable[..., Any],
    tiny_folder: Callable[..., Path],
    tmp_path: Path,
    prompts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "detoxlm.toml"
    config.write_text(
        f'prompts = "{prompts}"\nseed = 3\n[fusion]\nvariant = "paper"\nlayers = 1\nsteps = 2\n'
        "train_batch = 4\nsamples = 2\n"
    )
    monkeypatch.setenv("DETOXLM_SEED", "5")
    folder = tmp_path / "d"
    code, _, _ = call("fit", "fusion", tiny_folder("llama"), "--config", config, "--set", "steps=3", "-o", folder)
    assert code == 0
    saved = json.loads((folder / "detoxifier.json").read_text())
    assert (saved["settings"]["layers"], saved["settings"]["steps"]) == (1, 3)
    assert len(saved["fitting"]["loss_curve"]) == 3
    config.write_text("[fusoin]\nlayers = 1\n")
    code, _, err = call("fit", "fusion", tiny_folder("llama"), "--config", config, "-o", tmp_path / "e")
    assert code == 2
    assert "unknown name 'fusoin'. Did you mean 'fusion'?" in last_line(err)
    config.write_text('promts = "x"\n')
    code, _, err = call("fit", "fusion", tiny_folder("llama"), "--config", config, "-o", tmp_path / "e")
    assert code == 2
    assert last_line(err).startswith(f"detoxlm: promts ({config}): no such setting. Did you mean 'prompts'? Known: ")
    config.write_text("[fusion]\nlayer = 1\n")
    code, _, err = call("fit", "fusion", tiny_folder("llama"), "--config", config, "-o", tmp_path / "e")
    assert code == 2
    assert last_line(err).startswith(
        f"detoxlm: layer ([fusion] in {config}): no such setting. Did you mean 'layers'? Known: variant"
    )
    assert not (tmp_path / "e").exists()


def test_score_prints_json_for_machines_and_lines_for_people(call: Callable[..., Any], tmp_path: Path) -> None:
    code, out, _ = call("score", "You are kind.", "You are a stupid piece of shit.", "--json")
    assert code == 0
    kind, unkind = json.loads(out)
    assert kind["text"] == "You are kind."
    assert kind["toxicity"] < 0.3 < 0.8 < unkind["toxicity"]
    (tmp_path / "t.jsonl").write_text('{"text": "You are kind."}\n{"text": "Thank you."}\n')
    code, out, _ = call("score", "--file", tmp_path / "t.jsonl")
    assert code == 0
    assert [line.split(maxsplit=1)[1] for line in out.splitlines()] == ["You are kind.", "Thank you."]


def test_score_shows_every_dimension_when_asked(call: Callable[..., Any]) -> None:
    code, out, _ = call("score", "I will kill you tonight.", "You are kind.", "--dimensions")
    assert code == 0
    titles, threat, kind = out.splitlines()
    names = titles.split()
    assert names == [*DIMENSIONS, "text"]
    column = names.index("threat")
    assert float(threat.split()[column]) > 0.5 > float(kind.split()[column])
    (row,) = json.loads(call("score", "You are kind.", "--dimensions", "--json")[1])
    assert set(row) == {"text", "scorer", "version", *DIMENSIONS}


def test_several_scorers_have_a_column_each(call: Callable[..., Any], toy_scorers: None) -> None:
    named = ["--scorer", "letters", "--scorer", "spaces"]
    code, out, _ = call("score", "e e", "xx", *named)
    assert code == 0
    assert out.splitlines() == ["letters  spaces  text", "  0.667   0.200  e e", "  0.000   0.000  xx"]
    assert [(row["text"], row["scorer"]) for row in json.loads(call("score", "e e", "xx", *named, "--json")[1])] == [
        (text, scorer) for text in ("e e", "xx") for scorer in ("letters", "spaces")
    ]


def test_second_opinions_go_from_the_option_to_table_report_and_card(
    call: Callable[..., Any],
    tiny_folder: Callable[..., Path],
    tmp_path: Path,
    prompts: Path,
    text: Path,
    toy_scorers: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "out"
    options = ["--prompts", prompts, "--fluency-text", text, "--scorer", "letters", "--scorer", "spaces"]
    code, printed, _ = call("run", tiny_folder("llama"), *options, *FAST, "--strengths", "0.5", "-o", out)
    assert code == 0
    saved = Results.load(out / "results" / "fusion-0.5.json")
    assert saved.scorer.name == "letters" and list(saved.opinions) == ["spaces"]
    assert saved.comparison is not None and "toxic_fraction" in saved.comparison.opinions["spaces"].difference
    (row,) = [line for line in printed.splitlines() if "Toxic fraction by spaces" in line]
    share = saved.opinions["spaces"].metrics["toxic_fraction"]
    assert row.split("│")[-2].strip().startswith(f"{share.value:.1%} [")
    (said,) = [line for line in printed.splitlines() if line.startswith("Second opinions: ")]
    sentence = said.removeprefix("Second opinions: ")
    assert sentence in (out / "report.html").read_text()
    assert sentence in (out / "detoxifier" / "README.md").read_text()

    base = out / "results" / "untouched.json"
    more = ["--detoxifier", out / "detoxifier", "--strength", "0.5", "--baseline", base, "-o", tmp_path / "one.json"]
    code, printed, _ = call("evaluate", tiny_folder("llama"), *options, *more)
    assert code == 0
    (row,) = [line for line in printed.splitlines() if "Toxic fraction by spaces" in line]
    change = saved.comparison.opinions["spaces"].difference["toxic_fraction"]
    assert row.split("│")[-2].strip() == METRICS["toxic_fraction"].show_difference(change)


def test_a_fit_follows_the_first_scorer_alone(
    call: Callable[..., Any],
    tiny_folder: Callable[..., Path],
    tmp_path: Path,
    prompts: Path,
    toy_scorers: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    command = ["fit", "fusion", tiny_folder("llama"), "--prompts", prompts, *FAST, "-o", tmp_path / "d", "--scorer"]
    for scorers, same in (("letters", False), ("letters,spaces", True), ("spaces,letters", False)):
        caplog.clear()
        assert call(*command, scorers)[0] == 0
        assert ("loaded, not repeated" in caplog.text) is same


def test_a_fit_from_a_calibrator_is_repeated_when_that_has_changed(
    call: Callable[..., Any], tiny_folder: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, aligned = tmp_path / "own", tmp_path / "aligned"
    for i, loaded in ((0, False), (0, True), (1, False)):
        corpus = tmp_path / f"corpus-{i}.txt"
        corpus.write_text(
            "".join(
                f"{'one' if i else 'another'} {'damn idiot' if n % 2 else 'calm line'}, no. {n}\n" for n in range(30)
            )
        )
        fast = ["--set", "layers=1", "--set", "batch=16", "--scorer", "ngram"]
        code, _, err = call("fit", "fusion", tiny_folder("llama"), "--corpus", corpus, *fast, "-o", own)
        assert code == 0, last_line(err)
        caplog.clear()
        again = ["fit", "fusion", tiny_folder("llama", 1), "--calibrator", own, "--scorer", "ngram", "-o", aligned]
        assert call(*again)[0] == 0
        assert ("loaded, not repeated" in caplog.text) is loaded
    made = [load_file(folder / "model.safetensors") for folder in (own, aligned)]
    assert all(torch.equal(made[1][name], tensor) for name, tensor in made[0].items())


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (["fit", "subspace"], "corpus"),
        (["fit", "surgery"], "harmful"),
        (["fit", "nado"], "pairs"),
        (["fit", "sft"], "harmful"),
        (["run", "--method", "probe"], "corpus"),
    ],
)
def test_a_file_that_the_method_would_not_read_is_refused(
    command: list[str], file: str, call: Callable[..., Any], tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    model = tiny_folder("llama")
    given = [*command, model] if command[0] == "fit" else ["run", model, *command[1:]]
    code, _, err = call(*given, f"--{file}", tmp_path / "any.jsonl", "-o", tmp_path / "out")
    assert code == 2
    known = {
        "subspace": "--pairs, --prompts or from ",
        "surgery": "--pairs, --prompts or from ",
        "nado": "--prompts or from ",
    }
    known |= {"sft": "--corpus, --pairs, --prompts or from ", "probe": "--pairs or from "}  # `run` fits on no --prompts
    learns = f"it learns from {known[command[-1]]}text of the model's own."
    assert last_line(err) == f"detoxlm: {file}: {command[-1]} does not read it; {learns}"
    assert not (tmp_path / "out").exists()


def test_what_is_said_of_the_model_is_not_said_of_its_judge(
    call: Callable[..., Any],
    tiny_folder: Callable[..., Path],
    tmp_path: Path,
    prompts: Path,
    text: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: dict[str, dict[str, Any]] = {}

    def watched(name: str, **options: Any) -> Any:
        loaded[Path(name).name] = options
        return load_target(name, **options)

    monkeypatch.setattr("detoxlm.workflows.load_target", watched)
    model, judge = tiny_folder("llama"), tiny_folder("gpt2")
    command = ["evaluate", model, "--trust-remote-code", "--fluency-judge", judge, "--scorer", "ngram", "--limit", 2]
    assert call(*command, "--prompts", prompts, "--fluency-text", text, "-o", tmp_path / "r.json")[0] == 0
    assert loaded[model.name]["trust_remote_code"] is True
    assert not loaded[judge.name].get("trust_remote_code")
    assert "revision" not in loaded[judge.name]


def test_the_same_scorer_twice_is_refused_before_anything_is_written(
    call: Callable[..., Any], tiny_folder: Callable[..., Path], tmp_path: Path, prompts: Path, toy_scorers: None
) -> None:
    for command in (["evaluate", tiny_folder("llama")], ["run", tiny_folder("llama")]):
        options = ["--prompts", prompts, "--scorer", "letters,spaces,letters", "-o", tmp_path / "out"]
        code, _, err = call(*command, *options)
        assert code == 2
        assert last_line(err) == "detoxlm: scorer: letters is named twice; name each scorer once, the main one first."
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["methods", "scorers", "recipes"])
def test_listings_are_tables_and_json(command: str, call: Callable[..., Any]) -> None:
    code, out, _ = call(command, "--json")
    assert code == 0
    names = {next(iter(row.values())) for row in json.loads(out)}
    expected = {"methods": "fusion", "scorers": "embedded", "recipes": "challenge-10"}[command]
    assert expected in names
    assert expected in call(command)[1]


@pytest.fixture
def comments(tmp_path: Path) -> Path:
    file = tmp_path / "comments.csv"
    rows = [f"you are a {'stupid idiot' if i % 2 else 'kind friend'} number {i},{i % 2}" for i in range(30)]
    file.write_text("\n".join(["body,grade", *rows]) + "\n")
    return file


def test_validate_prints_compares_and_writes(
    call: Callable[..., Any], toy_scorers: None, comments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    columns = ["--data", comments, "--text", "body", "--label", "grade"]
    code, out, _ = call("scorers", "validate", "ngram", "letters", *columns, "-o", tmp_path / "v", "--failures", "2")
    assert code == 0
    data = json.loads((tmp_path / "v" / "validity.json").read_text())
    assert data["scorers"]["ngram"]["validity"]["comments"]["auc"]["value"] == 1
    assert "ngram" in (tmp_path / "v" / "validity.html").read_text()
    lines = [line for line in out.splitlines() if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in lines[:3]] == ["ngram", "letters", "letters − ngram"]
    assert "30 texts, 50.0% toxic, targets are labels" in out
    assert "letters, most confident false negatives" in out
    code, out, _ = call("scorers", "validate", "ngram", "letters", *columns, "--json", "--failures", "2")
    assert code == 0
    assert json.loads(out)["scorers"] == data["scorers"]


def test_settings_of_validate_come_from_everywhere(
    call: Callable[..., Any], comments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detoxlm.settings import ValidateSettings

    (tmp_path / "v.toml").write_text(f'data = ["{comments}"]\ntext = "body"\nlabel = "nope"\nseed = 3\n')
    monkeypatch.setenv("DETOXLM_LIMIT", "20")
    arguments = ["scorers", "validate", "ngram", "--config", tmp_path / "v.toml", "--label", "grade", "--json"]
    code, out, _ = call(*arguments)
    assert code == 0
    used = json.loads(out)["settings"]
    assert (used["data"], used["label"], used["seed"], used["limit"]) == ([str(comments)], "grade", 3, 20)
    monkeypatch.setenv("COLUMNS", "240")
    shown = " ".join(call("scorers", "validate", "--help")[1].replace("│", " ").split())
    for name, field in ValidateSettings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert " ".join(field.description.split())[:30] in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ngram"], "data: no files; name at least one with --data FILE"),
        (["ngram", "--data", "FILE"], "no column `text` or `comment_text` or `comment`; found: `body`, `grade`"),
        (["ngarm", "--data", "FILE", "--text", "body", "--label", "grade"], "Did you mean 'ngram'?"),
        (["ngram", "--data", "nope.csv"], "data: nope.csv does not exist"),
        (["ngram", "--data", "FILE", "--limit", "0"], "limit (--limit): Input should be greater than or equal to 1"),
    ],
)
def test_bad_usage_of_validate_is_one_line(
    arguments: list[str], message: str, call: Callable[..., Any], comments: Path
) -> None:
    code, out, err = call("scorers", "validate", *(comments if a == "FILE" else a for a in arguments))
    assert (code, out) == (2, "")
    assert message in last_line(err)


def test_json_before_the_subcommand_is_refused_and_not_ignored(call: Callable[..., Any], comments: Path) -> None:
    code, _, err = call("scorers", "--json", "validate", "ngram", "--data", comments)
    assert code == 2
    assert "write it at the end" in last_line(err)


@pytest.mark.more
def test_a_killed_command_continues_to_the_same_rows(
    tiny_folder: Callable[..., Path], tmp_path: Path, text: Path
) -> None:
    """kill -9 in the middle, twice; then the same command to the end."""
    many = tmp_path / "many.txt"
    many.write_text("".join(f"this is prompt number {i} of very many\n" for i in range(60)))
    command = [sys.executable, "-m", "detoxlm.cli", "evaluate", str(tiny_folder("llama")), "--prompts", str(many)]
    command += ["--recipe", "quick", "--batch-size", "4", "--scorer", "ngram", "--fluency-text", str(text), "-o"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole.json")], check=True, env=environment, capture_output=True)
    journal = tmp_path / "killed.json.partial"
    seen = 0
    for _ in range(2):
        process = subprocess.Popen(
            [*command, str(tmp_path / "killed.json")], env=environment, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > seen + 4000):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert journal.exists(), "the run ended before it could be killed: give it more prompts"
        assert journal.stat().st_size > seen
        seen = journal.stat().st_size
    subprocess.run([*command, str(tmp_path / "killed.json")], check=True, env=environment, capture_output=True)
    whole, killed = (Results.load(tmp_path / f"{name}.json") for name in ("whole", "killed"))
    assert killed.model_dump_json(include={"rows"}) == whole.model_dump_json(include={"rows"})
    assert killed.metrics == whole.metrics


def test_integrations_are_listed_and_the_folder_of_one_is_printed_alone(call: Callable[..., Any]) -> None:
    code, listed, _ = call("integrations", "--json")
    assert code == 0 and [row["tool"] for row in json.loads(listed)] == ["lm-eval", "garak", "inspect-ai"]
    code, folder, errors = call("integrations", "lm-eval")
    assert (code, errors) == (0, "") and folder.count("\n") == 1
    assert {path.name for path in Path(folder.strip()).glob("*.yaml")} == {
        "detoxlm_realtoxicityprompts.yaml",
        "detoxlm_toxigen.yaml",
    }
    code, _, errors = call("integrations", "lmeval")
    assert code == 2 and "tool: unknown name 'lmeval'. Did you mean 'lm-eval'" in errors
