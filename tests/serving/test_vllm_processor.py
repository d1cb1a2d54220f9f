"""The processor for vLLM under hosts that do what vLLM's two runners do: every row gets what it would get alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from devices import as_row
from fits import fit

from detoxlm.errors import DetoxError, UsageError
from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier
from detoxlm.models import Target
from detoxlm.serving.in_vllm import loading
from detoxlm.serving.in_vllm.check import untouched
from detoxlm.serving.in_vllm.model import installed, is_cut
from detoxlm.serving.in_vllm.processor import Processor
from detoxlm.vllm_installed import FOLDER, check_version

pytestmark = pytest.mark.usefixtures("short_looks")
STRENGTHS = (0.0, 0.3, 1.0)


@dataclass(eq=False)
class Wanted:
    """A request: what it asks for and what it has by now."""

    prompt: list[int]
    strength: float
    written: list[int] = field(default_factory=list)
    #: How much of the prompt the runner has read, when it reads in chunks.
    read: int = 0
    number: int | None = None

    @property
    def params(self) -> Any:
        return SimpleNamespace(extra_args={"strength": self.strength, "number": self.number})


class Model:
    """The untouched model's rows, and what each should become: one pass over its text alone, attached."""

    def __init__(self, target: Target, detoxifier: DecodingDetoxifier) -> None:
        self.target, self.detoxifier = target, detoxifier

    @torch.inference_mode()
    def plain(self, ids: list[int]) -> torch.Tensor:
        return self.target.model(as_row(self.target, ids), use_cache=False).logits[0, -1]

    @torch.inference_mode()
    def states(self, ids: list[int]) -> torch.Tensor:
        return self.target.architecture.decoder(as_row(self.target, ids), use_cache=False).last_hidden_state[0, -1]

    @torch.inference_mode()
    def wanted(self, ids: list[int], strength: float) -> torch.Tensor:
        with self.detoxifier.attached(self.target.model, strength):
            return self.target.model(as_row(self.target, ids), use_cache=False).logits[0, -1]

    def check(self, found: torch.Tensor, ids: list[int], strength: float) -> int:
        """Hold a row to what it should be; return its likeliest token."""
        if strength == 0:
            assert torch.equal(found, self.plain(ids))
        wanted = self.wanted(ids, strength)
        torch.testing.assert_close(found.log_softmax(-1), wanted.log_softmax(-1), atol=2e-4, rtol=1e-3)
        return int(found.argmax())


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[DecodingDetoxifier], None]]:
    """Return `named(detoxifier)`: saves it where the environment says."""

    def name(detoxifier: DecodingDetoxifier) -> None:
        detoxifier.save_pretrained(tmp_path / "detoxifier")
        monkeypatch.setenv(FOLDER, str(tmp_path / "detoxifier"))
        monkeypatch.delenv(loading.STRENGTH, raising=False)
        loading.detoxifier.cache_clear()

    yield name
    loading.detoxifier.cache_clear()


def config_of(folder: Path, **changed: Any) -> Any:
    """What the processor reads of a VllmConfig."""
    model = {"model": str(folder), "revision": None, "dtype": torch.float32, "trust_remote_code": False}
    more = {"quantization": None, "enable_prompt_embeds": False}
    parallel = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1}
    parts = {name: changed.pop(name) for name in list(changed) if name in parallel}
    given = {name: changed.pop(name) for name in list(changed) if name in more}
    return SimpleNamespace(
        model_config=SimpleNamespace(**model, **{**more, **given}),
        parallel_config=SimpleNamespace(**{**parallel, **parts}),
        **{"speculative_config": None, "lora_config": None, **changed},
    )


Make = Callable[..., tuple[Processor, Model]]


@pytest.fixture
def processor_of(
    named: Callable[[DecodingDetoxifier], None],
    tiny: Callable[..., Target],
    tiny_folder: Callable[..., Path],
    letter_scorer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """Return `processor_of(name, state, shape="llama")`: a processor that reads beside, and what it should give."""

    def make(name: str, state: Any, shape: str = "llama") -> tuple[Processor, Model]:
        target = tiny(shape)
        detoxifier = fit(target, name, letter_scorer)
        assert isinstance(detoxifier, DecodingDetoxifier)
        named(detoxifier)
        monkeypatch.setenv(loading.ROUTE, "beside")
        return Processor(config_of(tiny_folder(shape)), state), Model(target, detoxifier)

    return make


def some_request(rng: random.Random) -> Wanted:
    return Wanted([rng.randrange(250) for _ in range(rng.randint(1, 9))], rng.choice(STRENGTHS))


SWAP, ONE_WAY = SimpleNamespace(name="SWAP"), SimpleNamespace(name="UNIDIRECTIONAL")


class RunnerV1:
    """Keeps a batch as V1 does: a list without gaps; who comes fills the place of who left, the last fill the rest."""

    def __init__(self, processor: Processor, model: Model, rng: random.Random, most: int = 4) -> None:
        self.processor, self.model, self.rng, self.most = processor, model, rng, most
        self.batch: list[Wanted] = []
        self.waiting: list[Wanted] = []
        self.behind = False

    def step(self) -> None:
        left = {i for i in range(len(self.batch)) if self.rng.random() < 0.2}
        for i in left:  # half of them are only preempted, and come back with what they have written
            if self.rng.random() < 0.5 and len(self.batch[i].written) < 12:
                self.batch[i].read = 0
                self.waiting.append(self.batch[i])
        self.waiting += [some_request(self.rng) for _ in range(self.rng.randint(0, 2))]
        places: list[Wanted | None] = [None if i in left else one for i, one in enumerate(self.batch)]
        holes, added, moved = sorted(left), [], []
        while self.waiting and (holes or len(places) < self.most):
            one = self.waiting.pop(0)
            if holes:
                place = holes.pop(0)
                places[place] = one
            else:
                place = len(places)
                places.append(one)
            added.append((place, one.params, one.prompt, one.written))
        removed = sorted(holes, reverse=True)
        while holes:  # condense
            while places and places[-1] is None:
                places.pop()
            hole = holes.pop(0)
            if hole < len(places):
                moved.append((len(places) - 1, hole, ONE_WAY))
                places[hole] = places.pop()
        if len(places) > 1 and self.rng.random() < 0.5:  # decodes before prompts
            a, b = self.rng.sample(range(len(places)), 2)
            places[a], places[b] = places[b], places[a]
            moved.append((a, b, SWAP))
        self.batch = [one for one in places if one is not None]
        changed = SimpleNamespace(removed=removed, added=added, moved=moved) if added or moved or removed else None
        self.processor.update_state(changed)
        self.run()

    def run(self) -> None:
        """Read the next chunk of each prompt, and draw where it is whole; other rows are drawn and thrown away."""
        if not self.batch:
            return
        ids = []
        for one in self.batch:
            whole = [*one.prompt, *one.written]
            if one.read < len(whole) - 1:
                one.read = min(len(whole), one.read + self.rng.randint(1, 6))
            else:
                one.read = len(whole)
            ids.append(whole[: one.read])
        found = self.processor.apply(torch.stack([self.model.plain(row) for row in ids]))
        for one, row, own in zip(self.batch, found, ids, strict=True):
            if one.read == len(one.prompt) + len(one.written):
                token = self.model.check(row, own, one.strength)
                one.written.append(token)


@pytest.mark.parametrize("name", ["fusion", "nado", "gedi"])
def test_under_v1_each_row_gets_what_it_gets_alone_whoever_comes_goes_moves_and_returns(
    name: str, processor_of: Make
) -> None:
    processor, model = processor_of(name, torch.device("cpu"))
    runner = RunnerV1(processor, model, random.Random(3))
    for _ in range(20):
        runner.step()
    assert processor.counts.acted > 20
    assert processor.counts.plain > 5
    assert processor.route == "beside"


def test_under_v1_what_a_request_wrote_is_read_when_it_is_drawn_from_not_when_the_batch_changes(
    processor_of: Make,
) -> None:
    """Async scheduling: the list holds a placeholder while the batch changes, and the token by the time of the draw."""
    processor, model = processor_of("fusion", torch.device("cpu"))
    one = Wanted([5, 6, 7], 1.0)
    processor.update_state(SimpleNamespace(removed=[], added=[(0, one.params, one.prompt, one.written)], moved=[]))
    token = model.check(processor.apply(model.plain([5, 6, 7])[None])[0], [5, 6, 7], 1.0)
    one.written.append(-1)
    processor.update_state(None)
    one.written[-1] = token
    model.check(processor.apply(model.plain([5, 6, 7, token])[None])[0], [5, 6, 7, token], 1.0)
    one.written.append(-1)
    with pytest.raises(UsageError, match="placeholder"):
        processor.apply(model.plain([5, 6, 7, token])[None])


@pytest.mark.parametrize("name", ["fusion", "nado"])
def test_under_v2_slots_are_used_again_and_rows_come_in_any_order(name: str, processor_of: Make) -> None:
    rng, size, longest = random.Random(4), 5, 40
    tokens = torch.zeros(size, longest, dtype=torch.int32)
    state = SimpleNamespace(
        device=torch.device("cpu"), max_num_reqs=size, all_token_ids=SimpleNamespace(gpu=tokens), vocab_size=260
    )
    processor, model = processor_of(name, state)
    processor.counts.places, places, numbers = set(), set(), itertools.count()
    slots: dict[int, Wanted] = {}
    for _ in range(20):
        for slot in [slot for slot in slots if rng.random() < 0.2]:  # nobody is told that they leave
            del slots[slot]
        for slot in rng.sample(range(size), 2):
            if slot not in slots:
                slots[slot] = one = some_request(rng)
                one.number = next(numbers)
                tokens[slot] = rng.randrange(250)  # what the last one has left behind
                tokens[slot, : len(one.prompt)] = torch.tensor(one.prompt)
                assert processor.add_request(slot, one.params) == (one.strength > 0)
        processor.apply_staged_writes()
        order = rng.sample(list(slots), rng.randint(0, len(slots)))  # some wait
        if not order:
            continue
        ids = [[*slots[slot].prompt, *slots[slot].written] for slot in order]
        mapping = torch.tensor(order, dtype=torch.int32)
        ctx = SimpleNamespace(
            idx_mapping=mapping,
            idx_mapping_np=mapping.numpy(),
            expanded_idx_mapping=mapping,
            seq_lens_upper_bound_np=torch.tensor([len(row) for row in ids]).numpy(),
        )
        found = processor.apply(torch.stack([model.plain(row) for row in ids]), ctx)
        for slot, row, own in zip(order, found, ids, strict=True):
            token = model.check(row, own, slots[slot].strength)
            slots[slot].written.append(token)
            tokens[slot, len(own)] = token
            places |= {(slots[slot].number, len(own))} if slots[slot].strength else set()
    assert processor.counts.acted > 15
    assert processor.counts.places == places


def test_a_token_that_is_drawn_untouched_is_counted_however_many_other_rows_are_acted_on(processor_of: Make) -> None:
    processor, model = processor_of("fusion", torch.device("cpu"))
    processor.counts.places = set()
    rows = [Wanted([5, 6, 7], 1.0, number=0), Wanted([9, 8], 0.3, number=1), Wanted([4], 0.0, number=2)]
    added = [(i, one.params, one.prompt, one.written) for i, one in enumerate(rows)]
    processor.update_state(SimpleNamespace(removed=[], added=added, moved=[]))

    def act() -> None:
        processor.apply(torch.stack([model.plain([*one.prompt, *one.written]) for one in rows]))

    def found() -> int:
        assert processor.counts.places is not None
        drawn = [len(one.written) for one in rows]
        return untouched(
            [len(one.prompt) for one in rows], drawn, [one.strength for one in rows], processor.counts.places
        )

    for _ in range(3):  # a step whose rows are thrown away, as of prompts that are read in parts, and more of them
        act()
    for one in rows:
        one.written.append(11)
    assert found() == 0
    for one in rows:
        one.written.append(12)  # without the processor
    assert found() == 2, "and the plain request needs none"
    act()
    rows[0].written.append(13)
    assert found() == 2
    assert processor.counts.acted > sum(len(one.written) for one in rows[:2]), "the sums see nothing"


def test_a_row_of_nobody_stops_the_engine_instead_of_going_through(processor_of: Make) -> None:
    processor, model = processor_of("fusion", torch.device("cpu"))
    one = Wanted([5, 6], 1.0)
    processor.update_state(SimpleNamespace(removed=[], added=[(0, one.params, one.prompt, one.written)], moved=[]))
    with pytest.raises(DetoxError, match="2 rows of logits are not those"):
        processor.apply(torch.stack([model.plain([5, 6])] * 2))


def test_what_others_have_forbidden_stays_forbidden(processor_of: Make) -> None:
    processor, model = processor_of("fusion, the paper's", torch.device("cpu"))
    one = Wanted([5, 6], 1.0)  # the calibrator alone: a mixture of -inf at share 0 would be no number
    processor.update_state(SimpleNamespace(removed=[], added=[(0, one.params, one.prompt, one.written)], moved=[]))
    logits = model.plain([5, 6])[None].clone()
    logits[0, 100:] = -torch.inf
    found = processor.apply(logits)
    assert torch.isneginf(found[0, 100:]).all()
    assert torch.isfinite(found[0, :100]).all()


# --- the model says what is read --------------------------------------------------------------------------------------


def test_inside_the_model_states_are_used_once_and_only_those_of_this_step(
    processor_of: Make, named: Any, tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = processor_of("nado", torch.device("cpu"))
    given: list[Any] = []
    monkeypatch.delenv(loading.ROUTE)
    monkeypatch.setattr(
        "detoxlm.serving.in_vllm.model.installed", lambda config, steering, decoder, give: given.append(give) or True
    )
    processor = Processor(config_of(tiny_folder("llama")), torch.device("cpu"))
    assert processor.route == "inside"
    rows = [Wanted([5, 6, 7], 1.0), Wanted([9], 0.0), Wanted([8, 8], 0.3)]
    processor.update_state(
        SimpleNamespace(
            removed=[], added=[(i, one.params, one.prompt, one.written) for i, one in enumerate(rows)], moved=[]
        )
    )
    plain = torch.stack([model.plain(one.prompt) for one in rows])
    given[0](torch.stack([model.states(one.prompt) for one in rows]))
    for one, row in zip(rows, processor.apply(plain.clone()), strict=True):
        model.check(row, one.prompt, one.strength)
    with pytest.raises(DetoxError, match="no states"):
        processor.apply(plain.clone())


def test_a_steering_that_let_its_decoder_go_still_acts_on_states(
    tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    detoxifier = fit(target, "nado", letter_scorer, fresh=True)
    assert isinstance(detoxifier, DecodingDetoxifier)
    model, steering = Model(target, detoxifier), detoxifier.steering(target.model)
    wanted = model.wanted([5, 6, 7], 1.0)
    states, plain = model.states([5, 6, 7])[None], model.plain([5, 6, 7])[None].clone()
    steering.let_go()
    assert not [one for one in vars(steering).values() if one is target.architecture.decoder]
    torch.testing.assert_close(steering.act(plain, states, torch.tensor([1.0]))[0], wanted)


def test_only_a_reader_that_was_cut_from_the_model_is_put_into_it(
    tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    for name in ("fusion", "gedi", "dexperts", "dexperts, anti"):
        detoxifier = fit(target, name, letter_scorer)
        assert isinstance(detoxifier, DecodingDetoxifier)
        steering = detoxifier.steering(target.model)
        assert is_cut(steering, target.architecture.decoder) == (name == "fusion"), name
        assert not is_cut(steering, tiny().architecture.decoder)


def test_methods_that_act_elsewhere_than_on_logits_are_refused_by_name(processor_of: Make) -> None:
    with pytest.raises(UsageError, match=r"probe: .*use attached"):
        processor_of("probe", torch.device("cpu"))
    assert not installed(None, SimpleNamespace(place=3), torch.nn.Identity(), print)  # type: ignore[arg-type]


# --- settings ---------------------------------------------------------------------------------------------------------


def test_strengths_out_of_range_are_refused_before_they_reach_the_engine(
    processor_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor_of("fusion", torch.device("cpu"))
    for extra, said in (({"strength": 9.0}, r"outside \[0, 4\]"), ({"strength": "x"}, "no number"), (None, "")):
        params = SimpleNamespace(extra_args=extra)
        if said:
            with pytest.raises(ValueError, match=rf"strength: .*{said}"):
                Processor.validate_params(params)
        else:
            Processor.validate_params(params)
    assert loading.strength_of(SimpleNamespace(extra_args={"other": 1})) == 0.5
    monkeypatch.setenv(loading.STRENGTH, "0.75")
    assert loading.strength_of(SimpleNamespace(extra_args=None)) == 0.75
    assert loading.strength_of(SimpleNamespace(extra_args={"strength": 0})) == 0.0
    monkeypatch.setenv(loading.STRENGTH, "much")
    with pytest.raises(UsageError, match="DETOXLM_STRENGTH: 'much' is no number"):
        loading.default_strength()


@pytest.mark.parametrize(
    ("changed", "named_field"),
    [
        ({"speculative_config": object()}, "speculative_config"),
        ({"lora_config": object()}, "enable_lora"),
        ({"quantization": "awq"}, "quantization"),
        ({"enable_prompt_embeds": True}, "enable_prompt_embeds"),
        ({"tensor_parallel_size": 2}, "tensor_parallel_size"),
        ({"pipeline_parallel_size": 2}, "pipeline_parallel_size"),
    ],
)
def test_what_would_let_tokens_through_is_refused_at_the_start(changed: dict[str, Any], named_field: str) -> None:
    with pytest.raises(UsageError, match=f"^{named_field}: .*leave it out"):
        Processor(config_of(Path("nowhere"), **changed), torch.device("cpu"))


def test_versions_that_nothing_is_known_of_are_refused_with_those_that_work() -> None:
    check_version("0.32.0+cpu")
    for version in ("0.31.9", "0.33.0", "1.0"):
        with pytest.raises(UsageError, match=rf"this is vLLM {version}; detoxlm works with 0\.32\.\*"):
            check_version(version)


def test_without_a_detoxifier_and_with_one_that_changes_weights_the_environment_is_told_what_to_do(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading.detoxifier.cache_clear()
    monkeypatch.delenv(FOLDER, raising=False)
    with pytest.raises(UsageError, match="set DETOXLM_DETOXIFIER"):
        loading.detoxifier()
    fit(tiny(), "surgery", letter_scorer, fresh=True).save_pretrained(tmp_path / "edit")
    monkeypatch.setenv(FOLDER, str(tmp_path / "edit"))
    with pytest.raises(UsageError, match=r"surgery changes the model's weights: .*detoxlm export"):
        loading.detoxifier()
    loading.detoxifier.cache_clear()


def test_another_models_detoxifier_is_refused_when_the_model_is_read(
    processor_of: Make, tiny_folder: Callable[..., Path]
) -> None:
    processor_of("fusion", torch.device("cpu"))
    with pytest.raises(UsageError, match="was fitted for"):
        Processor(config_of(tiny_folder("llama", 1)), torch.device("cpu"))
