"""A proper scoring rule on the labels: the teacher that only says right or wrong (after ConfTuner, arXiv 2508.18847)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guardrail.model.stated import longest_beginnings, path_of


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels as token ids, and the middles of their bins.

    paths: what has to stand behind a prompt so that every token of a label is predicted somewhere: the longest beginnings of
    labels; one empty path where each label is a single token.
    """

    tokens: tuple[tuple[int, ...], ...]
    middles: tuple[float, ...]
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tokens: Sequence[Sequence[int]], middles: Sequence[float]) -> Labels:
        """Labels.of([(7, 1), (1,), (7, 2)], ...).paths   # ((7,),): "very low", "low", "very high" """
        return cls(tuple(tuple(row) for row in tokens), tuple(middles), longest_beginnings(tokens))

    def log_probs(self, logits: Tensor, ends: Tensor) -> Tensor:
        """log p of each label, (B, K), nats.

        logits: (B P, S, V), of every prompt with each of the P paths behind it. ends: (B P,), where the prompts end.
        """
        P = len(self.paths)
        at = ends[::P].unsqueeze(1)
        found: list[Tensor] = []
        for row in self.tokens:
            path = path_of(row, self.paths)
            places = at + torch.arange(len(row), device=at.device)
            own = logits[path::P]
            predicted = own[torch.arange(len(own), device=own.device).unsqueeze(1), places].float().log_softmax(-1)
            tokens = torch.tensor(row, device=own.device).expand(len(own), -1)
            found.append(predicted.gather(2, tokens.unsqueeze(2)).squeeze(2).sum(1))
        return torch.stack(found, dim=1)


def brier_loss(logits: Tensor, ends: Tensor, right: Tensor, labels: Labels) -> Tensor:
    """mean over prompts of (y - sum_k p_k m_k)^2, p over the labels alone: the Brier score of the mean of what is stated.

    Least where that mean, which the scorer `verbalized` reads, is P(right). sum_k p_k (y - m_k)^2, as ConfTuner has it for a
    hundred labels, is linear in p: with five it drives all of p to the label nearest to the share of right answers.

    y may be a teacher's probability, too: then what is stated comes near it without a bin in between (soft targets, as FIRST
    has them of a teacher's top tokens: Shum et al. 2024, arXiv 2408.12168).

    logits, ends: as in `Labels.log_probs`. right: (B P,), in [0, 1].
    """
    p = labels.log_probs(logits, ends).softmax(-1)
    stated = p @ torch.tensor(labels.middles, dtype=p.dtype, device=p.device)
    return ((right[:: len(labels.paths)] - stated) ** 2).mean()
