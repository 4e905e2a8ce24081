"""Prompts -> the hidden states of their last tokens at every layer, in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from guardrail.errors import ModelError
from guardrail.kernels.frozen import on_input, on_output, untouched
from guardrail.model.decoder import run_decoder
from guardrail.model.loaded import LoadedModel
from guardrail.model.prompts import pad, shared_prefix


def prompt_states(local: LoadedModel, prompts: Sequence[Sequence[int]], offsets: Sequence[int]) -> Tensor:
    """h^(0) .. h^(L) at `offsets`, negative, from each prompt's end: (prompts, L + 1, offsets, D), float32, on the CPU.

    h^(0) is what enters the first layer, h^(L) what leaves the last one, before the final norm. Each row is what the
    prompt alone would give: padding stands on its right, where a causal model does not see it. What all prompts begin
    with runs once, where the architecture's KV cache allows it; no logits are computed.

    Raises `ModelError` for a prompt that is shorter than the farthest offset, or longer than the model's context.

        prompt_states(local, [local.encode_prompt("Hello")], [-2, -1]).shape  # (1, 31, 2, 576) for SmolLM2-135M
    """
    reach, context = -min(offsets), local.anatomy.context
    for prompt in prompts:
        if len(prompt) < reach:
            raise ModelError(f"a prompt of {len(prompt)} tokens has no token at {-reach}; use a longer prompt")
        if context is not None and len(prompt) > context:
            raise ModelError(f"a prompt of {len(prompt)} tokens does not fit into the context of {context}; shorten it")
    shared = _shared(prompts, reach) if local.anatomy.cached else 0
    lengths = torch.tensor([len(prompt) - shared for prompt in prompts])
    ids, _ = pad([prompt[shared:] for prompt in prompts], local.pad_id)
    rows = torch.arange(len(prompts)).unsqueeze(1)  # (B, 1)
    columns = lengths.unsqueeze(1) + torch.tensor(offsets)  # (B, O)
    states: list[Tensor] = []

    def see(hidden: Tensor) -> None:
        states.append(hidden[rows.to(hidden.device), columns.to(hidden.device)].float().cpu())  # (B, O, D)

    decoder, layers = local.anatomy.decoder, local.anatomy.layers
    with local.lock, torch.inference_mode(), untouched(local.model) as stack:
        # without a config every layer keeps all positions, sliding windows too
        cache = shared_prefix(local, prompts[0][:shared], len(prompts), DynamicCache()) if shared else None
        for layer in layers:
            on_input(stack, layer, see)
        on_output(stack, layers[-1], see)
        run_decoder(decoder, ids.to(local.device), cache=cache)
    if len(states) != len(layers) + 1:
        raise ModelError(
            f"{local.name} ran {len(states)} states, not one for each of its {len(layers)} layers and one more"
        )
    return torch.stack(states, 1)


def _shared(prompts: Sequence[Sequence[int]], reach: int) -> int:
    """How many tokens all prompts begin with; the `reach` last ones of each prompt are not among them."""
    most = min(map(len, prompts)) - reach if len(prompts) > 1 else 0
    return next((i for i in range(most) if len({prompt[i] for prompt in prompts}) > 1), most)
