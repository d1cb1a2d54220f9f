"""Endpoints of all sorts, played by a fake transport: what they do not know is done without, what they say is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from detoxlm.api import Api
from detoxlm.conversations import Conversation
from detoxlm.elsewhere import chosen
from detoxlm.engines.choice import check_engine
from detoxlm.engines.endpoint import Endpoint
from detoxlm.errors import DetoxError, UsageError
from detoxlm.generation import Sampling
from detoxlm.recipes import RECIPES, Task, plan_through
from detoxlm.scorers.base import Scorer
from detoxlm.settings import EvaluateSettings, RunSettings

GREEDY = Sampling(max_new_tokens=5)
SAMPLED = Sampling(max_new_tokens=5, samples=3, temperature=1.0, seed=7)
TALK = Conversation([{"role": "user", "content": "the old"}])
Answer = Callable[[dict[str, Any]], httpx.Response]


class Played:
    """A server that answers by a function, and the endpoint that asks it; bodies and sleeps are kept."""

    def __init__(self, answer: Answer, **options: Any) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.sleeps: list[float] = []
        self._answer = answer
        transport = httpx.MockTransport(self._handle)
        api = Api(
            "engine http://it/v1",
            "http://it/v1",
            named_by="engine",
            key_variable="ENDPOINT_API_KEY",
            key="secret-key",
            transport=transport,
            sleep=self.sleeps.append,
        )
        self.endpoint = Endpoint(api, "http://it/v1", "served", "mine", **options)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer secret-key"
        self.bodies.append(json.loads(request.content))
        self.paths.append(request.url.path)
        return self._answer(self.bodies[-1])

    def written(self, prompts: list[str], sampling: Sampling, **options: Any) -> list[Any]:
        self.endpoint.try_out(prompts)
        return list(self.endpoint.write(prompts, sampling, **{"batch_size": 1, "skip": 0, **options}))


def completions(*texts: str, **more: Any) -> httpx.Response:
    choices = [{"index": i, "text": text} for i, text in enumerate(texts)]
    return httpx.Response(200, json={"choices": choices, **more})


def answers(*messages: dict[str, Any], **more: Any) -> httpx.Response:
    choices = [{"index": i, "message": message} for i, message in enumerate(messages)]
    return httpx.Response(200, json={"choices": choices, **more})


def refusal(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message}})


def test_texts_are_completed_and_conversations_answered() -> None:
    def answer(body: dict[str, Any]) -> httpx.Response:
        usage = {"completion_tokens": 4}
        return answers({"content": "hi"}, usage=usage) if "messages" in body else completions(" sea", usage=usage)

    played = Played(answer)
    (first, second) = played.written(["a red", TALK], GREEDY)
    assert [first.generations[0].texts, second.generations[0].texts] == [[" sea"], ["hi"]]
    assert first.lengths == [[4]] and first.tokens == 4 and first.peak_mb is None
    asked = played.bodies[2:]
    assert asked[0].pop("seed") != asked[1].pop("seed")
    assert asked[0] == {
        "model": "served", "prompt": "a red", "max_tokens": 5, "temperature": 0.0, "top_p": 1.0,
        "top_k": -1, "repetition_penalty": 1.0, "min_p": 0.0,
    }  # fmt: skip
    assert asked[1]["messages"] == [{"role": "user", "content": "the old"}]
    assert played.paths[2:] == ["/v1/completions", "/v1/chat/completions"]
    assert played.endpoint.info.name == "mine" and played.endpoint.acting is None


def test_a_server_that_knows_no_n_is_asked_again_with_other_seeds() -> None:
    played = Played(lambda body: completions(f" {body['seed']}", usage={"completion_tokens": 2}))
    (written,) = played.written(["a"], SAMPLED)
    assert len(set(written.generations[0].texts)) == 3
    assert written.lengths == [[2, 2, 2]]


def test_each_prompt_has_a_seed_of_its_own_that_depends_on_nothing_but_seed_and_prompt() -> None:
    def seeds(prompts: list[str], **options: Any) -> dict[str, int]:
        played = Played(lambda body: completions(*[" x"] * body.get("n", 1)))
        played.written(prompts, SAMPLED.model_copy(update=options))
        return {body["prompt"]: body["seed"] for body in played.bodies[1:]}

    whole = seeds(list("abcd"))
    assert len(set(whole.values())) == 4, "a server that draws by the seed alone gives each prompt its own numbers"
    assert all(0 <= seed < 2**31 for seed in whole.values())
    assert seeds(["c", "a"]) == {one: whole[one] for one in "ca"}
    assert not set(seeds(list("abcd"), seed=8).values()) & set(whole.values())


def test_our_own_server_gets_the_seed_as_it_is_for_it_draws_by_the_prompt_too() -> None:
    said = {"method": None, "strength": 0.0}
    played = Played(lambda body: completions(*[" x"] * body.get("n", 1), detoxlm=said))
    played.written(["a", "b"], SAMPLED)
    assert [body["seed"] for body in played.bodies[1:]] == [7, 7]


def test_fields_that_are_refused_are_left_out_and_lengths_are_not_guessed() -> None:
    def answer(body: dict[str, Any]) -> httpx.Response:
        for field, message in (
            ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
            ("seed", "Unrecognized argument: seed"),
            ("logprobs", "You are not allowed to request logprobs from this model"),
        ):
            if field in body:
                return refusal(400, message)
        assert body["max_completion_tokens"] in (1, 5)
        return answers(*[{"content": "x"}] * body.get("n", 1), usage={"completion_tokens": 9})

    played = Played(answer)
    (written,) = played.written([TALK], SAMPLED)
    assert written.generations[0].texts == ["x"] * 3 and written.lengths == [[]]
    assert any("takes no seed" in note for note in played.endpoint.left_out)
    with pytest.raises(DetoxError, match=r"^prompt 1: engine http://it/v1: HTTP 400: no such thing$"):
        list(Played(lambda body: refusal(400, "no such thing")).endpoint.write(["a"], GREEDY, 1, 0))


def test_what_the_protocol_has_no_word_for_is_said_and_where_it_is_refused_by_name_noted() -> None:
    def answer(body: dict[str, Any]) -> httpx.Response:
        unknown = sorted({"repetition_penalty", "min_p"} & set(body))
        return refusal(400, f"Unrecognized request arguments: {', '.join(unknown)}") if unknown else completions(" a")

    played = Played(answer)
    played.written(["a"], GREEDY.model_copy(update={"top_k": 40}))
    assert played.bodies[-1]["top_k"] == 40
    assert "The endpoint takes no repetition_penalty, min_p: values of its own may act there, and are not known." in (
        played.endpoint.left_out
    )
    taken = Played(lambda body: completions(" a"))
    taken.written(["a"], GREEDY)
    assert not any("takes no" in note for note in taken.endpoint.left_out)
    assert taken.endpoint.identity != played.endpoint.identity, "its texts may be others"


def test_a_server_that_does_not_name_the_fields_it_refuses_is_asked_without_those_of_ours() -> None:
    def strict(body: dict[str, Any]) -> httpx.Response:
        unknown = {"top_k", "repetition_penalty", "min_p"} & set(body)
        detail = [{"type": "extra_forbidden", "loc": ["body", name]} for name in unknown]
        return httpx.Response(422, json={"detail": detail}) if unknown else completions(" a")

    played = Played(strict)
    played.written(["a"], GREEDY)
    assert "The endpoint takes no top_k, repetition_penalty, min_p: " in " ".join(played.endpoint.left_out)

    def later(body: dict[str, Any]) -> httpx.Response:
        return refusal(400, "no such thing") if body["prompt"] == "b" else completions(" a")

    played = Played(later)
    with pytest.raises(DetoxError, match=r"prompt 2: .* no such thing"):
        played.written(["a", "b"], GREEDY)
    assert not any("takes no" in note for note in played.endpoint.left_out), "it had taken them"


def test_lengths_of_several_samples_are_those_of_their_log_probabilities() -> None:
    def answer(body: dict[str, Any]) -> httpx.Response:
        kept = [{"index": i, "text": "ab", "logprobs": {"tokens": ["a"] * (i + 1)}} for i in range(body.get("n", 1))]
        return httpx.Response(200, json={"choices": kept[::-1], "usage": {"completion_tokens": 6}})

    (written,) = Played(answer).written(["a"], SAMPLED)
    assert written.lengths == [[1, 2, 3]]


def test_a_busy_server_is_waited_for_and_errors_do_not_show_the_key() -> None:
    said = iter([httpx.Response(429, headers={"Retry-After": "17"}), completions(" a"), completions(" b")])
    played = Played(lambda body: next(said))
    (written,) = played.written(["a"], GREEDY)
    assert written.generations[0].texts == [" b"] and played.sleeps == [17.0]
    for status, match in ((401, r"^ENDPOINT_API_KEY: the server refused it \(HTTP 401\)"), (400, "HTTP 400: no …")):
        with pytest.raises(UsageError, match=match) as caught:
            Played(lambda body, status=status: refusal(status, "no secret-key")).endpoint.try_out(["a"])
        assert "secret-key" not in str(caught.value)


def test_at_most_a_batch_is_asked_for_at_once_and_finished_batches_not_again() -> None:
    played = Played(lambda body: completions(*[f" {body['prompt']}"] * body.get("n", 1)))
    written = played.written(list("abcdefg"), SAMPLED, batch_size=6, skip=4)
    assert [[one.prompt for one in batch.generations] for batch in written] == [["e", "f"], ["g"]]
    assert [one.index for batch in written for one in batch.generations] == [4, 5, 6]


@pytest.mark.parametrize(
    "message",
    [
        {"content": "fine", "reasoning_content": " hm "},
        {"content": "<think>hm</think>\n\nfine"},
        {"content": "hm</think> fine"},  # the template opened the thinking
    ],
)
def test_what_was_thought_is_no_part_of_an_answer(message: dict[str, Any], letter_scorer: Scorer) -> None:
    played = Played(lambda body: answers(message))
    (written,) = played.written([TALK], GREEDY)
    read = played.endpoint.read(written.generations, [letter_scorer], answers=True)
    assert (read.texts, read.thinking, read.kl) == (["fine"], ["hm"], [None])
    assert read.scores.tolist() == [[0.25]] and read.thinking_scores == [0.0]


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "reasoning_content": "hm and hm"},
        {"content": "<think>hm and hm"},
        {"content": "\n[THINK] hm and hm"},
    ],
)
def test_thinking_that_does_not_end_leaves_no_answer(message: dict[str, Any], letter_scorer: Scorer) -> None:
    played = Played(lambda body: answers(message))
    (written,) = played.written([TALK], GREEDY)
    read = played.endpoint.read(written.generations, [letter_scorer], answers=True)
    assert (read.texts, read.thinking) == ([""], ["hm and hm"])


def test_answers_without_an_end_of_thinking_among_others_with_one_are_noted_in_results(letter_scorer: Scorer) -> None:
    def notes(*contents: str) -> list[str]:
        talks = [Conversation([{"role": "user", "content": content}]) for content in contents]
        played = Played(lambda body: answers({"content": body["messages"][0]["content"]}))
        played.endpoint.try_out(talks)
        recipe = replace(RECIPES["chat"], sampling=GREEDY)
        task = Task(recipe, talks, "these", None, "none")
        results = plan_through(played.endpoint, task, letter_scorer, judge=None).carried_out(None, None)
        return [note for note in results.notes if "thinking" in note]

    (note,) = notes("hm</think> fine", "hm and hm", "he</think> good")
    assert note.startswith("1 of 3 answers came without thinking before them, the others with.")
    assert notes("hm</think> fine", "he</think> good") == notes("fine", "good") == []


def test_a_strength_that_nobody_says_acts_is_refused_and_a_detoxifier_must_stay_the_same() -> None:
    with pytest.raises(UsageError, match=r"^strength: http://it/v1 does not say that a detoxifier acts at 0\.5"):
        Played(lambda body: completions(" a"), strength=0.5).endpoint.try_out(["a"])
    said = iter([0.5, 0.5, 0.25])

    def answer(body: dict[str, Any]) -> httpx.Response:
        assert body["vllm_xargs"] == {"strength": 0.5}
        return completions(" a", detoxlm={"method": "fusion", "strength": next(said)})

    played = Played(answer, strength=0.5)
    with pytest.raises(DetoxError, match="prompt 2: another detoxifier acted than at the start"):
        played.written(["a", "b"], GREEDY)
    assert played.endpoint.acting is not None and played.endpoint.acting.strength == 0.5


def test_a_server_that_says_nothing_has_to_refuse_a_strength_that_cannot_be() -> None:
    def answer(body: dict[str, Any]) -> httpx.Response:
        if body["vllm_xargs"]["strength"] < 0:
            return refusal(400, "strength: -1 is outside [0, 4]")
        return completions(" a")

    played = Played(answer, strength=0.5)
    played.written(["a", "b"], GREEDY)
    assert [body["vllm_xargs"]["strength"] for body in played.bodies] == [0.5, -1.0, 0.5, 0.5]
    acting = played.endpoint.acting
    assert acting is not None and (acting.method, acting.strength) == ("served", 0.5)


@pytest.mark.parametrize("content", [b"<html>", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b"[1]"])
def test_what_is_no_answer_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(DetoxError, match=r"^engine: the answer "):
        Played(lambda body: httpx.Response(200, content=content)).endpoint.try_out(["a"])


def test_without_completions_chat_is_named() -> None:
    with pytest.raises(UsageError, match="Without completions there, ask with --chat"):
        Played(lambda body: refusal(404, "")).endpoint.try_out(["a"])


@pytest.mark.parametrize("engine", ["vllms", "openai:", "openai:host/v1", "openai:http://user:pw@host/v1", "ray"])
def test_what_names_no_engine_is_refused(engine: str) -> None:
    with pytest.raises(ValueError, match=r"no engine; write transformers, vllm, or openai:URL"):
        EvaluateSettings(engine=engine)


def test_settings_of_a_model_in_this_process_are_for_it_alone() -> None:
    check_engine(EvaluateSettings(device="cpu"))
    with pytest.raises(UsageError, match=r"^device: the model behind --engine openai:http://h/v1 is loaded there"):
        check_engine(EvaluateSettings(device="cpu", engine="openai:http://h/v1"))


@pytest.mark.parametrize(
    ("says", "options", "message"),
    [
        (None, {}, r"^strengths: http://it/v1 does not say which detoxifier it has; name some"),
        ({"method": None, "strength": 0.0}, {}, r"^engine: http://it/v1 serves served without a detoxifier"),
        ({"method": "surgery", "strength": 1.0}, {}, r"^engine: surgery is in the weights .* at one strength"),
        ({"method": "../x", "strength": 1.0}, {}, r"^engine: http://it/v1 calls its detoxifier '\.\./x', which is no"),
        ({"method": "nado", "strength": 1.0}, {"method": "fusion"}, r"^method: http://it/v1 serves nado, not fusion"),
    ],
)
def test_a_run_says_why_what_is_served_cannot_be_measured_at_several_strengths(
    says: dict[str, Any] | None, options: dict[str, Any], message: str
) -> None:
    served = Played(lambda body: completions(" a"), says=says).endpoint
    with pytest.raises(UsageError, match=message):
        chosen(served, RunSettings(**options), None)


def test_a_run_takes_the_strengths_that_are_asked_for_or_the_methods_own() -> None:
    def of(says: dict[str, Any] | None, given: list[float] | None) -> tuple[str, Any]:
        return chosen(Played(lambda body: completions(" a"), says=says).endpoint, RunSettings(), given)

    fusion = {"method": "fusion", "strength": 0.7}
    assert of(fusion, [0.1]) == ("fusion", [0.1])
    assert of(fusion, None) == ("fusion", (0.25, 0.5, 1.0))
    assert of({"method": "of-another-package", "strength": 0.7}, None) == ("of-another-package", [0.7])
    assert of(None, [0.5]) == ("served", [0.5])
