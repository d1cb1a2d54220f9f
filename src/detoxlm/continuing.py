"""`detoxlm generate --file FILE --output OUTPUT`: a file of prompts, continued; a killed run goes on where it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial as given
from pathlib import Path
from typing import Any

from detoxlm.bulk.forms import Kind, Values
from detoxlm.bulk.partial import Partial, check_output, folder_of
from detoxlm.bulk.source import Chunk, Source
from detoxlm.bulk.work import FORMS, Done, check, look, write
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import decode, encode, sample_batch, trimmed, window_of
from detoxlm.lock import only_writer
from detoxlm.methods import Detoxifier
from detoxlm.models import Target
from detoxlm.progress import track, waiting
from detoxlm.settings import ChatOptions, GenerateSettings
from detoxlm.sizing import START, asked, is_out_of_memory
from detoxlm.versions import packages
from detoxlm.workflows import detoxifier_of, sampling_of, target_of

log = logging.getLogger(__name__)


class Writing:
    """A model with its detoxifier at work: in this process, or in a worker of Ray."""

    def __init__(self, model: str, settings: GenerateSettings, detoxifier: Detoxifier | None) -> None:
        """Load the model, and attach the detoxifier to it.

        Raises:
            UsageError: the model cannot be had, or the two do not fit each other.
        """
        target = target_of(model, settings, detoxifier)
        self._target: Target | None = target
        self._sampling = sampling_of(settings)
        size = asked(settings.batch_size, target.device)
        if size == "auto":  # it would find others after a kill and in every worker; logits' last digits depend on them
            size = START
        #: Rows of a chunk, which is a batch.
        self.rows = max(1, size // settings.samples)
        #: The model's window in words, and how many tokens of it are left for a prompt; None: it does not say.
        self.window = f"the window of {target.name} has {window_of(target)}"
        self._room = None if window_of(target) is None else (window_of(target) or 0) - self._sampling.max_new_tokens
        #: For people: the model, and the detoxifier with its strength.
        self.by = [f"{target.name} ({target.revision})"]
        #: What of them decides the texts, in words for a message.
        self.identity: dict[str, Any] = {
            "model": f"{target.name} {target.architecture.fingerprint} {target.info.dtype}",
            "detoxifier": "none" if detoxifier is None else detoxifier.content[:16],
            "strength": None,
            "--batch-size": size,
            **packages(),
        }
        self._attached = ExitStack()
        if detoxifier is not None:
            strength = self.identity["strength"] = detoxifier.check_strength(settings.strength)
            self.by.append(f"{detoxifier.method} at strength {strength:g}")
            self._attached.enter_context(detoxifier.attached(target.model, strength))

    def close(self) -> None:
        """Detach the detoxifier, and let go of the model; a second time this does nothing."""
        self._attached.close()
        self._target = None

    def write(self, texts: Sequence[str]) -> tuple[list[list[str]], int]:
        """Return the continuations of each prompt of a batch, and how many prompts were cut to the model's window.

        Raises:
            DetoxError: memory runs out. Smaller batches would not have the bytes that were promised.
        """
        target, room, prompts = self._target, self._room, trimmed(texts)
        assert target is not None  # nobody writes with what is closed
        try:
            made = [[decode(target, ids) for ids in row] for row in sample_batch(target, prompts, self._sampling)]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            count = self.rows * self._sampling.samples
            fix = "give a smaller --batch-size (and --overwrite: what is kept was made in larger batches)"
            if self.rows == 1:  # a prompt's samples run at once
                fix = "ask for fewer --samples or --max-new-tokens, or take --dtype bfloat16"
            raise DetoxError(f"batch_size: {count} sequences at once need more memory than there is; {fix}.") from error
        return made, 0 if room is None else sum(len(encode(target, one, None)) > room for one in prompts)

    def __call__(self, texts: Sequence[str]) -> bytes:
        """Return what `write` does, in JSON, for another process."""
        return json.dumps(self.write(texts)).encode()


def worker(model: str, settings: GenerateSettings, like: dict[str, Any]) -> Writing:
    """Return what works in a worker of Ray.

    Raises:
        DetoxError: model or detoxifier cannot be had there, or are not what they are here, `like`.
    """
    writing = Writing(model, settings, detoxifier_of(settings))
    if writing.identity != like:
        other = ", ".join(f"{key} {writing.identity[key]}, not {value}" for key, value in like.items())
        raise DetoxError(f"a worker has another model ({other}); name --dtype, and give all machines the same files.")
    return writing


def continue_file(model: str, settings: GenerateSettings) -> Done:
    """Continue the prompts of `settings.file` and write its rows with what came to `settings.output`, in their order.

    All rows are looked at before the model is loaded. Prompts are read without outer white space. A run that was
    killed goes on after its last whole batch, and ends with the bytes of one that was not.

    Raises:
        UsageError: what cannot be done as it is asked for: the file, the output, a row, the detoxifier.
        DetoxError: the model failed, the disk is full, or the file was changed meanwhile.
    """
    source, output = _check(settings)
    kind: Kind = "text" if settings.samples == 1 else "texts"
    columns = ["continuation" if kind == "text" else "continuations"]
    detoxifier = detoxifier_of(settings)
    with only_writer(output):
        before = source.state()
        form = FORMS[output.suffix.lower()](source, columns, [], kind)
        if not folder_of(output).exists():  # else it is known only with the model whether that is this run's
            check_output(output, {}, settings.overwrite)
        with waiting(f"reading {source.path}"):
            done = look(source, form, Done(output, [], columns), "rename it")
        writing = Writing(model, settings, detoxifier)
        try:
            source = replace(source, size=writing.rows)
            done.by = form.described = writing.by
            run = _run(settings, source, writing.identity)
            check_output(output, run, settings.overwrite)
            partial, each = Partial(output, run), settings.samples * settings.max_new_tokens
            try:
                with (
                    track("generating", done.rows * each, "tokens", done=partial.done * each) as advance,
                    closing(_made(model, settings, writing, source, partial.done, advance)) as made,
                ):
                    write(made, source, before, form, partial, done)
            finally:
                partial.close()
        finally:
            writing.close()
    return done


def _check(settings: GenerateSettings) -> tuple[Source, Path]:
    """Return what is continued and where it goes; raise `UsageError` where that cannot be."""
    if settings.file is None:
        raise UsageError("generate: it needs a PROMPT to continue, or --interactive for a chat, or --file and -o.")
    if settings.output is None:
        raise UsageError("output: name where the continuations of --file go, as -o out.jsonl.")
    for name in (*ChatOptions.model_fields, "stream"):
        if getattr(settings, name):
            raise UsageError(f"{name}: prompts of --file are continued as they are; leave it out, or --file.")
    return check(settings, ("prompt", "text"))


def _run(settings: GenerateSettings, source: Source, identity: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the bytes of the output, in words for a message; who works does not."""
    names = ("max_new_tokens", "samples", "temperature", "top_p", "top_k", "seed", "skip_bad_rows")
    return {
        **identity,
        "content of --file": source.sha256()[:16],
        "--column": ", ".join(source.columns),
        **{f"--{name.replace('_', '-')}": getattr(settings, name) for name in names},
    }


def _made(
    model: str,
    settings: GenerateSettings,
    writing: Writing,
    source: Source,
    start: int,
    advance: Callable[[int], None],
) -> Generator[tuple[Chunk, Values]]:
    """Yield the chunks from row `start` on with their continuations; say at the end how many prompts were cut."""
    cut = 0
    with closing(_answers(model, settings, writing, source, start)) as answers:
        for chunk, texts, short in answers:
            cut += short
            advance(len(texts) * settings.samples * settings.max_new_tokens)
            yield chunk, [[row[0] for row in texts] if settings.samples == 1 else texts]
    if cut:
        log.warning("%d prompts were cut to their last tokens: %s.", cut, writing.window)


def _answers(
    model: str, settings: GenerateSettings, writing: Writing, source: Source, start: int
) -> Generator[tuple[Chunk, list[list[str]], int]]:
    """Yield the chunks with what `Writing.write` returns of each, from this process or from workers of Ray."""
    if settings.engine == "local":
        for chunk in source.chunks(start):
            yield chunk, *writing.write(chunk.texts)
        return
    from detoxlm.bulk.on_ray import worked

    writing.close()  # workers have models of their own
    make = given(worker, model, settings, writing.identity)
    with closing(worked(source, start, make, settings.workers)) as answers:
        for chunk, answer in answers:
            texts, short = json.loads(answer)
            yield chunk, texts, short
