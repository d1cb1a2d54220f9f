"""Attached models in programs: threads, streams, blocks that overlap, copies."""

from __future__ import annotations

import copy
import json
import pickle
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import fit
from transformers import TextIteratorStreamer

from detoxlm.errors import UsageError
from detoxlm.generation import Sampling, generate
from detoxlm.methods import Detoxifier
from detoxlm.models import Target

pytestmark = pytest.mark.usefixtures("short_looks")
TEXT = "over the hills and"


def continued(target: Target, text: str = TEXT, **more: Any) -> list[int]:
    inputs = target.tokenizer(text, return_tensors="pt").to(target.device)
    return list(target.model.generate(**inputs, max_new_tokens=10, do_sample=False, **more)[0].tolist())


def hooks(target: Target) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in target.model.modules())


@pytest.fixture
def pair(tiny: Callable[..., Target], letter_scorer: Any) -> tuple[Target, Detoxifier, Detoxifier]:
    """A target, a detoxifier that acts while it decodes and one that changes its weights."""
    target = tiny()
    return target, fit(target, "fusion", letter_scorer), fit(target, "surgery", letter_scorer)


def test_a_second_detoxifier_of_a_sort_is_refused_in_words_from_any_thread(
    pair: tuple[Target, Detoxifier, Detoxifier],
) -> None:
    target, *both = pair
    for detoxifier in both:
        with detoxifier.attached(target.model, 1.0):
            want = continued(target)
            said: list[str] = []

            def attach(detoxifier: Detoxifier = detoxifier, said: list[str] = said) -> None:
                with (
                    pytest.raises(UsageError, match=r"attached: this model has .* attached already") as error,
                    detoxifier.attached(target.model, 0.5),
                ):
                    pass
                said.append(str(error.value))

            attach()
            thread = threading.Thread(target=attach)
            thread.start()
            thread.join()
            assert len(said) == 2
            assert continued(target) == want


def test_the_order_of_an_edit_and_a_decoding_detoxifier_does_not_matter(
    tiny: Callable[..., Target], letter_scorer: Any
) -> None:
    target = tiny()
    plain = continued(target)
    for decoding in ("fusion", "nado", "dexperts", "gedi", "probe"):
        for weights in ("surgery", "tasft"):
            made = []
            for edit_first in (True, False):
                # made anew: what is built for the model must not depend on what it has at that time
                steer, edit = (copy.deepcopy(fit(target, name, letter_scorer)) for name in (decoding, weights))
                first, second = (edit, steer) if edit_first else (steer, edit)
                with first.attached(target.model), second.attached(target.model), torch.inference_mode():
                    made.append(target.model(**target.tokenizer(TEXT, return_tensors="pt").to(target.device)).logits)
            assert torch.equal(*made), (decoding, weights)
    assert continued(target) == plain


def test_blocks_that_end_in_another_order_leave_the_model_as_it_was(
    pair: tuple[Target, Detoxifier, Detoxifier],
) -> None:
    target, steer, edit = pair
    before = {name: tensor.clone() for name, tensor in target.model.state_dict().items()}
    one, other = steer.attached(target.model, 1.0), edit.attached(target.model, 1.0)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    with edit.attached(target.model, 0.0):
        pass
    other.__exit__(None, None, None)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.model.state_dict().items())
    assert hooks(target) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (copy.deepcopy, "cannot be copied; do it outside the block"),
        (copy.copy, "cannot be pickled; do it outside the block"),
        (pickle.dumps, "cannot be pickled; do it outside the block"),
    ],
)
def test_copies_that_would_stay_detoxified_are_refused(
    wrong: Callable[[Any], Any], message: str, pair: tuple[Target, Detoxifier, Detoxifier]
) -> None:
    target, *both = pair
    for detoxifier in both:
        with detoxifier.attached(target.model), pytest.raises(UsageError, match=f"attached: .*{message}"):
            wrong(target.model)
        assert continued(target) == continued(
            Target(copy.deepcopy(target.model), target.tokenizer, target.architecture, "copy", "")
        )


def test_saving_under_a_decoding_detoxifier_saves_the_plain_model_and_under_an_edit_is_refused(
    pair: tuple[Target, Detoxifier, Detoxifier], tmp_path: Path
) -> None:
    target, steer, edit = pair
    with steer.attached(target.model):
        target.model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["architectures"] == [
        type(target.model).__name__
    ]
    with edit.attached(target.model), pytest.raises(UsageError, match=r"attached: the weights .*detoxlm export"):
        target.model.save_pretrained(tmp_path / "edited")
    assert not (tmp_path / "edited").exists()


def test_a_stream_that_is_read_after_the_block_is_the_detoxified_text(
    pair: tuple[Target, Detoxifier, Detoxifier],
) -> None:
    target, *both = pair
    for detoxifier in both:
        with detoxifier.attached(target.model, 1.0):
            right = target.tokenizer.decode(continued(target), skip_special_tokens=True)
            streamer = TextIteratorStreamer(target.tokenizer, timeout=60, skip_special_tokens=True)
            begun = threading.Event()

            def work(streamer: TextIteratorStreamer = streamer, begun: threading.Event = begun) -> None:
                first = [True]

                def prefix(_: int, __: torch.Tensor) -> list[int]:
                    begun.set()  # the generation is under way
                    if first.pop() if first else False:
                        threading.Event().wait(0.2)
                    return list(range(260))

                continued(target, streamer=streamer, prefix_allowed_tokens_fn=prefix)

            thread = threading.Thread(target=work)
            thread.start()
            assert begun.wait(60)
        assert "".join(streamer) == right
        thread.join()
        assert hooks(target) == 0
        untouched = continued(target)
        with detoxifier.attached(target.model, 1.0):
            pass
        assert continued(target) == untouched


@pytest.mark.parametrize("ours", [False, True], ids=["generate of transformers", "generate of detoxlm"])
def test_a_generation_that_began_before_the_block_stays_untouched_and_the_block_waits_its_turn(
    ours: bool, pair: tuple[Target, Detoxifier, Detoxifier]
) -> None:
    target, *both = pair
    begun, go_on, got = threading.Event(), threading.Event(), []

    def stop_for_a_while(*_: Any) -> None:
        begun.set()
        assert go_on.wait(60)

    def work() -> None:
        if ours:
            got.append(next(generate(target, ["the old bridge"], Sampling(max_new_tokens=6))).generations)
        else:
            got.append(continued(target))

    work()
    handle = target.model.register_forward_pre_hook(stop_for_a_while)
    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    for detoxifier in both:
        with pytest.raises(UsageError, match="attached: a generation of this model runs in another thread"):
            detoxifier.attached(target.model).__enter__()
    go_on.set()
    thread.join()
    handle.remove()
    assert got[0] == got[1]
    for detoxifier in both:
        with detoxifier.attached(target.model):
            work()
        assert got[-1] != got[0]


def test_what_is_no_model_and_what_is_no_strength_is_told_so(pair: tuple[Target, Detoxifier, Detoxifier]) -> None:
    target, *both = pair
    for detoxifier in both:
        with pytest.raises(UsageError, match=r"model: it is a Target; give its model, target\.model"):
            detoxifier.attached(target)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="strength: '1' is no number"):
            detoxifier.attached(target.model, "1")  # type: ignore[arg-type]


def test_an_edit_is_not_made_under_a_generation_that_began_without_it(
    pair: tuple[Target, Detoxifier, Detoxifier],
) -> None:
    target, steer, edit = pair
    begun, go_on, got = threading.Event(), threading.Event(), []

    def stop_for_a_while(*_: Any) -> None:
        begun.set()
        assert go_on.wait(60)

    with steer.attached(target.model):
        right = continued(target)
        handle = target.model.register_forward_pre_hook(stop_for_a_while)
        thread = threading.Thread(target=lambda: got.append(continued(target)))
        thread.start()
        assert begun.wait(60)
        with pytest.raises(UsageError, match="runs in another thread without surgery"):
            edit.attached(target.model).__enter__()
        go_on.set()
        thread.join()
        handle.remove()
    assert got == [right]


def test_a_generation_that_a_child_of_the_block_begins_after_it_is_detoxified_or_refused(
    pair: tuple[Target, Detoxifier, Detoxifier],
) -> None:
    target, steer, edit = pair
    plain = continued(target)
    got: list[Any] = []
    for detoxifier in (steer, edit):
        left = threading.Event()

        def late(left: threading.Event = left) -> None:
            left.wait(60)
            try:
                got.append(continued(target))
            except UsageError as error:
                got.append(str(error))

        with detoxifier.attached(target.model, 1.0):
            right = continued(target)
            thread = threading.Thread(target=late)
            thread.start()
        assert continued(target) == plain, "others have the untouched model again"
        left.set()
        thread.join()
        if detoxifier is steer:
            assert got[-1] == right
        else:
            assert "in which this thread was started has ended" in got[-1]
    assert continued(target) == plain


@pytest.mark.more
def test_after_any_interleaving_of_what_programs_do_the_models_are_as_before(
    tiny: Callable[..., Target], letter_scorer: Any, tmp_path: Path
) -> None:
    targets, rng = [tiny(), tiny("gpt2")], random.Random(0)
    every = [[fit(target, name, letter_scorer) for name in ("fusion", "gedi", "surgery")] for target in targets]
    before = [{k: v.clone() for k, v in target.model.state_dict().items()} for target in targets]
    plain, kinds = [continued(target) for target in targets], [type(target.model) for target in targets]
    alone = {}
    for i, target in enumerate(targets):
        for j, detoxifier in enumerate(every[i]):
            with detoxifier.attached(target.model):
                alone[i, j] = continued(target)
    held: list[dict[int, Any]] = [{}, {}]
    for _ in range(200):
        i = rng.randrange(2)
        j = rng.randrange(3)
        event = rng.choice(["attach", "detach", "generate", "copy", "save"])
        if event == "attach":
            block = every[i][j].attached(targets[i].model)
            same_sort = {0, 1} if j < 2 else {2}
            if same_sort & held[i].keys():
                with pytest.raises(UsageError, match="attached"):
                    block.__enter__()
            else:
                block.__enter__()
                held[i][j] = block
        elif event == "detach" and held[i]:
            held[i].pop(rng.choice(list(held[i]))).__exit__(None, None, None)
        elif event == "generate":
            made = continued(targets[i])
            if len(held[i]) < 2:
                assert made == (alone[i, next(iter(held[i]))] if held[i] else plain[i])
        elif event == "copy":
            if held[i]:
                with pytest.raises(UsageError, match="attached"):
                    copy.deepcopy(targets[i].model)
            else:
                copy.deepcopy(targets[i].model)
        elif event == "save" and 2 not in held[i]:
            targets[i].model.save_pretrained(tmp_path / "saved")
    for i, blocks in enumerate(held):
        for block in blocks.values():
            block.__exit__(None, None, None)
        now = targets[i].model.state_dict()
        assert all(torch.equal(before[i][name], now[name]) for name in now)
        assert hooks(targets[i]) == 0
        assert continued(targets[i]) == plain[i]
        assert type(targets[i].model) is kinds[i]


def test_a_model_cannot_assist_itself_while_it_is_detoxified(pair: tuple[Target, Detoxifier, Detoxifier]) -> None:
    target, *both = pair
    for detoxifier in both:
        with detoxifier.attached(target.model), pytest.raises(UsageError, match="assistant_early_exit: "):
            continued(target, assistant_early_exit=2)


def test_a_peft_model_is_refused_in_words_that_say_what_to_do(pair: tuple[Target, Detoxifier, Detoxifier]) -> None:
    from peft import LoraConfig, get_peft_model

    target, *both = pair
    adapted = get_peft_model(copy.deepcopy(target.model), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    for detoxifier in both:
        with pytest.raises(UsageError, match=r"model: it is a PeftModel.*merge_and_unload"):
            detoxifier.attached(adapted)
