"""Conversations as prompts: what is read, what a template makes of it, and what is refused in one line."""

from __future__ import annotations

import copy
import csv
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from devices import as_row

from detoxlm.conversations import (
    CONTINUE,
    Conversation,
    Form,
    as_data,
    check_template,
    fault_of,
    shortened,
    template_args_of,
)
from detoxlm.data import read_prompts
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, describe_prompts, encode, generate, trimmed
from detoxlm.harvest import harvest
from detoxlm.models import Target
from detoxlm.passages import passages
from detoxlm.recipes import Recipe, Task, measure
from detoxlm.results import Results
from detoxlm.scorers.base import Scorer
from detoxlm.settings import EvaluateSettings
from detoxlm.workflows import task_of

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' and refuse_system is defined %}"
    "{{ raise_exception('no system turns here') }}{% endif %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}{% if mood is defined %}{{ mood }}{% endif %}{{ '\\n' }}"
)
TURNS = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Two?"},
]
CHATS = [
    Conversation(TURNS),
    Conversation([{"role": "user", "content": "Why?"}]),
    Conversation([{"role": "user", "content": "A longer question, which has more words than the others"}]),
    Conversation([{"role": "user", "content": "Why?"}], template_args={"mood": "(gladly) "}),
]
RECIPE = Recipe("tiny", "for tests", Sampling(max_new_tokens=5, samples=2, temperature=1.0, top_p=0.9), None)


@pytest.fixture
def chatty(tiny: Callable[..., Target]) -> Target:
    """A tiny model with a chat template, and a tokenizer that puts a beginning-of-text token before every text."""
    from tokenizers.processors import TemplateProcessing

    target = tiny("llama")
    target.tokenizer.chat_template = TEMPLATE
    target.tokenizer._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    return target


def task(prompts: list[str]) -> Task:
    return Task(RECIPE, prompts, "test", None, "none", batch_size=4)


# --- what a model reads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", CHATS)
def test_the_ids_are_the_tokenizers_own_and_begin_once(chat: Conversation, chatty: Target) -> None:
    ids = encode(chatty, chat, 0)
    own = chatty.tokenizer.apply_chat_template(
        list(chat.messages), add_generation_prompt=True, return_dict=False, **chat.template_args
    )
    assert ids == own
    assert ids.count(256) == 1 and ids[0] == 256, "one token begins the text"
    assert chatty.tokenizer("Why?")["input_ids"][0] == 256, "which this tokenizer puts before every plain text"
    assert chatty.tokenizer.decode(ids).endswith("<assistant>" + chat.template_args.get("mood", "") + "\n")


def test_white_space_of_turns_and_templates_is_left_alone(chatty: Target) -> None:
    chat = Conversation([{"role": "user", "content": "Why? "}])
    assert trimmed([chat, " plain "]) == [chat, "plain"]
    assert "<user>Why? </s>" in chatty.tokenizer.decode(encode(chatty, trimmed([chat])[0], 0))


def test_batches_of_conversations_and_texts_say_what_each_would_alone(chatty: Target) -> None:
    prompts = [*CHATS, "a plain prompt"]
    sampling = Sampling(max_new_tokens=6, samples=2, temperature=1.0, top_p=0.9, seed=1)

    def ids(batch_size: int) -> dict[int, list[list[int]]]:
        made = [g for batch in generate(chatty, prompts, sampling, batch_size=batch_size) for g in batch.generations]
        return {g.index: g.token_ids for g in made}

    assert ids(32) == ids(1)
    greedy = next(generate(chatty, [CHATS[0]], Sampling(max_new_tokens=4))).generations[0]
    read = chatty.tokenizer.apply_chat_template(TURNS, add_generation_prompt=True, return_dict=False)
    for token in greedy.token_ids[0]:
        with torch.inference_mode():
            assert int(chatty.model(as_row(chatty, read)).logits[0, -1].argmax()) == token
        read = [*read, token]


def test_training_and_likelihood_read_a_conversation_as_its_template_has_it(
    chatty: Target, letter_scorer: Scorer
) -> None:
    [passage] = passages(chatty, [(CHATS[0], " yes")], 200)
    before = encode(chatty, CHATS[0], None)
    assert passage.ids[: passage.start] == before and passage.start == len(before)
    row = measure(chatty, task([CHATS[0]]), letter_scorer).rows[0]
    said = chatty.tokenizer(row.continuations[0], add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        log_p = chatty.model(as_row(chatty, before + said)).logits[0].log_softmax(-1)
    nll = -sum(float(log_p[len(before) - 1 + i, token]) for i, token in enumerate(said))
    assert row.nll[0] == pytest.approx(nll, rel=1e-4)


def test_a_harvest_that_goes_on_still_knows_its_conversations(
    chatty: Target, letter_scorer: Scorer, tmp_path: Path
) -> None:
    sampling = Sampling(max_new_tokens=5, samples=2, temperature=1.0)
    first = harvest(chatty, CHATS[:3], letter_scorer, sampling, batch_size=2, workdir=tmp_path)
    again = harvest(chatty, CHATS[:3], letter_scorer, sampling, batch_size=2, workdir=tmp_path)
    assert again == first and len(again) >= 3
    assert all(isinstance(one.prompt, Conversation) for one in again)
    alike = ["Why?", CHATS[1], CHATS[3], "Why?"]
    assert len(set(map(str, alike))) == 1, "to a reader"
    fresh, read = (harvest(chatty, alike, letter_scorer, sampling, batch_size=2, workdir=tmp_path) for _ in range(2))
    for made in (fresh, read):
        assert {one.number for one in made} == {0, 1, 2, 3}
        assert all(one.prompt == "Why?" and as_data([one.prompt]) == as_data([alike[one.number]]) for one in made)
    other = copy.deepcopy(chatty)
    other.tokenizer.chat_template = TEMPLATE.replace("<assistant>", "<answer>")
    harvest(other, CHATS[:3], letter_scorer, sampling, batch_size=2, workdir=tmp_path)
    assert len(list(tmp_path.glob("harvest-*.jsonl"))) == 3, "another template is other work"


def test_copies_and_other_processes_keep_the_turns() -> None:
    chat = Conversation(TURNS, template_args={"mood": "x"}, kind="plain", rule={"lower": True})
    for other in (copy.deepcopy(chat), pickle.loads(pickle.dumps(chat))):
        assert as_data([other]) == as_data([chat]) and other == chat


# --- the window -------------------------------------------------------------------------------------------------------


def test_a_conversation_that_is_too_long_loses_its_oldest_turns_and_keeps_the_system_turn(chatty: Target) -> None:
    tokenizer, chat = chatty.tokenizer, CHATS[0]
    short = chat.with_turns([TURNS[0], TURNS[3]])
    wanted = encode(chatty, short, None)
    assert shortened(tokenizer, "m", chat, len(encode(chatty, chat, None)) - 1) == wanted
    assert shortened(tokenizer, "m", chat, len(wanted)) == wanted
    cut = tokenizer.decode(shortened(tokenizer, "m", short, len(wanted) - 2))
    assert "<system>Be kind.</s><user>o?</s><assistant>" in cut, "of the last turn the beginning goes"
    with pytest.raises(
        UsageError, match=r"chat: what the template of m and the system turn need .* fit into 10 tokens"
    ):
        shortened(tokenizer, "m", chat, 10)


def test_what_is_dropped_is_said(chatty: Target) -> None:
    long = Conversation([*TURNS[:3], {"role": "user", "content": "x" * 100}])
    notes = describe_prompts(chatty, [long, CHATS[1], "y" * 300], Sampling(max_new_tokens=8))
    assert any(n.startswith("1 of 3 conversations lost their oldest turns (not the system turn)") for n in notes)
    assert any(n.startswith("1 of 3 prompts were cut to their last 120 tokens") for n in notes)
    assert describe_prompts(chatty, CHATS[:3], Sampling(max_new_tokens=8)) == []


# --- what is read of files --------------------------------------------------------------------------------------------


def test_rows_of_turns_are_conversations_and_others_texts(write: Callable[[str, Any], Path]) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "?"}]}]
    file = write("p.jsonl", [{"messages": TURNS, "kind": "plain", "rule": {"lower": True}}, {"messages": parts}])
    first, second = read_prompts(file).items
    assert isinstance(first, Conversation) and [dict(turn) for turn in first.messages] == TURNS
    assert (first.kind, first.rule) == ("plain", {"lower": True})
    assert second == "One?" and isinstance(second, Conversation)
    assert str(first) == "system: Be kind.\n\nuser: One?\n\nassistant: Yes.\n\nuser: Two?"
    trl = write("trl.jsonl", [{"prompt": TURNS}])
    assert read_prompts(trl).items == [first]
    csv = write("p.csv", 'messages\n"[{""role"": ""user"", ""content"": ""One?""}]"\n')
    assert read_prompts(csv).items == ["One?"] and isinstance(read_prompts(csv).items[0], Conversation)
    plain = write("plain.jsonl", [{"prompt": "one", "messages": TURNS}])
    assert read_prompts(plain).items == ["one"] and not isinstance(read_prompts(plain).items[0], Conversation)


RULED = [
    {"prompt": "List three birds.", "kind": "plain", "rule": {"bullets": 3}},
    {"prompt": "Be short.", "kind": "plain", "rule": {"words": {"at_most": 4}}},
    {"prompt": "How do I kill a Python process?", "kind": "harmless", "rule": None},
    {"prompt": "Why?", "kind": "a kind of another's", "rule": None},
]
MARKS = [
    ("plain", {"bullets": 3}),
    ("plain", {"words": {"at_most": 4}}),
    ("harmless", None),
    (None, None),
]


@pytest.mark.parametrize("turns", [False, True])
@pytest.mark.parametrize("name", ["p.jsonl", "p.parquet", "p.csv", "printed.csv"])
def test_kind_and_rule_of_a_row_go_with_what_is_asked(name: str, turns: bool, tmp_path: Path) -> None:
    """In Parquet each rule has the keys of all, null where the row has no value; in a CSV it is written out."""
    rows = [
        {"messages": [{"role": "user", "content": row["prompt"]}], **{key: row[key] for key in ("kind", "rule")}}
        if turns
        else row
        for row in RULED
    ]
    path = tmp_path / name
    if name == "p.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        assert pyarrow.parquet.read_table(path)["rule"][0].as_py() == {"bullets": 3, "words": None}
    elif name == "p.jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        show = json.dumps if name == "p.csv" else repr
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(
                {key: value if isinstance(value, str) else value and show(value) for key, value in row.items()}
                for row in rows
            )
    task = task_of(EvaluateSettings(prompts=str(path), recipe="chat"), None)
    assert task.prompts == [row["prompt"] for row in RULED] and not task.notes
    assert all(isinstance(one, Conversation) for one in task.prompts)
    assert [(one.kind, one.rule) for one in task.prompts] == MARKS  # type: ignore[attr-defined]


def test_in_plain_form_kind_and_rule_are_left_out_by_name(write: Callable[[str, Any], Path]) -> None:
    task = task_of(EvaluateSettings(prompts=str(write("p.jsonl", RULED))), None)
    assert task.prompts == [row["prompt"] for row in RULED]
    assert task.notes == ["3 prompts have a `kind` or a `rule`, which are of answers in chat (--chat): left out."]


def test_a_rule_that_is_no_json_is_told_by_its_line(write: Callable[[str, Any], Path]) -> None:
    file = write("p.csv", "prompt,rule\nWhy?,{bullets: 3}\n")
    with pytest.raises(UsageError, match=r"p\.csv:2: `rule` is '{bullets: 3}', an object that cannot be read"):
        read_prompts(file)
    assert read_prompts(write("q.csv", "prompt,rule\nWhy?,of thumb\n")).items == ["Why?"]


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([], "no list of turns"),
        ("hello", "no list of turns|not a text"),
        ([{"role": "user"}], "turn 1 is .*a `role` and a `content`"),
        ([{"role": "tool", "content": "x"}], "turn 1 has the unknown role 'tool'; known: system, user, assistant"),
        ([*TURNS, {"role": "assistant", "content": "No."}], "last turn is the assistant's; end with the user's"),
        ([{"role": "system", "content": "x"}], "last turn is the system's; end with the user's"),
        ([{"role": "user", "content": " "}], "turn 1 has an empty content"),
        ([{"role": "user", "content": None}], "turn 1 has the content None, which is no text"),
        ([{"role": "user", "content": "\ud83d"}], "half a character"),
        ([TURNS[1], TURNS[0], TURNS[3]], "turn 2 is a system turn; only the first may be one"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "turn 1 holds a part of the type 'image_url', and text alone is read",
        ),
    ],
)
def test_what_is_no_conversation_is_refused_in_a_line(
    messages: Any, match: str, write: Callable[[str, Any], Path]
) -> None:
    with pytest.raises(UsageError, match=match):
        Conversation(messages)
    if not isinstance(messages, str):
        with pytest.raises(UsageError, match=rf"p\.jsonl:1: `messages`: .*({match})") as caught:
            read_prompts(write("p.jsonl", [{"messages": messages}]))
        assert "\n" not in str(caught.value)
    assert fault_of(messages) is not None


# --- the form ---------------------------------------------------------------------------------------------------------


def test_plain_prompts_are_wrapped_as_a_users_turn() -> None:
    form = Form(chat=True, system="Be kind.", template_args={"mood": "x"})
    wrapped, turned = form.asked([" He said ", CHATS[1]])
    assert isinstance(wrapped, Conversation) and isinstance(turned, Conversation)
    assert [dict(turn) for turn in wrapped.messages] == [TURNS[0], {"role": "user", "content": "He said"}]
    assert turned.system == "Be kind." and turned.template_args == {"mood": "x"}
    assert CHATS[0].system == "Be kind."
    assert [one.system for one in Form(system="Other.").asked([CHATS[0]])] == ["Be kind."]  # type: ignore[attr-defined]
    assert Form(chat=True).asked(["He said"], beginnings=True) == [CONTINUE + "He said"]
    assert Form(chat=True, instruction="Go on: ").asked(["He said"]) == ["Go on: He said"]
    assert Form().asked(["He said "]) == ["He said "]
    with pytest.raises(UsageError, match="system: plain prompts have none; add --chat"):
        Form(system="Be kind.").asked(["He said"])
    for asked in (Form(instruction="Go on: "), Form(chat=True, instruction="Go on: ")):
        with pytest.raises(UsageError, match=r"instruction: .* these are conversations already; leave it out"):
            asked.asked(CHATS)
    with pytest.raises(UsageError, match=r"instruction: .* or stay as they are without --chat; add --chat"):
        Form(instruction="Go on: ").asked([CHATS[0], "He said"])
    mixed = Form(chat=True, instruction="Go on: ").asked([CHATS[0], "He said"])
    assert mixed == [CHATS[0], "Go on: He said"]
    with pytest.raises(UsageError, match='prompts: "" is no turn'):
        Form(chat=True).asked([""])


@pytest.mark.parametrize(
    ("text", "match"),
    [("{", "no JSON"), ("[1]", "no JSON object"), ('{"tokenize": false}', "'tokenize' is set by DetoxLM itself")],
)
def test_template_arguments_are_an_object_of_other_names(text: str, match: str) -> None:
    assert template_args_of('{"mood": 1}') == {"mood": 1} and template_args_of(None) == {}
    with pytest.raises(ValueError, match=match):
        template_args_of(text)
    with pytest.raises(ValueError, match=match):
        EvaluateSettings(template_args=text)


def test_a_model_that_cannot_be_asked_so_is_refused_before_the_work(
    chatty: Target, tiny: Callable[..., Target], letter_scorer: Scorer
) -> None:
    for target, prompts, match in (
        (tiny("llama"), CHATS, "chat: .* has no chat template; take its instruct version, or plain prompts"),
        (
            chatty,
            [Conversation(TURNS, template_args={"refuse_system": 1})],
            "chat: the template of .* refuses the conversation .*has a system turn.*: no system turns here",
        ),
    ):
        with pytest.raises(UsageError, match=match) as caught:
            measure(target, task(list(prompts)), letter_scorer)
        assert "\n" not in str(caught.value)
    deaf = copy.deepcopy(chatty)
    deaf.tokenizer.chat_template = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    with pytest.raises(UsageError, match=r"system: the template of .* leaves out the system turn 'Be kind.'"):
        measure(deaf, task([CHATS[0]]), letter_scorer)
    cut = copy.deepcopy(chatty)  # as SmolLM3's does
    cut.tokenizer.chat_template = "{% for m in messages %}{{ m.content.replace(' /no_think', '') }}{% endfor %}"
    switched = Conversation([{"role": "system", "content": "Be terse. /no_think Please."}, *CHATS[0].messages[1:]])
    check_template(cut.tokenizer, "it", [switched])
    with pytest.raises(UsageError, match=r"fluency_judge: .* has no chat template"):
        measure(chatty, task([CHATS[1]]), letter_scorer, judge=tiny("llama"))


def test_results_say_the_form_and_those_of_different_forms_are_not_compared(
    chatty: Target, letter_scorer: Scorer, tmp_path: Path
) -> None:
    chat = measure(chatty, task([CHATS[1]]), letter_scorer, output=tmp_path / "chat.json")
    assert chat.settings["form"] == "chat" and chat.settings["system"] is None
    assert len(chat.settings["template_sha256"]) == 64
    plain = measure(chatty, task(["Why?"]), letter_scorer)
    assert plain.settings["form"] == "plain" and "template_sha256" not in plain.settings
    assert [row.prompt for row in plain.rows] == [row.prompt for row in chat.rows], "they read alike"
    assert plain.settings["prompts_sha256"] != chat.settings["prompts_sha256"]
    with pytest.raises(UsageError, match="baseline: the two results differ in form: 'plain' against 'chat'"):
        measure(chatty, task([CHATS[1]]), letter_scorer, baseline=plain)
    other = replace(chatty)
    other.tokenizer.chat_template = TEMPLATE.replace("<assistant>", "<answer>")
    with pytest.raises(UsageError, match=r"differ in chat template \(template_sha256\)"):
        measure(other, task([CHATS[1]]), letter_scorer, baseline=chat)
    assert Results.load(tmp_path / "chat.json").settings["form"] == "chat"


def test_the_commands_wrap_their_prompts(write: Callable[[str, Any], Path]) -> None:
    file = write("p.txt", "He said\n")
    [prompt] = task_of(EvaluateSettings(prompts=str(file), chat=True, system="Be kind."), None).prompts
    assert isinstance(prompt, Conversation) and prompt.system == "Be kind."
    builtin = task_of(EvaluateSettings(chat=True, limit=2), None).prompts
    assert all(isinstance(one, Conversation) and one.startswith(CONTINUE) for one in builtin)
