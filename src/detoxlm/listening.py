"""What servers on this machine share: a socket that has its address, and an end by signals that is a good end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from detoxlm.errors import UsageError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that has the address, and does not listen yet; port 0 is one that is free.

    Raises:
        UsageError: the host is no address of this machine, or the port cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise UsageError(f"host: {host!r} is no address of this machine; 127.0.0.1 is, or 0.0.0.0 for all.") from None
    found = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # else the port of a server that has just ended is taken for a minute
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port: {port} is in use on {host}; choose another --port.") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"host: {host} is no address of this machine; 127.0.0.1 is, or 0.0.0.0 for all.") from None
        raise UsageError(f"port: {port} on {host} cannot be had: {error.strerror}; choose another --port.") from None
    return found


def address_of(listening: socket.socket) -> str:
    """Return the URL of a socket that `listen` made, without a path."""
    host, port, *_ = listening.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def signals_only_stop() -> Iterator[None]:
    """Make a signal that stops the server a good end of the command: uvicorn raises it again when it is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(one, lambda *_: None) for one in signals]
    try:
        yield
    finally:
        for one, handler in zip(signals, before, strict=True):
            signal.signal(one, handler)
