"""Real servers of tiny detoxified models on loopback, in a thread of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from fits import fit

from detoxlm.listening import listen
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.models import Target
from detoxlm.serve.keys import Keys
from detoxlm.serving.app import create_app
from detoxlm.serving.engine import Engine
from detoxlm.serving.host import Host
from detoxlm.serving.metrics import Metrics
from detoxlm.serving.served import Served


@dataclass
class Running:
    """A server at work."""

    url: str
    client: httpx.Client
    served: Served
    engine: Engine
    metrics: Metrics

    def ask(self, path: str = "completions", **body: object) -> httpx.Response:
        """Post a body to a route of the API."""
        return self.client.post(f"/v1/{path}", json=body)


Serve = Callable[..., Running]


@pytest.fixture
def fusion(tiny: Callable[..., Target], letter_scorer: object) -> tuple[Target, DecodingDetoxifier]:
    """A tiny model and a detoxifier of it that changes what it says."""
    target = tiny()
    detoxifier = fit(target, "fusion", letter_scorer)
    assert isinstance(detoxifier, DecodingDetoxifier)
    return target, detoxifier


@pytest.fixture
def serve_model(fusion: tuple[Target, DecodingDetoxifier]) -> Iterator[Serve]:
    """Return `serve_model(most=8, queue=64, keys=None, served=None)`: a new server, by default of `fusion`."""

    @contextmanager
    def server(
        most: int = 8,
        queue: int = 64,
        keys: Keys | None = None,
        served: Served | None = None,
        prefix_tokens: int = 0,
        scorer: Any = None,
    ) -> Iterator[Running]:
        served = served or Served(fusion[0], "tiny", {"tiny:fusion": fusion[1]})
        metrics, listening = Metrics(), listen("127.0.0.1", 0)
        engine = Engine(Host(served.target, served.detoxifiers), most, queue, metrics, prefix_tokens)
        app = create_app(served, engine, metrics, keys, most, scorer)
        made = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", access_log=False, log_config=None))
        thread = threading.Thread(target=made.run, args=([listening],))
        thread.start()
        try:
            while not made.started:
                time.sleep(0.01)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                yield Running(url, client, served, engine, metrics)
        finally:
            made.should_exit = True
            thread.join(20)
            engine.close()
            listening.close()

    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(server(**given))
