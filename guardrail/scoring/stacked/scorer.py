"""Trace -> Score by a stacked model: every number of one pass, weighed.

The pass is HybridGrad's own, so HybridGrad by the paper's formula, SemGrad and ParaGrad stand in every score, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from guardrail.errors import ScoringError
from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.scoring.gradient_pass import GradientPass, TooBigError, too_big
from guardrail.scoring.gradients import Readout, Span
from guardrail.scoring.hybridgrad import combine, paper_profile
from guardrail.scoring.profile import band_start
from guardrail.scoring.protocol import RegisteredScorer, Scorer, scores_spans
from guardrail.scoring.registry import DEFAULT, scorer_from
from guardrail.scoring.stacked.evidence_pass import read_evidence
from guardrail.scoring.stacked.features import Reading, Tokens, features
from guardrail.scoring.stacked.model import StackedModel
from guardrail.scoring.stacked.words import asked_words, token_pieces, words_of
from guardrail.scoring.states.scorer import check_layer, telling_state
from guardrail.scoring.suffix import Row
from guardrail.types import Score, Trace

NAME = "stacked"


class StackedScorer(RegisteredScorer):
    """Scores answers and claims of one model; higher = more uncertain.

    stacked: from a calibrator, or `fit_stacked`. One for claims scores claims alone, since it reads the answer so far, too.

        scorer = StackedScorer(model, StackedModel.model_validate(calibrator.provenance.profile))
        scorer.score_traces([trace])[0].value      # log-odds of being wrong
        scorer.explain(trace)                      # {"new_nll": 0.91, "paragrad": 0.1, ...}: what each number added
    """

    name = NAME
    unit = "nats"

    def __init__(self, model: LocalModel, stacked: StackedModel, *, tokens_per_pass: int = 4096) -> None:
        self.model, self.stacked = model, stacked
        self._probe = stacked.probe
        if self._probe is not None:
            check_layer(model, self._probe)
        self._paper = paper_profile(model)
        self._offsets = sorted({*stacked.prompt_tokens, self._paper.token})
        self._first_layer = band_start(self._paper.band, len(model.anatomy.layers))
        self._pass = GradientPass(model, tokens_per_pass=tokens_per_pass)
        self._pass.prove(self._first_layer)
        self._others: dict[str, Scorer] = {
            name: scorer_from(name, options, model) for name, options in stacked.scorers.items()
        }

    @classmethod
    def from_options(cls, options: Mapping[str, Any], model: LocalModel) -> Self:
        return cls(model, StackedModel.from_options(options))

    @property
    def options(self) -> dict[str, Any]:
        """The stacked model, JSON-ready."""
        return self.stacked.model_dump(mode="json")

    @property
    def reads(self) -> Mapping[str, Scorer]:
        return self._others

    @property
    def keep(self) -> Keep:
        own = Keep(self._first_layer, self._offsets[0])
        others = [s.keep for s in self._others.values() if s.keep is not None]
        return Keep.joined([own, *others, *([] if self._probe is None else [Keep(self._probe.layer, -1)])]) or own

    @property
    def watches_thoughts(self) -> bool:
        """Whether it weighs what generation alone measures of a thought, so that a given one is scored without."""
        return self.stacked.of_thoughts

    def score_traces(self, traces: Sequence[Trace]) -> list[Score]:
        rows = self._pass.rows_of(traces)
        scores = [self._refused(row, trace) for row, trace in zip(rows, traces, strict=True)]
        others = self._numbers_of_others(traces)
        todo = [i for i, score in enumerate(scores) if score is None]
        for chunk in self._pass.groups([rows[i] for i in todo]):
            readouts = self._pass.read_what_fits([rows[todo[j]] for j in chunk], self._offsets, self._first_layer)
            for i, readout in zip((todo[j] for j in chunk), readouts, strict=True):
                if readout is None:
                    scores[i] = too_big(rows[i], NAME)
                    continue
                told = {name: numbers[i] for name, numbers in others.items()}
                scores[i] = self._score(readout, replace(self._whole(traces[i], readout), scores=told))
        return [score for score in scores if score is not None]

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[Span]]) -> list[list[Score]]:
        """The scores of parts of answers: for each trace those of its spans, each `response_ids[start:end]`.

        Where the answer as a whole cannot be scored, none of its spans is. Raises `ScoringError` for a span that is not within
        the response.
        """
        scores = []
        others = self._numbers_of_others_by_span(traces, spans)
        for i, (row, trace, parts) in enumerate(zip(self._pass.rows_of(traces), traces, spans, strict=True)):
            refused = self._refused(row, trace)
            if refused is not None:
                scores.append([replace(refused, length=max(0, end - start)) for start, end in parts])
                continue
            try:
                found = self._parts(row, trace, parts)
            except TooBigError:
                refused = too_big(row, NAME)
                scores.append([replace(refused, length=end - start) for start, end in parts])
                continue
            told = [{name: of[i][j] for name, of in others.items()} for j in range(len(parts))]
            scores.append(
                [self._score(r, replace(reading, scores=s)) for (r, reading), s in zip(found, told, strict=True)]
            )
        return scores

    def explain(self, trace: Trace) -> dict[str, float]:
        """What each number of this answer adds to its score, nats, beside the intercept; empty for an unscored answer."""
        row = self._pass.rows_of([trace])[0]
        if self._refused(row, trace) is not None:
            return {}
        readout = self._pass.read([row], self._offsets, self._first_layer)[0]
        others = {name: numbers[0] for name, numbers in self._numbers_of_others([trace]).items()}
        reading = replace(self._whole(trace, readout), scores=others)
        if None in others.values():
            return {}
        return self.stacked.contributions(features(reading, self.stacked.common, self._probe))

    def _numbers_of_others(self, traces: Sequence[Trace]) -> dict[str, list[float | None]]:
        """Of the other scorers that are weighed, by name, one a trace."""
        return {name: [s.number for s in scorer.score_traces(traces)] for name, scorer in self._others.items()}

    def _numbers_of_others_by_span(
        self, traces: Sequence[Trace], spans: Sequence[Sequence[Span]]
    ) -> dict[str, list[list[float | None]]]:
        found = {}
        for name, scorer in self._others.items():
            if not scores_spans(scorer):
                raise ScoringError(
                    f"{name!r} is weighed by this stacked score, and cannot score the claims of an answer"
                )
            found[name] = [[s.number for s in row] for row in scorer.score_spans(traces, spans)]
        return found

    def _refused(self, row: Row, trace: Trace) -> Score | None:
        refused = self._pass.unscorable(row, trace, self._offsets)
        return None if refused is None else replace(refused, name=NAME)

    def _parts(self, row: Row, trace: Trace, parts: Sequence[Span]) -> list[tuple[Readout, Reading]]:
        if not parts:
            return []
        # what the head tells between the claims, too, for the answer so far
        between = _between(parts)
        spans = [*parts, *between]
        readouts = self._pass.read_spans(row, spans, self._offsets, self._first_layer, silent=between)
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
        with_passages = self.stacked.of_evidence and bool(trace.evidence)
        question = question_of(trace.asked if with_passages else trace.messages)
        reading = self._reading(readout, tokens, asked_words(question))
        if self._probe is not None:
            layer = self._probe.layer
            reading = replace(reading, answer_state=(layer, telling_state(self.model, trace, layer).astype(np.float64)))
        if trace.thought and trace.thinking_entropies:
            reading = replace(reading, thought=np.array(trace.thinking_entropies))
        return replace(reading, evidence=read_evidence(self.model, [trace])[0]) if with_passages else reading

    def _reading(
        self, readout: Readout, tokens: Tokens, asked: frozenset[str], so_far: Tokens | None = None
    ) -> Reading:
        semgrad = dict(zip(self._offsets, readout.semgrad.mean(0).tolist(), strict=True))
        return Reading(tokens, asked, readout.paragrad, semgrad, so_far)

    def _score(self, readout: Readout, reading: Reading) -> Score:
        length = len(reading.tokens.log_probs)
        if silent := [name for name, value in reading.scores.items() if value is None]:
            return Score.none("not_finite", f"{silent[0]} has no number", length=length, name=NAME)
        paper = combine(reading.semgrad[self._paper.token], readout, length, self._paper)
        number = math.nan if paper.unscored else self._number(reading)
        if not math.isfinite(number):
            return Score.none("not_finite", paper.detail or f"{NAME} is {number}", length=length, name=NAME)
        return replace(paper, name=NAME, number=number, parts={DEFAULT: paper.value, **paper.parts})

    def _number(self, reading: Reading) -> float:
        return self.stacked.number(features(reading, self.stacked.common, self._probe))


def _between(parts: Sequence[Span]) -> list[Span]:
    """The spans before the last end that none of `parts` covers."""
    gaps, at = [], 0
    for start, end in sorted(parts):
        if start > at:
            gaps.append((at, start))
        at = max(at, end)
    return gaps
