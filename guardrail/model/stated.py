"""The confidence that a model states in a turn of its own: how likely it makes each label."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch

from guardrail.kernels.frozen import untouched
from guardrail.model.confidence_adapter import ConfidenceAdapter
from guardrail.model.loaded import LoadedModel
from guardrail.model.token_log_probs import log_probs_of, states_behind


@torch.inference_mode(False)
@torch.no_grad()
def reply_log_probs(
    local: LoadedModel, prompt: Sequence[int], replies: Sequence[Sequence[int]], adapter: ConfidenceAdapter | None
) -> list[float]:
    """log P(reply | prompt) of each reply, summed over its tokens, nats; what the adapter is not active on runs once.

    Raises `ModelError` for a prompt that does not ask for the confidence as the adapter was taught.
    """
    with local.lock, untouched(local.model):
        if adapter is None:
            states = states_behind(local, prompt, replies)
        else:
            start = adapter.start(prompt)

            def active(first: int) -> AbstractContextManager[None]:
                return adapter.active(local.model, first)

            states = states_behind(local, prompt, replies, start=start, behind=active)
        return [float(log_probs_of(local, one, reply).sum()) for one, reply in zip(states, replies, strict=True)]
