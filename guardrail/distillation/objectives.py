"""What the training of the labels' probabilities makes small: one function an objective, of log p, y and the labels' middles.

Throughout, log_p: (B, K), nats, of each label in the whole vocabulary. y: (B,), in [0, 1]: 1 for right, 0 for wrong, or a
teacher's probability of being right. middles: (K,), of the labels' bins, rising. What is stated is s = sum_k p_k m_k, p over
the labels alone, which the scorer `verbalized` reads. Each returns a number to make small, a mean over the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, softplus

from guardrail.distillation.labels import Labels

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def stated(log_p: Tensor, middles: Tensor) -> Tensor:
    """s, (B,): the mean of what is stated, between the first middle and the last."""
    return log_p.softmax(-1) @ middles


def brier(log_p: Tensor, y: Tensor, middles: Tensor) -> Tensor:
    """(y - s)^2: the Brier score of the mean of what is stated (after ConfTuner, arXiv 2508.18847). Least at s = P(right).

    sum_k p_k (y - m_k)^2, as ConfTuner has it for a hundred labels, is linear in p: `rlcr` below.
    """
    return ((y - stated(log_p, middles)) ** 2).mean()


def log_score(log_p: Tensor, y: Tensor, middles: Tensor) -> Tensor:
    """- y log s - (1 - y) log (1 - s), nats: the logarithmic score (Good 1952). Least at s = P(right), as `brier` is; an answer
    on whose wrong side s lies far out weighs more."""
    return binary_cross_entropy(stated(log_p, middles), y)


def soft_labels(log_p: Tensor, y: Tensor, middles: Tensor) -> Tensor:
    """- sum_k q_k log p_k, nats: the cross-entropy to a soft target over the labels.

    FIRST (arXiv 2408.12168) has a student match the few likeliest tokens of a teacher, once those are recalibrated. Here the
    teacher says one probability; q spreads it over the two labels next to it, so that sum_k q_k m_k = y, or the nearest that
    there is. log p_k is of the whole vocabulary, so that a label is also what the model would reply.
    """
    above = torch.searchsorted(middles, y.contiguous()).clamp(1, len(middles) - 1)
    low, high = middles[above - 1], middles[above]
    share = ((y - low) / (high - low)).clamp(0, 1)
    q = torch.zeros_like(log_p).scatter(1, (above - 1).unsqueeze(1), (1 - share).unsqueeze(1))
    return -(q.scatter(1, above.unsqueeze(1), share.unsqueeze(1)) * log_p).sum(1).mean()


def ranking(log_p: Tensor, y: Tensor, middles: Tensor) -> Tensor:
    """sum_ij w_ij log (1 + exp(l_j - l_i)) / sum_ij w_ij, nats, with l = logit(s) and w_ij = max(y_i - y_j, 0).

    Of two answers of a batch, the one that is likelier right is to be stated surer (RankNet's pairwise loss, Burges et al.
    2005). "Improving Metacognition and Uncertainty Communication in Language Models" (arXiv 2510.05126) asks, in a prompt of
    its own, which of two questions the model is surer of, and finds that this skill does not carry over to stating a
    confidence; so here the pairs judge what is stated. The level of s is left free. 0 for a batch of answers all alike.
    """
    logits = torch.logit(stated(log_p, middles))
    weights = (y.unsqueeze(1) - y).clamp(min=0)
    losses = softplus(logits - logits.unsqueeze(1))
    return (weights * losses).sum() / weights.sum().clamp(min=torch.finfo(y.dtype).tiny)


def rlcr(log_p: Tensor, y: Tensor, middles: Tensor) -> Tensor:
    """- sum_k p_k R_k, R_k = y - (y - m_k)^2: right minus Brier, the reward of RLCR (arXiv 2507.16806); p over labels alone.

    The paper samples a label and follows the policy gradient; with K labels the expectation is exact, and its gradient is that
    of all samples together, the mean reward as the baseline. Where a teacher's probability stands for y, the right answer is
    expected so often, and the gradient is the same. Answers in a turn of their own do not change, so the first y only moves the
    level of the reward. It is linear in p: most for all of p on the label nearest to P(right).
    """
    reward = y.unsqueeze(1) - (y.unsqueeze(1) - middles) ** 2
    return -(log_p.softmax(-1) * reward).sum(1).mean()


LOSSES: Mapping[str, Loss] = {
    "brier": brier,
    "log-score": log_score,
    "soft-labels": soft_labels,
    "ranking": ranking,
    "rlcr": rlcr,
}


def labels_loss(objective: str, logits: Tensor, ends: Tensor, right: Tensor, labels: Labels) -> Tensor:
    """The loss of a batch by the objective of that name.

    logits, ends: as in `Labels.log_probs`. right: (B P,), in [0, 1].
    """
    log_p = labels.log_probs(logits, ends)
    middles = torch.tensor(labels.middles, dtype=log_p.dtype, device=log_p.device)
    return LOSSES[objective](log_p, right[:: len(labels.paths)].to(log_p), middles)
