"""Real servers on loopback, in a thread of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import httpx
import numpy as np
import pytest
import uvicorn

from detoxlm.errors import DetoxError
from detoxlm.listening import listen
from detoxlm.scorers.base import Scorer
from detoxlm.serve.app import Limits, create_app
from detoxlm.serve.engine import in_thread
from detoxlm.serve.keys import Keys
from detoxlm.serve.languages import Detector


class ToyScorer(Scorer):
    """Six dimensions out of a text's letters; fails on texts with `boom` in them, and can be held."""

    name, version, revision = "toy", "3", "r1"
    dimensions = ("toxicity", "insult", "profanity", "identity_attack", "threat", "sexually_explicit")

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        #: Set: the scorer works. Clear: it waits in the middle of its batch.
        self.free = threading.Event()
        self.free.set()

    def _score_batch(self, texts: list[str]) -> np.ndarray:
        return self._score_dimensions_batch(texts)[:, 0]

    def _score_dimensions_batch(self, texts: list[str]) -> np.ndarray:
        self.batches.append(texts)
        assert self.free.wait(20)
        if any("boom" in text for text in texts):
            raise DetoxError(f"scorer toy: it failed on {texts!r}")
        return np.array([[text.count(c) / (len(text) + 0.7) for c in "eaiost"] for text in texts])


@pytest.fixture
def toy() -> ToyScorer:
    """A toy scorer of six dimensions."""
    return ToyScorer()


@pytest.fixture(scope="session")
def detector() -> Detector:
    """What tells languages, loaded once."""
    return Detector()


Client = httpx.Client
Serve = Callable[..., Client]


@pytest.fixture
def serve(detector: Detector) -> Iterator[Serve]:
    """Return `serve(scorer, keys=None, limits=None, origins=())`: a client of a new server of that scorer."""

    @contextmanager
    def server(
        scorer: Scorer, keys: Keys | None = None, limits: Limits | None = None, origins: Sequence[str] = ()
    ) -> Iterator[Client]:
        engine, listening = in_thread(scorer), listen("127.0.0.1", 0)
        app = create_app(engine, detector, keys, limits, origins)
        made = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", access_log=False, log_config=None))
        thread = threading.Thread(target=made.run, args=([listening],))
        thread.start()
        try:
            while not made.started:
                time.sleep(0.01)
            base = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=base, timeout=30, trust_env=False) as client:
                yield client
        finally:
            made.should_exit = True
            thread.join(20)
            engine.close()
            listening.close()

    with ExitStack() as stack:
        yield lambda *given, **more: stack.enter_context(server(*given, **more))
