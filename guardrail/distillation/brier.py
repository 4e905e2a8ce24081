"""A proper scoring rule on the labels: the teacher that only says right or wrong (after ConfTuner, arXiv 2508.18847)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels as token ids, and the middles of their bins.

    paths: what has to stand behind a prompt so that one pass sees every label's tokens predicted: the longest beginnings that
    labels share, or one empty path where each label is a single token.
    """

    tokens: tuple[tuple[int, ...], ...]
    middles: tuple[float, ...]
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tokens: Sequence[Sequence[int]], middles: Sequence[float]) -> Labels:
        """Labels.of([(7, 1), (1,), (7, 2)], ...).paths   # ((7,),): "very low", "low", "very high" """
        rows = tuple(tuple(row) for row in tokens)
        begun = {row[:k] for row in rows for k in range(len(row))}
        longest = [p for p in begun if not any(q != p and q[: len(p)] == p for q in begun)]
        return cls(rows, tuple(middles), tuple(sorted(longest)))

    def log_probs(self, log_probs: Tensor) -> Tensor:
        """(B, 1 + P, V) log p of what follows a prompt, and each token of the path behind it -> (B, K), of each label."""
        (path,) = self.paths
        found: list[Tensor] = []
        for row in self.tokens:
            assert row[:-1] == path[: len(row) - 1], "a label leaves the path"  # noqa: S101
            found.append(sum((log_probs[:, i, token] for i, token in enumerate(row)), torch.zeros(len(log_probs))))
        return torch.stack(found, dim=1)


def brier_loss(logits: Tensor, ends: Tensor, right: Tensor, labels: Labels) -> Tensor:
    """mean over rows of sum_k p_k (y - m_k)^2, p over the labels alone; least where p is the bin that holds P(right).

    logits: (B, S, V). ends: (B,), where each prompt ends. right: (B,), 1 or 0.
    """
    (path,) = labels.paths
    at = ends.unsqueeze(1) + torch.arange(1 + len(path), device=ends.device)
    rows = torch.arange(len(logits), device=logits.device).unsqueeze(1)
    log_probs = logits[rows, at].float().log_softmax(-1)
    p = labels.log_probs(log_probs).softmax(-1)
    middles = torch.tensor(labels.middles, dtype=p.dtype, device=p.device)
    return (p * (right.unsqueeze(1) - middles) ** 2).sum(1).mean()
