"""Prompts split where the adapter starts to work: what stands before is the base model's, and runs without gradients."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from guardrail.distillation.labels import Labels
from guardrail.distillation.objectives import labels_loss
from guardrail.model.confidence_adapter import last_start
from guardrail.model.decoder import cache_keyword, run_decoder
from guardrail.model.prompts import pad

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel


def collated_tails(
    batch: Sequence[Mapping[str, Any]], labels: Labels, invocation: Sequence[int], fill: int, *, split: bool
) -> dict[str, Tensor]:
    """Rows of `prompt` and `right` -> a batch, every prompt with each of the P paths behind it.

    split: at the last invocation; without it, as for a model that keeps no KV cache, all of a prompt is tail.

    Returns:
        heads, head_mask: (B, H), padded on the left, so that tails follow without a gap; H may be 0. input_ids, attention_mask:
        of the tails, (B P, S). ends: where in its tail a prompt ends, (B P,). right: (B P,), in [0, 1].
    """
    heads, tails = _split(batch, invocation, fill, split)
    ids, mask = pad([[*tail, *path] for tail in tails for path in labels.paths], fill)
    P = len(labels.paths)
    ends = torch.tensor([len(tail) - 1 for tail in tails]).repeat_interleave(P)
    right = torch.tensor([float(row["right"]) for row in batch]).repeat_interleave(P)
    return {**heads, "input_ids": ids, "attention_mask": mask, "ends": ends, "right": right}


def collated_replies(
    batch: Sequence[Mapping[str, Any]], invocation: Sequence[int], fill: int, *, split: bool
) -> dict[str, Tensor]:
    """As `collated_tails`, of rows of `prompt` and `reply`, which stands behind the prompt.

    Returns:
        heads, head_mask, input_ids and attention_mask, with P = 1; labels: (B, S), the reply's ids where it stands, else -100.
    """
    heads, tails = _split(batch, invocation, fill, split)
    ids, mask = pad([[*tail, *row["reply"]] for tail, row in zip(tails, batch, strict=True)], fill)
    labels, _ = pad([[-100] * len(tail) + list(row["reply"]) for tail, row in zip(tails, batch, strict=True)], -100)
    return {**heads, "input_ids": ids, "attention_mask": mask, "labels": labels}


def reply_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """- log p of the replies' tokens, their mean, nats. logits: (B, S, V). labels: as `collated_replies` has them."""
    return cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100)


def taught_labels_loss(
    local: LocalModel, model: Any, batch: Mapping[str, Tensor], labels: Labels, objective: str
) -> Tensor:
    """`labels_loss` of a batch of `collated_tails`."""
    first = int(batch["ends"].min())
    logits = tail_logits(local, model, batch, first)
    return labels_loss(objective, logits, batch["ends"] - first, batch["right"], labels)


def taught_replies_loss(local: LocalModel, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """`reply_loss` of a batch of `collated_replies`."""
    labels = batch["labels"]
    first = int((labels != -100).any(0).nonzero()[0]) - 1  # the token before a reply predicts its first
    return reply_loss(tail_logits(local, model, batch, first), labels[:, first:])


def _split(
    batch: Sequence[Mapping[str, Any]], invocation: Sequence[int], fill: int, split: bool
) -> tuple[dict[str, Tensor], list[Sequence[int]]]:
    starts = [(last_start(row["prompt"], invocation) or 0) if split else 0 for row in batch]
    heads, mask = pad([row["prompt"][:n] for row, n in zip(batch, starts, strict=True)], fill, left=True)
    return {"heads": heads, "head_mask": mask}, [row["prompt"][n:] for row, n in zip(batch, starts, strict=True)]


def tail_logits(local: LocalModel, model: Any, batch: Mapping[str, Tensor], first: int = 0) -> Tensor:
    """The logits of the tails from place `first` on, (B P, S - first, V), with gradients for the adapter.

    model: `local`'s module in peft's wrapper. batch: as `collated_tails` has it. Heads run once a prompt, by the base model and
    without dropout, as in use. What stands before `first` predicts nothing that is learnt; where the model can, it is not made
    logits of.
    """
    heads, mask, ids = batch["heads"], batch["attention_mask"], batch["input_ids"]
    kept = ids.shape[1] - first
    only = {"logits_to_keep": kept} if "logits_to_keep" in inspect.signature(local.model.forward).parameters else {}
    if not heads.shape[1]:
        return cast(Tensor, model(input_ids=ids, attention_mask=mask, **only).logits[:, -kept:])
    decoder = local.anatomy.decoder
    decoder.eval()
    paths = len(ids) // len(heads)
    before = batch["head_mask"]
    with torch.no_grad():  # outside peft's wrapper the adapter is active nowhere
        positions = (before.cumsum(1) - 1).clamp(min=0)
        cache = run_decoder(decoder, heads, mask=before, positions=positions, use_cache=True)[
            cache_keyword(decoder.forward)
        ]
        cache.batch_repeat_interleave(paths)
    lengths = before.sum(1).repeat_interleave(paths).unsqueeze(1)
    return cast(
        Tensor,
        model(
            input_ids=ids,
            attention_mask=torch.cat([before.repeat_interleave(paths, 0), mask], 1),
            position_ids=lengths + torch.arange(ids.shape[1], device=ids.device),
            use_cache=True,
            **{cache_keyword(local.model.forward): cache},
            **only,
        ).logits[:, -kept:],
    )
