"""Trace -> Score by a stacked model: every number of one pass, weighed. Knows nothing about how the weights were found.

The pass is HybridGrad's own, as long and as deep as the model's features need; without SemGrad among them it ends at the
LM head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.scoring.batching import by_token_budget, waste_on
from guardrail.scoring.gradients import Readout, Span
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.profile import band_start
from guardrail.scoring.stacked.features import Reading, Tokens, features
from guardrail.scoring.stacked.model import StackedModel
from guardrail.scoring.stacked.words import asked_words, token_pieces, words_of
from guardrail.scoring.suffix import Row
from guardrail.types import Score, Trace

NAME = "stacked"


class StackedScorer:
    """Scores answers and claims of one model; higher = more uncertain.

    stacked: from a calibrator, or `fit_stacked`. One for claims scores claims alone, since it reads the answer so far, too.

        scorer = StackedScorer(model, StackedModel.model_validate(calibrator.provenance.profile))
        scorer.score_traces([trace])[0].value      # log-odds of being wrong
        scorer.explain(trace)                      # {"new_nll": 0.91, "paragrad": 0.1, ...}: what each number added
    """

    name = NAME

    def __init__(self, model: LocalModel, stacked: StackedModel, *, tokens_per_pass: int = 4096) -> None:
        layers = len(model.anatomy.layers)
        self.model, self.stacked, self._budget = model, stacked, tokens_per_pass
        self._offsets = stacked.prompt_tokens or [-1]  # the reading needs a token; the prompt's last is the cheapest
        self._first_layer = band_start("code", layers) if stacked.prompt_tokens else layers - 1
        self._scorer = HybridGradScorer(model, semantic_token=self._offsets[0], tokens_per_pass=tokens_per_pass)

    @property
    def options(self) -> dict[str, Any]:
        """The stacked model, JSON-ready."""
        return self.stacked.model_dump(mode="json")

    @property
    def keep(self) -> Keep:
        return Keep(self._first_layer, self._offsets[0])

    def score_traces(self, traces: Sequence[Trace]) -> list[Score]:
        rows = self._scorer.rows_of(traces)
        scores = [self._refused(row, trace) for row, trace in zip(rows, traces, strict=True)]
        todo = [i for i, score in enumerate(scores) if score is None]
        waste = waste_on(self.model.device)
        for chunk in by_token_budget([rows[i] for i in todo], self._budget, waste):
            readouts = self._scorer.read([rows[todo[j]] for j in chunk], self._offsets, self._first_layer)
            for i, readout in zip((todo[j] for j in chunk), readouts, strict=True):
                scores[i] = self._score(readout, self._whole(traces[i], readout))
        return [score for score in scores if score is not None]

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[Span]]) -> list[list[Score]]:
        """The scores of parts of answers: for each trace those of its spans, each `response_ids[start:end]`.

        Where the answer as a whole cannot be scored, none of its spans is. Raises `ScoringError` for a span that is not within
        the response.
        """
        scores = []
        for row, trace, parts in zip(self._scorer.rows_of(traces), traces, spans, strict=True):
            refused = self._refused(row, trace)
            if refused is not None:
                scores.append([replace(refused, length=max(0, end - start)) for start, end in parts])
                continue
            scores.append([self._score(readout, reading) for readout, reading in self._parts(row, trace, parts)])
        return scores

    def explain(self, trace: Trace) -> dict[str, float]:
        """What each number of this answer adds to its score, nats, beside the intercept; empty for an unscored answer."""
        row = self._scorer.rows_of([trace])[0]
        if self._refused(row, trace) is not None:
            return {}
        readout = self._scorer.read([row], self._offsets, self._first_layer)[0]
        return self.stacked.contributions(features(self._whole(trace, readout), self.stacked.common))

    def _refused(self, row: Row, trace: Trace) -> Score | None:
        refused = self._scorer.unscorable(row, trace, self._offsets)
        return None if refused is None else replace(refused, name=NAME)

    def _parts(self, row: Row, trace: Trace, parts: Sequence[Span]) -> list[tuple[Readout, Reading]]:
        if not parts:
            return []
        # what the head tells between the claims, too, for the answer so far
        between = _between(parts)
        spans = [*parts, *between]
        readouts = self._scorer.read_spans(row, spans, self._offsets, self._first_layer, silent=between)
        tokens = self._tokens(trace, spans, readouts)
        asked = asked_words(question_of(trace.messages))
        return [
            (readout, self._reading(readout, tokens.part(*span), asked, tokens.part(0, span[1])))
            for readout, span in zip(readouts[: len(parts)], parts, strict=True)
        ]

    def _tokens(self, trace: Trace, spans: Sequence[Span], readouts: Sequence[Readout]) -> Tokens:
        """From the answer's first one to the last that was read; the spans cover them all."""
        entropies, log_probs = np.zeros((2, max(end for _, end in spans)))
        for (start, end), readout in zip(spans, readouts, strict=True):
            entropies[start:end], log_probs[start:end] = readout.entropies.double(), readout.log_probs.double()
        words = words_of(token_pieces(self.model.tokenizer, trace.response_ids))
        return Tokens(words, entropies, log_probs).part(0, len(log_probs))

    def _whole(self, trace: Trace, readout: Readout) -> Reading:
        tokens = self._tokens(trace, [(0, len(trace.response_ids))], [readout])
        return self._reading(readout, tokens, asked_words(question_of(trace.messages)))

    def _reading(
        self, readout: Readout, tokens: Tokens, asked: frozenset[str], so_far: Tokens | None = None
    ) -> Reading:
        semgrad = dict(zip(self._offsets, readout.semgrad.mean(0).tolist(), strict=True))
        return Reading(tokens, asked, readout.paragrad, semgrad, so_far)

    def _score(self, readout: Readout, reading: Reading) -> Score:
        length = len(reading.tokens.log_probs)
        number = self.stacked.number(features(reading, self.stacked.common)) if readout.finite() else math.nan
        score = Score.of(NAME, number, length=length)
        if score.unscored is not None:
            return Score.none("not_finite", "NaN or infinity in a logit or a gradient", length=length, name=NAME)
        return replace(
            score,
            paragrad=readout.paragrad,
            entropy=float(reading.tokens.entropies.mean()),
            nll=-float(reading.tokens.log_probs.sum()),
        )


def _between(parts: Sequence[Span]) -> list[Span]:
    """The spans before the last end that none of `parts` covers."""
    gaps, at = [], 0
    for start, end in sorted(parts):
        if start > at:
            gaps.append((at, start))
        at = max(at, end)
    return gaps
