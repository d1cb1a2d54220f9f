"""`detoxlm serve-scorer`: load a scorer, take a port, answer until told to stop, and then what was accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from detoxlm.errors import DetoxError, first_line
from detoxlm.listening import listen
from detoxlm.serve.running import need, run_app
from detoxlm.settings import ServeScorerSettings

if TYPE_CHECKING:
    from detoxlm.serve.engine import Engine


def serve(settings: ServeScorerSettings, say: Callable[[str], None]) -> None:
    """Serve a scorer until SIGINT or SIGTERM; `say` is told the address once it answers.

    Raises:
        UsageError: a package is missing, or the port, the key file or the scorer cannot be had.
        DetoxError: the scorer cannot score.
    """
    need("serve-scorer", "starlette", "uvicorn", "py3langid")
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
            _warm(engine)
            run_app(app, listening, lambda at: say(f"Serving {engine.identity.name} at {at} (Ctrl-C stops it)"))
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
