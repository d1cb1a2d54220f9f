"""Texts while they are written: the same text in pieces, and a chat that remembers its turns and changes strength."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fits import fit

from detoxlm.chatting import Chat, chat
from detoxlm.conversations import Conversation, Form
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, generate
from detoxlm.models import Target
from detoxlm.settings import GenerateSettings
from detoxlm.streaming import stream

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
SAMPLING = Sampling(max_new_tokens=9, temperature=1.0, top_p=0.9, seed=2)


@pytest.fixture
def chatty(tiny: Callable[..., Target]) -> Target:
    target = tiny("llama")
    target.tokenizer.chat_template = TEMPLATE
    return target


@pytest.fixture
def chatty_folder(chatty: Target, tmp_path: Path) -> Path:
    folder = tmp_path / "chatty"
    chatty.model.save_pretrained(folder)
    chatty.tokenizer.save_pretrained(folder)
    return folder


def whole(target: Target, prompt: str) -> str:
    return next(generate(target, [prompt], SAMPLING)).generations[0].texts[0]


def test_a_stream_is_the_text_that_is_generated_whole(chatty: Target) -> None:
    for prompt in ("Hello", "été", Conversation([{"role": "user", "content": "Why?"}])):
        pieces = list(stream(chatty, prompt, SAMPLING))
        assert "".join(pieces) == whole(chatty, prompt)
        assert len(pieces) > 1
    end = generate(chatty, ["Hello"], SAMPLING)
    third = next(end).generations[0].token_ids[0][2]
    chatty.model.generation_config.eos_token_id = third
    assert "".join(stream(chatty, "Hello", SAMPLING)) == whole(chatty, "Hello"), "an end token ends both"


def test_turns_are_remembered_and_read_as_the_template_has_them(chatty: Target) -> None:
    talk = Chat(chatty, None, None, SAMPLING, Form(system="Be kind."))
    first = "".join(talk.answer("One?"))
    second = "".join(talk.answer("Two?"))
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "One?"}]
    assert first == whole(chatty, Conversation(turns))
    turns += [{"role": "assistant", "content": first}, {"role": "user", "content": "Two?"}]
    assert second == whole(chatty, Conversation(turns))
    broken_off = talk.answer("Three?")
    said = next(broken_off)
    broken_off.close()
    assert [turn["content"] for turn in talk.turns[-2:]] == ["Three?", said] or not said.strip()
    assert talk.command("/reset") == "Forgotten." and talk.turns == []


def test_the_strength_changes_between_turns(chatty: Target, letter_scorer: Any) -> None:
    detoxifier = fit(chatty, "fusion", letter_scorer)
    talk = Chat(chatty, detoxifier, 0.0, SAMPLING, Form())
    question = Conversation([{"role": "user", "content": "One?"}])
    assert "".join(talk.answer("One?")) == whole(chatty, question)
    talk.command("/reset")
    top = detoxifier.max_strength
    assert talk.command(f"/strength {top}") == f"Strength {top:g}."
    with detoxifier.attached(chatty.model, top):
        expected = whole(chatty, question)
    assert "".join(talk.answer("One?")) == expected
    assert talk.command("/strength much").startswith("strength: 'much' is no number")
    assert talk.command("/strength 99").startswith("strength: 99 ")
    assert talk.strength == top, "wrong ones change nothing"
    assert "There is no /stop." in talk.command("/stop") and "/quit" in talk.command("/help")
    assert Chat(chatty, None, None, SAMPLING, Form()).command("/strength 1").startswith("strength: it needs")


def test_a_chat_reads_lines_until_they_end(chatty_folder: Path) -> None:
    lines, shown = iter(["", "/strength 1", "Two?", "/quit", "never read"]), []
    settings = GenerateSettings(interactive=True, max_new_tokens=4, temperature=0)
    chat(str(chatty_folder), settings, "One?", lambda: next(lines, None), shown.append)
    assert next(lines) == "never read"
    assert "".join(shown).count("strength: it needs --detoxifier") == 1
    with pytest.raises(UsageError, match="samples: 2 cannot be written at once"):
        chat(str(chatty_folder), settings.model_copy(update={"samples": 2}), None, lambda: None, shown.append)


def test_the_commands_stream_and_chat(
    call: Callable[..., tuple[int, str, str]],
    chatty_folder: Path,
    tiny_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    greedy = ("--temperature", 0, "--max-new-tokens", 6)
    code, streamed, _ = call("generate", chatty_folder, "One?", "--stream", *greedy)
    assert code == 0 and streamed == call("generate", chatty_folder, "One?", *greedy)[1]
    monkeypatch.setattr("sys.stdin", io.StringIO("One?\n/quit\n"))
    code, talked, _ = call("generate", chatty_folder, "--interactive", *greedy)
    assert code == 0
    assert talked.strip() == call("generate", chatty_folder, "One?", "--chat", *greedy)[1].strip()
    for arguments, match in (
        ([tiny_folder("llama"), "--interactive"], "has no chat template"),
        (["no-such-model", "--interactive", "--instruction", "Go on: "], "instruction: it is put before plain prompts"),
        ([chatty_folder], "generate: it needs a PROMPT to continue, or --interactive"),
        ([chatty_folder, "x", "--stream", "--json"], "json: it is for whole texts"),
    ):
        code, _, err = call("generate", *arguments)
        assert code == 2 and match in err
