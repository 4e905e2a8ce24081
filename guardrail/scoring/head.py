"""The LM head's part of the score, in closed form: entropies, dJ/dH, ParaGrad and ExGrad without autograd.

Source: eq. 4 and 5 of arXiv 2605.04638 with J = (1/T) sum_t w_t log p_t[y_t] and w_t = H(p_t) detached. With A = onehot - p,
dJ/dZ = diag(w / T) A, so dJ/dW = A^T diag(w / T) H and dJ/dH = diag(w / T) A W. Everything runs over slices of the
vocabulary that stay in the processor's cache: neither V x D nor a second T x V is ever stored. Knows nothing about layers
or prompts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from guardrail.model.anatomy import Anatomy

_CPU_SLICE = 2**18  # entries of a slice's product that each thread gets: 1 MiB, which stays in its cache
_GPU_SLICE = 2**26
_STORED = 2**25  # logits that are stored rather than computed again in the second pass over the vocabulary: 128 MiB


@dataclass(frozen=True, slots=True, eq=False)
class HeadReadout:
    """Of one answer with T response tokens; J is the mean over them.

    entropies: (T,), nats. log_probs: (T,), of the response tokens, nats. hidden_grad: dJ/dH, (T, D). paragrad: eq. 5, the
    mean of |dJ/dW_head|. exgrad: the same with w_t = 1; None if not asked for.
    """

    entropies: Tensor
    log_probs: Tensor
    hidden_grad: Tensor
    paragrad: float
    exgrad: float | None


@torch.no_grad()
def read_heads(
    anatomy: Anatomy,
    hidden: Sequence[Tensor],
    targets: Sequence[Sequence[int]],
    *,
    outputs: Sequence[Tensor | None] | None = None,
    exgrad: bool = False,
) -> list[HeadReadout]:
    """The readouts of several answers, in one run over the vocabulary.

    hidden: for each answer the final states (T, D) that predict its `targets`, T token ids. outputs: for each answer
    head(hidden), (T, V), where it exists already. Everything that is summed over the vocabulary is float32, whatever the
    weights are.
    """
    lengths = [len(t) for t in targets]
    V, D = anatomy.head.weight.shape
    logits = _Logits(anatomy, torch.cat(list(hidden)), outputs)
    y = torch.tensor([i for t in targets for i in t], device=logits.device)
    normal = _normalise(logits, V)
    # A sure model has p near 1 for one token: 1 - p and log p come from the others' sum, or float32 would cancel them away.
    log_total = normal.rest.log1p()
    entropies = log_total - normal.slack / (1 + normal.rest)
    sure = y == normal.top
    chosen = torch.where(sure, normal.peak, logits.of(y))
    log_probs = chosen - normal.peak - log_total
    others = torch.where(sure, normal.rest / (1 + normal.rest), 1 - log_probs.exp())  # 1 - p of the target

    count = torch.tensor([T for T in lengths for _ in range(T)], device=logits.device)
    weights = entropies / count
    H = logits.hidden.float()
    factors = [weights.unsqueeze(1) * H, *([H / count.unsqueeze(1)] if exgrad else [])]
    hidden_grad = torch.zeros_like(H)
    log_norm = (normal.peak + log_total).unsqueeze(1)
    sorted_y, rows = y.sort()
    tokens = sorted_y.tolist()
    outer = _OuterSums(factors, lengths, V)
    wide = max(outer.step, min(V, _entries(logits.device) // max(32, len(y))))
    for v in range(0, V, wide):
        z, slope = logits.slice(v, v + wide)
        A = z.sub_(log_norm).exp_()  # p; the sign of onehot - p is put in at the end
        here = slice(bisect_left(tokens, v), bisect_left(tokens, v + wide))
        A[rows[here], sorted_y[here] - v] = -others[rows[here]]
        if slope is not None:
            A.mul_(slope)
        hidden_grad += _times(A, anatomy.head.weight[v : v + wide])
        outer.add(A)
    means = (outer.totals() / (V * D)).tolist()
    grads = torch.split(hidden_grad.mul_(-weights.unsqueeze(1)), lengths)
    return [
        HeadReadout(e, p, g, means[0][b], means[1][b] if exgrad else None)
        for b, (e, p, g) in enumerate(
            zip(torch.split(entropies, lengths), torch.split(log_probs, lengths), grads, strict=True)
        )
    ]


def _times(A: Tensor, W: Tensor) -> Tensor:
    """A W, (N, D) in float32. Two halves of the sum side by side read W faster than one product of few rows (measured)."""
    half = len(W) // 2
    if A.device.type != "cpu" or len(W) % 2 or half == 0:
        return (A.to(W.dtype) @ W).float()
    return torch.bmm(A.to(W.dtype).view(len(A), 2, half).transpose(0, 1), W.view(2, half, -1)).float().sum(0)


class _OuterSums:
    """Sums of |A_b^T F_b| over all V x D entries, for each factor F and each answer b, by slices that stay in the cache."""

    def __init__(self, factors: Sequence[Tensor], lengths: Sequence[int], V: int) -> None:
        self.lengths = list(lengths)
        self.factors = [torch.split(f, self.lengths) for f in factors]
        D = factors[0].shape[1]
        self.step = max(1, min(V, _entries(factors[0].device) // D))
        self.buffer = factors[0].new_empty(self.step, D)
        self.sums: list[list[list[Tensor]]] = [[[] for _ in lengths] for _ in factors]

    def add(self, A: Tensor) -> None:
        """A: (N, columns of a part of the vocabulary)."""
        for v in range(0, A.shape[1], self.step):
            block = A[:, v : v + self.step]
            buffer = self.buffer[: block.shape[1]]
            for b, rows in enumerate(torch.split(block, self.lengths)):
                for factor, sums in zip(self.factors, self.sums, strict=True):
                    # abs_().sum() adds pairwise; vector_norm(ord=1) is slower here and loses up to 2e-4 of the sum
                    sums[b].append(torch.mm(rows.T, factor[b], out=buffer).abs_().sum())

    def totals(self) -> Tensor:
        """(factors, answers), float64."""
        # float64 only on the CPU: MPS has none
        parts = torch.stack([torch.stack([torch.stack(s) for s in sums]) for sums in self.sums])
        return parts.cpu().double().sum(-1)


class _Logits:
    """The logits of N hidden states in float32, by slices of the vocabulary; stored outputs are used where they exist."""

    def __init__(self, anatomy: Anatomy, hidden: Tensor, outputs: Sequence[Tensor | None] | None) -> None:
        self.anatomy, self.hidden, self.device = anatomy, hidden, hidden.device
        self.stored: list[Tensor] | None = None
        if outputs is not None and all(o is not None for o in outputs):
            self.stored = [o.to(self.device) for o in outputs if o is not None]
        elif len(hidden) * anatomy.head.out_features <= _STORED:
            self.stored = [linear(hidden, anatomy.head.weight, anatomy.head.bias)]

    def slice(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Logits (N, stop - start), the caller's own, and d logit / d output where that is not 1."""
        if self.stored is not None:
            parts = [o[:, start:stop] for o in self.stored]
            return self._cap((torch.cat(parts) if len(parts) > 1 else parts[0]).to(torch.float32, copy=True))
        head = self.anatomy.head
        bias = None if head.bias is None else head.bias[start:stop]
        return self._cap(linear(self.hidden, head.weight[start:stop], bias).to(torch.float32))

    def of(self, tokens: Tensor) -> Tensor:
        """The logits (N,) of one token each."""
        if self.stored is not None:
            rows = torch.cat([o.gather(1, t.unsqueeze(1)) for o, t in self._pairs(tokens)]).squeeze(1)
        else:
            head = self.anatomy.head
            rows = torch.linalg.vecdot(self.hidden.float(), head.weight[tokens].float())
            rows = rows if head.bias is None else rows + head.bias[tokens].float()
        return self._cap(rows.float().clone())[0]

    def _pairs(self, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        stored = self.stored or []
        return zip(stored, torch.split(tokens, [len(o) for o in stored]), strict=True)

    def _cap(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        scale, cap = self.anatomy.scale, self.anatomy.softcap
        if scale != 1.0:
            z.mul_(scale)
        if cap is None:
            return z, None if scale == 1.0 else z.new_full((1, 1), scale)
        z.div_(cap).tanh_()
        slope = (1 - z.square()).mul_(scale)
        return z.mul_(cap), slope


@dataclass(frozen=True, slots=True, eq=False)
class _Normal:
    """Of N rows of logits: the largest, its token, and over all others sum e^(z - peak) and sum (z - peak) e^(z - peak)."""

    peak: Tensor
    top: Tensor
    rest: Tensor
    slack: Tensor

    def join(self, other: _Normal) -> _Normal:
        """Of both slices together."""
        peak = torch.maximum(self.peak, other.peak)
        mine = self.peak >= other.peak
        # e^-1e4 is 0; more would overflow
        lower = torch.where(mine, other.peak - peak, self.peak - peak).clamp(min=-1e4)
        share = lower.exp()
        rest, rest_lower = _choose(mine, self.rest, other.rest)
        slack, slack_lower = _choose(mine, self.slack, other.slack)
        # the lower slice's top token is one of the others now
        return _Normal(
            peak,
            torch.where(mine, self.top, other.top),
            rest + share * (rest_lower + 1),
            slack + share * (slack_lower + lower * (rest_lower + 1)),
        )


def _choose(mine: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(mine, a, b), torch.where(mine, b, a)


def _normalise(logits: _Logits, V: int) -> _Normal:
    N = len(logits.hidden)
    step = max(1, _entries(logits.device) // N)
    whole: _Normal | None = None
    lowest = torch.finfo(torch.float32).min
    for v in range(0, V, step):
        z, _ = logits.slice(v, v + step)
        peak, top = z.max(dim=-1, keepdim=True)
        peak = peak.clamp(min=lowest)  # a slice may be all -inf
        e = z.sub_(peak).exp().scatter_(-1, top, 0.0)
        slack = torch.linalg.vecdot(e, z.clamp_(min=lowest))  # 0 * -inf is NaN
        part = _Normal(peak.squeeze(-1), top.squeeze(-1) + v, e.sum(-1), slack)
        whole = part if whole is None else whole.join(part)
    assert whole is not None  # noqa: S101  (a vocabulary has tokens)
    return whole


def _entries(device: torch.device) -> int:
    return _CPU_SLICE * torch.get_num_threads() if device.type == "cpu" else _GPU_SLICE
