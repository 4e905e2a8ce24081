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
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A ChatML template, as SmolLM2 and Qwen have it."""

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

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {"sliding_window": 8},
    "gemma2": {"sliding_window": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0},
    "gemma3_text": {"sliding_window": 8, "query_pre_attn_scalar": 8},
    "phi3": {"sliding_window": 8},
    "gpt2": {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 256, "n_inner": 48},
    "gpt_neox": {},
    "olmo2": {},
    "granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5, "embedding_multiplier": 3.0},
    "cohere2": {"sliding_window": 8, "logit_scale": 0.25, "sliding_window_pattern": 4},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "smollm3": {},
    "qwen3_moe": {"num_experts": 4, **_MOE},
    "olmo3": {"sliding_window": 8},
    "glm4": {},
    "gpt_oss": {"sliding_window": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "falcon": {"head_dim": None, "num_key_value_heads": None},
    "stablelm": {},
    "starcoder2": {"sliding_window": 8},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 4, "max_seq_len": 256},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"], "conv_L_cache": 3},
}
"""Model types that `tiny_model` builds, with what each needs beyond a small size. Windows are shorter than test prompts."""


def tiny_model(architecture: str = "llama", *, seed: int = 0, **config: Any) -> nn.Module:
    """A random model of 4 layers, 32 units and 384 tokens in float32; `config` overrides its configuration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {**_SMALL, "initializer_range": 0.2, **ARCHITECTURES[architecture], **config}
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
    """A byte-level tokenizer of 256 bytes and five special tokens; every text round-trips."""
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
    """A tiny random model with the tiny tokenizer: everything of a `LocalModel` but sense."""
    return LocalModel(tiny_model(architecture, seed=seed, **config), tiny_tokenizer(), name=f"tiny-{architecture}")
