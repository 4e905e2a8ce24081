"""Which answers are scored together: as much memory and padding as is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from guardrail.kernels.passes import WEIGHTS_READ
from guardrail.scoring.suffix import Row

_NEAR = 8  # positions between the semantic token and the answer, about


def by_token_budget(rows: Sequence[Row], budget: int = 4096, waste: float = 1.3) -> list[list[int]]:
    """Indices of `rows` in groups of like length.

    budget: padded tokens of prompts and answers in a group, which bounds its memory; one row alone may exceed it. waste: how
    many times the positions that run may grow by padding; on a CPU each costs time, on a GPU the weights do. What
    pads the others by less than `WEIGHTS_READ` joins them whatever its length.
    """
    runs = [len(r.response_ids) + r.thinking + (len(r.prompt_ids) if r.state is None else _NEAR) for r in rows]
    groups: list[list[int]] = []
    for i in sorted(range(len(rows)), key=lambda i: (rows[i].state is None, runs[i], len(rows[i].prompt_ids))):
        trial = [*groups[-1], i] if groups else [i]
        prompts, responses = (max(len(ids[j]) for j in trial) for ids in _ids(rows))
        padded, own = len(trial) * runs[i], sum(runs[j] for j in trial)
        more = sum(runs[i] - runs[trial[-2]] for _ in trial[1:])  # padding that this one adds to the others
        fits = len(trial) * (prompts + responses) <= budget and (padded <= waste * own or more <= WEIGHTS_READ)
        if groups and fits and (rows[trial[0]].state is None) == (rows[i].state is None):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def waste_on(device: torch.device) -> float:
    """The `waste` that pays on a device."""
    return 1.3 if device.type == "cpu" else 3.0


def _ids(rows: Sequence[Row]) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    return [r.prompt_ids for r in rows], [r.response_ids for r in rows]
