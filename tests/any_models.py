"""Tiny random models of architectures that are in no table of DetoxLM: two layers or a few more, a token is a byte."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

#: What nearly all configurations call alike.
_WIDE: dict[str, Any] = {
    "vocab_size": 260,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
}
_EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
}
_MAMBA2: dict[str, Any] = {
    "mamba_d_ssm": 64,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_chunk_size": 8,
}
_LINEAR: dict[str, Any] = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
_LATENT: dict[str, Any] = {
    "q_lora_rank": 12,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
#: By model type, what its configuration needs besides or in place of `_WIDE`; None takes a field out.
SHAPES: dict[str, dict[str, Any]] = {
    "apertus": {},
    "arcee": {},
    "bamba": {**_MAMBA2, "attn_layer_indices": [1]},
    "bloom": {"n_layer": 2, "n_head": 4},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25, "sliding_window": 8},
    "deepseek_v3": {
        **_LATENT,
        "head_dim": None,
        "first_k_dense_replace": 1,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "n_group": 2,
        "topk_group": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
    },
    "exaone4": {"sliding_window": 8},
    "falcon": {"new_decoder_architecture": False, "multi_query": True, "parallel_attn": True, "head_dim": None},
    "falcon_h1": {**_MAMBA2, "lm_head_multiplier": 0.5},
    "falcon_mamba": {"state_size": 8, "expand": 2, "time_step_rank": 4, "use_mambapy": False},
    "gemma3n_text": {
        "vocab_size_per_layer_input": 260,
        "hidden_size_per_layer_input": 8,
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "activation_sparsity_pattern": [0.0] * 4,
        "laurel_rank": 4,
        "altup_num_inputs": 2,
        "sliding_window": 8,
        "intermediate_size": [48] * 4,
        "final_logit_softcapping": 5.0,
    },
    "glm": {"pad_token_id": 258},
    "glm4": {},
    "glm4_moe": {
        **_EXPERTS,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "gpt_bigcode": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "n_positions": 128},
    "gpt_neo": {
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 8,
        "intermediate_size": 48,
    },
    "gpt_oss": {**_EXPERTS, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5, "embedding_multiplier": 2.0},
    "granitemoe": {**_EXPERTS, "logits_scaling": 4.0, "residual_multiplier": 0.5},
    "granitemoehybrid": {
        **_EXPERTS,
        **_MAMBA2,
        "shared_intermediate_size": 48,
        "layer_types": ["mamba", "attention"],
        "logits_scaling": 4.0,
    },
    "jamba": {
        **_EXPERTS,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "llama4_text": {
        **_EXPERTS,
        "intermediate_size_mlp": 48,
        "interleave_moe_layer_step": 2,
        "attention_chunk_size": 64,
        "num_experts_per_tok": 1,
    },
    "mamba": {"state_size": 8, "expand": 2, "time_step_rank": 4},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "expand": 2, "n_groups": 1, "chunk_size": 8},
    "ministral": {"sliding_window": 8},
    "mixtral": {**_EXPERTS},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 128, "expansion_ratio": 2},
    "nemotron": {},
    "olmo": {},
    "olmo2": {},
    "olmo3": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "olmoe": {**_EXPERTS},
    "phimoe": {**_EXPERTS},
    "qwen2_moe": {**_EXPERTS, "shared_expert_intermediate_size": 24},
    "qwen3_5_text": {**_LINEAR},
    "qwen3_moe": {**_EXPERTS},
    "qwen3_next": {**_LINEAR, **_EXPERTS, "shared_expert_intermediate_size": 24},
    "recurrent_gemma": {"lru_width": 32, "block_types": ["recurrent", "attention"], "attention_window_size": 16},
    "rwkv": {"attention_hidden_size": 32, "context_length": 128},
    "stablelm": {},
    "starcoder2": {"sliding_window": 8},
    "xglm": {
        "d_model": 32,
        "num_layers": 2,
        "attention_heads": 4,
        "ffn_dim": 48,
        "init_std": 0.3,
        "max_position_embeddings": 512,
    },
}


def config_of(kind: str) -> PretrainedConfig:
    """Return the tiny configuration of a model type."""
    fields = {name: value for name, value in {**_WIDE, **SHAPES[kind]}.items() if value is not None}
    return AutoConfig.for_model(kind, **fields)
