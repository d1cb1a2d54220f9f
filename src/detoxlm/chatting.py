"""`detoxlm generate` while it writes: one text in pieces, or a chat in the terminal whose strength changes by turns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext

from detoxlm.conversations import Conversation, Form, Message
from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, describe_prompts, trimmed
from detoxlm.methods import Detoxifier
from detoxlm.models import Target
from detoxlm.settings import GenerateSettings
from detoxlm.streaming import stream
from detoxlm.workflows import detoxifier_of, sampling_of, target_of

log = logging.getLogger(__name__)

HELP = """\
/strength 0.3   the detoxifier's strength from the next turn on; 0 is the untouched model
/reset          forget what was said
/help           this list
/quit           end; so does the end of input"""


def stream_prompt(model: str, prompt: str, settings: GenerateSettings) -> Generator[str, None, None]:
    """Yield one continuation of a prompt, or an answer to it with `settings.chat`, in pieces as they are written.

    Raises:
        UsageError: as `detoxlm.workflows.continue_prompt`; or several samples, which cannot be written at once.
    """
    check_alone(settings)
    detoxifier = detoxifier_of(settings)
    target = target_of(model, settings, detoxifier)
    prompts, sampling = settings.form.asked([prompt]), sampling_of(settings)
    for note in describe_prompts(target, prompts, sampling):
        log.warning(note)
    with detoxifier.attached(target.model, settings.strength) if detoxifier is not None else nullcontext():
        yield from stream(target, trimmed(prompts)[0], sampling)


def write_stream(model: str, prompt: str, settings: GenerateSettings, write: Callable[[str], None]) -> None:
    """Write one continuation after its prompt, or an answer alone, as `stream_prompt` yields it.

    Raises:
        UsageError: as `stream_prompt`.
    """
    said = "" if settings.chat else prompt.rstrip()
    for piece in stream_prompt(model, prompt, settings):
        write(said + piece)
        said = ""
    write("\n")


def check_alone(settings: GenerateSettings) -> None:
    """Raise `UsageError` where more than one continuation is to be written piece by piece."""
    if settings.file is not None or settings.output is not None:
        raise UsageError("file: its prompts cannot be written at once; leave --file and -o out, or --interactive.")
    if settings.samples > 1:
        raise UsageError(f"samples: {settings.samples} cannot be written at once; leave --samples out, or --stream.")


class Chat:
    """A conversation of a user with a target: what was said so far, and the strength of the next answer."""

    def __init__(
        self, target: Target, detoxifier: Detoxifier | None, strength: float | None, sampling: Sampling, form: Form
    ) -> None:
        self.target, self.detoxifier, self.sampling, self.form = target, detoxifier, sampling, form
        self.strength = None if detoxifier is None else detoxifier.check_strength(strength)
        self.turns: list[Message] = []

    def answer(self, text: str) -> Generator[str, None, None]:
        """Yield the answer to a user's turn in pieces; both are remembered, also where the writing is broken off.

        Where nothing was answered, nothing is remembered: no template knows an empty turn.

        Raises:
            UsageError: the model has no chat template, or it refuses these turns.
            DetoxError: the model's logits are NaN or infinite.
        """
        turns = [*self.turns, {"role": "user", "content": text}]
        [prompt] = self.form.asked([Conversation(turns)])
        for note in describe_prompts(self.target, [prompt], self.sampling):
            log.warning(note)
        said = ""
        try:
            with self._attached():
                for piece in stream(self.target, prompt, self.sampling):
                    said += piece
                    yield piece
        finally:
            if said.strip():
                self.turns = [*turns, {"role": "assistant", "content": said}]

    def _attached(self) -> AbstractContextManager[None]:
        if self.detoxifier is None:
            return nullcontext()
        return self.detoxifier.attached(self.target.model, self.strength)

    def command(self, line: str) -> str:
        """Carry out a line that begins with `/` and return what to say of it; wrong ones change nothing."""
        name, _, value = line.partition(" ")
        if name == "/reset":
            self.turns = []
            return "Forgotten."
        if name == "/strength":
            return self._set_strength(value.strip())
        return HELP if name == "/help" else f"There is no {name}.\n{HELP}"

    def _set_strength(self, value: str) -> str:
        if self.detoxifier is None:
            return "strength: it needs --detoxifier DIR; without one the model is untouched."
        try:
            self.strength = self.detoxifier.check_strength(float(value))
        except ValueError:
            return f"strength: {value!r} is no number; write /strength 0.3"
        except UsageError as error:
            return str(error)
        return f"Strength {self.strength:g}."


def chat(
    model: str,
    settings: GenerateSettings,
    first: str | None,
    read: Callable[[], str | None],
    write: Callable[[str], None],
) -> None:
    """Talk until `/quit` or the end of input.

    Args:
        model: the target.
        settings: how it is loaded and sampled, and the detoxifier's strength at the start.
        first: the first turn of the user; None: it is read.
        read: returns a line of the user's, None at the end of input.
        write: shows a piece of text.

    Raises:
        UsageError: as `detoxlm.workflows.continue_prompt`; several samples, or a model without a chat template.
    """
    check_alone(settings)
    hello = settings.form.asked([Conversation([{"role": "user", "content": "Hello"}])])
    detoxifier = detoxifier_of(settings)
    target = target_of(model, settings, detoxifier)
    talk = Chat(target, detoxifier, settings.strength, sampling_of(settings), settings.form)
    describe_prompts(target, hello, talk.sampling)  # it refuses what every turn would be refused for
    line = read() if first is None else first
    while line is not None and line.strip() != "/quit":
        line = line.strip()
        if line.startswith("/"):
            write(talk.command(line) + "\n")
        elif line:
            _say(talk, line, write)
        line = read()


def _say(talk: Chat, line: str, write: Callable[[str], None]) -> None:
    """Write the answer to a line; an interrupt ends the answer, not the chat."""
    said = False
    try:
        with closing(talk.answer(line)) as pieces:
            for piece in pieces:
                said = said or bool(piece.strip())
                write(piece)
    except KeyboardInterrupt:
        write(" (broken off)")
    write("\n" if said else "(no answer)\n")
