"""`detoxlm label`: a session in the terminal or on a page, or the agreement of two files of labels."""

from __future__ import annotations

import importlib
import logging
import shlex
from collections.abc import Callable
from pathlib import Path

from detoxlm.errors import UsageError
from detoxlm.files import check_output_file
from detoxlm.items import describe_skipped
from detoxlm.labelling.agreement import Agreement, agreement
from detoxlm.labelling.session import Session
from detoxlm.labels.files import LabelFile
from detoxlm.labels.texts import Readable, read_texts
from detoxlm.listening import address_of, listen, signals_only_stop
from detoxlm.lock import only_writer
from detoxlm.settings import LabelSettings

log = logging.getLogger(__name__)


def run(source: str, settings: LabelSettings, command: str, say: Callable[[str], None]) -> Session:
    """Let a reader label the texts of a file, and return how far it came.

    Args:
        source: a file of texts or a results.json.
        settings: how, and where the labels go.
        command: what was typed, to be typed again for going on.
        say: takes lines for the reader.

    Raises:
        UsageError: no text in the file, a file of labels that does not fit, no terminal, or no page to be had.
        DetoxError: a label cannot be written.
    """
    check_output_file(settings.output)
    texts = _texts(source, settings)
    with only_writer(settings.output), LabelFile(settings.output, settings.reader) as file:
        session = Session(texts, file, settings.seed)
        if session.others:
            log.warning("%s: %d of its labels are of other texts; they stay.", file.path, session.others)
        if settings.page:
            _on_page(session, settings, command, say)
        else:
            from detoxlm.labelling.terminal import label

            label(session, settings.show_scores)
    return session


def compare(first: Path, second: Path, source: str | None, settings: LabelSettings) -> Agreement:
    """Compare two files of labels; `source` has the texts that are shown where they differ, None: none are.

    Raises:
        UsageError: a file cannot be used, or nothing is labelled in both.
    """
    return agreement(first, second, _texts(source, settings) if source else (), seed=settings.seed)


def _texts(source: str, settings: LabelSettings) -> list[Readable]:
    loaded = read_texts(source, column=settings.column, skip_bad_rows=settings.skip_bad_rows)
    if skipped := describe_skipped(loaded):
        log.warning(skipped)
    return loaded.items


def _on_page(session: Session, settings: LabelSettings, command: str, say: Callable[[str], None]) -> None:
    for package in ("starlette", "uvicorn"):
        try:
            importlib.import_module(package)
        except ImportError:
            raise UsageError(
                f"page: it needs {package}, which is not installed: pip install 'detoxlm[serve]'. Or label in the "
                "terminal, without --page."
            ) from None
    import uvicorn

    from detoxlm.labelling.page import create_app

    with listen("127.0.0.1", settings.port) as listening:
        app = create_app(session, settings.show_scores, command, lambda: setattr(server, "should_exit", True))
        config = uvicorn.Config(app, lifespan="off", ws="none", access_log=False, log_config=None, server_header=False)
        server = uvicorn.Server(config)
        listening.listen(config.backlog)
        say(f"{session.summary()}. Open {address_of(listening)} (Ctrl-C, or q on the page, stops it)")
        with signals_only_stop():
            server.run([listening])


def how_on(session: Session, settings: LabelSettings, command: str) -> str:
    """Say what a session leaves, and how to go on."""
    said = f"{session.summary()}, in {settings.output}."
    return said if session.current is None else f"{said} Go on with: {command}"


def validation(source: str, settings: LabelSettings) -> str:
    """Return the command that judges a scorer by the labels."""
    return shlex.join(
        ["detoxlm", "scorers", "validate", "embedded", "--data", source, "--labels", str(settings.output)]
    )
