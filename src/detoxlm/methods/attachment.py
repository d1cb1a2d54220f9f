"""Which detoxifiers a model has now, which generations run under each, and what a model that has one may not do.

A model may have one that acts while it decodes and one that changes its weights, in whatever order; all threads share
them. While it has any, its class is a subclass of its own, which counts generations and refuses in one line what would
go wrong without a word: copies and pickles that would stay detoxified, checkpoints of weights that are on loan.

A generation that runs when its block is left ends as it began: hooks stay for it alone, and a block that changed
weights waits for it. One that begins afterwards, in a thread that was started in the block, is detoxified too where
hooks can do that; else it is refused.
"""

from __future__ import annotations

import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import GenerationMixin, PreTrainedModel

from detoxlm.errors import UsageError
from detoxlm.generation import sample_batch

#: What an attachment does to a model: acts on what it says, or changes its weights.
Sort = Literal["decoding", "weights"]
#: Makes a context in which the detoxifier acts for the threads that a function of no arguments says yes in.
Enter = Callable[[Callable[[], bool]], AbstractContextManager[None]]


@dataclass
class Attachment:
    """One detoxifier in one model, from the beginning of its block until nothing can run under it any more."""

    sort: Sort
    label: str  # the method and its strength, for messages
    enter: Enter = field(repr=False)
    #: Of weights: whole parameters by name, and the fingerprints, as they were before.
    originals: Mapping[str, torch.Tensor] = field(repr=False)
    prints: Mapping[str, str] = field(repr=False)
    before: weakref.WeakSet[threading.Thread] = field(default_factory=weakref.WeakSet)
    born: weakref.WeakSet[threading.Thread] = field(default_factory=weakref.WeakSet)
    open: bool = True
    #: How many `generate` calls that began while the block was open run in each thread.
    running: dict[threading.Thread, int] = field(default_factory=dict)
    ways_out: ExitStack = field(default_factory=ExitStack, repr=False)

    def covers(self) -> bool:
        """Tell whether what this thread does with the model now is to be detoxified."""
        return self.open or threading.current_thread() in self.running


_OF: weakref.WeakKeyDictionary[PreTrainedModel, dict[Sort, Attachment]] = weakref.WeakKeyDictionary()
_CHANGED = threading.Condition(threading.RLock())
#: The code of generations, transformers' and ours, without their decorators.
_GENERATE, _SAMPLE = (inspect.unwrap(call).__code__ for call in (GenerationMixin.generate, sample_batch))


@contextmanager
def lent(
    model: PreTrainedModel,
    sort: Sort,
    label: str,
    enter: Enter,
    *,
    originals: Mapping[str, torch.Tensor] | None = None,
    prints: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Give a model to a detoxifier for a block.

    Args:
        model: the target.
        sort: what the detoxifier does to it.
        label: what it is called in messages.
        enter: does it.
        originals: of weights: filled by `enter` with what was there before, whole parameters by their names.
        prints: of weights: the fingerprints before (`Architecture.prints`).

    Raises:
        UsageError: the model has a detoxifier of this sort, a generation still runs under one, or one that began
            without this one runs in another thread: its text would change in its middle.
    """
    kept = {} if originals is None else originals  # `enter` may fill it yet
    one = Attachment(sort, label, enter, kept, prints or {})
    with _CHANGED:
        _claim(model, one)
        try:
            one.ways_out.enter_context(enter(one.covers))
        except BaseException:
            _forget(model, one)
            raise
    try:
        yield
    finally:
        _leave(model, one)


def prints_before(model: PreTrainedModel) -> Mapping[str, str] | None:
    """Return the fingerprints of a model whose weights a detoxifier has changed, from before; None: none has."""
    changed = _OF.get(model, {}).get("weights")
    return changed.prints if changed is not None and changed.open else None


def untouched_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the state of a model as it is without any detoxifier."""
    changed = _OF.get(model, {}).get("weights")
    return {**model.state_dict(), **(changed.originals if changed is not None else {})}


def _claim(model: PreTrainedModel, one: Attachment) -> None:
    slots = _OF.setdefault(model, {})
    _prune(model)
    held = slots.get(one.sort)
    if held is not None and (held.open or held.running):
        why = "leave that block first" if held.open else "a generation that began in its block still runs: let it end"
        raise UsageError(f"attached: this model has {held.label} attached already; {why}, or use another model.")
    one.before = weakref.WeakSet(threading.enumerate())
    slots[one.sort] = one
    if not isinstance(model, _Attached):
        model.__class__ = _class_for(type(model))
    if _generates_elsewhere(model):  # asked once the class is changed: whatever begins from now on is counted
        _forget(model, one)
        raise UsageError(
            f"attached: a generation of this model runs in another thread without {one.label}; let it end, or use "
            "another model."
        )


def _generates_elsewhere(model: PreTrainedModel) -> bool:
    """Tell whether another thread is in a generation of a model; a model without an attachment does not count them."""
    for thread, top in sys._current_frames().items():
        frame = top if thread != threading.get_ident() else None
        while frame is not None:
            if frame.f_code is _GENERATE and frame.f_locals.get("self") is model:
                return True
            if frame.f_code is _SAMPLE and getattr(frame.f_locals.get("target"), "model", None) is model:
                return True
            frame = frame.f_back
    return False


def _leave(model: PreTrainedModel, one: Attachment) -> None:
    with _CHANGED:
        if one.sort == "weights":  # they belong to all threads: a generation that runs needs them to its end
            _CHANGED.wait_for(lambda: not (one.running.keys() - {threading.current_thread()}))
            one.running.clear()
        one.open = False
        one.born = weakref.WeakSet(set(threading.enumerate()) - set(one.before))
        if not one.running:
            _finish(model, one)


def _prune(model: PreTrainedModel) -> None:
    """Forget closed attachments whose blocks have no living children."""
    for one in list(_OF.get(model, {}).values()):
        if not one.open and not one.running and not any(thread.is_alive() for thread in one.born):
            _forget(model, one)


def _finish(model: PreTrainedModel, one: Attachment) -> None:
    """Nothing runs under a closed attachment any more."""
    one.ways_out.close()
    _prune(model)


def _forget(model: PreTrainedModel, one: Attachment) -> None:
    slots = _OF.get(model, {})
    if slots.get(one.sort) is one:
        del slots[one.sort]
    if not slots and isinstance(model, _Attached):
        model.__class__ = type(model).__mro__[2]


@contextmanager
def _generation(model: PreTrainedModel) -> Iterator[None]:
    """Count a call of `generate` under what it began under."""
    me = threading.current_thread()
    with ExitStack() as late, _counted(model, me) as closed:
        for one in closed:
            if one.sort == "weights":
                raise UsageError(
                    f"attached: the block with {one.label} in which this thread was started has ended, and with it the "
                    "changed weights; wait for the thread inside the block."
                )
            late.enter_context(one.enter(lambda: threading.current_thread() is me))
        yield


@contextmanager
def _counted(model: PreTrainedModel, me: threading.Thread) -> Iterator[list[Attachment]]:
    """Yield the attachments that are closed and of whose blocks this thread is a child."""
    with _CHANGED:
        slots = list(_OF.get(model, {}).values())
        mine = [one for one in slots if one.open or me in one.running]
        for one in mine:
            one.running[me] = one.running.get(me, 0) + 1
    try:
        yield [one for one in slots if one not in mine and me in one.born]
    finally:
        with _CHANGED:
            for one in mine:
                one.running[me] = one.running.get(me, 1) - 1
                if not one.running[me]:
                    del one.running[me]
                if not one.open and not one.running:
                    _finish(model, one)
            _CHANGED.notify_all()


class _Attached(PreTrainedModel):
    """What a model is while it has a detoxifier; under its own name, so that a configuration keeps it."""

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Generate, and be counted.

        Raises:
            UsageError: the model is to assist itself by its own first layers, which would be detoxified too.
        """
        if kwargs.get("assistant_early_exit") is not None:
            raise UsageError(
                "assistant_early_exit: a model that has a detoxifier attached cannot assist itself; leave it out, or "
                "give an assistant_model."
            )
        with _generation(self):
            return super().generate(*args, **kwargs)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """Save, but not weights that are on loan."""
        if (changed := _OF.get(self, {}).get("weights")) is not None and changed.open:
            raise UsageError(
                f"attached: the weights of this model are changed by {changed.label} for the block alone; save after "
                "it, or write a detoxified checkpoint with `merge` or `detoxlm export`."
            )
        return super().save_pretrained(*args, **kwargs)

    def __deepcopy__(self, memo: Any) -> Any:
        """Refuse: the copy would stay detoxified."""
        raise _no_copy(self, "copied")

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse: what is loaded would stay detoxified."""
        raise _no_copy(self, "pickled")


def _no_copy(model: PreTrainedModel, done: str) -> UsageError:
    labels = " and ".join(one.label for one in _OF.get(model, {}).values())
    return UsageError(f"attached: a model that has {labels} attached cannot be {done}; do it outside the block.")


#: By class, the subclass of it that a model has meanwhile.
_CLASSES: dict[type[PreTrainedModel], type[PreTrainedModel]] = {}


def _class_for(kind: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Return `kind` with what an attached model does; its place in the source is that of `kind`."""
    if kind not in _CLASSES:
        named = {"__module__": kind.__module__, "__doc__": kind.__doc__}
        _CLASSES[kind] = type(kind.__name__, (_Attached, kind), named)
    return _CLASSES[kind]
