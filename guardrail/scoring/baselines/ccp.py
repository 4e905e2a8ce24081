"""CCP: does the model waver about what it claims, or about how to say it (Fadeeva et al. 2024, arXiv 2403.04696)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp
from torch import Tensor

from guardrail.errors import ScoringError
from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.model.token_log_probs import likeliest_tokens
from guardrail.scoring.baselines.base import AnswerScorer
from guardrail.scoring.baselines.equivalence import Equivalence, compare
from guardrail.scoring.stacked.words import asked_words, telling_tokens, token_pieces, within, words_of
from guardrail.types import Score, Trace

Span = tuple[int, int]
ALTERNATIVES = 10
"""The paper's number of tokens that are looked at in each place, the one that stands there among them."""

_RARE = 1e-3  # of the probability of what stands there: nine such alternatives change its number by less than 0.01 nats
_ENGLISH = (
    "a about above after again against all also am an and any are as at be because been before being below "
    "between both but by can could did do does doing down during each few for from further had has have having he "
    "her here hers him his how i if in into is it its itself just me more most my no nor not now of off on once "
    "only or other our out over own same she should so some such than that the their them then there these they "
    "this those through to too under until up very was we were what when where which while who whom why will with "
    "would you your"
)
_FUNCTION_WORDS = frozenset(_ENGLISH.split())


def token_ccp(log_probs: ArrayLike, relations: ArrayLike) -> float:
    """log of P(meaning kept) / (P(meaning kept) + P(meaning contradicted)) at one place, nats, 0 at most (eq. 5 of the paper).

    log_probs: of the token that stands there and its alternatives, (k,). relations: 1 where the meaning is kept, -1 where it is
    contradicted, 0 for what is left out, (k,); the token that stands there keeps it.

        token_ccp(np.log([0.5, 0.2, 0.3]), [1, 1, -1])  # log 0.7
    """
    log_p, relation = np.asarray(log_probs, dtype=np.float64), np.asarray(relations)
    return float(logsumexp(log_p[relation > 0]) - logsumexp(log_p[relation != 0]))


class Ccp(AnswerScorer):
    """Minus the summed `token_ccp` of a claim's words, nats; higher = more uncertain.

    An alternative keeps the meaning where the claim up to it, with it in place of the token that stands there, says the same as
    the claim itself up to there. Left out are alternatives without a letter or digit, and those that are a thousand times less
    likely. Function words (English ones) and words of the question are not looked at; where a claim has no others, all of its
    tokens are. A whole answer is scored as one claim.

    equivalence: when two texts say the same; None is sentence embeddings, which tell no contradiction from another meaning.
    `NliEquivalence` is what the paper takes. k: tokens looked at in each place. Raises `ScoringError` for fewer than two.

        Ccp(model, equivalence=NliEquivalence("cross-encoder/nli-deberta-v3-base")).score_spans([trace], [[(0, 7)]])
    """

    name = "ccp"
    needs = "logits"
    unit = "nats"

    def __init__(self, model: LocalModel, *, k: int = ALTERNATIVES, equivalence: Equivalence | None = None) -> None:
        super().__init__(model)
        if k < 2:
            raise ScoringError(f"k is {k}; CCP needs the token that stands there and one alternative, 2 at least")
        if equivalence is None:
            from guardrail.scoring.baselines.embedding_equivalence import default_equivalence  # loads a model

            equivalence = default_equivalence()
        self.k, self.equivalence = k, equivalence

    @property
    def options(self) -> dict[str, Any]:
        return {"k": self.k, "equivalence": dict(self.equivalence.options)}

    @classmethod
    def from_options(cls, options: Mapping[str, Any], model: LocalModel) -> Self:
        from guardrail.scoring.baselines.equivalence_spec import equivalence_from  # some load a model

        return super().from_options({**options, "equivalence": equivalence_from(options["equivalence"])}, model)

    @property
    def keep(self) -> Keep:
        return Keep(len(self.model.anatomy.layers) - 1, -1)

    def uncertainty(self, trace: Trace) -> float:
        return self._of_span(trace, (0, len(trace.response_ids)), likeliest_tokens(self.model, trace, self.k))

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[Span]]) -> list[list[Score]]:
        """The scores of parts of answers: for each trace those of its spans, each `response_ids[start:end]`.

        Raises `ScoringError` for a span that is not within the response.
        """
        return [self._score_parts(trace, parts) for trace, parts in zip(traces, spans, strict=True)]

    def _score_parts(self, trace: Trace, parts: Sequence[Span]) -> list[Score]:
        for start, end in parts:
            if not 0 <= start < end <= len(trace.response_ids):
                T = len(trace.response_ids)
                raise ScoringError(f"the span [{start}, {end}) is empty or not within the response's {T} tokens")
        refused = self._refused(trace)
        if refused is not None:
            return [replace(refused, length=end - start) for start, end in parts]
        likeliest = cache(lambda: likeliest_tokens(self.model, trace, self.k))  # once for all parts

        def scored(part: Span) -> Score:
            return self._scored(part[1] - part[0], lambda: self._of_span(trace, part, likeliest()))

        return [scored(part) for part in parts]

    def _of_span(self, trace: Trace, span: Span, likeliest: tuple[Tensor, Tensor]) -> float:
        question, (ids, log_probs) = question_of(trace.messages), likeliest
        asked_for: list[tuple[int, int]] = []  # which alternative, in the table of `ids`
        pairs: list[tuple[str, str]] = []
        places = self._telling(trace, span)
        relations = np.zeros(ids.shape)
        relations[:, 0] = 1.0
        for t in places:
            before = trace.response_ids[span[0] : t]
            prefix, stands = self._text(before), self._text([*before, trace.response_ids[t]])
            for j, other in enumerate(ids[t, 1:].tolist(), start=1):
                if log_probs[t, j] < log_probs[t, 0] + math.log(_RARE):
                    break  # the likeliest come first
                instead = self._text([*before, other])
                if instead == stands:
                    relations[t, j] = 1.0
                elif any(c.isalnum() for c in instead[len(prefix) :]):
                    asked_for.append((t, j))
                    pairs.append((stands, instead))
        if pairs:
            left, right = zip(*pairs, strict=True)
            relations[tuple(np.array(asked_for).T)] = compare(self.equivalence, question, left, right).relations
        return -sum(token_ccp(log_probs[t], relations[t]) for t in places)

    def _telling(self, trace: Trace, span: Span) -> list[int]:
        """The places in a span whose tokens hold a word that is looked at; all of them where there is none."""
        skipped = _FUNCTION_WORDS | asked_words(question_of(trace.messages))
        words = within(words_of(token_pieces(self.model.tokenizer, trace.response_ids)), *span)
        return [span[0] + t for t in telling_tokens(words, skipped, span[1] - span[0])]

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self.model.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text
