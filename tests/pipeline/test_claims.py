"""Claims through the whole pipeline on a tiny scripted model: exact places and scores, and failing closed."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from guardrail import CalibrationError, CalibratorMismatchError, Guard, Policy
from guardrail.calibration.provenance import ExtractorIdentity
from guardrail.claims import SentenceClaims
from guardrail.pipeline.collecting import Collector, collecting_in
from guardrail.pipeline.hooks import Hooks
from guardrail.policy.tuned import policy_text
from guardrail.runs.collect import kept_for
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.types import Evidence, Score, Verification
from tests.helpers.policy_proofs import claims_proof
from tests.helpers.scripted_claims import ANSWER, QUESTION, STRICT, fitted, france, guarded, half_sure, ruled, scripted


class Finds(BaseRetriever):
    queries: list = []

    def _get_relevant_documents(self, query, *, run_manager):
        self.queries.append(query)
        return [Document(page_content="A passage.")]


class Says:
    """A verifier double: what evidence says of every claim."""

    name = method = "double"

    def __init__(self, support):
        self.support, self.asked = support, []

    def verify(self, claims, evidence, *, question):
        self.asked += [claim.text for claim in claims]
        return [Verification(self.support, "double", (Evidence("A passage.", "", None),)) for _ in claims]


def acts(verdict):
    return {claim.text: claim.action for claim in verdict.claims}


def test_places_tokens_and_scores_are_those_of_the_answer():
    local = france()
    verdict = guarded(local).answer(QUESTION)
    trace = verdict.attempts[-1].trace
    assert verdict.answer == ANSWER
    assert [c.kind for c in (j.claim for j in verdict.claims)] == ["sentence"] * 2 + ["item"] * 2 + ["sentence"] * 2
    for judged in verdict.claims:
        assert verdict.answer[judged.claim.start : judged.claim.end] == judged.text
        assert judged.text in local.tokenizer.decode(trace.response_ids[judged.token_start : judged.token_end])
    spans = [(j.token_start, j.token_end) for j in verdict.claims]
    for judged, again in zip(verdict.claims, HybridGradScorer(local).score_spans([trace], [spans])[0], strict=True):
        assert judged.score.hybridgrad == pytest.approx(again.hybridgrad, rel=1e-4)
    assert set(acts(verdict).values()) == {"keep", "drop"}
    for judged in verdict.claims:
        assert (judged.text.removeprefix("Also, ") in verdict.text) == (judged.action == "keep")
        assert bool(judged.shown) == (judged.action == "keep")


@pytest.mark.parametrize("policy", ["per_claim", STRICT])
@pytest.mark.parametrize("score", [Score.none("not_finite", "NaN"), Score(*[float("nan")] * 5, 3)])
def test_a_claim_without_a_number_is_dropped(monkeypatch, score, policy):
    guard = guarded(france(), policy)
    monkeypatch.setattr(
        HybridGradScorer, "score_spans", lambda _, traces, spans: [[score] * len(part) for part in spans]
    )
    verdict = guard.answer(QUESTION)
    assert (verdict.action, {c.action for c in verdict.claims}, {c.label for c in verdict.claims}) == (
        "abstain", {"drop"}, {None},
    )  # fmt: skip


def test_a_claim_without_tokens_is_unscored_and_dropped(monkeypatch):
    guard = guarded(france())
    real = guard.answer(QUESTION)
    lost = next(i for i, c in enumerate(real.claims) if c.action == "keep")

    def spans(*args):
        return [None if i == lost else (c.token_start, c.token_end) for i, c in enumerate(real.claims)]

    monkeypatch.setattr("guardrail.pipeline.claims.token_places", spans)
    claim = guard.answer(QUESTION).claims[lost]
    assert (claim.action, claim.score.unscored, claim.confidence.p_correct) == ("drop", "no_response_tokens", None)
    assert (claim.token_start, claim.token_end, claim.shown) == (0, 0, "")


@pytest.mark.parametrize(
    ("answer", "action"), [("```\nprint(1)\n```", "hedge"), ("Which France?", "hedge"), ("", "abstain")]
)
def test_nothing_to_check_is_never_taken_for_checked(answer, action):
    local = scripted(answer)
    verdict = Guard(model=local, policy="per_claim", claim_calibrator=fitted(local, 1.0)).answer(QUESTION)
    assert (verdict.action, verdict.claims) == (action, ())


def test_turns_that_are_passed_on_are_untouched():
    verdict = guarded(france()).answer_batch([QUESTION], hooks=Hooks(is_tool_call=lambda trace: True))[0]
    assert (verdict.text, verdict.claims, verdict.asides) == (ANSWER, (), ())


def test_nothing_left_is_an_abstention():
    verdict = Guard(model=france(), policy=STRICT, claim_calibrator=fitted(france(), 1e-9)).answer(QUESTION)
    assert (verdict.action, verdict.rule) == ("abstain", "nothing left")
    assert "Paris" not in verdict.text
    assert {c.shown for c in verdict.claims} == {""}


def test_an_abstention_on_the_whole_shows_no_claim():
    policy = ruled("{name: weak, when: {claims: {weakest: {below: 0.5}}}, then: abstain}", "{name: any, then: answer}")
    verdict = guarded(france(), policy).answer(QUESTION)
    assert (verdict.rule, {c.shown for c in verdict.claims}) == ("weak", {""})


@pytest.mark.parametrize(("support", "rule"), [("supported", "certain"), ("contradicted", "doubtful")])
def test_rules_on_the_whole_see_what_evidence_settled(support, rule):
    policy = ruled(
        "{name: certain, when: {claims: {weakest: {at_least: 0.5}}}, then: answer}",
        "{name: doubtful, when: {claims: {weakest: {below: 0.01}}}, then: answer}",
    )
    verifier = Says(support)
    verdict = guarded(france(), policy, retriever=Finds(), verifier=verifier).answer(QUESTION)
    unsure = [c.text for c in verdict.claims if (c.confidence.p_correct or 0) < 0.5]
    assert verifier.asked == unsure
    assert verdict.rule == rule
    kept = {c.text for c in verdict.claims if c.action == "keep"}
    assert (set(unsure) <= kept) == (support == "supported")
    assert all(c.evidence for c in verdict.claims if c.text in unsure)


def test_check_looks_nothing_up_and_judge_does():
    verifier = Says("supported")
    guard = guarded(france(), retriever=Finds(queries=[]), verifier=verifier)
    checked = guard.check(QUESTION, ANSWER)
    assert (verifier.asked, guard.retriever.queries) == ([], [])
    assert [c.text for c in checked.claims] == [c.text for c in guard.answer(QUESTION).claims]
    verifier.asked.clear()
    judging = guard.judge(QUESTION)
    next(judging)
    with pytest.raises(StopIteration) as ended:
        judging.send(ANSWER)
    assert verifier.asked
    assert set(acts(ended.value.value).values()) == {"keep"}
    verifier.asked.clear()
    guard.answer_batch([QUESTION], retrieve=False, hooks=Hooks(search_contexts=[nullcontext]))
    assert verifier.asked == []


def test_a_batch_gives_each_row_its_own_claims():
    guard = guarded(france())
    alone = guard.answer(QUESTION)
    for verdict in guard.answer_batch([QUESTION, "And now another, longer question about it?"]):
        assert [c.text for c in verdict.claims] == [c.text for c in alone.claims]
    same = guard.answer_batch(["Other?", QUESTION])[1]
    assert [c.score.hybridgrad for c in same.claims] == pytest.approx(
        [c.score.hybridgrad for c in alone.claims], rel=1e-3
    )


def test_calibrators_of_the_other_unit_are_refused():
    local = france()
    with pytest.raises(CalibratorMismatchError, match="calibrator of claims"):
        Guard(model=local, calibrator=half_sure(local), policy="observe")
    with pytest.raises(CalibratorMismatchError, match="calibrator of answers"):
        Guard(model=local, claim_calibrator=fitted(local, 1.0, extractor=None), policy=STRICT)
    with pytest.raises(CalibrationError, match="no calibrator of claims"):
        Guard(model=local, policy="per_claim")


def test_a_promise_about_claims_holds_with_its_own_calibrator_alone():
    """What is kept is what the rules of the promise keep; another calibrator of claims is refused, and so is none."""
    local = france()
    half = half_sure(local)
    values = claims_proof(calibrator_sha256=half.digest, threshold=0.5)
    policy = Policy.from_text(policy_text(values), "p.yaml")
    verdict = guarded(local, policy).answer(QUESTION)
    kept = {
        c.text: "keep" if c.confidence.p_correct >= 0.5 and c.confidence.in_range else "drop" for c in verdict.claims
    }
    assert acts(verdict) == kept
    assert set(kept.values()) == {"keep", "drop"}
    assert verdict.action == "answer"
    with pytest.raises(CalibratorMismatchError, match="policy 'tuned_claims' was tuned with the calibrator"):
        Guard(model=local, policy=policy, claim_calibrator=fitted(local, 1.0))
    with pytest.raises(CalibrationError):
        Guard(model=local, policy=policy)
    with collecting_in(Collector(kept_for)):  # nothing is decided, and no calibrator is read
        assert Guard(model=local, policy=policy).answer(QUESTION).text == ANSWER


def test_a_calibrator_of_other_claims_or_another_model_is_refused(tmp_path):
    local = france()
    with pytest.raises(CalibratorMismatchError):
        guarded(local, claims=SentenceClaims("de"))
    atomic = fitted(local, 1.0, extractor=ExtractorIdentity(name="atomic", options={}))
    with pytest.raises(CalibratorMismatchError):
        Guard(model=local, policy=STRICT, claim_calibrator=atomic)
    other = local.identity.model_copy(update={"weights": "0" * 64})
    with pytest.raises(CalibratorMismatchError):
        Guard(model=local, policy=STRICT, claim_calibrator=fitted(local, 1.0, model=other))
    with pytest.raises(CalibrationError, match=r"gone\.json"):
        Guard.from_pretrained("no/such/model", policy=STRICT, claim_calibrator=tmp_path / "gone.json")


def test_observing_claims_needs_no_calibrator_and_changes_nothing():
    verdict = Guard(model=france(), policy="observe", claims=SentenceClaims()).answer(QUESTION)
    assert (verdict.text, {c.action for c in verdict.claims}) == (ANSWER, {"keep"})
    assert {c.confidence.p_correct for c in verdict.claims} == {None}
    assert verdict.claim_calibrator is None


def test_what_differs_from_the_calibration_is_said_of_every_claim():
    verdict = guarded(france()).answer(QUESTION, max_new_tokens=14)
    assert {c.confidence.basis for c in verdict.claims} == {"extrapolated"}
