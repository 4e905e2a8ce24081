"""Trace -> judged claims: extract, score, calibrate, decide, and look up where the policy says so.

Knows nothing about the answer as a whole, nor about what becomes of its text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from guardrail.calibration.labels import label_for
from guardrail.calibration.provenance import ExtractorIdentity
from guardrail.calibration.shipped import shipped_calibrator
from guardrail.claims import SentenceClaims
from guardrail.claims import extractor as extractor_by_name
from guardrail.claims.align import token_places
from guardrail.claims.complete import completed
from guardrail.deadlines import bare_context, sooner
from guardrail.errors import CalibrationError, GuardrailError, PartError
from guardrail.pipeline.assembly import CalibratorSource, loaded
from guardrail.pipeline.calibrated import Calibrated, calibrated
from guardrail.pipeline.collecting import collecting
from guardrail.pipeline.conversation import SearchContext
from guardrail.pipeline.failures import MISTAKES, checked_claims, checked_scores, checked_verifications, failed, noted
from guardrail.policy import check_proof
from guardrail.scoring.protocol import scores_spans
from guardrail.scoring.registry import DEFAULT, default_scorer
from guardrail.types import Aside, Claim, Claims, Confidence, JudgedClaim, Score, Trace, Verification
from guardrail.verification import ModelVerifier, evidence_for
from guardrail.waiting import OverdueError, within

if TYPE_CHECKING:
    from guardrail.claims.protocol import ClaimExtractor
    from guardrail.model.local import LocalModel
    from guardrail.policy import Policy
    from guardrail.retrieval import Retriever
    from guardrail.scoring.protocol import Scorer, SpanScorer
    from guardrail.types import Evidence
    from guardrail.verification.protocol import Verifier

Clock = Callable[[str], None]
"""Called with a stage's name when the stage ends."""


_LOST = Score.none("no_response_tokens", "the claim's tokens cannot be found in the response")


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first part of an answer, whose claims were judged while the answer was generated."""

    text: str
    taken: Claims


NO_BEGINNING = Beginning("", Claims(()))


@dataclass(frozen=True, slots=True)
class ClaimPipeline:
    """calibrated: of the unit "claim". verifier: asked only where the policy looks claims up and there is a retriever."""

    model: LocalModel
    extractor: ClaimExtractor
    scorer: SpanScorer
    calibrated: Calibrated
    policy: Policy
    retriever: Retriever | None
    verifier: Verifier | None

    @property
    def identity(self) -> dict[str, Any]:
        """What changes the claims and their confidences, JSON-ready."""
        calibrator = self.calibrated.calibrator
        return {
            "extractor": self.extractor.name,
            "options": dict(self.extractor.options),
            "calibrator": None if calibrator is None else calibrator.digest,
        }

    @property
    def extrapolation_reasons(self) -> tuple[str, ...]:
        """Why no confidence of these claims is calibrated, whatever the conversation: the calibration had others."""
        had = self.calibrated.origin.extractor if self.calibrated.origin else None
        if had is None or had.name == self.extractor.name:
            return ()
        return (f"claims of {self.extractor.name!r}, not of {had.name!r} as in the calibration",)

    def run(
        self,
        trace: Trace,
        *,
        question: str,
        extrapolated: str = "",
        search_context: SearchContext = nullcontext,
        clock: Clock = lambda _: None,
        taken: Claims | None = None,
        known: Mapping[Claim, JudgedClaim] | None = None,
        beginning: Beginning = NO_BEGINNING,
    ) -> tuple[tuple[JudgedClaim, ...], tuple[Aside, ...]]:
        """The claims of an answer with their decisions, none of them `retrieve`, and what of it was not checked.

        question: nothing is looked up for an empty one. extrapolated: how the conversation differs from the calibration's.
        taken: the answer taken apart already, or a part of it. known: claims of it that are judged; only `extrapolated` may
        be new about them. beginning: where those stand. A claim whose tokens cannot be found is unscored, so that a policy
        does not take it for a checked one. An empty answer has no claims.

        Raises what a part of it raised as a `GuardrailError`. Where the policy says `on_error: continue`, only what is wrong
        with the set-up is raised: what could not be taken apart, behind the beginning, is one claim, and what failed leaves
        claims unscored, or not looked up.
        """
        familiarity = self.calibrated.familiarity(question, trace)
        known = {
            claim: replace(judged, confidence=self.calibrated.confidence(judged.score, extrapolated, familiarity))
            for claim, judged in (known or {}).items()
        }
        if taken is None:
            taken = self._taken_apart(trace.text, question, beginning)
        fresh = [claim for claim in taken.claims if claim not in known]
        places = token_places(trace, self.model.tokenizer, fresh)
        clock("claims")
        scored = iter(self._scored(trace, [place for place in places if place]))
        scores = [next(scored) if place else _LOST for place in places]
        clock("score claims")
        confidences = [self.calibrated.confidence(score, extrapolated, familiarity) for score in scores]
        searched = sum(claim.verification is not None for claim in known.values())
        verifications = self._verified(fresh, scores, confidences, question, search_context, searched, clock)
        judged = dict(known)
        for claim, place, score, confidence, verification in zip(
            fresh, places, scores, confidences, verifications, strict=True
        ):
            decision = self.policy.decide_claim(
                confidence, score, kind=claim.kind, verification=verification, retriever=False
            )
            judged[claim] = JudgedClaim(claim, *(place or (0, 0)), score, confidence, decision, verification)
        clock("decide")
        return tuple(judged[claim] for claim in taken.claims), taken.asides

    def _verified(
        self,
        claims: Sequence[Claim],
        scores: Sequence[Score],
        confidences: Sequence[Confidence],
        question: str,
        search_context: SearchContext,
        searched: int,
        clock: Clock,
    ) -> list[Verification | None]:
        """What evidence says about the claims that the policy wants looked up; None for the others."""
        found: list[Verification | None] = [None] * len(claims)
        if self.retriever is None or self.verifier is None or not question.strip():
            return found
        wanted: list[int] = []
        for i, (claim, score, confidence) in enumerate(zip(claims, scores, confidences, strict=True)):
            decision = self.policy.decide_claim(confidence, score, kind=claim.kind, searched=searched + len(wanted))
            wanted += [i] if decision.action == "retrieve" else []
        if not wanted:
            return found
        looked_up = [claims[i] for i in wanted]
        try:
            with search_context():
                # A query holds a claim that may be held back: whoever traces this run must not see it, so the context is bare
                evidence = bare_context().run(
                    evidence_for,
                    self.retriever,
                    looked_up,
                    question,
                    self.policy.retrieval.passages,
                    seconds=self.policy.limits.retriever,
                )
            clock("retrieve")
            verified = self._verify(self.verifier, looked_up, evidence, question)
            clock("verify")
        except GuardrailError as error:
            if self._stops(error):
                raise
            noted(error)
            return found
        for i, verification in zip(wanted, verified, strict=True):
            found[i] = verification
        return found

    def _verify(
        self, verifier: Verifier, claims: Sequence[Claim], evidence: Sequence[Sequence[Evidence]], question: str
    ) -> list[Verification]:
        """Within the policy's limit; the guard's own model is no other party, and its lock may be held by this thread: there
        the limit is that of the embeddings."""
        limit = sooner(self.policy.limits.verifier)
        try:
            if isinstance(verifier, ModelVerifier) and verifier.model is self.model:
                found = verifier.verify(claims, evidence, question=question, seconds=limit)
            else:
                found = within(limit, lambda: verifier.verify(claims, evidence, question=question))
            return checked_verifications(verifier, found, len(claims))
        except OverdueError as error:
            why = f"the verifier {verifier.name} {error}; the limit is the policy's limits.verifier"
            raise PartError(why) from error
        except Exception as error:
            raise failed("verifier", verifier, error) from error

    def _taken_apart(self, answer: str, question: str, beginning: Beginning) -> Claims:
        if not answer.strip():
            return Claims(())
        try:
            return taken_apart(self.extractor, answer, question)
        except GuardrailError as error:
            if self._stops(error):
                raise
            noted(error)
            if not answer.startswith(beginning.text):
                beginning = NO_BEGINNING
            rest = answer[len(beginning.text) :].strip()
            start = answer.find(rest, len(beginning.text))
            claims = (Claim(rest, start, start + len(rest)),) if rest else ()
            return completed(replace(beginning.taken, claims=(*beginning.taken.claims, *claims)), answer)

    def _scored(self, trace: Trace, places: Sequence[tuple[int, int]]) -> list[Score]:
        try:
            rows = self.scorer.score_spans([trace], [list(places)])
            return checked_scores(self.scorer, rows[0], places)
        except Exception as caught:
            error = failed("scorer", self.scorer, caught)
            if self._stops(error):
                raise error from caught
            return [Score.none("error", noted(error), length=end - start) for start, end in places]

    def _stops(self, error: GuardrailError) -> bool:
        return self.policy.on_error != "continue" or isinstance(error, MISTAKES)


def taken_apart(extractor: ClaimExtractor, answer: str, question: str) -> Claims:
    """An answer, whole or so far, taken apart. Raises a `GuardrailError` for whatever the extractor raises or gives amiss."""
    try:
        return completed(checked_claims(extractor, extractor.extract(answer, question=question), answer), answer)
    except GuardrailError:
        raise
    except Exception as caught:
        raise failed("claim extractor", extractor, caught) from caught


def without_text(claims: Sequence[JudgedClaim]) -> tuple[JudgedClaim, ...]:
    """The claims of an answer that is not shown: nothing stands for any of them."""
    return tuple(replace(claim, shown="") for claim in claims)


def claim_pipeline(
    model: LocalModel,
    policy: Policy,
    retriever: Retriever | None,
    extractor: ClaimExtractor | str | None,
    calibrator: CalibratorSource | None,
    *,
    name: str | None,
    verifier: Verifier | None,
    answers: Scorer,
) -> ClaimPipeline | None:
    """The claims' part of a Guard with what is missing filled in; None if neither policy nor arguments ask for claims.

    answers: the scorer of whole answers, with whose profile the default verifier judges. Raises `CalibrationError` where the
    policy looks at the confidence of claims and there is no calibrator of claims.
    """
    given = any(x is not None for x in (extractor, calibrator, verifier))
    if not (given or policy.judges_claims or policy.looks_at_claims):
        return None
    calibrator, name = loaded(calibrator, name)
    extractor = extractor_by_name(extractor, model) if isinstance(extractor, str) else extractor or SentenceClaims()
    identity = ExtractorIdentity(name=extractor.name, options=dict(extractor.options))
    fitted = calibrated(model, "claim", None, calibrator, name, identity)
    scorer = fitted.scorer
    if not scores_spans(scorer):
        raise CalibrationError(
            f"{name} is fitted on scorer {scorer.name!r}, which cannot score the claims of an answer"
        )
    if fitted.calibrator is None and policy.needs_claim_confidence and collecting() is None:
        raise CalibrationError(
            f"policy {policy.name!r} looks at the confidence of claims, and there is no calibrator of claims for {model.name}; "
            f"make one: guardrail calibrate DATA.jsonl --unit claim -o claims.json --model {model.name}"
        )
    if collecting() is None:
        check_proof(policy.claims_proof, policy.name, fitted.calibrator, fitted.name)
    if verifier is None and retriever is not None and policy.verifies_claims:
        verifier = ModelVerifier(model, _comparing(model, answers))
    return ClaimPipeline(model, extractor, scorer, fitted, policy, retriever, verifier)


def _comparing(model: LocalModel, answers: Scorer) -> Scorer:
    """HybridGrad, on which the verifier's bounds were chosen: that of the answers, or of the shipped calibrator."""
    if answers.name == DEFAULT:
        return answers
    found = shipped_calibrator(model.identity, scorer=DEFAULT)
    return default_scorer(model) if found is None else calibrated(model, "answer", None, found[1], found[0]).scorer


def confidences_after_verification(claims: Sequence[JudgedClaim]) -> list[Confidence]:
    """The claims' confidences for rules on the whole answer.

    A claim that evidence supports counts as sure and a contradicted one as wrong; the others keep what the calibrator says.
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
