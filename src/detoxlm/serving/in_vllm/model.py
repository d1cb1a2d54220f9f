"""vLLM's own model, made to say what a detoxifier reads: its final states, or those of a calibrator inside it.

A detoxifier that reads beside the target keeps a cache of its own, and its attention over old tokens does not profit
from vLLM's. Inside the model it does: prefixes are shared, chunks are read as they come, and nothing is read twice.
The class is put in place of vLLM's for the one model that is about to be loaded in this process.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from detoxlm.methods.decoding.contract import Steering

#: What a model calls with the states [rows of logits, D] of each step.
Give = Callable[[torch.Tensor], None]
#: Where the calibrator stands in the model; vLLM names its cache by it.
TRUNK = "detoxlm_trunk"


def installed(config: Any, steering: Steering, decoder: torch.nn.Module, give: Give) -> bool:
    """Let the model that vLLM loads next call `give` in every step; False: it cannot say what this steering reads.

    Args:
        config: vLLM's configuration.
        steering: what is done; decoders that are not needed then are let go.
        decoder: the model's, as transformers has read it.
        give: called in every step, before the logits are drawn from.
    """
    if steering.place != "logits":
        return False
    from vllm.model_executor.models.llama import LlamaForCausalLM

    plain, name = config.model_config.registry.resolve_model_cls(
        config.model_config.hf_config.architectures, model_config=config.model_config
    )
    if steering.reads_target:
        made = showing_states(plain, give, lambda: _register(name, plain))
        steering.let_go()
    elif plain is LlamaForCausalLM and is_cut(steering, decoder):
        trunk = steering.readers[0]
        made = with_trunk(plain, trunk, give, lambda: _register(name, plain))
        steering.let_go()
    else:
        return False
    _register(name, made)
    return True


def is_cut(steering: Steering, decoder: Any) -> bool:
    """Tell whether a steering has one reader, which was cut from this decoder and has its embeddings."""
    if len(steering.readers) != 1 or steering.translator is not None or steering.window is not None:
        return False
    reader: Any = steering.readers[0]
    if reader.get_input_embeddings() is not decoder.get_input_embeddings():
        return False
    return bool(reader.config.num_hidden_layers < decoder.config.num_hidden_layers)


def _register(name: str, model: type[Any]) -> None:
    """Let vLLM load this class for an architecture, in this process."""
    from vllm import ModelRegistry
    from vllm.model_executor.model_loader import utils

    ModelRegistry.register_model(name, model)
    utils._MODEL_ARCH_BY_HASH.clear()  # the process may have looked the class up before


def showing_states(plain: type[Any], give: Give, made: Callable[[], None]) -> type[Any]:
    """Return `plain` that gives its final states where logits are asked for; `made` is called once it is made."""

    class Showing(plain):
        def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
            super().__init__(vllm_config=vllm_config, prefix=prefix)
            made()

        def compute_logits(self, hidden_states: torch.Tensor, *more: Any) -> Any:
            give(hidden_states)
            return super().compute_logits(hidden_states, *more)

    Showing.__name__ = Showing.__qualname__ = plain.__name__
    return Showing


def with_trunk(plain: type[Any], trunk: torch.nn.Module, give: Give, made: Callable[[], None]) -> type[Any]:
    """Return `plain`, a `LlamaForCausalLM`, with the layers of a calibrator beside its own.

    Args:
        plain: vLLM's class.
        trunk: the calibrator's decoder, as transformers has it; its embeddings are the model's.
        give: told the calibrator's final states at the rows whose logits are asked for.
        made: called once the model is made.
    """
    tensors = {name: tensor for name, tensor in trunk.state_dict().items() if not name.startswith("embed_tokens")}
    layers = int(trunk.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]

    class WithTrunk(plain):
        def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
            super().__init__(vllm_config=vllm_config, prefix=prefix)
            cut, model_config = copy.copy(vllm_config), copy.copy(vllm_config.model_config)
            model_config.hf_config = copy.deepcopy(vllm_config.model_config.hf_config)
            model_config.hf_config.num_hidden_layers = layers
            cut.model_config = model_config
            reader = type(self.model)(vllm_config=cut, prefix=TRUNK)
            reader.embed_tokens = self.model.embed_tokens
            setattr(self, TRUNK, reader)
            made()

        def forward(
            self,
            input_ids: torch.Tensor,
            positions: torch.Tensor,
            intermediate_tensors: Any = None,
            inputs_embeds: torch.Tensor | None = None,
        ) -> torch.Tensor:
            states = super().forward(input_ids, positions, intermediate_tensors, inputs_embeds)
            said = getattr(self, TRUNK)(input_ids, positions, None, inputs_embeds)
            # side by side, so that whatever vLLM picks of the states it picks of both
            return torch.cat([states, said], -1)

        def compute_logits(self, hidden_states: torch.Tensor, *more: Any) -> Any:
            states, said = hidden_states.tensor_split(2, -1)
            give(said)
            return super().compute_logits(states.contiguous(), *more)

        def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
            loaded = super().load_weights(weights)
            own = getattr(self, TRUNK).load_weights(tensors.items())
            return loaded | {f"{TRUNK}.{name}" for name in own}

    WithTrunk.__name__ = WithTrunk.__qualname__ = plain.__name__
    return WithTrunk
