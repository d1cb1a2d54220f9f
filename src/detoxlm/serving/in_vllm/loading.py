"""What vLLM is told by environment variables, what it may not be set to, and the detoxifier for its model."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from detoxlm.errors import UsageError
from detoxlm.vllm_installed import FOLDER

if TYPE_CHECKING:
    import torch

    from detoxlm.methods.decoding.contract import Steering
    from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier

#: The variable of the strength of requests that name none.
STRENGTH = "DETOXLM_STRENGTH"
#: `beside` makes the detoxifier read with a cache of its own also where vLLM's model could: for comparisons.
ROUTE = "DETOXLM_VLLM_ROUTE"


@lru_cache
def detoxifier() -> DecodingDetoxifier:
    """Return the detoxifier that the environment names.

    Raises:
        UsageError: none is named, there is none, or its method changes weights.
    """
    from detoxlm.methods import Detoxifier
    from detoxlm.methods.decoding.detoxifier import DecodingDetoxifier

    folder = os.environ.get(FOLDER)
    if not folder:
        raise UsageError(f"detoxifier: set {FOLDER} to the folder of a detoxifier, in the environment of vLLM.")
    found = Detoxifier.from_pretrained(folder)
    if not isinstance(found, DecodingDetoxifier):
        raise UsageError(
            f"detoxifier: {found.method} changes the model's weights: write a checkpoint with `detoxlm export`, which "
            "vLLM serves as any other, without --logits-processors."
        )
    return found


def strength_of(params: Any) -> float:
    """Return the strength that a request's `SamplingParams` ask for by `extra_args`, over HTTP `vllm_xargs`.

    Raises:
        UsageError: it is no number in the method's range.
    """
    found = detoxifier()
    given = (getattr(params, "extra_args", None) or {}).get("strength")
    if given is None:
        return default_strength()
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise UsageError(f"strength: {given!r} is no number; give vllm_xargs={{'strength': 0.5}}.")
    return float(found.check_strength(given))


def number_of(params: Any) -> int | None:
    """Return what `detoxlm vllm-check` has numbered a request by, in its `extra_args`; None: it has not."""
    given = (getattr(params, "extra_args", None) or {}).get("number")
    return given if isinstance(given, int) else None


def default_strength() -> float:
    """Return the strength of requests that name none: the environment's, else the detoxifier's own.

    Raises:
        UsageError: the environment's is no number in the method's range.
    """
    text = os.environ.get(STRENGTH)
    if not text:
        return float(detoxifier().check_strength(None))
    try:
        return float(detoxifier().check_strength(float(text)))
    except ValueError:
        raise UsageError(f"{STRENGTH}: {text!r} is no number.") from None


def check_config(config: Any) -> None:
    """Raise `UsageError` where a `VllmConfig` asks for what would be wrong with a detoxifier, or was not tried."""
    model, parallel = config.model_config, config.parallel_config
    refused = {
        "speculative_config": (config.speculative_config, "drafted tokens would be accepted by the untouched model"),
        "enable_lora": (config.lora_config, "the detoxifier was fitted for the model without an adapter"),
        "quantization": (model.quantization, "the detoxifier reads the model's weights as they were trained"),
        "enable_prompt_embeds": (getattr(model, "enable_prompt_embeds", False), "a detoxifier reads tokens"),
        "tensor_parallel_size": (parallel.tensor_parallel_size > 1, "it was not tried on parts of a model"),
        "pipeline_parallel_size": (parallel.pipeline_parallel_size > 1, "it was not tried on parts of a model"),
    }
    for name, (found, why) in refused.items():
        if found:
            raise UsageError(f"{name}: vLLM cannot have it with a detoxifier: {why}; leave it out.")


def steering_for(config: Any, device: torch.device) -> tuple[Steering, torch.nn.Module]:
    """Return what the detoxifier does to the model that a `VllmConfig` names, and that model's decoder.

    It is read by transformers for this, once.

    Raises:
        UsageError: another model than the detoxifier's, or what cannot be done here, by name.
    """
    from detoxlm.checks import check_of
    from detoxlm.models import load_target

    found, model = detoxifier(), config.model_config
    target = load_target(
        model.model,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(device),
        revision=model.revision,
        trust_remote_code=model.trust_remote_code,
        check=check_of(found),
    )
    steering = found.steering(target.model)
    if not steering.keeps_past:
        raise UsageError(f"detoxifier: {found.method} as released cannot be served; fit it without as_released.")
    return steering, target.architecture.decoder
