"""Traces -> attempts: one pass of the pipeline after generation. Knows nothing about where the texts come from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from guardrail.actions import rewrite
from guardrail.pipeline.calibrated import Calibrated
from guardrail.pipeline.claims import ClaimStage, settled, without_text
from guardrail.pipeline.conversation import Case, PassOn, share, unlike_in_length
from guardrail.policy import Policy
from guardrail.retrieval import Retriever, find_evidence
from guardrail.types import Confidence, Decision, Score, Trace

NOTHING_LEFT = "nothing left"
"""The rule of a decision that no rule made: every claim was dropped."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Scores, calibrates and decides, on the whole answer and on its claims where there is a `claim_stage`."""

    calibrated: Calibrated
    claim_stage: ClaimStage | None
    policy: Policy
    retriever: Retriever | None

    def judge(
        self,
        cases: Sequence[Case],
        traces: Sequence[Trace],
        *,
        may_retrieve: bool,
        may_verify: bool,
        pass_on: PassOn | None = None,
    ) -> None:
        """One pass: score, calibrate and decide; a case that shall answer again has its evidence and `again` set.

        may_retrieve: whether evidence may be searched for an answer as a whole. may_verify: whether for its claims.
        """
        passed = [pass_on is not None and pass_on(trace) for trace in traces]
        for case, trace in [pair for pair, on in zip(zip(cases, traces, strict=True), passed, strict=True) if on]:
            case.pass_on(trace)
        cases = [case for case, on in zip(cases, passed, strict=True) if not on]
        traces = [trace for trace, on in zip(traces, passed, strict=True) if not on]
        began = time.perf_counter()
        scores = self.calibrated.scorer.score_traces(traces)
        share(cases, "score", began)
        for case, trace, score in zip(cases, traces, scores, strict=True):
            retrieving = may_retrieve and self.retriever is not None and bool(case.query.strip())
            verifying = may_verify and self.retriever is not None and bool(case.query.strip())
            began = time.perf_counter()
            evidence = "given with evidence" if case.evidence else ""
            length = unlike_in_length(trace, self.calibrated.usual("max_new_tokens"))
            confidence = self.calibrated.confidence(score, _joined(evidence or case.unlike, length))
            case.spend("calibrate", began)
            if self.claim_stage is not None:
                length = unlike_in_length(trace, self.claim_stage.calibrated.usual("max_new_tokens"))
                case.claims, case.asides = self.claim_stage.judge(
                    trace,
                    question=case.query,
                    unlike=_joined(evidence or case.unlike_claims, length),
                    searching=case.searching if verifying else None,
                    clock=case.clock(),
                    known=case.known,
                )
            self._decide(case, trace, score, confidence, may_retrieve=retrieving)

    def _decide(self, case: Case, trace: Trace, score: Score, confidence: Confidence, *, may_retrieve: bool) -> None:
        case.again = False
        while True:
            began = time.perf_counter()
            decision = self.policy.decide(
                confidence,
                score,
                evidence=case.evidence,
                finish_reason=trace.finish_reason,
                retriever=may_retrieve,
                fired=case.fired,
                claims=settled(case.claims) if self.claim_stage is not None else None,
            )
            case.spend("decide", began)
            if decision.action != "retrieve" or self.retriever is None:
                case.attempt(trace, score, confidence, self._rewritten(case, trace, decision))
                return
            case.attempt(trace, score, confidence, decision)
            case.fired.append(decision.rule)
            began = time.perf_counter()
            with case.searching():
                found = find_evidence(self.retriever, case.query, self.policy.retrieval.passages)
            case.spend("retrieve", began)
            if found and found != case.evidence:
                case.evidence, case.again = found, True
                return

    def _rewritten(self, case: Case, trace: Trace, decision: Decision) -> Decision:
        """The answer from its claims, into `case.text`; an abstention where no claim is left."""
        case.text = trace.text
        if not case.claims:
            return decision
        if decision.action == "abstain":
            case.claims = without_text(case.claims)
            return decision
        began = time.perf_counter()
        rewritten = rewrite(trace.text, case.claims, case.asides)
        case.text, case.claims = rewritten.text, rewritten.claims
        case.spend("render", began)
        if not rewritten.empty:
            return decision
        why = f"none of {len(case.claims)} claims is left ({case.claims[0].decision.explanation})"
        return Decision("abstain", NOTHING_LEFT, why, self.policy.wording.abstain)


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))
