"""`detoxlm generate --file FILE --output OUTPUT`: a file of prompts, continued; a killed run goes on where it was."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from detoxlm.bulk.command import FORMS, Done, look
from detoxlm.bulk.forms import Form, Kind
from detoxlm.bulk.partial import Partial, check_output, folder_of
from detoxlm.bulk.source import Source
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import decode, encode, sample_batch, trimmed, window_of
from detoxlm.items import skipped_line
from detoxlm.lock import only_writer
from detoxlm.methods import Detoxifier
from detoxlm.models import Target
from detoxlm.progress import track, waiting
from detoxlm.records import local_records
from detoxlm.settings import ChatOptions, GenerateSettings
from detoxlm.workflows import detoxifier_of, sampling_of, target_of

log = logging.getLogger(__name__)


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
        if skipped := skipped_line(str(source.path), done.bad, done.skipped, done.skipped + done.rows):
            log.warning(skipped)
        target = target_of(model, settings, detoxifier)
        acting = nullcontext() if detoxifier is None else detoxifier.attached(target.model, settings.strength)
        done.by = form.described = _by(target, detoxifier, settings)
        run = _run(settings, source, target, detoxifier)
        check_output(output, run, settings.overwrite)
        partial = Partial(output, run)
        try:
            with acting:
                _continue(target, source, settings, partial, form, done)
            if source.state() != before or partial.done != done.rows:
                raise DetoxError(f"{source.path} was changed while it was continued; start over with --overwrite.")
            partial.finish(form)
        finally:
            partial.close()
    return done


def _check(settings: GenerateSettings) -> tuple[Source, Path]:
    """Return what is continued and where it goes; raise `UsageError` where that cannot be."""
    file, output = settings.file, settings.output
    if file is None:
        raise UsageError("generate: it needs a PROMPT to continue, or --interactive for a chat, or --file and -o.")
    if output is None:
        raise UsageError("output: name where the continuations of --file go, as -o out.jsonl.")
    for name in (*ChatOptions.model_fields, "stream"):
        if getattr(settings, name):
            raise UsageError(f"{name}: prompts of --file are continued as they are; leave it out, or --file.")
    if output.exists() and file.exists() and output.samefile(file):
        raise UsageError(f"output: {output} is the file that is read; choose another -o.")
    if output.suffix.lower() not in FORMS:
        raise UsageError(f"output: {output} is of no known kind; its name must end in {', '.join(FORMS)}.")
    local_records("file", file)
    columns = (settings.column,) if settings.column else ("prompt", "text")
    # the last digits of logits depend on the batch, so its size is a part of what names a run; a kill costs one batch
    size = max(1, settings.batch_size // settings.samples)
    return Source(file, columns, settings.skip_bad_rows, size), output


def _by(target: Target, detoxifier: Detoxifier | None, settings: GenerateSettings) -> list[str]:
    """Return the model, and the detoxifier with its strength, for people."""
    found = [f"{target.name} ({target.revision})"]
    if detoxifier is not None:
        found.append(f"{detoxifier.method} at strength {detoxifier.check_strength(settings.strength):g}")
    return found


def _run(settings: GenerateSettings, source: Source, target: Target, detoxifier: Detoxifier | None) -> dict[str, Any]:
    """Return what decides the bytes of the output, in words for a message."""
    names = ("max_new_tokens", "samples", "temperature", "top_p", "top_k", "seed", "batch_size", "skip_bad_rows")
    return {
        "model": f"{target.name} {target.architecture.fingerprint} {target.info.dtype}",
        "detoxifier": "none" if detoxifier is None else detoxifier.content[:16],
        "strength": None if detoxifier is None else detoxifier.check_strength(settings.strength),
        "content of --file": source.sha256()[:16],
        "--column": ", ".join(source.columns),
        **{f"--{name.replace('_', '-')}": getattr(settings, name) for name in names},
    }


def _continue(
    target: Target, source: Source, settings: GenerateSettings, partial: Partial, form: Form, done: Done
) -> None:
    """Continue what is not done yet, a batch at a time, and keep each batch."""
    sampling = sampling_of(settings)
    each, cut = settings.samples * settings.max_new_tokens, 0
    window = window_of(target)
    with track("generating", done.rows * each, "tokens", done=partial.done * each) as advance:
        for chunk in source.chunks(partial.done):
            for line, text in zip(chunk.lines, chunk.texts, strict=True):
                if not text.strip():
                    raise UsageError(
                        f"{source.path}:{line}: the prompt is white space alone. Mend it, or leave it out."
                    )
            prompts = trimmed(chunk.texts)
            if window is not None:
                cut += sum(len(encode(target, one, None)) > window - settings.max_new_tokens for one in prompts)
            texts = [[decode(target, ids) for ids in row] for row in sample_batch(target, prompts, sampling)]
            made: list[Any] = [row[0] for row in texts] if form.kind == "text" else texts
            partial.append(form.render(chunk, [made]), len(texts))
            advance(len(texts) * each)
    if cut:
        log.warning("%d prompts were cut to their last tokens: the window of %s has %d.", cut, target.name, window)
