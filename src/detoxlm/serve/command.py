"""`detoxlm serve-scorer`: load a scorer, take a port, answer until told to stop, and then what was accepted."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from detoxlm.errors import DetoxError, UsageError, first_line
from detoxlm.listening import address_of, listen, signals_only_stop
from detoxlm.progress import standard_error
from detoxlm.settings import ServeScorerSettings

if TYPE_CHECKING:
    from detoxlm.serve.engine import Engine

#: Seconds that requests may take to end after the server is told to stop.
_LAST = 60
#: Seconds of Python code that a thread may run while another waits.
_TURN = 0.0005


def serve(settings: ServeScorerSettings, say: Callable[[str], None]) -> None:
    """Serve a scorer until SIGINT or SIGTERM; `say` is told the address once it answers.

    Raises:
        UsageError: a package is missing, or the port, the key file or the scorer cannot be had.
        DetoxError: the scorer cannot score.
    """
    for package in ("starlette", "uvicorn", "py3langid"):
        try:
            importlib.import_module(package)
        except ImportError:
            raise UsageError(
                f"serve-scorer: it needs {package}, which is not installed: pip install 'detoxlm[serve]'"
            ) from None
    import uvicorn

    from detoxlm.scorers import load_scorer
    from detoxlm.serve.app import Limits, create_app
    from detoxlm.serve.engine import in_processes, in_thread
    from detoxlm.serve.keys import read_keys
    from detoxlm.serve.languages import Detector

    keys = read_keys(settings.api_key_file)
    listening = listen(settings.host, settings.port)  # before the scorer, which takes a while to load
    with listening:
        if settings.workers > 1:
            engine = in_processes(settings.scorer, settings.workers, settings.device)
        else:  # no cache: of texts nothing is kept, not even digests
            engine = in_thread(load_scorer(settings.scorer, device=settings.device, cache=False))
        try:
            limits = Limits(settings.max_bytes, settings.queue)
            app = create_app(engine, Detector(), keys, limits, settings.cors_origin or ())
            config = uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                access_log=False,  # its lines have the query, and so the key
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=_LAST,
            )
            _warm(engine)
            listening.listen(config.backlog)  # from here on no client is refused: the address may be told
            say(f"Serving {engine.identity.name} at {address_of(listening)} (Ctrl-C stops it)")
            with _access_log(), signals_only_stop(), _short_turns():
                uvicorn.Server(config).run([listening])
        finally:
            engine.close()


def _warm(engine: Engine) -> None:
    try:
        asyncio.run(engine.warm())
    except DetoxError:
        raise
    except Exception as error:
        raise DetoxError(
            f"scorer {engine.identity.name}: it cannot score: {type(error).__name__}: {first_line(error)}"
        ) from error


@contextmanager
def _access_log() -> Iterator[None]:
    """Let the log of accesses go to standard error, a line a request, with the time."""
    handler = logging.StreamHandler(standard_error())
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("detoxlm.serve.access")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let threads take turns often: a scorer's Python code must not hold up reading and writing for 5 ms each time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
