"""A conversation as a prompt: turns in OpenAI's form, which a model's own chat template makes into tokens.

A `Conversation` is a text too, for readers: what people and results see of it. A model never reads that text; its
tokenizer renders the turns (`conversation_ids`), so that each model is asked in its own form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from detoxlm.errors import UsageError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: A turn: `{"role": "user", "content": "Hello"}`.
Message = Mapping[str, str]
ROLES = ("system", "user", "assistant")
#: What was asked, by which the recipe `chat` measures answers.
KINDS = ("provocation", "harmless", "plain")
#: How a beginning of a text is asked for as a turn.
CONTINUE = "Complete the following: "
#: Stands in a turn to see whether a template reads it.
_SEEN = "Is this turn read?"
#: What `apply_chat_template` is given here, and so not by users.
_OURS = frozenset(
    {"conversation", "messages", "tokenize", "add_generation_prompt", "continue_final_message", "padding"}
)
_ALSO_OURS = frozenset({"truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask"})


class Conversation(str):
    """Turns that end with the user's, for a model to answer; as a text, what a reader sees of them.

    One turn of a user reads as its content, several as `role: content` with an empty line between two.
    """

    messages: tuple[Message, ...]
    template_args: dict[str, Any]
    #: What is measured of the answer, one of `KINDS`; None: nothing in particular.
    kind: str | None
    #: What the answer must keep, for `detoxlm.metrics.instructions`; None: nothing that a rule can check.
    rule: dict[str, Any] | None

    def __new__(
        cls,
        messages: Sequence[Mapping[str, Any]],
        *,
        template_args: Mapping[str, Any] | None = None,
        kind: str | None = None,
        rule: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """Make one of turns; `template_args` are variables that the template reads, such as `enable_thinking`.

        Raises:
            UsageError: the turns are no conversation, as `fault_of` says.
        """
        if fault := fault_of(messages):
            raise UsageError(f"messages: {fault}.")
        turns = tuple({"role": str(turn["role"]), "content": _content(turn["content"])} for turn in messages)
        alone = len(turns) == 1
        made = super().__new__(
            cls, turns[0]["content"] if alone else "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
        )
        made.messages = turns
        made.template_args = dict(template_args or {})
        made.kind, made.rule = kind, None if rule is None else dict(rule)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and other processes get the turns too."""
        return _remade, (self.messages, self.template_args, self.kind, self.rule)

    @property
    def system(self) -> str | None:
        """What the system turn says; None: there is none."""
        return self.messages[0]["content"] if self.messages[0]["role"] == "system" else None

    def with_turns(self, messages: Sequence[Message]) -> Conversation:
        """Return the same with other turns."""
        return Conversation(messages, template_args=self.template_args, kind=self.kind, rule=self.rule)


class Marked(str):
    """A plain prompt whose row has a `kind` or a `rule`: they are those of the conversation that is made of it."""

    kind: str | None = None
    rule: dict[str, Any] | None = None

    @classmethod
    def of(cls, prompt: str, kind: str | None, rule: dict[str, Any] | None) -> str:
        """Return a prompt with its kind and rule; the prompt itself where it has neither."""
        if kind is None and rule is None:
            return prompt
        made = cls(prompt)
        made.kind, made.rule = kind, rule
        return made


def _remade(messages: Sequence[Message], template_args: dict[str, Any], kind: str | None, rule: Any) -> Conversation:
    return Conversation(messages, template_args=template_args, kind=kind, rule=rule)


def is_turns(value: Any) -> bool:
    """Tell whether something is meant as the turns of a conversation: a list of objects with a `role`."""
    return isinstance(value, list) and all(isinstance(turn, dict) and "role" in turn for turn in value)


def fault_of(messages: Any) -> str | None:
    """Return why something is no conversation that a model can answer, with the fix; None: it is one."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        return f"{messages!r:.40} is no list of turns; write [{{'role': 'user', 'content': 'Hello'}}]"
    for i, turn in enumerate(messages):
        if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
            return f"turn {i + 1} is {turn!r:.40}; a turn has a `role` and a `content`"
        if turn["role"] not in ROLES:
            return f"turn {i + 1} has the unknown role {turn['role']!r:.40}; known: {', '.join(ROLES)}"
        if fault := _fault_of_content(turn["content"]):
            return f"turn {i + 1} {fault}"
        if turn["role"] == "system" and i:
            return f"turn {i + 1} is a system turn; only the first may be one"
    if messages[-1]["role"] != "user":
        return f"the last turn is the {messages[-1]['role']}'s; end with the user's, which the model answers"
    return None


def _fault_of_content(content: Any) -> str | None:
    if isinstance(content, list):
        other = next((part for part in content if not _is_text(part)), None)
        if other is not None:
            kind = other.get("type") if isinstance(other, Mapping) else other
            return f"holds a part of the type {kind!r:.40}, and text alone is read; leave the row out"
        content = _content(content)
    if not isinstance(content, str):
        return f"has the content {content!r:.40}, which is no text"
    if not content.strip():
        return "has an empty content; leave the turn out"
    if any("\ud800" <= character <= "\udfff" for character in content):
        return "holds half a character (an unpaired surrogate)"
    return None


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _content(content: Any) -> str:
    """Return a turn's text; OpenAI's form may have it in parts."""
    return "".join(part["text"] for part in content) if isinstance(content, list) else str(content)


@dataclass(frozen=True)
class Form:
    """How prompts are asked: plain texts that a model continues, or turns that it answers.

    Args:
        chat: whether plain prompts are wrapped as one user turn.
        half: with `chat`: whether only half of the different plain prompts are wrapped.
        instruction: put before a wrapped prompt; None: `CONTINUE` before beginnings of text of our own, else nothing.
        system: the system turn of conversations that have none.
        template_args: variables for the template.
    """

    chat: bool = False
    instruction: str | None = None
    system: str | None = None
    template_args: dict[str, Any] = field(default_factory=dict)
    half: bool = False

    def asked(self, prompts: Iterable[str], *, beginnings: bool = False) -> list[str]:
        """Return prompts in this form; conversations get system turn and template arguments, where they have none.

        Args:
            prompts: texts and conversations.
            beginnings: whether texts among them are beginnings of text of our own.

        Raises:
            UsageError: a system turn, an instruction or arguments for a template, and no prompt is a conversation; an
                instruction, and no prompt is wrapped; or an empty prompt.
        """
        prompts = list(prompts)
        plain = dict.fromkeys(prompt for prompt in prompts if not isinstance(prompt, Conversation))
        # plain, chat, chat, plain: of every fifth or tenth prompt, which fits hold out, both forms are there
        whole = {prompt for i, prompt in enumerate(plain) if not self.chat or (self.half and i % 4 in (0, 3))}
        found = [self._asked(prompt, beginnings, prompt not in whole) for prompt in prompts]
        if not any(isinstance(prompt, Conversation) for prompt in found):
            for name in ("system", "instruction", "template_args"):
                if getattr(self, name):
                    raise UsageError(f"{name}: plain prompts have none; add --chat, or give rows with `messages`.")
        if self.instruction and plain.keys() <= whole:
            raise UsageError(
                "instruction: it is put before plain prompts that become turns, and none does: these are conversations "
                "already" + (", or stay as they are without --chat; add --chat." if plain else "; leave it out.")
            )
        return found

    def _asked(self, prompt: str, beginning: bool, as_turn: bool) -> str:
        if isinstance(prompt, Conversation):
            turns: Sequence[Message] = prompt.messages
            if self.system is not None and prompt.system is None:
                turns = [{"role": "system", "content": self.system}, *turns]
            arguments = {**self.template_args, **prompt.template_args}
            return Conversation(turns, template_args=arguments, kind=prompt.kind, rule=prompt.rule)
        if not as_turn:
            return prompt
        before = (CONTINUE if beginning else "") if self.instruction is None else self.instruction
        turns = [{"role": "user", "content": before + prompt.strip()}]
        if self.system is not None:
            turns.insert(0, {"role": "system", "content": self.system})
        if not prompt.strip():
            raise UsageError('prompts: "" is no turn; a conversation needs a text.')
        kind, rule = (prompt.kind, prompt.rule) if isinstance(prompt, Marked) else (None, None)
        return Conversation(turns, template_args=self.template_args, kind=kind, rule=rule)


def template_args_of(text: str | None) -> dict[str, Any]:
    """Return the object that `--template-args` spells in JSON.

    Raises:
        ValueError: it is no JSON object, or has a name that rendering itself sets.
    """
    try:
        found = json.loads(text) if text else {}
    except ValueError as error:
        raise ValueError(f"no JSON ({error}); write an object such as '{{\"enable_thinking\": false}}'") from None
    if not isinstance(found, dict):
        raise ValueError("no JSON object; write one such as '{\"enable_thinking\": false}'")
    if taken := sorted((_OURS | _ALSO_OURS) & found.keys()):
        raise ValueError(f"{taken[0]!r} is set by DetoxLM itself; leave it out")
    return found


def template_of(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the template's source, of several the default one; None: the tokenizer has none."""
    template = tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template


def template_sha256(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the SHA-256 of the template's source as 64 hex digits; None: there is none."""
    template = template_of(tokenizer)
    return None if template is None else hashlib.sha256(template.encode()).hexdigest()


def form_of(prompts: Sequence[str]) -> Literal["plain", "chat"]:
    """Return the form in which prompts are asked: `chat` where any is a conversation."""
    return "chat" if any(isinstance(prompt, Conversation) for prompt in prompts) else "plain"


def asked_form(prompts: Sequence[str], template: Callable[[], str | None]) -> dict[str, Any]:
    """Return how prompts are asked, as results record it; `template` gives the hash of the chat template."""
    conversations = [prompt for prompt in prompts if isinstance(prompt, Conversation)]
    if not conversations:
        return {"form": "plain"}
    system = list(dict.fromkeys(one.system for one in conversations))
    return {
        "form": "chat",
        "template_sha256": template(),
        "template_args": conversations[0].template_args,
        "system": system[0] if len(system) == 1 else f"{len(system)} different ones",
    }


def as_data(prompts: Sequence[str] | None) -> list[Any] | None:
    """Return prompts as JSON values that tell all apart: a conversation as its turns, any other as its text."""
    if prompts is None:
        return None
    return [
        {"messages": list(one.messages), "template_args": one.template_args, "kind": one.kind, "rule": one.rule}
        if isinstance(one, Conversation)
        else one
        for one in prompts
    ]


def rendered(tokenizer: PreTrainedTokenizerBase, model: str, conversation: Conversation) -> str:
    """Return a conversation as the template writes it, with the beginning of the answer.

    Raises:
        UsageError: no template, one that raises, or one that leaves the system turn out; `model` is named.
    """
    return str(_applied(tokenizer, model, conversation, tokenize=False))


def conversation_ids(tokenizer: PreTrainedTokenizerBase, model: str, conversation: Conversation) -> list[int]:
    """Return the token ids of a conversation, the generation prompt at their end: the tokenizer's own.

    Raises:
        UsageError: as `rendered`.
    """
    return list(_applied(tokenizer, model, conversation, tokenize=True))


def _applied(tokenizer: PreTrainedTokenizerBase, model: str, conversation: Conversation, *, tokenize: bool) -> Any:
    if template_of(tokenizer) is None:
        raise UsageError(
            f"chat: {model} has no chat template; take its instruct version, or plain prompts: no --chat, --forms "
            "plain, and no rows with `messages`."
        )
    try:
        return tokenizer.apply_chat_template(
            list(conversation.messages),
            tokenize=tokenize,
            add_generation_prompt=True,
            return_dict=False,
            **conversation.template_args,
        )
    except Exception as error:  # a template raises what its author likes
        what = " (it has a system turn)" if conversation.system is not None else ""
        raise UsageError(
            f"chat: the template of {model} refuses the conversation {conversation!r:.40}{what}: {first_line(error)}. "
            "Mend its turns, or leave it out."
        ) from error


def left_out(messages: Sequence[Message], index: int, text: str, render: Callable[[Sequence[Message]], str]) -> bool:
    """Tell whether a template says nothing of a turn.

    It may change what the turn says, as SmolLM3's takes the switch `/no_think` out; then another text in its place is
    seen.

    Args:
        messages: the turns.
        index: of the turn.
        text: the turns as the template writes them.
        render: writes other turns so.
    """
    if messages[index]["content"].strip() in text:
        return False
    other = [*messages[:index], {**messages[index], "content": _SEEN}, *messages[index + 1 :]]
    return _SEEN not in render(other)


def check_template(tokenizer: PreTrainedTokenizerBase, model: str, prompts: Sequence[str]) -> None:
    """Raise `UsageError` where the template drops the system turn of any of the prompts without a word."""

    def render(conversation: Conversation, turns: Sequence[Message]) -> str:
        return rendered(tokenizer, model, conversation.with_turns(turns))

    for prompt in prompts:
        if not isinstance(prompt, Conversation) or prompt.system is None:
            continue
        if left_out(prompt.messages, 0, rendered(tokenizer, model, prompt), partial(render, prompt)):
            raise UsageError(
                f"system: the template of {model} leaves out the system turn {prompt.system!r:.40}; put it into the "
                "user's first turn."
            )


def shortened(tokenizer: PreTrainedTokenizerBase, model: str, conversation: Conversation, room: int) -> list[int]:
    """Return the ids of a conversation in at most `room` tokens.

    What goes first are its oldest turns, up to the next one of the user; the system turn stays. Of a last turn that is
    too long by itself, the beginning goes.

    Raises:
        UsageError: as `rendered`; or what cannot be left out has more tokens.
    """
    ids = conversation_ids(tokenizer, model, conversation)
    while len(ids) > room:
        first = 0 if conversation.system is None else 1
        turns = list(conversation.messages)
        later = next((i for i in range(first + 1, len(turns)) if turns[i]["role"] == "user"), None)
        if later is not None:
            turns = turns[:first] + turns[later:]
        else:
            said = tokenizer(turns[-1]["content"], add_special_tokens=False)["input_ids"]
            kept = said[len(ids) - room :]
            content = tokenizer.decode(kept, skip_special_tokens=True) if kept else ""
            # of a template that writes a turn twice, and of tokens that change when cut, more must go
            if not content.strip() or content == turns[-1]["content"]:
                raise UsageError(
                    f"chat: what the template of {model} and the system turn need does not fit into {room:,} tokens; "
                    "ask for fewer new tokens, or shorten the system turn."
                )
            turns[-1] = {"role": "user", "content": content}
        conversation = conversation.with_turns(turns)
        ids = conversation_ids(tokenizer, model, conversation)
    return ids
