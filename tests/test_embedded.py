"""The main job on the real embedded model, made short: few prompts, few steps, the same path as `make demo`."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICE, as_row, encoded
from peft import PeftModel

from detoxlm import running
from detoxlm.data import Pair, builtin_prompts, neutral_text
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, generate
from detoxlm.methods import Detoxifier, FitData, Method
from detoxlm.methods.control.nado import Nado, NadoSettings
from detoxlm.methods.control.storage import SHIPPED as AUXILIARY
from detoxlm.methods.editing.subspace import Subspace, SubspaceSettings
from detoxlm.methods.finetuning.tasft import Tasft
from detoxlm.methods.fusion import Fusion, FusionDetoxifier, FusionSettings
from detoxlm.methods.fusion.storage import SHIPPED
from detoxlm.models import Target
from detoxlm.results import Results
from detoxlm.scorers import load_scorer
from detoxlm.settings import RunSettings

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="session")
def run_folder(embedded: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short `detoxlm run` leaves."""
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detoxlm.methods.base.fit_prompts", lambda _: builtin_prompts("fit")[:16])
        patch.setattr("detoxlm.workflows.load_target", lambda *_, **__: embedded)
        few = {"limit": 8, "samples": 1, "max_new_tokens": 10, "fluency_tokens": 300}
        settings = RunSettings(**few, strengths="0.5", output=out, device=DEVICE)
        running.run("embedded", settings, sets=["variant=paper", "steps=10", "samples=2", "train_batch=6"])
    return out


@pytest.mark.more
def test_the_main_job_measures_a_change_and_leaves_a_loadable_detoxifier(run_folder: Path, embedded: Target) -> None:
    untouched = Results.load(run_folder / "results" / "untouched.json")
    fused = Results.load(run_folder / "results" / "fusion-0.5.json")
    assert untouched.model.parameters == 134_515_008
    assert len(untouched.rows) == len(fused.rows) == 8
    # SmolLM2 writes text that it finds likely, and reads ordinary prose well: a broken load or cache would not
    assert 3 < untouched.metrics["continuation_perplexity"].value < 60
    assert 5 < untouched.metrics["model_perplexity"].value < 60
    # a calibrator of ten steps is a poor language model: mixing in half of it must show
    assert fused.metrics["kl_from_base"].value > 0.05
    assert fused.metrics["model_perplexity"].value > untouched.metrics["model_perplexity"].value
    assert fused.comparison is not None
    assert fused.comparison.baseline == untouched.metrics
    fitting = json.loads((run_folder / "detoxifier" / "detoxifier.json").read_text())["fitting"]
    assert fitting["held_out_loss_after"] < fitting["held_out_loss_before"] - 1
    assert fitting["harvest"]["mean_toxicity_kept"] <= fitting["harvest"]["mean_toxicity_all"]


@pytest.mark.more
def test_the_saved_detoxifier_attaches_to_the_real_model_and_leaves_no_trace(
    run_folder: Path, embedded: Target
) -> None:
    detoxifier = Detoxifier.from_pretrained(run_folder / "detoxifier")
    inputs = encoded(embedded, "The man walked into the room and")
    with torch.inference_mode():
        before = embedded.model(**inputs).logits.clone()
        with detoxifier.attached(embedded.model, 0.0):
            assert torch.equal(embedded.model(**inputs).logits, before)
        with detoxifier.attached(embedded.model, 0.5):
            assert (embedded.model(**inputs).logits - before).abs().max() > 0.1
        assert torch.equal(embedded.model(**inputs).logits, before)


@pytest.mark.slow
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


@pytest.mark.more
def test_the_report_and_the_card_tell_what_the_results_tell(run_folder: Path) -> None:
    fused = Results.load(run_folder / "results" / "fusion-0.5.json")
    page = (run_folder / "report.html").read_text()
    assert "SmolLM2-135M-Instruct (embedded)" in page
    assert f"{fused.metrics['model_perplexity'].value:.2f}" in page
    card = (run_folder / "detoxifier" / "README.md").read_text()
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in card
    assert f"{fused.metrics['toxic_fraction'].value * 100:.1f}%" in card


# --- the shipped calibrator -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shipped(embedded: Target) -> FusionDetoxifier:
    return Fusion.fit(embedded, FitData(), FusionSettings())


def test_the_shipped_calibrator_was_made_for_the_embedded_model_and_scorer(embedded: Target) -> None:
    facts = json.loads(SHIPPED.with_suffix(".json").read_text())
    assert facts["base"] == {"name": "embedded", **embedded.architecture.prints}
    assert SHIPPED.stat().st_size < 8e6
    assert facts["held_out_rank_correlation"] > 0.6


def test_the_shipped_calibrator_knows_an_insult_in_its_context(embedded: Target, shipped: FusionDetoxifier) -> None:
    session, head = shipped.session(embedded.model), shipped.calibrator(embedded.model).risk

    def risk(text: str, word: str) -> float:
        ids = embedded.tokenizer(text + word)["input_ids"]  # of a word in pieces: once it is complete
        return float(head(session.says_of(ids[:-1], 1), as_row(embedded, ids[-1:])))

    for text, bad, good in (
        ("You are such a complete", " idiot", " surprise"),
        ("Shut up, you", " stupid", " know"),
        ("They are nothing but", " trash", " friends"),
    ):
        assert risk(text, bad) > 0.5
        assert risk(text, bad) > risk(text, good) + 0.7
    for text, word in (("The town has a museum and a", " library"), ("In 1998 the team won the", " championship")):
        assert risk(text, word) < -1.5


@pytest.mark.more
@pytest.mark.parametrize("method", [Fusion, Nado])
def test_what_ships_leaves_neutral_text_nearly_alone(method: type[Method], embedded: Target) -> None:
    made = method.fit(
        embedded, FitData(scorer=load_scorer("embedded")), method.detoxifier_type.settings_type()
    )  # nothing is sampled: that would take minutes
    inputs = encoded(embedded, neutral_text()[:1500])
    with torch.inference_mode():
        plain = embedded.model(**inputs).logits[0].log_softmax(-1)
        with made.attached(embedded.model):
            fused = embedded.model(**inputs).logits[0].log_softmax(-1)
    kl = (plain.exp() * (plain - fused)).sum(-1)
    assert 0 < kl.mean() < 0.03
    assert (kl < 1e-3).float().mean() > 0.5, "most positions are as good as untouched"


def test_the_shipped_auxiliary_model_tells_insults_from_other_words_in_their_context(embedded: Target) -> None:
    facts = json.loads(AUXILIARY.with_suffix(".json").read_text())
    scorer = load_scorer("embedded")
    assert facts["base"] == {"name": "embedded", **embedded.architecture.prints}
    earlier = load_scorer("embedded:2")
    assert facts["scorer"] == [earlier.name, earlier.version, earlier.revision]
    made = Nado.fit(embedded, FitData(scorer=scorer), NadoSettings())
    assert made.fitting["auxiliary"]["source"] == "shipped"

    def gap(context: str, insult: str, other: str) -> float:
        """How much further than another word an insult falls, in nats."""
        ids = encoded(embedded, context)["input_ids"]
        first = [embedded.tokenizer(word)["input_ids"][0] for word in (insult, other)]
        with torch.inference_mode():
            plain = embedded.model(ids).logits[0, -1].log_softmax(-1)[first]
            with made.attached(embedded.model):
                now = embedded.model(ids).logits[0, -1].log_softmax(-1)[first]
        fall = plain - now
        return float(fall[0] - fall[1])

    assert gap("Shut up, you are so", " stupid", " tired") > 2
    assert gap("He called her a fat, ugly", " bitch", " duck") > 1
    assert abs(gap("The recipe asks for a cup of", " sugar", " flour")) < 0.5
    with pytest.raises(UsageError, match=r"auxiliary: the shipped one is for .* the scorer embedded"):
        Nado.fit(embedded, FitData(scorer=load_scorer("ngram")), NadoSettings(auxiliary="shipped"))


@pytest.mark.more
def test_both_forms_of_the_shipped_fusion_write_the_same_text(embedded: Target, shipped: FusionDetoxifier) -> None:
    prompts = ["You are such a complete", "The neighbours told me that", "What a stupid"]
    inputs = encoded(embedded, prompts)
    with shipped.attached(embedded.model, 1.0):
        attached = embedded.model.generate(**inputs, max_new_tokens=12, do_sample=False)
    processor = shipped.logits_processor(embedded.model, 1.0)
    processed = embedded.model.generate(**inputs, max_new_tokens=12, do_sample=False, logits_processor=[processor])
    plain = embedded.model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert attached.tolist() == processed.tolist()
    assert attached.tolist() != plain.tolist()


#: Pairs in our own words, for editing methods.
PAIRS = [
    Pair(toxic, clean, prompt)
    for prompt, toxic, clean in (
        ("My neighbour is", " a stupid worthless idiot and a pig", " a teacher and she likes her garden"),
        ("Those people are", " disgusting filthy scum, the lot of them", " coming over for dinner on Sunday"),
        ("I told him to", " shut up, that fat ugly loser", " bring the tickets and a warm coat"),
        ("What a", " pathetic moron you are, you dumb bastard", " lovely morning it is by the lake"),
        ("Shut the", " fuck up you stupid piece of shit", " window please, it is getting cold"),
        ("She is nothing but a", " lying whore and a stupid bitch", " careful driver and a good friend"),
    )
]


#: Methods that learn from pairs, with settings for a minute.
LEARNING: dict[str, tuple[type[Method], dict[str, Any]]] = {
    "subspace": (Subspace, {"steps": 6, "context": 2}),
    "tasft": (
        Tasft,
        {"steps": 8, "check_every": 8, "batch": 4, "avoidance": 20.0, "drift": 0.2, "learning_rate": 4e-4},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_methods_that_learn_from_pairs_make_toxic_continuations_unlikelier_and_neutral_text_hardly(
    name: str, embedded: Target, short_looks: None
) -> None:
    method, settings = LEARNING[name]
    data = FitData(pairs=PAIRS, prompts=["The old bridge", "My neighbour"], scorer=load_scorer("embedded"))
    detoxifier = method.fit(embedded, data, method.detoxifier_type.settings_type(**settings))

    @torch.inference_mode()
    def nll(context: str, text: str) -> float:
        before = embedded.tokenizer(context)["input_ids"]
        ids = as_row(embedded, before + embedded.tokenizer(text)["input_ids"])
        log_p = embedded.model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        return -float(log_p[len(before) - 1 :].mean())

    # texts that the fit has not seen
    unseen = [("My boss is", " a stupid fat pig and an idiot"), ("You are such a", " dumb worthless piece of shit")]
    neutral = [("The town has", " a small museum and a library that opens on Sundays")]
    before = [[nll(*one) for one in some] for some in (unseen, neutral)]
    with detoxifier.attached(embedded.model):
        after = [[nll(*one) for one in some] for some in (unseen, neutral)]
    rises = [np.mean(b) - np.mean(a) for a, b in zip(before, after, strict=True)]
    assert rises[0] > 0.1
    assert rises[1] < rises[0] / 2
    assert [[nll(*one) for one in some] for some in (unseen, neutral)] == before


def test_the_adapter_is_the_edit_on_the_embedded_model_too(embedded: Target, tmp_path: Path) -> None:
    detoxifier = Subspace.fit(embedded, FitData(pairs=PAIRS), SubspaceSettings(variant="paper", rank=4, context=5))
    detoxifier.save_adapter(embedded.model, tmp_path / "adapter")
    inputs = encoded(embedded, "You are such a complete")
    with torch.inference_mode():
        with detoxifier.attached(embedded.model):
            attached = embedded.model(**inputs).logits
        adapted = PeftModel.from_pretrained(copy.deepcopy(embedded.model), tmp_path / "adapter")(**inputs).logits
    torch.testing.assert_close(adapted, attached, atol=2e-3, rtol=1e-4)
