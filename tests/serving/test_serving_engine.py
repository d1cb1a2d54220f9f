"""The queue before the model: those who go while they wait take nobody with them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

import pytest
from test_serving_batch import job_of

from detoxlm.errors import DetoxError
from detoxlm.models import Target
from detoxlm.serving.batch import Batch
from detoxlm.serving.engine import Engine
from detoxlm.serving.host import Host
from detoxlm.serving.metrics import Metrics
from detoxlm.serving.rows import Job, Piece


@pytest.fixture
def engine(tiny: Callable[..., Target]) -> Iterator[tuple[Engine, Metrics, Target]]:
    """An engine of a tiny model, of two rows."""
    target, metrics = tiny(), Metrics()
    made = Engine(Host(target, {}), 2, 8, metrics)
    yield made, metrics, target
    made.close()


def ended(job: Job) -> tuple[threading.Event, list[Piece | Exception]]:
    """What says that a job has ended, and what it is told."""
    end, told = threading.Event(), list[Piece | Exception]()

    def tell(one: Piece | Exception) -> None:
        told.append(one)
        if isinstance(one, Exception) or one.finish is not None:
            end.set()

    job.tell = tell
    return end, told


def test_who_goes_in_the_moment_of_his_turn_takes_nobody_with_him(engine: tuple[Engine, Metrics, Target]) -> None:
    made, _, target = engine
    looked = threading.Event()

    class Leaving(Job):
        @property
        def count(self) -> int:
            """The number of rows; his client goes as the model's thread asks for it."""
            if threading.current_thread().name == "model":
                made.cancel([self])
                looked.set()
            return super().count

    first, last = (job_of(target, prompt, name=None, max_new_tokens=60) for prompt in ("the old", "we all"))
    first_end, first_told = ended(first)
    last_end, last_told = ended(last)
    made.submit([first])
    made.submit([Leaving(first.ids, first.prompt, first.sampling, print)])
    assert looked.wait(30)
    made.submit([last])
    assert first_end.wait(30) and last_end.wait(30)
    assert not [one for one in (*first_told, *last_told) if isinstance(one, Exception)]


def test_who_goes_while_he_waits_counts_no_more(engine: tuple[Engine, Metrics, Target]) -> None:
    made, metrics, target = engine
    begun, go_on = threading.Event(), threading.Event()

    def held(_: Piece | Exception) -> None:
        begun.set()
        assert go_on.wait(30)

    first, *others = (job_of(target, "the old", name=None, samples=2) for _ in range(4))
    first.tell = held
    made.submit([first])
    assert begun.wait(30)
    ends = [ended(job) for job in others]
    made.submit(others)
    assert metrics.waiting() == 6
    made.cancel(others[:2])
    assert metrics.waiting() == 2
    go_on.set()
    assert ends[2][0].wait(30)
    assert not ends[0][1] and not ends[1][1]


def test_at_the_end_those_who_wait_are_told_and_those_who_went_are_not(tiny: Callable[..., Target]) -> None:
    target, error = tiny(), DetoxError("the server ended")
    waits, went = (job_of(target, "the old", name=None) for _ in range(2))
    went.cancelled = True
    told = [ended(job)[1] for job in (waits, went)]
    host = Host(target, {})
    Batch(host, 2).end(deque([waits, went]), error)
    host.close()
    assert told == [[error], []]
