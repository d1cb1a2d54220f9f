"""Runs a server's application on a socket until it is told to stop, and ends it well."""

from __future__ import annotations

import importlib
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from detoxlm.errors import UsageError
from detoxlm.listening import address_of, signals_only_stop
from detoxlm.progress import standard_error

#: Seconds that requests may take to end after the server is told to stop.
_LAST = 60
#: Seconds of Python code that a thread may run while another waits.
_TURN = 0.0005


def need(command: str, *packages: str) -> None:
    """Raise `UsageError` where a package of the extra `serve` is not installed."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            raise UsageError(
                f"{command}: it needs {package}, which is not installed: pip install 'detoxlm[serve]'"
            ) from None


def run_app(app: Any, listening: socket.socket, say: Callable[[str], None]) -> None:
    """Serve an ASGI application until SIGINT or SIGTERM; `say` is told the address once it answers."""
    import uvicorn

    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        access_log=False,  # its lines have the query, and so the key
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_LAST,
    )
    listening.listen(config.backlog)  # from here on no client is refused: the address may be told
    say(address_of(listening))
    with access_lines(), signals_only_stop(), short_turns():
        uvicorn.Server(config).run([listening])


@contextmanager
def access_lines() -> Iterator[None]:
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
def short_turns() -> Iterator[None]:
    """Let threads take turns often: a scorer's Python code must not hold up reading and writing for 5 ms each time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
