"""Plain text and chat: which forms `run` measures and recommends on, and in which a fit's own data are written."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fits import Forgetful
from tokenizing import byte_tokenizer

from detoxlm.conversations import Conversation, Form
from detoxlm.data import builtin_conversations, builtin_prompts, fit_prompts
from detoxlm.errors import UsageError
from detoxlm.fitting import fit_data, form_of_fit
from detoxlm.forms import ANSWER, CONVERSATIONS, first_task, second_task, settled
from detoxlm.harvest import HELD_OUT, counts, harvest, own_sampling
from detoxlm.models import Target, load_target
from detoxlm.results import Results
from detoxlm.scorers.base import Scorer
from detoxlm.settings import FitSettings, RunSettings

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
FEW = [
    part for one in ("variant=paper", "layers=2", "steps=3", "train_batch=4", "samples=2") for part in ("--set", one)
]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def chatty_folder(tiny_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(tiny_folder("llama"), tmp_path_factory.mktemp("chatty") / "model")
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chatty(chatty_folder: Path) -> Target:
    return load_target(str(chatty_folder))


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.txt"
    file.write_text("".join(f"this is prompt {i} of\n" for i in range(12)))
    return file


def second(target: Target, judge: Target | None = None, **settings: Any) -> Any:
    chosen = settled(RunSettings(**settings))
    return second_task(target, judge, first_task(chosen, None), chosen, None)


def test_quick_is_measured_beside_answers_to_provocations_and_harmless_requests(chatty: Target) -> None:
    task = second(chatty)
    assert Counter(prompt.kind for prompt in task.prompts) == {
        "provocation": CONVERSATIONS * 2 // 3,
        "harmless": CONVERSATIONS // 3,
    }
    assert task.recipe.chat and task.recipe.name == f"chat (max_new_tokens={ANSWER})"
    assert task.fluency_text is None and not task.mentions
    few = second(chatty, limit=24)
    assert Counter(prompt.kind for prompt in few.prompts) == {"provocation": 16, "harmless": 8}
    assert set(few.prompts) <= set(task.prompts)


def test_other_prompts_are_asked_as_turns_by_the_same_recipe(chatty: Target, prompts: Path) -> None:
    task = second(chatty, recipe="challenge-10", prompts=str(prompts), system="Be kind.", forms="both")
    assert task.recipe.name == "challenge-10" and len(task.prompts) == 12
    assert [turn["content"] for turn in task.prompts[0].messages] == ["Be kind.", "this is prompt 0 of"]
    plain = first_task(RunSettings(prompts=str(prompts), system="Be kind.", forms="both"), None)
    assert plain.prompts[0] == "this is prompt 0 of" and not hasattr(plain.prompts[0], "messages")


def test_one_form_is_measured_where_there_is_but_one(
    chatty: Target, tiny: Callable[..., Target], prompts: Path, tmp_path: Path
) -> None:
    assert second(chatty, forms="plain") is None
    assert second(chatty, chat=True) is None and second(chatty, forms="chat") is None
    assert second(chatty, recipe="chat") is None
    assert second(tiny("llama")) is None
    assert second(chatty, tiny("llama")) is None, "a judge without a template cannot read answers"
    assert second(chatty, chatty) is not None
    asked = settled(RunSettings(forms="chat", prompts=str(prompts)))
    assert all(hasattr(prompt, "messages") for prompt in first_task(asked, None).prompts)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"messages": [{"role": "user", "content": "Hello"}]}) + "\n")
    assert second(chatty, prompts=str(rows)) is None
    with pytest.raises(UsageError, match="forms: these prompts are conversations"):
        second(chatty, prompts=str(rows), forms="both")
    with pytest.raises(UsageError, match=r"forms: .* has no chat template"):
        second(tiny("llama"), forms="both")
    with pytest.raises(UsageError, match="forms: plain contradicts --chat"):
        settled(RunSettings(chat=True, forms="plain"))


def test_a_run_measures_both_forms_and_recommends_on_both(
    call: Call, chatty_folder: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Forgetful(24)  # all that the untouched model says is toxic in both forms, and nothing after that
    monkeypatch.setattr("detoxlm.workflows.load_scorers", lambda *_, **__: {scorer.name: scorer})
    measured = ("--recipe", "challenge-10", "--prompts", prompts, "--fluency-text", "none")
    out = tmp_path / "out"
    code, printed, errors = call("run", chatty_folder, *measured, "--strengths", "0.2,0.6", *FEW, "-o", out)
    assert code == 0, errors
    plain, chat = (
        [Results.load(folder / name) for name in ("untouched.json", "fusion-0.2.json", "fusion-0.6.json")]
        for folder in (out / "results", out / "results" / "chat")
    )
    assert {one.settings["form"] for one in plain} == {"plain"} and {one.settings["form"] for one in chat} == {"chat"}
    assert plain[0].settings["fingerprint"] == chat[0].settings["fingerprint"]
    assert all(one.comparison is not None for one in (*plain[1:], *chat[1:]))
    assert Results.load(out / "results.json").settings["form"] == "plain"
    assert "Recommended strength: 0.2 of fusion" in printed and "of plain text and chat together" in printed
    assert "In plain text:" in printed and "In chat:" in printed
    page, card = (out / "report.html").read_text(), (out / "detoxifier" / "README.md").read_text()
    assert '<section id="chat">' in page and "## In chat" in card
    again, _, told = call("run", chatty_folder, *measured, "--strengths", "0.2,0.6", *FEW, "-o", out, "--json")
    assert again == 0, told
    assert Results.load(out / "results" / "chat" / "fusion-0.2.json") == chat[1], "nothing was measured again"


def in_chat(prompts: list[str]) -> list[str]:
    return [prompt for prompt in prompts if isinstance(prompt, Conversation)]


def test_of_a_fit_for_both_forms_half_the_prompts_are_provocations_and_half_beginnings_of_text() -> None:
    mixed = fit_prompts(Form(chat=True, half=True))
    turns = in_chat(mixed)
    plain = [prompt for prompt in mixed if prompt not in set(turns)]
    assert turns == builtin_conversations("fit", "provocation")
    assert plain == builtin_prompts("fit")[: len(turns)] and len(mixed) == 2 * len(turns) == 164
    kind = fit_prompts(Form(chat=True, half=True, system="Be kind."))
    assert [getattr(one, "system", "") for one in kind[:4]] == ["", "Be kind.", "Be kind.", ""]
    assert not set(mixed) & {*builtin_prompts("measure"), *builtin_conversations("measure")}
    for held_out in (mixed[::HELD_OUT], mixed[9::10]):  # what fits look at has both forms, about as often
        assert 0.4 < len(in_chat(held_out)) / len(held_out) < 0.6


def test_an_instruction_goes_before_beginnings_alone_and_is_refused_where_there_are_none(
    chatty: Target, prompts: Path
) -> None:
    own = fit_prompts(Form(chat=True, instruction="Go on: "))
    provocations = builtin_conversations("fit", "provocation")
    assert own[: 2 * len(provocations) : 2] == provocations
    assert {f"Go on: {one}" for one in builtin_prompts("fit")} <= set(own)
    asked = second(chatty, forms="both", instruction="Go on: ", prompts=str(prompts))
    assert asked.prompts[0] == "Go on: this is prompt 0 of"
    with pytest.raises(UsageError, match=r"instruction: .* conversations already; leave it out"):
        second(chatty, forms="both", instruction="Go on: ")  # the built-in prompts of chat are conversations


def test_of_a_users_prompts_every_text_keeps_one_form_and_half_of_them_are_turns(prompts: Path) -> None:
    texts = [line.strip() for line in prompts.read_text().splitlines()]
    asked = Form(chat=True, half=True).asked([*texts, *texts])
    assert [isinstance(prompt, Conversation) for prompt in asked] == 6 * [False, True, True, False]
    assert asked == [*texts, *texts], "as texts they read as they did"
    row = Conversation([{"role": "user", "content": "Hello"}])
    assert in_chat(Form(chat=True, half=True).asked([row, *texts[:4]])) == [row, *texts[1:3]]


def test_the_plain_half_of_a_harvest_is_what_a_plain_fit_lets_the_model_write(
    chatty: Target, letter_scorer: Scorer
) -> None:
    def made(prompts: list[str]) -> list[tuple[str, str, float]]:
        found = harvest(chatty, prompts, letter_scorer, own_sampling(2, seed=3), batch_size=8)
        assert counts(prompts, found).get("in_chat", {}).get("prompts") == (len(in_chat(prompts)) or None)
        return sorted((one.prompt, one.continuation, one.toxicity) for one in found if one.prompt in set(plain))

    mixed = fit_prompts(Form(chat=True, half=True))[:12]
    plain = builtin_prompts("fit")[:6]
    assert len(in_chat(mixed)) == 6
    assert made(mixed) == made(plain) and len(made(plain)) > 6


def test_a_fit_records_that_it_learned_from_both_forms(call: Call, chatty_folder: Path, tmp_path: Path) -> None:
    code, _, errors = call(
        "fit", "fusion", chatty_folder, "--forms", "both", "--scorer", "ngram", *FEW, "-o", tmp_path / "d"
    )
    assert code == 0, errors
    fitting = json.loads((tmp_path / "d" / "detoxifier.json").read_text())["fitting"]
    assert fitting["form"] == "both"
    assert fitting["harvest"]["prompts"] == 164 and fitting["harvest"]["in_chat"]["prompts"] == 82
    assert 0 < fitting["harvest"]["in_chat"]["continuations"] <= 164


def test_a_fit_is_of_plain_text_unless_another_form_is_asked_for(
    call: Call, chatty_folder: Path, tiny_folder: Callable[..., Path], prompts: Path, tmp_path: Path
) -> None:
    assert form_of_fit(FitSettings()) == form_of_fit(FitSettings(forms="plain")) == form_of_fit(RunSettings()) == Form()
    for chat in (FitSettings(chat=True), FitSettings(forms="chat"), RunSettings(forms="chat")):
        assert form_of_fit(chat) == Form(chat=True)
    assert form_of_fit(settled(RunSettings(forms="both", chat=True))) == Form(chat=True, half=True)
    assert fit_data(FitSettings(), None, None, tmp_path).to_continue() == builtin_prompts("fit")
    given = ("--prompts", prompts, "--scorer", "ngram", *FEW)
    for model, forms, match in (
        (tiny_folder("llama"), ("--forms", "both"), "has no chat template"),
        (chatty_folder, ("--forms", "plain", "--chat"), "forms: plain contradicts --chat"),
    ):
        code, _, errors = call("fit", "fusion", model, *forms, *given, "-o", tmp_path / "none")
        assert code == 2 and match in errors and not (tmp_path / "none").exists()
