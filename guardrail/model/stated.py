"""The confidence that a model states in a turn of its own: how likely it makes each label."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch

from guardrail.kernels.frozen import untouched
from guardrail.model.confidence_adapter import ConfidenceAdapter
from guardrail.model.loaded import LoadedModel
from guardrail.model.token_log_probs import distributions, states_behind
from guardrail.types import GenerationState

Ids = tuple[int, ...]


def longest_beginnings(replies: Sequence[Sequence[int]]) -> tuple[Ids, ...]:
    """What has to stand behind a prompt so that every token of every reply is predicted somewhere.

    longest_beginnings([(7, 1), (1,), (7, 2)])   # ((7,),): "very low", "low", "very high"
    """
    begun = {tuple(reply[:k]) for reply in replies for k in range(len(reply))}
    longest = [p for p in begun if not any(q != p and q[: len(p)] == p for q in begun)]
    return tuple(sorted(longest))


def path_of(reply: Sequence[int], paths: Sequence[Ids]) -> int:
    """Which of the `longest_beginnings` predicts the tokens of a reply."""
    return next(j for j, path in enumerate(paths) if path[: len(reply) - 1] == tuple(reply[:-1]))


@torch.inference_mode(False)
@torch.no_grad()
def reply_log_probs(
    local: LoadedModel,
    prompt: Sequence[int],
    replies: Sequence[Sequence[int]],
    adapter: ConfidenceAdapter | None,
    state: GenerationState | None = None,
) -> list[float]:
    """log P(reply | prompt) of each reply, summed over its tokens, nats; what they begin with in common runs once.

    state: what generation kept of the answer in the prompt; what both begin with does not run again.

    Raises `ModelError` for a prompt that does not ask for the confidence as the adapter was taught.
    """
    paths = longest_beginnings(replies)
    behind = [[*path, local.pad_id] for path in paths]  # a last token predicts nothing
    with local.lock, untouched(local.model):
        if adapter is None:
            states = states_behind(local, prompt, behind, state=state)
        else:
            start = adapter.start(prompt)

            def active(first: int) -> AbstractContextManager[None]:
                return adapter.active(local.model, first)

            states = states_behind(local, prompt, behind, start=start, behind=active, state=state)
        log_p = [distributions(local, one).double().cpu() for one in states]  # (T, V) of each path
    return [sum(float(log_p[path_of(reply, paths)][t, token]) for t, token in enumerate(reply)) for reply in replies]
