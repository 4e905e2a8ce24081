"""Public test doubles: tiny random models and a tiny tokenizer, built in memory, for tests of code that uses guardrail.

Not covered: a tiny random model says nothing sensible, so nothing here tells right answers from wrong ones.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from guardrail.model.local import LocalModel

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}{{ (c['function'] or c) | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A ChatML template, as Qwen has it: calls of earlier turns are shown."""

_SMALL: dict[str, Any] = {
    "vocab_size": 384,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_MOE: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}

_DELTA: dict[str, Any] = {  # linear attention by gated delta rule
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_MAMBA: dict[str, Any] = {"mamba_n_heads": 4, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8}
_LATENT: dict[str, Any] = {  # multi-head latent attention
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
_GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 256, "n_inner": 48}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 8},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": {"num_experts": 4, **_MOE},
    "gemma2": {"sliding_window": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0},
    "gemma3_text": {"sliding_window": 8, "query_pre_attn_scalar": 8},
    "phi3": {"sliding_window": 8},
    "olmo2": {},
    "olmo3": {"sliding_window": 8},
    "granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5, "embedding_multiplier": 3.0},
    "cohere2": {"sliding_window": 8, "logit_scale": 0.25, "sliding_window_pattern": 4},
    "smollm3": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {"sliding_window": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "glm4": {},
    "gpt2": _GPT2,
    "gpt_neox": {},
    "falcon": {"head_dim": None, "num_key_value_heads": None},
    "stablelm": {},
    "starcoder2": {"sliding_window": 8},
    "exaone4": {"sliding_window": 8, "sliding_window_pattern": 4},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"], "conv_L_cache": 3},
    "qwen3_next": {"num_experts": 4, "shared_expert_intermediate_size": 24, **_MOE, **_DELTA},
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_d_head": 8, **_MAMBA},
}
"""Model types that people chat with and `tiny_model` builds, with what each needs beyond a small size. Sliding windows are
shorter than the tests' prompts."""

MORE_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "apertus": {},
    "arcee": {},
    "bamba": {"mamba_d_head": 16, "attn_layer_indices": [1, 3], **_MAMBA},
    "bloom": {"n_layer": 4, "n_head": 4},
    "cohere": {"logit_scale": 0.25},
    "deepseek_v2": {**_MOE, **_LATENT},
    "deepseek_v3": {**_MOE, **_LATENT},
    "ernie4_5": {},
    "falcon_mamba": {},
    "gemma": {},
    "gemma4_text": {"sliding_window": 8, "vocab_size_per_layer_input": 384, "hidden_size_per_layer_input": 8},
    "glm": {},
    "glm4_moe": {"n_routed_experts": 4, "first_k_dense_replace": 1, **_MOE},
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2, "logits_scaling": 4.0},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"] * 2,
        "mamba_d_head": 16,
        "num_local_experts": 0,
        "shared_intermediate_size": 48,
        **_MAMBA,
    },
    "hunyuan_v1_dense": {},
    "llama4_text": {
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "intermediate_size_mlp": 48,
        "attention_chunk_size": 64,
    },
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8, "chunk_size": 8},
    "minimax_m2": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "ministral3": {"sliding_window": 8},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 4, "max_seq_len": 256},
    "nemotron": {},
    "olmo": {"clip_qkv": 0.5},  # changes what its linear layers give in place
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "phi": {},
    "qwen2_moe": {"num_experts": 4, "shared_expert_intermediate_size": 24, **_MOE},
    "qwen3_5_text": _DELTA,
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "attention_window_size": 8},
    "rwkv": {"attention_hidden_size": 32},
    "seed_oss": {},
}
"""More model types that `tiny_model` builds: older ones, experts, and recurrent ones."""


def tiny_model(architecture: str = "llama", *, seed: int = 0, **config: Any) -> nn.Module:
    """A random model of 4 layers, 32 units and 384 tokens in float32, the same for the same seed.

    Args:
        architecture: A key of `ARCHITECTURES` or `MORE_ARCHITECTURES`.
        seed: Of the weights; torch's own generator is left as it is.
        config: Overrides the configuration; None leaves an option out.

    Returns:
        The model, in eval mode on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {**_SMALL, "initializer_range": 0.2, **(ARCHITECTURES | MORE_ARCHITECTURES)[architecture], **config}
        options = {name: value for name, value in options.items() if value is not None}  # None: not an option there
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **options))
        for (
            parameter
        ) in model.parameters():  # biases and norms too, so that no part of a formula is tested at zero or one
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.eval()
    assert isinstance(model, nn.Module)  # noqa: S101  (for the type checker: transformers is untyped)
    return model


def tiny_tokenizer(chat_template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of 256 bytes and five special tokens; every text round-trips.

    Args:
        chat_template: A Jinja template; None for a tokenizer without one.

    Returns:
        A fast tokenizer of transformers.
    """
    special = ["<pad>", "<s>", "<|im_end|>", "<unk>", "<|im_start|>"]
    vocabulary = {token: i for i, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="<|im_end|>", unk_token="<unk>"
    )
    fast.chat_template = chat_template
    return fast


def tiny_local_model(architecture: str = "llama", *, seed: int = 0, **config: Any) -> LocalModel:
    """A tiny random model with the tiny tokenizer: everything of a `LocalModel` but sense.

    Args:
        architecture: See `tiny_model`.
        seed: See `tiny_model`.
        config: See `tiny_model`.

    Returns:
        The model, named `tiny-ARCHITECTURE`.
    """
    return LocalModel(tiny_model(architecture, seed=seed, **config), tiny_tokenizer(), name=f"tiny-{architecture}")
