"""Claims compared with passages by the local chat model itself. The method and its figures: docs/results/verification.md.

Asking a small model whether a passage supports a claim is close to tossing a coin. What it does well is to repeat what it
reads, so its judgement is taken from that: the claim as an answer given the passage, against its rivals, the same claim with
another name or number of the passage in its place. Knows nothing about where passages come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guardrail.errors import ModelError, ScoringError
from guardrail.model.token_log_probs import log_likelihoods
from guardrail.retrieval import with_evidence
from guardrail.scoring.registry import DEFAULT, default_scorer
from guardrail.types import Evidence
from guardrail.verification.details import backed, denies, missing, rivals
from guardrail.verification.premises import PremiseFinder
from guardrail.verification.settling import Judgement, settle
from guardrail.waiting import within

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.scoring.protocol import Scorer
    from guardrail.types import Claim, Message, Score, Support, Trace, Verification
    from guardrail.verification.premises import Premise

_OPEN_QUESTION = "What does the text say?"


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a claim is settled; the defaults were chosen on one half of the check set of docs/results/verification.md.

    near, near_otherwise: cosine of claim and nearest sentence, at which it may be supported, and may be contradicted. share,
    share_otherwise: of the claim's likelihood among its rivals, at least and at most. unsure, unsure_otherwise: HybridGrad of
    the claim divided by that of what it is compared with, at most and at least.
    """

    near: float = 0.5
    share: float = 0.1
    unsure: float = 1.2
    near_otherwise: float = 0.5
    share_otherwise: float = 0.1
    unsure_otherwise: float = 0.8


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one claim and one premise. A number that was not or could not be measured is None.

    evidence: the passage's place. similarity: of the nearest sentence. denied: one of claim and sentence has a negation, the
    other has none. backed: as `details.backed` says of the claim. rival_backed: whether the premise has every name and number
    of the likeliest rival. share: of the claim's likelihood among its rivals, 1 without any. unsure: HybridGrad of the claim
    given the premise, divided by that of the likeliest rival; where there is none, by that of the claim without the premise.
    """

    evidence: int
    similarity: float
    denied: bool
    backed: bool
    rival_backed: bool = False
    share: float | None = None
    unsure: float | None = None


def decide(reading: Reading, bounds: Bounds) -> Support:
    """The support that a reading gives; "not found" where a number that it takes is missing or not finite.

    >>> decide(Reading(0, 0.9, False, True, share=0.97, unsure=0.8), Bounds())
    'supported'
    """
    share, unsure = reading.share, reading.unsure
    if reading.denied or share is None or unsure is None or not (math.isfinite(share) and math.isfinite(unsure)):
        return "not found"
    if reading.backed and reading.similarity >= bounds.near and share >= bounds.share and unsure <= bounds.unsure:
        return "supported"
    otherwise = share <= bounds.share_otherwise and unsure >= bounds.unsure_otherwise
    near = reading.similarity >= bounds.near_otherwise
    return "contradicted" if reading.rival_backed and near and otherwise else "not found"


class ModelVerifier:
    """The default verifier: sentence embeddings, and the chat model's own judgement scored by HybridGrad.

        verifier = ModelVerifier(model)
        passage = Evidence("The capital of Peru is Lima.", "notes.txt", None)
        [v] = verifier.verify([claim], [[passage]], question="Tell me about Peru.")
        v.support  # "contradicted", where the claim says Bern

    1. The nearest sentence of each passage by cosine; below a bound nothing is found. 2. Names and numbers that the passage
    lacks rule out "supported". 3. The share of the claim's likelihood, as an answer given the passage, among its rivals.
    4. HybridGrad must agree, by how unsure the model is of the claim and of what it is compared with. A negation on one side
    only: not found.

    scorer: HybridGrad of this model, as a Guard has it; None makes one. rivals: the most that a claim is compared with; each
    costs about as much as reading the claim. Raises `ModelError` for rivals below 1, and `ScoringError` for another scorer.
    p_supported is the share of 3.
    """

    name = "model"

    def __init__(
        self,
        model: LocalModel,
        scorer: Scorer | None = None,
        *,
        premises: PremiseFinder | None = None,
        bounds: Bounds | None = None,
        rivals: int = 8,
    ) -> None:
        if rivals < 1:
            raise ModelError(f"rivals is {rivals}; a claim is compared with at least 1")
        if scorer is not None and scorer.name != DEFAULT:
            raise ScoringError(
                f"the bounds of ModelVerifier are for the scorer {DEFAULT!r}, not {scorer.name!r}; give none"
            )
        self.model = model
        self.scorer = scorer or default_scorer(model)
        self.premises = premises or PremiseFinder()
        self.bounds = bounds or Bounds()
        self.rivals = rivals

    @property
    def method(self) -> str:
        b = self.bounds
        return (
            f"supported: similarity {b.near:g} or more, every name and number in the passage, {self.model.name} prefers "
            f"the claim to its rivals (share {b.share:g} or more, HybridGrad ratio {b.unsure:g} or less); contradicted: a "
            f"rival that the passage has (share {b.share_otherwise:g} or less, ratio {b.unsure_otherwise:g} or more)"
        )

    def verify(
        self,
        claims: Sequence[Claim],
        evidence: Sequence[Sequence[Evidence]],
        *,
        question: str,
        seconds: float | None = None,
    ) -> list[Verification]:
        """As `Verifier.verify`; seconds: as in `read`."""
        readings = self.read(claims, evidence, question=question, seconds=seconds)
        return [
            settle(passages, [Judgement(r.evidence, decide(r, self.bounds), r.share) for r in found], self.method)
            for passages, found in zip(evidence, readings, strict=True)
        ]

    def read(
        self,
        claims: Sequence[Claim],
        evidence: Sequence[Sequence[Evidence]],
        *,
        question: str,
        seconds: float | None = None,
    ) -> list[list[Reading]]:
        """What `verify` decides on: for each claim the readings of its passages, most similar first.

        The model runs only where a claim could be settled. All HybridGrad scores are computed together. seconds: how long to
        wait for the embeddings, which another machine may compute; None waits for ever. Raises `OverdueError` after that.
        """
        found = within(seconds, lambda: self.premises.find(claims, evidence, question))
        readings, traces = [], []
        for claim, premises in zip(claims, found, strict=True):
            for premise in premises:
                reading, compared = self._compare(" ".join(claim.text.split()), premise, question)
                readings.append(reading)
                traces.append(compared)
        scores = iter(self.scorer.score_traces([trace for pair in traces for trace in pair]))
        ratios = [_ratio([next(scores) for _ in pair]) for pair in traces]
        done = iter(replace(r, unsure=u) for r, u in zip(readings, ratios, strict=True))
        return [[next(done) for _ in premises] for premises in found]

    def _compare(self, claim: str, premise: Premise, question: str) -> tuple[Reading, list[Trace]]:
        """A reading without HybridGrad, and the traces to score: the claim and what it is compared with, or none."""
        reading = Reading(
            premise.evidence,
            premise.similarity,
            denied=denies(claim) != denies(premise.sentence),
            backed=backed(claim, premise.sentence, premise.text),
        )
        others = rivals(claim, premise.text, self.rivals)
        can_deny = any(not missing(other, premise.text) for other in others)
        near = premise.similarity >= min(self.bounds.near, self.bounds.near_otherwise)
        if reading.denied or not near or not (reading.backed or can_deny):
            return reading, []
        asked: list[Message] = [{"role": "user", "content": question.strip() or _OPEN_QUESTION}]
        read = with_evidence(asked, [Evidence(premise.text, "", None)])
        sums = log_likelihoods(self.model, read, [claim, *others])
        share = _share(sums)
        if share is None:
            return reading, []
        if not others:
            return replace(reading, share=share), [self.model.trace(read, claim), self.model.trace(asked, claim)]
        rival = others[max(range(len(others)), key=lambda i: sums[i + 1])]
        reading = replace(reading, share=share, rival_backed=not missing(rival, premise.text))
        return reading, [self.model.trace(read, claim), self.model.trace(read, rival)]


def _share(sums: Sequence[float]) -> float | None:
    """exp(sums[0]) / sum of exp(sums); None if one is not finite."""
    if not all(map(math.isfinite, sums)):
        return None
    most = max(sums)
    return math.exp(sums[0] - most) / sum(math.exp(s - most) for s in sums)


def _ratio(scores: Sequence[Score]) -> float | None:
    values = [score.number for score in scores if score.number is not None]
    sound = len(values) == 2 and all(math.isfinite(v) and v > 0 for v in values)
    return values[0] / values[1] if sound else None
