"""UQAC: an answer's probability over what its thought might have said (Li et al. 2025, arXiv 2503.19168).

Of the thought only the tokens are varied that the answer hangs on: a chain that is followed back along the attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from torch import Tensor

from guardrail.errors import UnsupportedModelError
from guardrail.kernels.frozen import untouched
from guardrail.model.local import LocalModel
from guardrail.model.token_log_probs import likeliest_tokens, token_log_probs
from guardrail.scoring.baselines.base import AnswerScorer
from guardrail.scoring.baselines.equivalence import Bools, Floats
from guardrail.scoring.baselines.g_nll import answer_log_probs, g_nll
from guardrail.scoring.suffix import Row, run_suffix
from guardrail.types import Trace

HEADS = 8
"""Heads whose attention is read at each token: those that look at the fewest."""
WIDTH, REACH, THRESHOLD, AT_LEAST = 3, 5, 0.1, 5
"""Tokens that a step adds at most; tokens that each of its sources votes for; from how much attention on, once the chain has so
many."""
MOST = 10
"""Tokens of the chain that are varied, and other tokens that are tried in all."""
ALTERNATIVES, RARE = 5, 0.01
"""The likeliest tokens of each place that may be tried, from which probability on."""


def attention_chain(attention: ArrayLike, sources: Sequence[int], allowed: ArrayLike) -> list[int]:
    """The tokens that the answer hangs on, in the order in which they were found.

    attention: what position q gives to k, (N, N). sources: the positions that predict the answer. allowed: which tokens may be
    in the chain, (N,). Each source votes for the `REACH` allowed tokens that it gives most; the `WIDTH` with the most votes
    join, and the positions that predict them are the next sources.
    """
    a, may = np.asarray(attention, dtype=np.float64), np.asarray(allowed, dtype=np.bool_)
    chain: list[int] = []
    seen, frontier = set(sources), list(sources)
    while frontier:
        votes = np.zeros(len(may))
        for q in frontier:
            open_ = [k for k in np.flatnonzero(may).tolist() if k != q and k - 1 not in seen and a[q, k] > 0]
            for k in sorted(open_, key=lambda k: -a[q, k])[:REACH]:
                votes[k] += a[q, k]
        best = sorted(np.flatnonzero(votes).tolist(), key=lambda k: -votes[k])[:WIDTH]
        found = [k for i, k in enumerate(best) if votes[k] >= THRESHOLD or len(chain) + i < AT_LEAST]
        chain += found
        frontier = [k - 1 for k in found]
        seen.update(frontier)
    return chain


def marginal_nll(joint: ArrayLike) -> float:
    """-log sum_v p(answer, chain | thought v), nats. joint: log p of each thought that was tried, (V,).

    marginal_nll(np.log([0.2, 0.05]))   # -log 0.25
    """
    return -float(logsumexp(np.asarray(joint, dtype=np.float64)))


class AttentionChain(AnswerScorer):
    """The number for models that think; of an answer without a thought it is that of `g-nll`.

    After the paper's released code: own and first tokens get no attention, heads with the least entropy, the chain, its ten
    tokens most like the answer (cosine of the last states at the places that predict them), then the thought with one of them
    exchanged for a likely other one, each read again: up to 13 passes. Chosen here: what may be in the chain is a token of the
    thought with a letter or digit, in every language, where the code has a list of English stop words; the code's factors
    against recent tokens are left out. The question's tokens, at which the chain ends, are not varied.

    Raises `UnsupportedModelError` for a model whose attention cannot be seen.
    """

    name = "attention-chain"
    needs = "logits"
    unit = "nats"

    def __init__(self, model: LocalModel) -> None:
        super().__init__(model)
        if model.anatomy.cache != "in place":
            raise UnsupportedModelError(
                f"{model.name} runs attention of its own, whose weights cannot be seen; take a scorer without them, g-nll say"
            )

    def uncertainty(self, trace: Trace) -> float:
        if not trace.thought or not trace.thinking_tokens:
            return g_nll(answer_log_probs(self.model, trace))
        attention, states = self.read(trace)
        asked = len(trace.prompt_ids) - trace.thinking_tokens
        predicting = list(range(len(trace.prompt_ids) - 1, len(trace.prompt_ids) + len(trace.response_ids) - 1))
        chain = attention_chain(attention, predicting, self.telling(trace))
        chosen = sorted(_most_alike(states, [k - 1 for k in chain], predicting))  # places that predict
        thought = [*trace.prompt_ids[asked:], *trace.response_ids]
        at = [place + 1 - asked for place in chosen]  # within the thought
        tried = [thought, *self._others(trace, asked, thought, at)]
        read = token_log_probs(self.model, [(trace.prompt_ids[:asked], ids) for ids in tried])
        counted = [*at, *range(trace.thinking_tokens, len(thought))]
        return marginal_nll([float(row[counted].sum()) for row in read])

    def telling(self, trace: Trace) -> Bools:
        """Which positions hold a token of the thought with a letter or digit, (P + T - 1,); its closing mark is none."""
        asked, closing = len(trace.prompt_ids) - trace.thinking_tokens, set(self.model.thinking.closing_ids)
        pieces = self.model.tokenizer.batch_decode([[i] for i in trace.prompt_ids[asked:]], skip_special_tokens=True)
        found = np.zeros(len(trace.prompt_ids) + len(trace.response_ids) - 1, dtype=np.bool_)
        for k, (token, piece) in enumerate(zip(trace.prompt_ids[asked:], pieces, strict=True)):
            found[asked + k] = token not in closing and any(c.isalnum() for c in piece)
        return found

    def read(self, trace: Trace) -> tuple[Floats, NDArray[np.float32]]:
        """Attention, (N, N), and the last states, (N, D); N = P + T - 1. Rows are 0 before the last token of the question."""
        row = Row(trace.prompt_ids, trace.response_ids, thinking=trace.thinking_tokens)
        first, model = row.asked - 1, self.model
        kept: tuple[Tensor, Tensor] | None = None  # the clearest heads so far: entropy (H, S), attention (H, S, N)

        def see(_: int, weights: Tensor) -> None:
            nonlocal kept
            own = weights[0].clone()  # (heads, S, N)
            at = torch.arange(own.shape[1], device=own.device)
            own[:, at, at + first] = 0
            own[..., 0] = 0
            own /= own.sum(-1, keepdim=True) + 1e-12
            entropy = torch.special.entr(own).sum(-1)
            if kept is not None:
                entropy, own = torch.cat([kept[0], entropy]), torch.cat([kept[1], own])
            best = entropy.topk(min(HEADS, len(entropy)), dim=0, largest=False).indices  # (H, S)
            kept = entropy.gather(0, best), own[best, at]

        with model.lock, torch.inference_mode(False), torch.no_grad(), untouched(model.model) as stack:
            suffix = run_suffix(stack, model.model, model.anatomy, [row], first_layer=0, reach=1, watch=see)
        assert kept is not None  # noqa: S101  (a model has layers)
        mean, out = kept[1].mean(0), suffix.out[0].float()
        size = len(trace.prompt_ids) + len(trace.response_ids) - 1
        attention, states = np.zeros((size, size)), np.zeros((size, out.shape[-1]), dtype=np.float32)
        attention[first:], states[first:] = mean.cpu().numpy(), out.cpu().numpy()
        return attention, states

    def _others(self, trace: Trace, asked: int, thought: Sequence[int], at: Sequence[int]) -> list[list[int]]:
        """The thought with one token of the chain exchanged, the likeliest exchanges first."""
        whole = replace(trace, prompt_ids=trace.prompt_ids[:asked], response_ids=tuple(thought), state=None)
        ids, log_probs = likeliest_tokens(self.model, whole, ALTERNATIVES + 1)
        found = [(float(log_probs[t, j]), t, int(ids[t, j])) for t in at for j in range(1, ids.shape[1])]
        likely = sorted((one for one in found if one[0] >= np.log(RARE)), key=lambda one: -one[0])[:MOST]
        return [[*thought[:t], token, *thought[t + 1 :]] for _, t, token in likely]


def _most_alike(states: ArrayLike, chain: Sequence[int], answer: Sequence[int]) -> list[int]:
    """Of the chain's places the `MOST` whose states are most like the answer's, in the mean, and not opposed to them."""
    h = np.asarray(states, dtype=np.float64)
    unit = h / (np.linalg.norm(h, axis=1, keepdims=True) + 1e-12)
    alike = (unit[list(chain)] @ unit[list(answer)].T).mean(axis=1) if chain else np.zeros(0)
    order = np.argsort(-alike, kind="stable")[:MOST]
    return [chain[i] for i in order.tolist() if alike[i] > 0]
