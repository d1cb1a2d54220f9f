"""The decoding contract: every method under every host, and under hosts that do as they like with their rows."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from devices import as_row, encoded
from fits import PROMPTS, fit
from transformers import StaticCache

from detoxlm.errors import UsageError
from detoxlm.methods.decoding.contract import Steering
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.methods.decoding.session import Session
from detoxlm.models import Target
from detoxlm.registry import Registry

DECODING = ("fusion", "fusion, the paper's", "nado", "dexperts", "dexperts, anti", "gedi", "probe")
#: What a logits processor cannot see.
INSIDE = {"probe"}
ON_LOGITS = [name for name in DECODING if name not in INSIDE]

pytestmark = pytest.mark.usefixtures("short_looks")
decoding = pytest.mark.parametrize("name", DECODING)


def fitted(target: Target, name: str, scorer: Any) -> DecodingDetoxifier:
    detoxifier = fit(target, name, scorer)
    assert isinstance(detoxifier, DecodingDetoxifier)
    return detoxifier


def test_these_are_all_decoding_methods() -> None:
    from detoxlm.methods import METHODS

    assert isinstance(METHODS, Registry)
    kinds = {name for name, method in METHODS.items() if method.detoxifier_type.kind == "decoding"}
    assert kinds == {name.split(",")[0] for name in DECODING}


# --- hosts that add, drop, reorder, fork and take back ----------------------------------------------------------------


class Host:
    """Serves rows of a target without a cache of its own: what it shows a session is the untouched model's."""

    def __init__(self, target: Target, steering: Steering) -> None:
        self.target, self.steering, self.session = target, steering, Session(steering)

    @torch.inference_mode()
    def logits(self, rows: list[Any]) -> torch.Tensor:
        """Log-probabilities [N, V] of the next token of some rows, in this order, acted on in one call."""
        place, view = self.steering.place, self.target.architecture
        if isinstance(place, int):
            return torch.cat([self._inside(row, place) for row in rows])
        ids = [as_row(self.target, self.session.ids(row)) for row in rows]
        states = torch.cat([view.decoder(one, use_cache=False).last_hidden_state[:, -1] for one in ids])
        if place == "states":
            made = view.capped(view.head(self.session.act(rows, states)))
        else:
            plain = torch.cat([self.target.model(one, use_cache=False).logits[:, -1] for one in ids])
            made = self.session.act(rows, plain, states=states)
        return made.log_softmax(-1)

    def _inside(self, row: Any, layer: int) -> torch.Tensor:
        def act(_: Any, __: Any, output: Any) -> Any:
            x = output if isinstance(output, torch.Tensor) else output[0]
            changed = self.session.act([row] * x.shape[1], x[0])[None]
            return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

        handle = self.target.architecture.layers[layer].register_forward_hook(act)
        try:
            made = self.target.model(as_row(self.target, self.session.ids(row)), use_cache=False).logits[:, -1]
        finally:
            handle.remove()
        return made.log_softmax(-1)


def undisturbed(target: Target, detoxifier: DecodingDetoxifier, ids: list[int], strength: float) -> torch.Tensor:
    """Log-probabilities [V] after one pass over a row alone, attached."""
    with torch.inference_mode(), detoxifier.attached(target.model, strength):
        return target.model(as_row(target, ids)).logits[0, -1].log_softmax(-1)


def some_tokens(rng: random.Random, most: int) -> list[int]:
    return [rng.randrange(250) for _ in range(rng.randint(1, most))]


def disturb(session: Session, expected: dict[int, tuple[list[int], float]], rng: random.Random, strengths: list[float]):
    """Do to a session, and to the plain lists that it should equal, one of the things that hosts do."""
    event = rng.choice(["add", "grow", "grow", "grow", "roll back", "drop", "fork", "strength"])
    names = list(expected)
    if event == "add" or len(names) < 2:
        name, strength = max(expected, default=0) + 1, rng.choice(strengths)
        session.add(name, strength)
        expected[name] = (some_tokens(rng, 7), strength)
        session.read({name: expected[name][0]})
    elif event == "grow":  # several rows at once, each by another number of tokens
        new = {name: some_tokens(rng, 3) for name in rng.sample(names, rng.randint(1, len(names)))}
        session.read(new)
        for name, tokens in new.items():
            expected[name] = ([*expected[name][0], *tokens], expected[name][1])
    elif event == "roll back":  # also of all tokens, after which a row begins anew
        name = rng.choice(names)
        ids, strength = expected[name]
        count = rng.randint(1, len(ids))
        session.roll_back(name, count)
        left = ids[: len(ids) - count] or some_tokens(rng, 2)
        session.show({name: left})
        expected[name] = (left, strength)
    elif event == "drop" and len(names) > 2:
        name = rng.choice(names)
        session.drop(name)
        del expected[name]
    elif event == "fork":  # beams: rows come of others, some of one twice, and stand in another order
        parents = {name: rng.choice(names) for name in rng.sample(names, len(names))}
        session.arrange(parents)
        new = {name: expected[parent] for name, parent in parents.items()}
        expected.clear()
        expected.update(new)
    else:
        name, strength = rng.choice(names), rng.choice(strengths)
        session.set_strength(name, strength)
        expected[name] = (expected[name][0], strength)


@pytest.mark.more
@pytest.mark.parametrize(
    ("shape", "name", "shown"),
    # how rows are read (learned positions, sliding windows) is one piece of code for methods with one and two readers,
    # whatever a host shows
    [
        *(("llama", name, shown) for name in DECODING for shown in ("all", "logits")),
        *((shape, name, "all") for shape in ("mistral", "gpt2") for name in ("fusion", "gedi")),
    ],
)
def test_whatever_a_host_does_to_its_rows_each_gets_what_one_undisturbed_pass_gives(
    name: str, shape: str, shown: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target, rng = tiny(shape), random.Random(1)
    detoxifier = fitted(target, name, letter_scorer)
    steering = detoxifier.steering(target.model)
    if shown == "logits":
        if name in INSIDE:
            with pytest.raises(UsageError, match=rf"{detoxifier.method}: .*use attached"):
                detoxifier.session(target.model)
            return
        steering = steering.on_logits()
    host, expected = Host(target, steering), dict[int, tuple[list[int], float]]()
    strengths = [0.0, detoxifier.default_strength, detoxifier.max_strength]
    for step in range(48):
        disturb(host.session, expected, rng, strengths)
        assert len(host.session) == len(expected)
        if step % 6 == 5:
            order = rng.sample(list(expected), len(expected))
            got = host.logits(order)
            want = torch.stack([undisturbed(target, detoxifier, *expected[row]) for row in order])
            assert torch.allclose(got, want, atol=2e-3), f"step {step}"


@pytest.mark.more
@pytest.mark.parametrize("name", ON_LOGITS)
def test_several_positions_of_a_row_are_acted_on_at_once(
    name: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    """As engines do that verify several drafted tokens in one pass."""
    target = tiny()
    detoxifier = fitted(target, name, letter_scorer)
    strength = detoxifier.default_strength
    session, ids = detoxifier.session(target.model), target.tokenizer("the old bridge")["input_ids"]
    session.add("row", strength)
    session.read({"row": ids[:5]})
    session.read({"row": ids[5:]})
    with torch.inference_mode():
        plain = target.model(as_row(target, ids)).logits[0]
        got = session.act(["row"] * 4, plain[-4:].clone(), back=[3, 2, 1, 0]).log_softmax(-1)
        with detoxifier.attached(target.model, strength):
            want = target.model(as_row(target, ids)).logits[0, -4:].log_softmax(-1)
    assert torch.allclose(got, want, atol=2e-3)


def test_what_a_session_cannot_follow_is_refused_by_name(tiny: Callable[..., Target], letter_scorer: Any) -> None:
    target = tiny()
    session = fitted(target, "fusion", letter_scorer).session(target.model)
    session.add("a", 0.5)
    with pytest.raises(UsageError, match="row: 'a' is there already"):
        session.add("a", 0.5)
    with pytest.raises(UsageError, match="row: there is no 'b'"):
        session.read({"b": [1]})
    with pytest.raises(UsageError, match="row: 'a' has token -1, a placeholder"):
        session.read({"a": [1, -1]})
    session.read({"a": [1, 2]})
    with pytest.raises(UsageError, match="'a' has 2 tokens; 3 cannot be taken back"):
        session.roll_back("a", 3)
    with pytest.raises(UsageError, match="'a' has 2 tokens; there is none 2 before the newest"):
        session.act(["a"], torch.zeros(1, 260), back=[2])
    nado = Session(fitted(target, "nado", letter_scorer).steering(target.model))
    nado.add("a", 0.5)
    with pytest.raises(UsageError, match="nado: it acts on the target's final states; give them"):
        nado.act(["a"], torch.zeros(1, 260))


@pytest.mark.parametrize("taken", range(5))
def test_whatever_is_taken_back_is_gone(taken: int, tiny: Callable[..., Target], letter_scorer: Any) -> None:
    session = fitted(tiny(), "fusion", letter_scorer).session(tiny().model)
    session.add("a", 0.5)
    session.read({"a": [5, 6, 7, 8]})
    session.roll_back("a", taken)
    assert session.ids("a") == [5, 6, 7, 8][: 4 - taken]
    session.read({"a": [9]})
    assert session.ids("a") == [*[5, 6, 7, 8][: 4 - taken], 9]


# --- a strength for each request --------------------------------------------------------------------------------------


@decoding
def test_requests_of_one_batch_have_their_own_strengths_when_attached(
    name: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fitted(target, name, letter_scorer)
    strengths = [0.0, detoxifier.default_strength, detoxifier.max_strength]
    ids = encoded(target, ["the old bridge"] * 3)
    with torch.inference_mode():
        plain = target.model(**ids).logits
        with detoxifier.attached(target.model, strengths):
            mixed = target.model(**ids).logits
        alone = []
        for strength in strengths:
            with detoxifier.attached(target.model, strength):
                alone.append(target.model(**ids).logits[0])
    assert torch.allclose(mixed[0], plain[0], atol=1e-5)
    assert torch.allclose(mixed, torch.stack(alone), atol=1e-4)
    assert not torch.allclose(mixed[1], mixed[2], atol=1e-2)
    inputs = encoded(target, PROMPTS[:3])
    options = {"max_new_tokens": 6, "do_sample": False, "num_beams": 2, "num_return_sequences": 2}
    with detoxifier.attached(target.model, strengths):
        together = target.model.generate(**inputs, **options)
    for i, strength in enumerate(strengths):
        one = {key: value[i : i + 1] for key, value in inputs.items()}
        with detoxifier.attached(target.model, strength):
            made = target.model.generate(**one, **options)
        assert made.tolist() == together[2 * i : 2 * i + 2].tolist()
    with pytest.raises(UsageError, match="strength"):
        detoxifier.attached(target.model, [0.1, -0.1])
    with pytest.raises(UsageError, match="neither a number nor a list"):
        detoxifier.attached(target.model, [])
    too_many = detoxifier.attached(target.model, [0.1, 0.2])
    with torch.inference_mode(), too_many, pytest.raises(UsageError, match="2 strengths do not fit a batch of 3 rows"):
        target.model(**ids)


@pytest.mark.parametrize("name", ON_LOGITS)
def test_the_processor_gives_what_the_attached_model_gives_at_the_strength_of_each_request(
    name: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fitted(target, name, letter_scorer)
    strengths = [detoxifier.max_strength, 0.0, detoxifier.default_strength, detoxifier.max_strength]
    inputs = encoded(target, PROMPTS)
    for options in ({}, {"num_beams": 3}, {"num_return_sequences": 2, "do_sample": True}):
        arguments = {"max_new_tokens": 8, "do_sample": False, **options}
        torch.manual_seed(3)
        with detoxifier.attached(target.model, strengths):
            attached = target.model.generate(**inputs, **arguments)
        torch.manual_seed(3)
        processor = detoxifier.logits_processor(target.model, strengths)
        processed = target.model.generate(**inputs, **arguments, logits_processor=[processor])
        assert processed.tolist() == attached.tolist(), options


def test_a_method_that_changes_weights_has_one_strength_for_all(
    tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fit(target, "surgery", letter_scorer)
    with pytest.raises(UsageError, match=r"strength: surgery changes the model's weights, .* one for all"):
        detoxifier.attached(target.model, [0.5, 1.0])


# --- hosts that cannot serve, and threads -----------------------------------------------------------------------------


@decoding
def test_a_model_set_to_a_static_cache_is_refused_at_the_start_where_something_is_read_beside_it(
    name: str, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fitted(target, name, letter_scorer)
    target.model.generation_config.cache_implementation = "static"
    if name in ("nado", "probe"):  # they keep nothing in the cache, and any kind will do
        ids = encoded(target, "the old")["input_ids"]
        cache = StaticCache(config=target.model.config, max_cache_len=40)
        with torch.inference_mode(), detoxifier.attached(target.model):
            static = target.model(ids, past_key_values=cache).logits
            assert torch.allclose(static, target.model(ids).logits, atol=1e-4)
        return
    method = detoxifier.method
    with (
        pytest.raises(UsageError, match=rf"cache_implementation: {method} .*'static'"),
        detoxifier.attached(target.model),
    ):
        pass


@pytest.mark.more
@decoding
@pytest.mark.parametrize("host", ["attached", "processor"])
@pytest.mark.parametrize("rounds", [2, pytest.param(200, marks=pytest.mark.slow)])
def test_threads_that_share_a_detoxified_model_each_get_their_own_text(
    name: str, host: str, rounds: int, tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    if host == "processor" and name in INSIDE:
        pytest.skip("refused: see above")
    target = tiny()
    detoxifier = fitted(target, name, letter_scorer)
    strength = detoxifier.default_strength
    prompts = [encoded(target, text) for text in (*PROMPTS, "the bread", "we", "it rained, and", "y")]
    processor = detoxifier.logits_processor(target.model, strength) if host == "processor" else None
    options = {"logits_processor": [processor]} if processor is not None else {}
    tokens = 10 if rounds < 10 else 4

    def continued(inputs: Any) -> list[int]:
        return list(target.model.generate(**inputs, max_new_tokens=tokens, do_sample=False, **options)[0].tolist())

    got: dict[int, list[list[int]]] = {i: [] for i in range(len(prompts))}
    errors: list[Exception] = []

    def work(i: int) -> None:
        try:
            got[i] += [continued(prompts[i]) for _ in range(rounds)]
        except Exception as error:  # whatever a thread raises is what the test is about
            errors.append(error)

    with detoxifier.attached(target.model, 0.0 if processor is not None else strength):
        alone = [continued(inputs) for inputs in prompts]
        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
    assert all(every == [alone[i]] * rounds for i, every in got.items())
