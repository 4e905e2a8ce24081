"""How likely a model finds given answers to one prompt. The prompt runs once, whatever the number of answers.

Knows nothing about what the answers are compared for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guardrail.errors import ModelError
from guardrail.kernels.frozen import untouched
from guardrail.kernels.memory import halve_on_out_of_memory
from guardrail.model.token_log_probs import states_behind
from guardrail.types import Message

if TYPE_CHECKING:
    from guardrail.model.loaded import LoadedModel


def log_likelihoods(local: LoadedModel, messages: str | Sequence[Message], answers: Sequence[str]) -> list[float]:
    """log P(answer | messages) of each answer, in order: summed over its tokens without the end-of-turn token, in nats.

        log_likelihoods(model, "What is the capital of Japan?", ["Tokyo", "Kyoto"])  # [-1.9, -6.3], say

    An answer of no token has 0; one that does not fit into the model's context behind the prompt has NaN. Raises `ModelError`
    where a single answer runs out of memory.
    """
    prompt = local.encode_prompt(messages)
    ids = [local.tokenizer(a, add_special_tokens=False)["input_ids"] if a else [] for a in answers]
    context = local.anatomy.context
    room = None if context is None else context - len(prompt)
    sums = [0.0 if not row else float("nan") for row in ids]
    fit = [i for i, row in enumerate(ids) if row and (room is None or len(row) <= room)]

    def work(group: Sequence[int]) -> list[float]:
        return _together(local, prompt, [ids[i] for i in group])

    with local.lock, torch.inference_mode(), untouched(local.model):
        values = halve_on_out_of_memory(work, fit, lambda i: _too_big(len(prompt), len(ids[i]))) if fit else []
    for i, value in zip(fit, values, strict=True):
        sums[i] = value
    return sums


def _together(local: LoadedModel, prompt: list[int], answers: Sequence[Sequence[int]]) -> list[float]:
    states = states_behind(local, prompt, answers)
    return [float(_log_prob(local, one, row).sum()) for one, row in zip(states, answers, strict=True)]


def _log_prob(local: LoadedModel, states: Tensor, row: Sequence[int]) -> Tensor:
    head = local.anatomy.head.weight.device
    log_probs = local.anatomy.logits(states.to(head)).log_softmax(-1)
    return log_probs.gather(1, torch.tensor(row, device=head).unsqueeze(1)).double()


def _too_big(prompt: int, answer: int) -> ModelError:
    return ModelError(
        f"the likelihood of one answer of {answer} tokens behind a prompt of {prompt} ran out of memory; give a shorter passage"
    )
