"""What all do who load a model with transformers: keep it quiet, and see that nothing was made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as transformers_logging

from detoxlm.errors import UsageError
from detoxlm.progress import track


def quiet_transformers() -> _Quiet:
    """Return a context in which transformers prints neither weight-loading bars nor advice."""
    return _Quiet()


class _Quiet:
    def __enter__(self) -> None:
        self.level = transformers_logging.get_verbosity()
        self.bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        transformers_logging.set_verbosity(self.level)
        if self.bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def tensors_counted() -> Iterator[None]:
    """Show the reading of a GGUF file by our own progress, in place of a bar that transformers shows whatever one says.

    Where transformers has come to read it otherwise, nothing is changed.
    """
    from transformers import modeling_gguf_pytorch_utils as reader

    bar = getattr(reader, "tqdm", None)
    if bar is None:
        yield
        return

    def counted(tensors: Sequence[Any], **_: Any) -> Iterator[Any]:
        with track("converting", len(tensors), "tensors") as advance:
            for tensor in tensors:
                yield tensor
                advance(1)

    reader.tqdm = counted
    try:
        yield
    finally:
        reader.tqdm = bar


def lacking(loading: dict[str, Any]) -> list[str]:
    """Return the names of weights that transformers would go on with random numbers in place of.

    Args:
        loading: what `from_pretrained` says with `output_loading_info` and `ignore_mismatched_sizes`; it raises without
            the latter where weights are of another shape than the configuration says.
    """
    return sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])})


def check_complete(name: str, loading: dict[str, Any]) -> None:
    """Refuse a model that lacks weights.

    Args:
        name: of the model, for the message.
        loading: as of `lacking`.

    Raises:
        UsageError: weights are missing, or of another shape than the configuration says.
    """
    if without := lacking(loading):
        raise UsageError(
            f"model: {name!r} is damaged: {without[0]} and {len(without) - 1} more weights of its configuration are "
            "missing or of another shape."
        )
