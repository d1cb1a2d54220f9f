"""Prompts that papers measure on: their files as published, which prompts are taken, and how they are asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from detoxlm.comparing import compare
from detoxlm.conversations import Conversation
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, decode, encode, generate
from detoxlm.models import Target
from detoxlm.protocols import RECIPES
from detoxlm.published import PUBLISHED, read_published
from detoxlm.recipes import Task, measure
from detoxlm.repetition import penalised
from detoxlm.results import Results
from detoxlm.scorers.base import Scorer
from detoxlm.settings import EvaluateSettings
from detoxlm.workflows import task_of

Write = Callable[[str, Any], Path]


@pytest.fixture
def toxigen(tmp_path: Path) -> Path:
    """A folder as on GitHub: the ends of lines within a prompt are written as backslash and n."""
    folder = tmp_path / "toxigen" / "prompts"
    folder.mkdir(parents=True)
    for stance, group, count in (
        ("hate", "native_american", 7),
        ("neutral", "native_american", 5),
        ("hate", "trans", 3),
    ):
        lines = [rf"- {stance} of {group} {i}\n- an \\aunt of mine\n-" for i in range(count)]
        (folder / f"{stance}_{group}_1k.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_toxigen_files_give_prompts_of_several_lines_by_group_and_stance(toxigen: Path) -> None:
    for source in (toxigen, toxigen.parent):
        taken = read_published("toxigen", source)
        assert len(taken.prompts) == taken.known == taken.had == 15
        by_cell = Counter(one.groups["group and stance"] for one in taken.prompts)
        assert by_cell == {"native_american, hate": 7, "native_american, neutral": 5, "trans, hate": 3}
        texts = {one.text: one.groups for one in taken.prompts}
        said = "- hate of trans 2\n- an \\aunt of mine\n-"
        assert texts[said] == {"stance": "hate", "group": "trans", "group and stance": "trans, hate"}
    assert len(read_published("toxigen", toxigen / "hate_trans_1k.txt").prompts) == 3


def test_a_limit_takes_as_many_of_each_group_and_always_the_same(toxigen: Path) -> None:
    first = read_published("toxigen", toxigen, limit=6)
    assert set(Counter(one.groups["group and stance"] for one in first.prompts).values()) == {2}
    assert first.prompts == read_published("toxigen", toxigen, limit=6).prompts
    assert first.prompts == read_published("toxigen", toxigen).prompts[:6], "a larger limit adds, and takes none away"
    assert (first.known, first.had) == (15, 15)


def test_of_realtoxicityprompts_a_thousand_are_drawn_of_the_whole_file(write: Write) -> None:
    rows = [{"prompt": {"text": f"It was {i}", "toxicity": 0.1}, "challenging": False} for i in range(3000)]
    taken = read_published("rtp-32", write("prompts.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    places = sorted(int(one.text.split()[-1]) for one in taken.prompts)
    assert len(set(places)) == 1000 and (taken.known, taken.had) == (1000, 3000)
    assert 1350 < sum(places) / 1000 < 1650 and places[-1] > 2900, "from everywhere in the file"


def test_bold_is_read_as_published_and_as_a_table(tmp_path: Path, write: Write) -> None:
    file = {
        "American_actors": {"A_B": ["A B is an actor who ", "A B has "]},
        "American_actresses": {"C_D": ["C D was "]},
    }
    (tmp_path / "gender_prompt.json").write_text(json.dumps(file, indent=1))
    (tmp_path / "religious_ideology_prompt.json").write_text(json.dumps({"judaism": {"judaism": ["Judaism is "]}}))
    (tmp_path / "gender_wiki.json").write_text(json.dumps(file))
    found = {(one.groups["domain"], one.groups["group"], one.text) for one in read_published("bold", tmp_path).prompts}
    assert found == {
        ("gender", "American_actors", "A B is an actor who "),
        ("gender", "American_actors", "A B has "),
        ("gender", "American_actresses", "C D was "),
        ("religious_ideology", "judaism", "Judaism is "),
    }
    rows = [
        {
            "domain": "gender",
            "category": "American_actors",
            "name": "A_B",
            "prompts": ["A B is an actor who ", "A B has "],
        },
        {"domain": "gender", "category": "American_actresses", "name": "C_D", "prompts": ["C D was "]},
    ]
    table = read_published("bold", write("bold.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert {(one.groups["domain"], one.groups["group"], one.text) for one in table.prompts} == {
        one for one in found if one[0] == "gender"
    }
    with pytest.raises(UsageError, match=r"gender_wiki.json holds the sentences of Wikipedia; .* gender_prompt.json"):
        read_published("bold", tmp_path / "gender_wiki.json")


def test_attaq_is_questions_by_category(write: Write) -> None:
    text = 'label,input,additional_info\nviolence,"How do I win, by force?",x\npii,Where does he live?,x\n'
    found = read_published("attaq", write("AttaQ-v1.csv", text)).prompts
    assert {(one.text, one.groups["category"]) for one in found} == {
        ("How do I win, by force?", "violence"),
        ("Where does he live?", "pii"),
    }


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_what_is_missing_is_said_with_what_to_download(name: str, tmp_path: Path) -> None:
    assert RECIPES[name].published == name
    with pytest.raises(UsageError, match=rf"prompts: the recipe {name} has no built-in prompts. Download .*--prompts"):
        task_of(EvaluateSettings(recipe=name), None)
    with pytest.raises(UsageError, match=r"prompts: .* has no file .*Download"):
        read_published(name, tmp_path)
    with pytest.raises(UsageError, match=r"prompts: .*missing.csv does not exist. Download"):
        read_published(name, tmp_path / "missing.csv")
    (tmp_path / "other.jsonl").write_text('{"sentence": "It rains"}\n')
    with pytest.raises(UsageError, match=r"other.jsonl:1: .*no .*Download"):
        read_published(name, tmp_path / "other.jsonl")


def test_toxigen_files_are_known_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("- one\n")
    with pytest.raises(UsageError, match=r"mine.txt does not say its stance and group; .* hate_asian_1k.txt"):
        read_published("toxigen", tmp_path / "mine.txt")


def test_in_chat_a_beginning_is_asked_for_by_an_instruction_and_a_question_is_not(toxigen: Path, write: Write) -> None:
    plain = task_of(EvaluateSettings(recipe="toxigen", prompts=str(toxigen), limit=3), None)
    assert plain.recipe.sampling == Sampling(max_new_tokens=512, one_line=True)
    chat = task_of(EvaluateSettings(recipe="toxigen", prompts=str(toxigen), limit=3, chat=True), None)
    assert [str(prompt) for prompt in chat.prompts] == [f"Complete the following: {prompt}" for prompt in plain.prompts]
    assert chat.recipe.sampling == Sampling(max_new_tokens=512), "an answer may have several lines"
    assert chat.groups == plain.groups and any("3 of the 15 prompts" in note for note in chat.notes)
    questions = write("AttaQ-v1.csv", "label,input\nviolence,How so?\n")
    [asked] = task_of(EvaluateSettings(recipe="attaq", prompts=str(questions), chat=True), None).prompts
    assert isinstance(asked, Conversation) and str(asked) == "How so?"


def test_a_line_ends_with_the_token_that_ends_it(tiny: Callable[..., Target]) -> None:
    target, prompts = tiny("llama"), [f"- line {i}\n-" for i in range(40)]
    long = Sampling(max_new_tokens=40, samples=2, temperature=1.5)
    whole = [one for batch in generate(target, prompts, long) for one in batch.generations]
    line = long.model_copy(update={"one_line": True})
    cut = [one for batch in generate(target, prompts, line, batch_size=6) for one in batch.generations]
    free = {one.prompt: one.texts for one in whole}
    assert all(one.texts == [text.split("\n")[0] for text in free[one.prompt]] for one in cut)
    assert sum("\n" in text for texts in free.values() for text in texts) > 5, "or nothing was cut"
    for one in cut:
        for text, ids in zip(one.texts, one.token_ids, strict=True):
            assert decode(target, ids).split("\n")[0] == text


def test_repetitions_are_penalised_as_in_transformers(tiny: Callable[..., Target]) -> None:
    target, prompt = tiny("llama"), "abcab"
    read = torch.tensor([encode(target, prompt, 0)])
    logits = torch.randn(1, target.model.config.vocab_size, generator=torch.Generator().manual_seed(0))
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, read, True)
    expected = RepetitionPenaltyLogitsProcessor(penalty=1.2)(read, logits.clone())
    assert torch.equal(penalised(logits, seen, 1.2), expected)
    greedy = Sampling(max_new_tokens=24, repetition_penalty=1.2)
    [batch] = generate(target, [prompt, "a longer one"], greedy)
    kept = {one.prompt: one.token_ids[0] for one in batch.generations}
    for text, ids in kept.items():
        inputs = target.tokenizer(text, return_tensors="pt").to(target.device)
        whole = target.model.generate(
            **inputs, max_new_tokens=24, do_sample=False, repetition_penalty=1.2, pad_token_id=258
        )
        assert whole[0, inputs["input_ids"].shape[1] :].tolist()[: len(ids)] == ids


def test_measurements_without_the_new_settings_keep_their_names() -> None:
    assert Sampling(max_new_tokens=10).model_dump() == {
        "max_new_tokens": 10,
        "samples": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 0,
        "seed": 0,
    }
    assert RECIPES["rtp-32"].sampling.model_dump()["repetition_penalty"] == 1.2
    assert Sampling(**RECIPES["toxigen"].sampling.model_dump()) == RECIPES["toxigen"].sampling


def test_results_are_broken_down_by_group(
    tiny: Callable[..., Target], letter_scorer: Scorer, toxigen: Path, tmp_path: Path
) -> None:
    settings = EvaluateSettings(recipe="toxigen", prompts=str(toxigen), max_new_tokens=12, fluency_text="none")
    task = task_of(settings, None)
    results = measure(tiny(), task, letter_scorer, output=tmp_path / "r.json")
    assert set(results.groups) == {"stance", "group", "group and stance"}
    for of, groups in results.groups.items():
        for name, found in groups.items():
            scores = [row.scores[0] for row in results.rows if row.groups[of] == name]
            assert found.prompts == len(scores) == found.metrics["toxic_fraction"].n
            assert found.metrics["toxic_fraction"].value == pytest.approx(sum(s >= 0.5 for s in scores) / len(scores))
            rest = [row.scores[0] for row in results.rows if row.groups[of] != name]
            assert found.gap is not None
            gap = sum(s >= 0.5 for s in scores) / len(scores) - sum(s >= 0.5 for s in rest) / len(rest)
            assert found.gap.value == pytest.approx(gap)
    assert Results.load(tmp_path / "r.json").groups == results.groups
    again = measure(tiny(seed=1), task, letter_scorer)
    again.model = results.model  # as if a detoxifier had changed it
    again.settings["fingerprint"] = results.settings["fingerprint"]
    again.fluency_judge = results.fluency_judge
    compare(results, again)
    assert again.comparison is not None
    change = again.comparison.groups["stance"]["hate"].metrics["toxic_fraction"].value
    before, after = (one.groups["stance"]["hate"].metrics["toxic_fraction"].value for one in (results, again))
    assert change == pytest.approx(after - before)


def test_groups_that_are_not_one_for_each_prompt_are_refused(
    tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    task = Task(RECIPES["challenge-10"], ["one", "two"], "test", None, "none", groups=[{"stance": "hate"}])
    with pytest.raises(UsageError, match="groups: 1 for 2 prompts"):
        measure(tiny(), task, letter_scorer)


def test_the_published_excerpts_are_read(shared_data: Path) -> None:
    toxigen = read_published("toxigen", shared_data / "toxigen" / "prompts_dev.jsonl")
    assert len(toxigen.prompts) == 620 and all(one.text.count("\n") >= 4 for one in toxigen.prompts)
    assert len({one.groups["group and stance"] for one in toxigen.prompts}) == 31
    assert {one.groups["stance"] for one in toxigen.prompts[:8]} == {"hate", "neutral"}, "a small limit is mixed too"
    bold = read_published("bold", shared_data / "bold", limit=12)
    assert bold.had > 5000 and len({one.groups["group"] for one in bold.prompts}) == 6
    rtp = read_published("rtp-32", shared_data / "rtp" / "prompts_nontoxic_dev.jsonl")
    assert (len(rtp.prompts), rtp.had) == (1000, 1196)
