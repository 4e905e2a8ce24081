"""RAUQ: token probabilities handed on by the attention to the token before (Vazhentsev et al. 2025, arXiv 2505.20045)."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from guardrail.errors import ScoringError, UnsupportedModelError
from guardrail.kernels.frozen import untouched
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.scoring.baselines.base import AnswerScorer
from guardrail.scoring.baselines.g_nll import answer_log_probs
from guardrail.scoring.gradient_pass import GradientPass
from guardrail.scoring.suffix import run_suffix
from guardrail.types import Trace

ALPHA = 0.2
"""The paper's weight of a token's own probability."""


def rauq(log_probs: ArrayLike, attention: ArrayLike, alpha: float = ALPHA) -> float:
    """max over layers of -(1/T) sum_i log c_i, nats, with c_1 = p_1 and c_i = alpha p_i + (1 - alpha) a_i c_(i-1).

    log_probs: of the tokens, (T,). attention: what each token gives to the one before it, (layers, heads, T); a_i is that of
    the head which gives most in the mean over the tokens from the second on. The first token's is not read.

        rauq(np.log([0.5, 0.5]), [[[0, 1.0]]])  # log 2: c_2 = 0.2 * 0.5 + 0.8 * 0.5
    """
    p, a = np.exp(np.asarray(log_probs, dtype=np.float64)), np.asarray(attention, dtype=np.float64)
    heads = a[..., 1:].mean(-1).argmax(-1) if len(p) > 1 else np.zeros(len(a), dtype=np.intp)
    chosen = a[np.arange(len(a)), heads]  # (layers, T)
    confident = [np.full(len(a), p[0])]
    for own, handed_on in zip(p[1:], chosen[:, 1:].T, strict=True):
        confident.append(alpha * own + (1 - alpha) * handed_on * confident[-1])
    with np.errstate(divide="ignore"):  # a token of no probability is the least sure
        return float((-np.log(confident)).mean(0).max())


class _SeenError(Exception):
    """Ends a forward pass: what stands above is not needed."""


class Rauq(AnswerScorer):
    """The middle third of the layers, as in the paper, from what generation kept or one forward pass up to there.

    The answer's last token has no part where there are others: generation ends without reading it, so it gives nothing to the
    one before. alpha: see `rauq`. Raises `UnsupportedModelError` for a model whose attention cannot be seen,
    and `ScoringError` for an alpha outside (0, 1).
    """

    name = "rauq"
    needs = "logits"
    unit = "nats"

    def __init__(self, model: LocalModel, *, alpha: float = ALPHA) -> None:
        super().__init__(model)
        if model.anatomy.cache != "in place":
            raise UnsupportedModelError(
                f"{model.name} runs attention of its own, whose weights cannot be seen; take a scorer without them, g-nll say"
            )
        if not 0 < alpha < 1:
            raise ScoringError(f"alpha is {alpha}; it must be in (0, 1)")
        layers = len(model.anatomy.layers)
        self.layers = range(layers // 3, min(layers, math.ceil(2 * layers / 3) + 1))
        self.alpha = alpha
        self._pass = GradientPass(model, through_attention=False)

    @property
    def options(self) -> dict[str, float]:
        return {"alpha": self.alpha}

    @property
    def keep(self) -> Keep:
        return Keep(self.layers[0], -1)

    def uncertainty(self, trace: Trace) -> float:
        read = max(1, len(trace.response_ids) - 1)
        log_probs = answer_log_probs(self.model, trace)[:read]
        return rauq(log_probs, self.attention(trace)[..., :read], self.alpha)

    def attention(self, trace: Trace) -> np.ndarray:
        """What each token of the answer gives to the one before it, (layers, heads, T); NaN for the last token."""
        (row,) = self._pass.rows_of([trace])
        found: list[Tensor] = []

        def see(layer: int, weights: Tensor) -> None:
            if layer in self.layers:
                own = weights.shape[2]
                before = weights[0].diagonal(
                    weights.shape[3] - own - 1, 1, 2
                )  # (heads, S): each query's key before its own
                found.append(before.cpu())
            if layer >= self.layers[-1]:
                raise _SeenError

        model, first = self.model, row.asked - 1
        with (
            suppress(_SeenError),
            model.lock,
            torch.inference_mode(False),
            torch.no_grad(),
            untouched(model.model) as stack,
        ):
            run_suffix(stack, model.model, model.anatomy, [row], first_layer=self.layers[0], reach=1, watch=see)
        seen = torch.stack(found).double().numpy()  # the columns of row.asked - 1 and on
        out = np.full((*seen.shape[:2], len(row.response_ids)), np.nan)
        start = len(row.prompt_ids) - first
        out[..., :-1] = seen[..., start : start + len(row.response_ids) - 1]
        return out
