"""The LM head's part of the score, in closed form: entropies, dJ/dH, ParaGrad and ExGrad without autograd.

Source: eq. 4 and 5 of arXiv 2605.04638 with J = (1/T) sum_t w_t log p_t[y_t] and w_t = H(p_t) detached. With A = onehot - p,
dJ/dZ = diag(w / T) A, so dJ/dW = A^T diag(w / T) H and dJ/dH = diag(w / T) A W. V x D is never stored: the sum of absolute
values runs over slices of the vocabulary. Knows nothing about layers or prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from guardrail.model.anatomy import Anatomy

_CPU_SLICE = 2**18  # entries of a slice's product that each thread gets: 1 MiB, which stays in its cache
_GPU_SLICE = 2**26


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
def read_head(
    anatomy: Anatomy, hidden: Tensor, targets: Tensor, *, outputs: Tensor | None = None, exgrad: bool = False
) -> HeadReadout:
    """hidden: (T, D), the final states that predict `targets`, (T,). outputs: (T, V), head(hidden) if it exists already.

    Everything that is summed over the vocabulary is float32, whatever the weights are.
    """
    raw = anatomy.head(hidden) if outputs is None else outputs
    z = raw.to(dtype=torch.float32, copy=True).mul_(anatomy.scale)  # (T, V)
    slope: Tensor | float = anatomy.scale  # dz / draw
    if anatomy.softcap is not None:
        z.div_(anatomy.softcap).tanh_()
        slope = (1 - z.square()).mul_(anatomy.scale)
        z.mul_(anatomy.softcap)
    steps = torch.arange(len(targets), device=z.device)
    peak, top = z.max(dim=-1, keepdim=True)
    e = z.sub_(peak).exp()  # (T, V), 1 at the top token
    # A sure model has p near 1 for one token: 1 - p and log p come from the others' sum, or float32 would cancel them away.
    rest = e.scatter(-1, top, 0.0).sum(-1, keepdim=True)
    log_p = z.sub_(rest.log1p()).clamp_(min=torch.finfo(torch.float32).min)  # 0 * -inf is NaN
    p = e.div_(1 + rest)
    entropies = -torch.linalg.vecdot(p, log_p)  # (T,)
    log_probs = log_p[steps, targets]
    others = torch.where(targets == top.squeeze(-1), (rest / (1 + rest)).squeeze(-1), 1 - p[steps, targets])
    A = p.neg_()  # (T, V)
    A[steps, targets] = others  # 1 - p of the target
    A.mul_(slope)
    H = hidden.float()
    weights = entropies / len(targets)
    W = anatomy.head.weight
    hidden_grad = weights.unsqueeze(1) * (A.to(W.dtype) @ W).float()
    return HeadReadout(
        entropies=entropies,
        log_probs=log_probs,
        hidden_grad=hidden_grad,
        paragrad=_mean_abs_outer(A, weights.unsqueeze(1) * H),
        exgrad=_mean_abs_outer(A, H / len(targets)) if exgrad else None,
    )


def _mean_abs_outer(A: Tensor, H: Tensor) -> float:
    """Mean of |A^T H| over all V x D entries, by slices of V."""
    V, D = A.shape[1], H.shape[1]
    entries = _CPU_SLICE * torch.get_num_threads() if A.device.type == "cpu" else _GPU_SLICE
    step = max(1, entries // D)  # rows of the vocabulary
    total = torch.zeros((), dtype=torch.float64, device=A.device)
    buffer = A.new_empty(min(step, V), D)
    for v in range(0, V, step):
        block = A[:, v : v + step].T  # (slice, T)
        # abs_().sum() adds pairwise; vector_norm(ord=1) is slower here and loses up to 2e-4 of the sum in float32
        total += torch.mm(block, H, out=buffer[: block.shape[0]]).abs_().sum().double()
    return float(total) / (V * D)
