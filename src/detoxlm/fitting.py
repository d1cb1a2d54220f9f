"""From settings and files to a fitted detoxifier in a folder; a fit that is there already is not repeated."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from detoxlm import processes
from detoxlm.conversations import Conversation, Form, as_data, form_of, template_sha256
from detoxlm.data import describe_skipped, read_corpus, read_pairs, read_prompts
from detoxlm.errors import UsageError
from detoxlm.files import check_output_folder
from detoxlm.generation import trimmed
from detoxlm.journal import digest_of
from detoxlm.lock import only_writer
from detoxlm.methods import METHODS, Detoxifier, FitData, Method
from detoxlm.methods.folders import CONFIG_FILE
from detoxlm.models import Target
from detoxlm.settings import FitSettings, RunSettings
from detoxlm.sources import method_table, validated

log = logging.getLogger(__name__)


def method_settings(
    method: type[Method], config: Path | None, assignments: Sequence[str], calibrator: str | None = None
) -> Any:
    """Build a method's settings from its table in a TOML file, from `calibrator` and from `key=value` strings.

    The later of these win.

    Raises:
        UsageError: the method has no calibrator; the file cannot be read or has a table of no method; a string without
            `=`, an unknown key, or a value out of range.
    """
    if calibrator is not None:
        if "calibrator" not in method.detoxifier_type.settings_type.model_fields:
            raise UsageError(f"calibrator: {method.name} has none; it is for --method fusion.")
        assignments = [f"calibrator={calibrator}", *assignments]
    values = method_table(config, method.name, METHODS)
    source = dict.fromkeys(values, f"[{method.name}] in {config}")
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set: {assignment!r} is not key=value; see `detoxlm methods {method.name}`.")
        values[key], source[key] = value, "--set"
    return validated(method.detoxifier_type.settings_type, values, source)


def check_read(method: type[Method], given: dict[str, Any]) -> None:
    """Raise `UsageError` where a file is given that the method would not read."""
    for name, value in given.items():
        if value is not None and name not in method.reads:
            known = [f"--{other}" for other in sorted(method.reads & given.keys())]  # `run` has no --prompts to fit
            sources = f"{', '.join(known)} or from " if known else ""
            raise UsageError(
                f"{name}: {method.name} does not read it; it learns from {sources}text of the model's own."
            )


def form_of_fit(settings: FitSettings | RunSettings) -> Form:
    """Return the form in which the target is asked for what a fit learns from: plain unless chat, or both, is wanted.

    Raises:
        UsageError: `--chat` with `--forms plain`.
    """
    if settings.chat and settings.forms == "plain":
        raise UsageError("forms: plain contradicts --chat; leave one of the two out.")
    both = settings.forms == "both"
    return replace(settings.form, chat=settings.chat or both or settings.forms == "chat", half=both)


def fit_data(settings: FitSettings | RunSettings, prompts: str | None, scorer: Any, workdir: Path) -> FitData:
    """Read what the user gave to learn from; what is missing stays None and the method makes it.

    Raises:
        UsageError: a file is missing or has a row or column that is wrong; names it.
    """
    form = form_of_fit(settings)
    data = FitData(scorer=scorer, seed=settings.seed, batch_size=settings.batch_size, workdir=workdir, form=form)
    skip = settings.skip_bad_rows
    loaded: list[Any] = []
    if settings.corpus is not None:
        loaded.append(read_corpus(settings.corpus, column=settings.corpus_column, skip_bad_rows=skip))
        data.corpus = loaded[-1].items
    if settings.harmful is not None:
        loaded.append(read_corpus(settings.harmful, column=settings.corpus_column, skip_bad_rows=skip))
        data.harmful = loaded[-1].items
    if settings.pairs is not None:
        loaded.append(read_pairs(settings.pairs, skip_bad_rows=skip))
        data.pairs = loaded[-1].items
    if prompts is not None:
        loaded.append(read_prompts(prompts, column=settings.column, skip_bad_rows=skip))
        data.prompts = form.asked(trimmed(loaded[-1].items))
        if form.half and sum(isinstance(one, Conversation) for one in data.prompts) in (0, len(data.prompts)):
            raise UsageError(
                "forms: these prompts cannot be asked half in plain text and half in chat; leave --forms out."
            )
    for one in loaded:
        if skipped := describe_skipped(one):
            log.warning(skipped)
    return data


def fit_to(target: Target, method: type[Method], settings: Any, data: FitData, output: Path) -> Detoxifier:
    """Fit and save; a detoxifier of this very fit that is already in `output` is loaded instead.

    Raises:
        UsageError: `output` is something else than a detoxifier folder, or the method refuses model, data or settings.
        DetoxError: the fit failed, or the disk is full.
    """
    check_output_folder(output, CONFIG_FILE)
    digest = fit_digest(target, method, settings, data)
    with only_writer(output):
        return _fitted(target, method, settings, data, output, digest)


def fit_digest(target: Target, method: type[Method], settings: Any, data: FitData) -> str:
    """Return 64 hex digits that name a fit: of equal ones the second needs not be done."""
    key = {
        "method": method.name,
        "settings": settings.model_dump(mode="json"),
        "starts_from": _content_of(getattr(settings, "calibrator", None)),
        "fingerprint": target.architecture.fingerprint,
        "dtype": str(target.model.dtype),
        "version": metadata.version("detoxlm"),
        "corpus": TypeAdapter(Any).dump_python(data.corpus, mode="json"),
        "harmful": TypeAdapter(Any).dump_python(data.harmful, mode="json"),
        "pairs": TypeAdapter(Any).dump_python(data.pairs, mode="json"),
        "prompts": as_data(data.prompts),
        "scorer": [data.scorer.name, data.scorer.version, data.scorer.revision] if data.scorer else None,
        "seed": data.seed,
    }
    if data.prompts is None and data.form != Form():  # fits in plain form are known by the name that they had
        key["form"] = asdict(data.form)
    if data.form.chat or form_of(data.prompts or []) == "chat":
        key["template"] = template_sha256(target.tokenizer)
    return digest_of(key)


def _fitted(
    target: Target, method: type[Method], settings: Any, data: FitData, output: Path, digest: str
) -> Detoxifier:
    if (found := processes.from_first(_kept(output, digest))) is not None:
        log.warning("%s holds this very fit: loaded, not repeated. Delete it to fit again.", output)
        return found
    started = time.monotonic()
    detoxifier = method.fit(target, data, settings)
    detoxifier.fitting |= {"seconds": round(time.monotonic() - started, 1), "fit": digest}
    if data.form.chat or form_of(data.prompts or []) == "chat":
        detoxifier.fitting["form"] = "both" if data.form.half else "chat"
        if "harvest" not in detoxifier.fitting:  # a calibrator or an auxiliary model that ships, or the user's texts
            log.warning(
                "chat: this fit of %s let the model write nothing, so the form of the prompts changed nothing in it.",
                method.name,
            )
    processes.gathered(None)  # all are done with the work folder
    if processes.started()[0]:  # the first one writes
        return detoxifier
    detoxifier.save_pretrained(output)
    if data.workdir is not None:
        shutil.rmtree(data.workdir, ignore_errors=True)
    return detoxifier


def _kept(output: Path, digest: str) -> Detoxifier | None:
    """Return the detoxifier in `output` where it is of this very fit."""
    if not (output / CONFIG_FILE).exists():
        return None
    try:
        found = Detoxifier.from_pretrained(output)
    except UsageError:
        return None  # damaged or of another version: about to be replaced, as -o asks
    return found if found.fitting.get("fit") == digest else None


def _content_of(folder: str | None) -> str | None:
    """Return a hash of the detoxifier that a fit starts from; None: what is named is no folder."""
    if folder is None or not (Path(folder) / CONFIG_FILE).is_file():
        return None
    return Detoxifier.from_pretrained(folder).content


def workdir_of(output: Path) -> Path:
    """Return the folder beside `output` where a fit keeps its work in progress."""
    return output.with_name(output.name + ".work")
