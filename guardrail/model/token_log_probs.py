"""Log-probabilities of tokens under the model itself: of those that generation draws, and of those that exist already.

Under the model itself: at temperature 1 over the whole vocabulary, however the tokens were chosen. Knows nothing about scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from transformers import LogitsProcessor

from guardrail.errors import ModelError
from guardrail.model.memory import halve_on_out_of_memory
from guardrail.model.untouched import untouched

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel

Pair = tuple[Sequence[int], Sequence[int]]
"""Prompt ids and response ids."""

_TOKENS_PER_PASS = 4096
_LOGITS_AT_ONCE = 2**25  # entries in float32: 128 MiB


class NotFiniteError(ModelError):
    """The model's logits are NaN or infinite: there is nothing to draw from."""


class DrawnLogProbs(LogitsProcessor):  # type: ignore[misc]
    """Records log p of each token of one generation, nats.

    It must be the first processor: transformers hands it the model's logits, before temperature, top-k and top-p. Which
    token was drawn shows only at the next step, so one step's distribution waits, (B, V), and never T of them.
    """

    def __init__(self) -> None:
        self._waiting: Tensor | None = None
        self._drawn: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._take(input_ids[:, -1])
        self._waiting = scores.float().log_softmax(-1)
        if bool(
            self._waiting[:, 0].isnan().any()
        ):  # one NaN makes the whole row NaN; drawing would crash a GPU's context
            raise NotFiniteError("NaN or infinity in the model's logits: no token can be drawn")
        return scores

    def of(self, sequences: Tensor, lengths: Sequence[int]) -> list[tuple[float, ...]]:
        """After the generation, for each row of `sequences` its first `lengths` log-probabilities, nats."""
        self._take(sequences[:, -1])
        rows = torch.stack(self._drawn, dim=1).tolist()
        return [tuple(row[:n]) for row, n in zip(rows, lengths, strict=True)]

    def _take(self, tokens: Tensor) -> None:
        if self._waiting is not None:
            self._drawn.append(self._waiting.gather(1, tokens.to(self._waiting.device).unsqueeze(1)).squeeze(1))
            self._waiting = None


def token_log_probs(local: LocalModel, pairs: Sequence[Pair]) -> list[Tensor]:
    """log p of every response token, nats: (T,) float64 on the CPU for each pair, in order; a response of none gives (0,).

    One forward pass over prompt and response, padded on the right, which no causal model sees. Raises `ModelError` for an
    empty prompt, a pair beyond the model's context, and a single pair that does not fit into memory.
    """

    def work(group: Sequence[Pair]) -> list[Tensor]:
        return _forward(local, group)

    for pair in pairs:
        _check(local, pair)
    found: list[Tensor] = []
    with local.lock:
        for group in _groups(pairs, 1 if not local.anatomy.cached else _TOKENS_PER_PASS):
            found += halve_on_out_of_memory(work, group, _too_big)
    return found


def next_token_log_probs(local: LocalModel, prompt: Sequence[int]) -> Tensor:
    """The distribution of the token that follows a prompt: log p, nats, (V,) float64 on the CPU."""
    _check(local, (prompt, ()))
    with local.lock, torch.inference_mode(False), torch.no_grad(), untouched(local.model):
        hidden = _states(local, [list(prompt)])[0, -1:]
        return _log_probs(local, hidden)[0].double().cpu()


@torch.inference_mode(False)
@torch.no_grad()
def _forward(local: LocalModel, pairs: Sequence[Pair]) -> list[Tensor]:
    rows = [[*prompt, *response[:-1]] for prompt, response in pairs]  # the last token predicts nothing here
    found = []
    with untouched(local.model):
        states = _states(local, rows)
        step = max(1, _LOGITS_AT_ONCE // local.anatomy.head.out_features)
        for hidden, (prompt, response) in zip(states, pairs, strict=True):
            predicting = hidden[len(prompt) - 1 : len(prompt) - 1 + len(response)]
            y = torch.tensor(list(response), dtype=torch.long)
            parts = [
                _log_probs(local, predicting[t : t + step]).cpu().gather(1, y[t : t + step].unsqueeze(1)).squeeze(1)
                for t in range(0, len(y), step)
            ]
            found.append(torch.cat(parts).double() if parts else torch.zeros(0, dtype=torch.float64))
    return found


def _states(local: LocalModel, rows: Sequence[list[int]]) -> Tensor:
    """The final hidden states, (B, S, D), of rows padded on the right."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), local.pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for r, row in enumerate(rows):
        ids[r, : len(row)] = torch.tensor(row)
        mask[r, : len(row)] = 1
    ids, mask = ids.to(local.device), mask.to(local.device)
    out = local.anatomy.decoder(input_ids=ids, attention_mask=mask, use_cache=False)
    return cast(Tensor, out.last_hidden_state)


def _log_probs(local: LocalModel, hidden: Tensor) -> Tensor:
    """(T, D) -> (T, V), float32."""
    return local.anatomy.logits(hidden.to(local.anatomy.head.weight.device)).float().log_softmax(-1)


def _groups(pairs: Sequence[Pair], budget: int) -> list[Sequence[Pair]]:
    """Neighbours together, up to `budget` padded tokens."""
    groups: list[list[Pair]] = []
    for pair in pairs:
        trial = [*groups[-1], pair] if groups else [pair]
        if len(trial) > 1 and len(trial) * max(len(p) + len(r) for p, r in trial) <= budget:
            groups[-1] = trial
        else:
            groups.append([pair])
    return list(groups)


def _check(local: LocalModel, pair: Pair) -> None:
    prompt, response = pair
    context = local.anatomy.context
    if not prompt:
        raise ModelError("the prompt has no token, so nothing predicts the response; give a prompt")
    if context is not None and len(prompt) + len(response) - 1 > context:
        raise ModelError(f"{len(prompt)} + {len(response)} tokens exceed the context of {local.name}, {context}")


def _too_big(pair: Pair) -> ModelError:
    return ModelError(
        f"reading {len(pair[0])} + {len(pair[1])} tokens ran out of memory; shorten them, or use a device with more memory"
    )
