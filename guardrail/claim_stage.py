"""Trace -> judged claims: extract, score, calibrate, decide, and look up where the policy says so.

Knows nothing about the answer as a whole, nor about what becomes of its text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guardrail.calibrated import Calibrated, calibrated
from guardrail.calibration.labels import label_for
from guardrail.calibration.provenance import ExtractorIdentity
from guardrail.claims import SentenceClaims
from guardrail.claims.align import with_tokens
from guardrail.errors import CalibrationError
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.types import Aside, Claims, Confidence, JudgedClaim, Score, Trace, Verification

if TYPE_CHECKING:
    from guardrail.actions import Retriever
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.claims.protocol import ClaimExtractor
    from guardrail.model.local import LocalModel
    from guardrail.policy import Policy
    from guardrail.scoring.protocol import SpanScorer
    from guardrail.verification.protocol import Verifier

Clock = Callable[[str], None]
"""Called with a stage's name when the stage ends."""


@dataclass(frozen=True, slots=True)
class ClaimStage:
    """calibrated: of the unit "claim". verifier: asked only where the policy looks claims up and there is a retriever."""

    model: LocalModel
    extractor: ClaimExtractor
    scorer: SpanScorer
    calibrated: Calibrated
    policy: Policy
    retriever: Retriever | None
    verifier: Verifier | None

    def judge(
        self, trace: Trace, question: str, unlike: str, *, may_retrieve: bool, clock: Clock
    ) -> tuple[tuple[JudgedClaim, ...], tuple[Aside, ...]]:
        """The claims of an answer with their decisions, none of them `retrieve`, and what of it was not checked.

        unlike: how the conversation differs from the calibration's. An empty answer has no claims.
        """
        taken = self.extractor.extract(trace.text, question=question) if trace.text.strip() else Claims(())
        taken, spans = with_tokens(taken, trace.response_ids, trace.text, self.model.tokenizer)
        clock("claims")
        scores = self.scorer.score_spans([trace], [spans])[0]
        clock("score claims")
        confidences = [self.calibrated.confidence(score, unlike) for score in scores]
        verifications = self._verified(taken, scores, confidences, question, may_retrieve, clock)
        judged = []
        for claim, span, score, confidence, verification in zip(
            taken.claims, spans, scores, confidences, verifications, strict=True
        ):
            decision = self.policy.decide_claim(
                confidence, score, kind=claim.kind, verification=verification, retriever=False
            )
            judged.append(JudgedClaim(claim, *span, score, confidence, decision, verification))
        clock("decide")
        return tuple(judged), taken.asides

    def _verified(
        self,
        taken: Claims,
        scores: Sequence[Score],
        confidences: Sequence[Confidence],
        question: str,
        may_retrieve: bool,
        clock: Clock,
    ) -> list[Verification | None]:
        """What evidence says about the claims that the policy wants looked up; None for the others."""
        found: list[Verification | None] = [None] * len(taken.claims)
        if self.retriever is None or self.verifier is None or not may_retrieve:
            return found
        wanted: list[int] = []
        for i, (claim, score, confidence) in enumerate(zip(taken.claims, scores, confidences, strict=True)):
            decision = self.policy.decide_claim(confidence, score, kind=claim.kind, searched=len(wanted))
            wanted += [i] if decision.action == "retrieve" else []
        if not wanted:
            return found
        from guardrail.verification import evidence_for

        claims = [taken.claims[i] for i in wanted]
        evidence = evidence_for(self.retriever, claims, question, self.policy.retrieval.passages)
        clock("retrieve")
        for i, verification in zip(wanted, self.verifier.verify(claims, evidence, question=question), strict=True):
            found[i] = verification
        clock("verify")
        return found


def without_text(claims: Sequence[JudgedClaim]) -> tuple[JudgedClaim, ...]:
    """The claims of an answer that is not shown: nothing stands for any of them."""
    return tuple(replace(claim, shown="") for claim in claims)


def claim_stage(
    model: LocalModel,
    policy: Policy,
    retriever: Retriever | None,
    extractor: ClaimExtractor | None,
    calibrator: IsotonicCalibrator | None,
    *,
    name: str,
    verifier: Verifier | None,
) -> ClaimStage | None:
    """What is given, completed; None where neither the policy speaks of claims nor anything for claims is given.

    Raises `CalibrationError` where the policy looks at the confidence of claims and there is no calibrator of claims.
    """
    given = any(x is not None for x in (extractor, calibrator, verifier))
    if not (given or policy.judges_claims or policy.looks_at_claims):
        return None
    extractor = extractor or SentenceClaims()
    identity = ExtractorIdentity(name=extractor.name, options=dict(extractor.options))
    fitted = calibrated(model, "claim", None, calibrator, name, identity)
    scorer = fitted.scorer
    assert isinstance(scorer, HybridGradScorer)  # noqa: S101  (no other one was given)
    if fitted.calibrator is None and policy.needs_claim_confidence:
        raise CalibrationError(
            f"policy {policy.name!r} looks at the confidence of claims, and there is no calibrator of claims for {model.name}; "
            f"make one: guardrail calibrate DATA.jsonl --unit claim -o claims.json --model {model.name}"
        )
    if verifier is None and retriever is not None and policy.verifies_claims:
        from guardrail.verification import ModelVerifier  # reads an embedding model

        verifier = ModelVerifier(model, scorer)
    return ClaimStage(model, extractor, scorer, fitted, policy, retriever, verifier)


def settled(claims: Sequence[JudgedClaim]) -> list[Confidence]:
    """The claims' confidences for rules on the whole answer: what evidence settled is no matter of the model's any more.

    A supported claim counts as sure, a contradicted one as wrong; the others keep what the calibrator says.
    """
    certain = {"supported": 1.0, "contradicted": 0.0}
    out = []
    for claim in claims:
        p = certain.get(claim.verification.support) if claim.verification else None
        known = (
            claim.confidence if p is None else replace(claim.confidence, p_correct=p, low=p, high=p, label=label_for(p))
        )
        out.append(known)
    return out
