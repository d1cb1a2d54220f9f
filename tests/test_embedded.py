"""The main job on the real embedded model, made short: few prompts, few steps, the same path as `make demo`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from detoxlm import workflows
from detoxlm.data import builtin_prompts
from detoxlm.generation import Sampling, generate
from detoxlm.methods import Detoxifier
from detoxlm.models import Target
from detoxlm.results import Results
from detoxlm.settings import RunSettings

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def run_folder(embedded: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short `detoxlm run` leaves."""
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detoxlm.methods.fusion.builtin_prompts", lambda split: builtin_prompts(split)[:32])
        patch.setattr("detoxlm.workflows.load_target", lambda *_, **__: embedded)
        settings = RunSettings(limit=8, fluency_tokens=600, strengths="0.5", output=out, device="cpu")
        workflows.run("embedded", settings, sets=["variant=paper", "steps=12", "samples=3"])
    return out


def test_the_main_job_measures_a_change_and_leaves_a_loadable_detoxifier(run_folder: Path, embedded: Target) -> None:
    untouched = Results.load(run_folder / "results" / "untouched.json")
    fused = Results.load(run_folder / "results.json")
    assert untouched.model.parameters == 134_515_008
    assert len(untouched.rows) == len(fused.rows) == 8
    # SmolLM2 writes text that it finds likely, and reads ordinary prose well: a broken load or cache would not
    assert 3 < untouched.metrics["continuation_perplexity"].value < 60
    assert 5 < untouched.metrics["model_perplexity"].value < 60
    # a calibrator of twelve steps is a poor language model: mixing in half of it must show
    assert fused.metrics["kl_from_base"].value > 0.05
    assert fused.metrics["model_perplexity"].value > untouched.metrics["model_perplexity"].value
    assert fused.comparison is not None
    assert fused.comparison.baseline == untouched.metrics
    fitting = json.loads((run_folder / "detoxifier" / "detoxifier.json").read_text())["fitting"]
    assert fitting["held_out_loss_after"] < fitting["held_out_loss_before"] - 1
    assert fitting["harvest"]["mean_toxicity_kept"] <= fitting["harvest"]["mean_toxicity_all"]


def test_the_saved_detoxifier_attaches_to_the_real_model_and_leaves_no_trace(
    run_folder: Path, embedded: Target
) -> None:
    detoxifier = Detoxifier.from_pretrained(run_folder / "detoxifier")
    inputs = embedded.tokenizer("The man walked into the room and", return_tensors="pt")
    with torch.inference_mode():
        before = embedded.model(**inputs).logits.clone()
        with detoxifier.attached(embedded.model, 0.0):
            assert torch.equal(embedded.model(**inputs).logits, before)
        with detoxifier.attached(embedded.model, 0.5):
            assert (embedded.model(**inputs).logits - before).abs().max() > 0.1
        assert torch.equal(embedded.model(**inputs).logits, before)


def test_a_fused_batch_of_32_gives_what_single_prompts_give(run_folder: Path, embedded: Target) -> None:
    detoxifier = Detoxifier.from_pretrained(run_folder / "detoxifier")
    prompts = builtin_prompts("measure")[:32]
    made = {}
    with detoxifier.attached(embedded.model, 0.3):
        for size in (32, 1):
            chosen = prompts if size == 32 else prompts[:6]
            batches = generate(embedded, chosen, Sampling(max_new_tokens=6), batch_size=size)
            made[size] = {g.prompt: g.texts[0] for batch in batches for g in batch.generations}
    assert {prompt: made[32][prompt] for prompt in prompts[:6]} == made[1]


def test_the_report_and_the_card_tell_what_the_results_tell(run_folder: Path) -> None:
    fused = Results.load(run_folder / "results.json")
    page = (run_folder / "report.html").read_text()
    assert "SmolLM2-135M-Instruct (embedded)" in page
    assert f"{fused.metrics['model_perplexity'].value:.2f}" in page
    card = (run_folder / "detoxifier" / "README.md").read_text()
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in card
    assert f"{fused.metrics['toxic_fraction'].value * 100:.1f}%" in card
