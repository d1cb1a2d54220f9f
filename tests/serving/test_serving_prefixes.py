"""Beginnings that were read before: found, kept within their bound, and without a trace in what is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from fits import fit
from test_serving_batch import collected, job_of

from detoxlm.models import Target
from detoxlm.serving.batch import Batch
from detoxlm.serving.host import Host
from detoxlm.serving.prefixes import LEAST
from detoxlm.serving.rows import Job

pytestmark = pytest.mark.usefixtures("short_looks")
FIRST = "user: why does it rain so much here\nassistant:"


def through(batch: Batch, job: Job) -> list[Any]:
    """What one job is told: tokens with log-probabilities."""
    job.logprobs = 1
    told: list[Any] = []
    job.tell = lambda piece: told.extend(piece.drawn)  # type: ignore[union-attr]
    waiting = deque([job])
    while waiting or len(batch):
        batch.turn(waiting)
    return told


def conversation(target: Target, batch: Batch, strengths: tuple[float, float]) -> tuple[list[Any], list[Any], Job]:
    """Two turns, the second of which begins with the first and its answer."""
    first = job_of(target, FIRST, strengths[0])
    answer = through(batch, first)
    second = job_of(target, FIRST, strengths[1])
    second.ids = [*first.ids, *(one.token for one in answer), *target.tokenizer("\nuser: and snow")["input_ids"]]
    return answer, through(batch, second), second


@pytest.mark.parametrize("method", ["fusion", "nado"])
@pytest.mark.parametrize("strengths", [(0.0, 0.0), (2.0, 2.0), (0.0, 2.0), (2.0, 0.0)])
def test_a_conversation_that_goes_on_is_read_in_part_and_answered_alike(
    method: str, strengths: tuple[float, float], tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fit(target, method, letter_scorer)
    read = {}
    for kept in (0, 400):
        batch = Batch(Host(target, {"d": detoxifier}), 4, kept)
        answer, more, second = conversation(target, batch, strengths)
        read[kept] = batch.counts.prompts, batch.counts.unfused, answer, more
        # all of the first turn and its answer but the last token, which was drawn and never read
        assert second.cached == (0 if not kept else len(second.ids) - len("\nuser: and snow") - 1)
        batch._host.close()
    assert read[400][0] == read[0][0] - second.cached
    assert read[0][1] == read[400][1] == 0
    for found, wanted in zip(read[400][2:], read[0][2:], strict=True):
        assert [one.token for one in found] == [one.token for one in wanted]
        assert [one.logprob for one in found] == pytest.approx([one.logprob for one in wanted], abs=1e-4)


def test_what_a_detoxifier_changed_inside_the_model_is_not_read_for_another(
    tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    batch = Batch(Host(target, {"d": fit(target, "probe", letter_scorer)}), 4, 400)
    conversation(target, batch, (2.0, 2.0))
    assert batch.counts.cached == 0
    assert len(batch._prefixes) == 0
    *_, plain = conversation(target, batch, (0.0, 0.0))
    assert plain.cached > 0
    batch._host.close()


def test_kept_tokens_stay_within_the_bound_and_the_oldest_go_first(tiny: Callable[..., Target]) -> None:
    target = tiny()
    batch = Batch(Host(target, {}), 4, 90)
    prompts = ["a first text of one kind", "another text of some kind", "the third is quite different"]
    for prompt in prompts:
        through(batch, job_of(target, prompt, name=None))
        assert len(batch._prefixes) <= 90
    again = [job_of(target, prompt, name=None) for prompt in prompts]
    collected(again)
    for job in reversed(again):
        through(batch, job)
    assert again[2].cached == len(again[2].ids) - 1  # the last token of a prompt is always read
    assert again[0].cached == 0
    short = job_of(target, "a first", name=None)  # fewer than it is worth
    assert len(short.ids) < LEAST
    through(batch, short)
    assert short.cached == 0
    batch._host.close()


def test_an_answer_says_how_much_was_read_before(serve_model: Any) -> None:
    server = serve_model(prefix_tokens=200)
    body = {"prompt": FIRST, "max_tokens": 5, "temperature": 0}
    first, again = server.ask(**body).json(), server.ask(**body).json()
    assert first["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert again["usage"]["prompt_tokens_details"] == {"cached_tokens": again["usage"]["prompt_tokens"] - 1}
    assert again["choices"] == first["choices"]
    assert f"detoxlm_cached_tokens_total {len(FIRST) - 1}\n" in server.client.get("/metrics").text
