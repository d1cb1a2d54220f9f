"""Continuous batching: whoever joins and leaves meanwhile, a request gets what it gets alone."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from devices import as_row
from fits import fit

from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Sampling, generate
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.models import Target
from detoxlm.passes import Prefill
from detoxlm.serving import batch as batching
from detoxlm.serving.batch import Batch, answer
from detoxlm.serving.host import Host
from detoxlm.serving.rows import Job, Piece

pytestmark = pytest.mark.usefixtures("short_looks")
TEXT = "The quick brown fox jumps over the lazy dog, and then it rained for days and days on all of us."


def hosted(tiny: Callable[..., Target], scorer: Any) -> tuple[Target, DecodingDetoxifier, Host]:
    """A tiny model, fusion fitted to it, and both at work."""
    target = tiny()
    detoxifier = fit(target, "fusion", scorer)
    assert isinstance(detoxifier, DecodingDetoxifier)
    return target, detoxifier, Host(target, {"d": detoxifier})


def job_of(target: Target, prompt: str, strength: float = 0.0, name: str | None = "d", **sampling: Any) -> Job:
    options = {"max_new_tokens": 12, **sampling}
    ids = list(target.tokenizer(prompt)["input_ids"])
    return Job(ids, prompt, Sampling(**options), lambda _: None, detoxifier=name, strength=strength)


def collected(jobs: list[Job]) -> list[dict[int, list[int]]]:
    """Let jobs gather the tokens of each sample, and errors as 'errors'."""
    found: list[dict[Any, Any]] = []
    for job in jobs:
        tokens: dict[Any, Any] = {}
        found.append(tokens)

        def tell(told: Piece | Exception, tokens: dict[Any, Any] = tokens) -> None:
            if isinstance(told, Exception):
                tokens["error"] = told
            else:
                tokens.setdefault(told.sample, []).extend(one.token for one in told.drawn)

        job.tell = tell
    return found


def margin(
    target: Target, detoxifier: DecodingDetoxifier, job: Job, ids: list[int], other: list[int]
) -> tuple[float, int]:
    """How far apart two greedy continuations' tokens are where they part, in log-probability, and where."""
    place = next((i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), min(len(ids), len(other)))
    with torch.inference_mode(), detoxifier.attached(target.model, job.strength):
        logits = target.model(as_row(target, [*job.ids, *ids[:place]])).logits[0, -1].log_softmax(-1)
    top = logits.topk(2).values
    return float(top[0] - top[1]), place


def mixed(target: Target, detoxifier: DecodingDetoxifier, count: int, greedy: bool) -> list[Job]:
    """Requests of all lengths and strengths, 0 among them."""
    rng, jobs = random.Random(5), []
    for i in range(count):
        start = rng.randrange(20)
        prompt = f"{i} {TEXT[start : start + rng.randint(1, 70)]}"
        strength = rng.choice([0.0, rng.uniform(0, 1), detoxifier.default_strength, detoxifier.max_strength])
        options: dict[str, Any] = {"max_new_tokens": rng.randint(1, 30), "seed": i}
        if not greedy:
            options |= {
                "temperature": rng.uniform(0.3, 1.5),
                "top_p": rng.choice([0.7, 1.0]),
                "top_k": rng.choice([0, 9]),
            }
            options["samples"] = rng.choice([1, 1, 2, 3])
        jobs.append(job_of(target, prompt, strength, **options))
    return jobs


@pytest.mark.parametrize(
    ("shape", "name"),
    [("llama", "fusion"), ("llama", "gedi"), ("gpt2", "fusion"), ("gemma2", "fusion")]
    + [
        pytest.param(shape, name, marks=pytest.mark.more)
        for shape, name in [
            *(("llama", name) for name in ("nado", "probe", "dexperts", "fusion, the paper's")),
            *((shape, "fusion") for shape in ("mistral", "gemma3_text", "opt", "phi", "gptj", "gpt_neox", "qwen2")),
        ]
    ],
)
def test_64_requests_that_come_and_go_each_get_what_they_get_alone(
    shape: str, name: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target, rng = tiny(shape), random.Random(2)
    detoxifier = fit(target, name, letter_scorer)
    assert isinstance(detoxifier, DecodingDetoxifier)
    host = Host(target, {"d": detoxifier})
    jobs = mixed(target, detoxifier, 64, greedy=True)
    alone = [[one.token for one in answer(host, job)[0].drawn] for job in jobs]
    told = collected(jobs)
    coming, waiting, together = deque(jobs), deque[Job](), Batch(host, 7)
    most = 0
    while coming or waiting or len(together):
        for _ in range(rng.choice([0, 0, 1, 3])):
            if coming:
                waiting.append(coming.popleft())
        together.turn(waiting)
        most = max(most, len(together))
    host.close()
    assert most == 7
    assert together.counts.unfused == 0
    plain = [len(got[0]) for got, job in zip(told, jobs, strict=True) if not job.strength]
    ends = together.counts.plain - sum(plain)  # an end token is counted, and not told
    assert 0 <= ends <= len(plain)
    for job, own, got in zip(jobs, alone, told, strict=True):
        if got[0] != own:  # greedy near-ties may fall the other way in another batch
            assert margin(target, detoxifier, job, own, got[0])[0] < 1e-3
    assert sum(got[0] == own for own, got in zip(alone, told, strict=True)) >= 60


def test_samples_are_drawn_from_streams_of_their_own(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target, detoxifier, host = hosted(tiny, letter_scorer)
    jobs = mixed(target, detoxifier, 24, greedy=False)
    alone = [{i: [one.token for one in piece.drawn] for i, piece in answer(host, job).items()} for job in jobs]
    told = collected(jobs)
    together, waiting = Batch(host, 9), deque(jobs)
    while waiting or len(together):
        together.turn(waiting)
    host.close()
    assert told == alone


@pytest.mark.parametrize("name", ["fusion", "probe"])
def test_a_request_gets_what_the_attached_model_generates(
    name: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fit(target, name, letter_scorer)
    assert isinstance(detoxifier, DecodingDetoxifier)
    sampling = Sampling(max_new_tokens=24, samples=2, temperature=0.9, top_p=0.9, seed=3)
    for strength in (0.0, detoxifier.default_strength, detoxifier.max_strength):
        with detoxifier.attached(target.model, strength):
            want = next(generate(target, ["the old bridge"], sampling)).generations[0].texts
        host = Host(target, {"d": detoxifier})
        job = job_of(target, "the old bridge", strength, **sampling.model_dump())
        got = answer(host, job)
        host.close()
        assert [got[0].text, got[1].text] == want


def test_a_long_prompt_is_read_in_parts_while_others_write(
    tiny: Callable[..., Target], letter_scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _, host = hosted(tiny, letter_scorer)
    long = job_of(target, TEXT, 0.5)
    whole = [one.token for one in answer(host, long)[0].drawn]
    monkeypatch.setattr(batching, "CHUNK", 16)
    short = job_of(target, "we", 0.5, max_new_tokens=30)
    told = collected([short, long])
    together, waiting = Batch(host, 4), deque([short])
    together.turn(waiting)
    waiting.append(long)
    for turn in range(1, 5):  # 97 tokens: six parts and a bit
        together.turn(waiting)
        assert together.counts.tokens == turn + 1  # the short one writes on
        assert not told[1]
    while waiting or len(together):
        together.turn(waiting)
    host.close()
    assert told[1][0] == whole


def test_who_goes_leaves_at_the_next_step_and_others_go_on(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target, _, host = hosted(tiny, letter_scorer)
    jobs = [job_of(target, prompt, 0.5, max_new_tokens=20) for prompt in ("the old", "a bridge", "we all")]
    alone = [[one.token for one in answer(host, job)[0].drawn] for job in jobs]
    told = collected(jobs)
    together, waiting = Batch(host, 2), deque(jobs)
    together.turn(waiting)
    assert (len(together), len(waiting)) == (2, 1)
    jobs[0].cancelled = True
    together.turn(waiting)
    assert (len(together), len(waiting)) == (2, 0)
    while len(together):
        together.turn(waiting)
    host.close()
    assert len(told[0].get(0, [])) <= 1
    assert [one[0] for one in told[1:]] == alone[1:]


def test_a_row_that_breaks_ends_alone(tiny: Callable[..., Target]) -> None:
    target = tiny()
    rows = target.model.get_input_embeddings().weight
    host, jobs = Host(target, {}), [job_of(target, text, max_new_tokens=6) for text in ("a~b", "the old")]
    alone = [one.token for one in answer(host, jobs[1])[0].drawn]
    with torch.no_grad():
        rows[ord("~") - 33] = float("nan")  # the byte's token: the alphabet begins with "!"
    told = collected(jobs)
    together, waiting = Batch(host, 4), deque(jobs)
    while waiting or len(together):
        together.turn(waiting)
    host.close()
    assert isinstance(told[0]["error"], DetoxError)
    assert told[1].get(0) == alone or "error" in told[1]  # tied heads make every row's logits NaN


def test_a_row_whose_untouched_logits_are_no_numbers_ends_alone(
    tiny: Callable[..., Target], letter_scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _, host = hosted(tiny, letter_scorer)
    jobs = [job_of(target, text, 0.5) for text in ("the old", "we all")]
    alone = [one.token for one in answer(host, jobs[1])[0].drawn]
    jobs[0].explain = True
    told = collected(jobs)
    extend = Host.extend

    def broken(*given: Any) -> Any:
        made = extend(*given)
        for row in given[1]:
            if row.plain is not None:
                row.plain.fill_(float("nan"))
        return made

    monkeypatch.setattr(Host, "extend", broken)
    together, waiting = Batch(host, 4), deque(jobs)
    while waiting or len(together):
        together.turn(waiting)
    host.close()
    assert isinstance(told[0]["error"], DetoxError)
    assert told[1] == {0: alone}


def test_a_pass_without_its_detoxifier_is_told_as_an_error_and_counted(
    tiny: Callable[..., Target], letter_scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _, host = hosted(tiny, letter_scorer)
    jobs = [job_of(target, "the old", 0.5), job_of(target, "the old", 0.0)]
    told = collected(jobs)
    monkeypatch.setattr(Host, "_act", lambda *_: None)
    together, waiting = Batch(host, 4), deque(jobs)
    while waiting or len(together):
        together.turn(waiting)
    host.close()
    assert str(told[0]["error"]) == "the detoxifier did not act"
    assert 0 not in told[0]
    assert together.counts.unfused == 1
    assert len(told[1][0]) == 12


def test_what_breaks_a_step_is_told_to_all_and_the_batch_goes_on(tiny: Callable[..., Target]) -> None:
    target, host = tiny(), Host(tiny(), {})
    jobs = [job_of(target, text, name=None) for text in ("the old", "we", "later")]
    told = collected(jobs)
    together, waiting = Batch(host, 2), deque(jobs[:2])
    together.turn(waiting)

    def broken(*_: Any) -> None:
        raise MemoryError("no room")

    handle = host.target.model.register_forward_pre_hook(broken)
    together.turn(waiting)
    handle.remove()
    assert [type(one.get("error")) for one in told] == [MemoryError, MemoryError, type(None)]
    waiting.append(jobs[2])
    while waiting or len(together):
        together.turn(waiting)
    host.close()
    assert told[2][0] == [one.token for one in answer(Host(target, {}), jobs[2])[0].drawn]


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_a_prompt_that_breaks_the_model_fails_alone(
    strength: float, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target, _, host = hosted(tiny, letter_scorer)
    jobs = [job_of(target, prompt, strength, max_new_tokens=20) for prompt in ("the old", "a bridge", "we all")]
    alone = [[one.token for one in answer(host, job)[0].drawn] for job in jobs]
    jobs[1].ids.append(9_999)  # no such row in the embeddings
    told = collected(jobs)
    together, waiting = Batch(host, 4), deque(jobs[:1])
    together.turn(waiting)
    waiting.extend(jobs[1:])
    while waiting or len(together):
        together.turn(waiting)
    host.close()
    assert isinstance(told[1].get("error"), IndexError)
    assert (told[0], told[2]) == ({0: alone[0]}, {0: alone[2]})
    assert not len(host._sessions["d"])


@pytest.mark.parametrize("place", ["repeated", "joined"])
def test_no_row_stays_in_the_detoxifier_where_memory_runs_out_as_a_prompt_joins(
    place: str, tiny: Callable[..., Target], letter_scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _, host = hosted(tiny, letter_scorer)
    jobs = [job_of(target, "the old", 0.5, samples=count, temperature=1.0) for count in (1, 3)]
    alone = {i: [one.token for one in piece.drawn] for i, piece in answer(host, jobs[1]).items()}
    told = collected(jobs)
    together, waiting = Batch(host, 4), deque(jobs[:1])
    together.turn(waiting)

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    waiting.append(jobs[1])
    with monkeypatch.context() as patch:
        patch.setattr(Prefill if place == "repeated" else batching, place, full)
        together.turn(waiting)
    assert [type(one.get("error")) for one in told] == [torch.OutOfMemoryError] * 2
    assert not len(host._sessions["d"]) and not len(together)
    (again,) = collected([jobs[1]])
    waiting.append(jobs[1])
    while waiting or len(together):
        together.turn(waiting)
    host.close()
    assert again == alone


def test_what_this_host_cannot_serve_is_refused_by_name(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target = tiny()
    detoxifier = fit(target, "fusion, the paper's", letter_scorer)
    assert isinstance(detoxifier, DecodingDetoxifier)
    detoxifier.settings = detoxifier.settings.model_copy(update={"as_released": True})
    with pytest.raises(UsageError, match=r"fusion as released .* without as_released"):
        Host(target, {"d": detoxifier})
    with pytest.raises(UsageError, match=r"was fitted for .* not for this model"):
        Host(tiny("gpt2"), {"d": detoxifier})


def test_nothing_is_left_on_the_model(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target = tiny()
    detoxifiers = {name: fit(target, name, letter_scorer) for name in ("fusion, the paper's", "probe")}
    Host(target, detoxifiers).close()  # type: ignore[arg-type]
    assert not [name for name, module in target.model.named_modules() if module._forward_hooks]
