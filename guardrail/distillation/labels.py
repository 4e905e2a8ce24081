"""The labels of a stated confidence as token ids, and their probabilities read off logits."""

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
