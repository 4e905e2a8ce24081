"""The released way: SemGrad and ParaGrad by autograd over everything, as the paper's code is described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


def released_way(model: nn.Module, prompt: Sequence[int], response: Sequence[int], token: int) -> tuple[float, float]:
    """(SemGrad, ParaGrad), mean reduction: a graph over every layer and position with trainable parameters, gradients for
    all hidden states of all positions, the whole V x D head gradient (of a tied head, through the embedding as well).

    token: t* as a negative offset from the prompt's end.
    """
    ids = torch.tensor([[*prompt, *response]], device=model.get_input_embeddings().weight.device)  # type: ignore[operator]
    out = model(input_ids=ids, output_hidden_states=True, use_cache=False)
    z = out.logits[0, len(prompt) - 1 : -1].float()  # (T, V)
    log_p = z.log_softmax(-1)
    w = -(log_p.exp() * log_p).sum(-1).detach()
    J = (w * log_p[torch.arange(len(response)), torch.tensor(response, device=z.device)]).mean()
    head = model.get_output_embeddings().weight  # type: ignore[operator]
    grads = torch.autograd.grad(J, [*out.hidden_states[:-1], head])
    half = len(grads) // 2
    semgrad = torch.stack([g[0, len(prompt) + token].float().abs().mean() for g in grads[half:-1]]).mean()
    return float(semgrad), float(grads[-1].float().abs().mean())


def released_bytes(config: Any, prompt: int, response: int, size: int) -> int:
    """About what it takes at its peak for a model of Llama's kind whose numbers have `size` bytes.

    A layer's graph holds about 16 states and 4 of the inner width a position (norms in float32), to which come the
    gradients of all hidden states, the logits of all positions and their gradient, and the head's gradient.
    """
    c = config.get_text_config()
    S, D, V = prompt + response, c.hidden_size, c.vocab_size
    layer = size * (10 * D + 4 * c.intermediate_size) + 4 * 6 * D
    return int(S * (c.num_hidden_layers * (layer + size * D) + 2 * size * V) + 5 * 4 * response * V + 2 * size * V * D)
