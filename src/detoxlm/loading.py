"""What all do who load a model with transformers: keep it quiet, and see that nothing was made up."""

from __future__ import annotations

from typing import Any

from transformers.utils import logging as transformers_logging

from detoxlm.errors import UsageError


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


def check_complete(name: str, loading: dict[str, Any]) -> None:
    """Refuse a model where transformers would go on with random numbers in place of weights.

    Args:
        name: of the model, for the message.
        loading: what `from_pretrained` says with `output_loading_info`.

    Raises:
        UsageError: weights are missing, or of another shape than the configuration says.
    """
    if lacking := sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])}):
        raise UsageError(
            f"model: {name!r} is damaged: {lacking[0]} and {len(lacking) - 1} more weights of its configuration are "
            "missing or of another shape."
        )
