"""Rules for claims, conditions on an answer's claims, and per_claim.yaml."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import PolicyError
from guardrail.policy import NO_CLAIM_RULES, NO_RULE, Policy
from guardrail.policy.checks import covers
from guardrail.policy.conditions import ClaimWhen
from guardrail.policy.facts import ClaimFacts
from guardrail.policy.matching import evaluate
from guardrail.types import CLAIM_ACTIONS, LABELS, SUPPORTS, Confidence, Score, Verification
from tests.helpers.policy_answers import (
    SCORED,
    UNKNOWN,
    UNSCORED,
    confidences,
    policy,
    probabilities,
    scores,
    shipped,
    sure,
    unscored,
)

HALF = sure(0.5)
HEAD = "version: 1\nname: p\nrules:\n"
NAN = Confidence(float("nan"), None, None, "very high")
CAUTION = {"keep": 0, "hedge": 1, "retrieve": 2, "drop": 3}


def found(support: str) -> Verification:
    return Verification(support, "by hand")  # type: ignore[arg-type]


def decides(when: str, confidence: Confidence = HALF, score: Score = SCORED, **kwargs: object) -> bool:
    one = policy(f"[{{name: a, for: claim, when: {when}, then: keep}}]")
    return one.decide_claim(confidence, score, **kwargs).action == "keep"  # type: ignore[arg-type]


def of_whole(when: str, claims: list[Confidence] | None) -> bool:
    one = policy(f"[{{name: a, when: {{claims: {when}}}, then: answer}}]")
    return one.decide(UNKNOWN, SCORED, claims=claims).action == "answer"


@pytest.mark.parametrize(
    ("when", "kwargs", "expected"),
    [
        ("{confidence: {at_least: 0.5}}", {}, True),
        ("{confidence: {below: 0.5}}", {}, False),
        ("{label: medium, in_range: true}", {}, True),
        ("{length: {at_most: 3}}", {}, False),
        ("{unscored: false}", {}, True),
        ("{kind: row}", {"kind": "row"}, True),
        ("{kind: [item, atomic]}", {"kind": "row"}, False),
        ("{support: supported}", {}, False),
        ("{not: {support: supported}}", {}, False),
        ("{any: [{support: supported}, {label: medium}]}", {}, True),
        ("{support: supported}", {"verification": found("supported")}, True),
        ("{support: [not found, contradicted]}", {"verification": found("not found")}, True),
        ("{not: {support: supported}}", {"verification": found("contradicted")}, True),
    ],
)
def test_conditions_on_a_claim(when: str, kwargs: dict[str, object], expected: bool) -> None:
    assert decides(when, **kwargs) is expected


def test_what_is_unknown_never_keeps_a_claim() -> None:
    for confidence in (UNKNOWN, NAN):
        assert not decides("{not: {confidence: {below: 0.5}}}", confidence)
    assert not decides("{confidence: {at_least: 0}}", sure(0.9), UNSCORED)


@pytest.mark.parametrize(
    ("when", "claims", "expected"),
    [
        ("{weakest: {at_least: 0.4}}", [0.9, 0.4], True),
        ("{weakest: {at_least: 0.4}}", [0.9, 0.3], False),
        ("{mean: {at_least: 0.5}}", [0.9, 0.1], True),
        ("{mean: {above: 0.5}}", [0.9, 0.1], False),
        ("{share: {confidence_below: 0.3, at_least: 0.5}}", [0.2, 0.3], True),
        ("{share: {confidence_below: 0.3, above: 0.5}}", [0.2, 0.3], False),
        ("{share: {confidence_below: 0.3, at_most: 0.34}}", [0.2, 0.3, 0.9], True),
        ("{share: {confidence_below: 0.3, at_least: 0.5}}", [None, 0.9], True),
        ("{share: {confidence_below: 0.3, below: 0.5}}", [None, 0.9], False),
        ("{weakest: {at_least: 0}}", [None, 0.9], False),
        ("{weakest: {below: 0.5}}", [None, 0.1], False),
        ("{mean: {at_least: 0}}", [None, 0.9], False),
        ("{count: {at_least: 2}}", [None, 0.9], True),
        ("{count: {at_most: 0}}", [], True),
        ("{weakest: {at_least: 0}}", [], False),
        ("{mean: {at_least: 0}}", [], False),
        ("{share: {confidence_below: 1, at_least: 0}}", [], False),
        ("{count: {at_least: 0}}", None, False),
        ("{share: {confidence_below: 1, at_least: 0}}", None, False),
        ("{share: {confidence_below: 0.3, at_most: 0}, count: {at_least: 2}}", [0.9, 0.9], True),
    ],
)
def test_conditions_on_all_claims(when: str, claims: list[float | None] | None, expected: bool) -> None:
    given_claims = None if claims is None else [UNKNOWN if p is None else sure(p) for p in claims]
    assert of_whole(when, given_claims) is expected
    if claims and None in claims:  # NaN is as unknown as nothing
        assert of_whole(when, [NAN if p is None else sure(p) for p in claims]) is expected


@given(st.lists(confidences, max_size=6), probabilities.filter(bool), probabilities)
def test_the_share_is_the_counted_one(claims: list[Confidence], threshold: float, bound: float) -> None:
    ps = [c.p_correct for c in claims]
    below = sum(not (p is not None and 0 <= p <= 1 and p >= threshold) for p in ps)
    text = f"{{share: {{confidence_below: {threshold!r}, at_least: {bound!r}}}}}"
    if "e-" not in text:  # YAML reads 1e-05 as text
        assert of_whole(text, claims) is bool(claims and below / len(claims) >= bound)


def test_explanations() -> None:
    one = policy("[{name: a, when: {claims: {%s}}, then: answer}]".replace("%s", "weakest: {below: 0.3}"))
    claims = [sure(0.9), sure(0.2996)]
    expected = "the weakest confidence of 2 claims, 0.2996, is below 0.30: rule 'a'"
    assert one.decide(UNKNOWN, SCORED, claims=claims).explanation == expected
    nothing = policy("[{name: a, for: claim, when: {support: supported}, then: keep, because: x.}]")
    assert nothing.decide_claim(sure(0.5), SCORED, kind="row").explanation == (
        "no rule matched: confidence 0.50 (medium), 4 tokens, kind row, evidence: not looked up"
    )
    kept = nothing.decide_claim(sure(0.5), SCORED, verification=found("supported"))
    assert kept.explanation == "the claim is supported by evidence: rule 'a' (x)"
    every = policy("[{name: all, for: claim, then: keep}, {name: rest, then: answer}]")
    assert every.decide_claim(UNKNOWN, UNSCORED).explanation == "rule 'all' is for every claim"
    assert every.decide(UNKNOWN, UNSCORED).explanation == "rule 'rest' is for every answer"


def test_no_match_drops_and_no_rules_keep() -> None:
    closed = policy("[{name: a, for: claim, when: {label: high}, then: keep}]")
    assert (closed.decide_claim(sure(0.5), SCORED).action, closed.decide_claim(sure(0.5), SCORED).rule) == (
        "drop",
        NO_RULE,
    )
    for name in ("default", "observe", "strict", "retrieve_first"):
        decision = shipped(name).decide_claim(UNKNOWN, UNSCORED)
        assert (decision.action, decision.rule) == ("keep", NO_CLAIM_RULES)
        assert not shipped(name).judges_claims
        assert not shipped(name).looks_at_claims
        assert not shipped(name).needs_claim_confidence


LOOK = "[{name: look, for: claim, then: retrieve}, {name: rest, for: claim, then: hedge, say: '{answer} (?)'}]"


def test_retrieve_for_a_claim_happens_once_and_within_bounds() -> None:
    guard = policy(LOOK, "retrieval: {claims: 2}\n")
    assert guard.verifies_claims
    assert not guard.retrieves
    assert guard.decide_claim(sure(0.5), SCORED, searched=1).action == "retrieve"
    for kwargs, why in (
        ({"searched": 2}, "retrieval.claims is 2"),
        ({"retriever": False}, "there is no retriever"),
        ({"verification": found("not found")}, "the claim was looked up already (not found)"),
    ):
        decision = guard.decide_claim(sure(0.5), SCORED, **kwargs)  # type: ignore[arg-type]
        assert (decision.action, decision.template) == ("hedge", "{answer} (?)")
        assert decision.explanation == f"rule 'rest' is for every claim; rule 'look' was passed over: {why}"


def test_wording_by_label() -> None:
    head = "wording: {claim: {hedge: {medium: 'maybe {answer}', unknown: '{answer}?'}}}\n"
    guard = policy("[{name: a, for: claim, then: hedge}]", head)
    assert guard.decide_claim(sure(0.5), SCORED).template == "maybe {answer}"
    assert guard.decide_claim(sure(0.9), SCORED).template is None
    assert guard.decide_claim(NAN, SCORED).template == "{answer}?"


def test_what_a_policy_needs() -> None:
    both = policy("[{name: a, for: claim, when: {not: {label: low}}, then: keep}, {name: b, then: answer}]")
    assert (both.needs_confidence, both.needs_claim_confidence, both.looks_at_claims) == (False, True, False)
    whole = policy("[{name: a, when: {any: [{claims: {mean: {below: 0.5}}}]}, then: abstain}]")
    assert (whole.needs_confidence, whole.needs_claim_confidence, whole.looks_at_claims) == (False, True, True)
    counted = policy("[{name: a, when: {claims: {count: {above: 9}}}, then: abstain}]")
    assert (counted.needs_claim_confidence, counted.looks_at_claims, counted.judges_claims) == (False, True, False)


CLAIM = "  - {name: a, for: claim, "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  - {name: a, for: clam, then: keep}", "rules[0].for is 'clam'; valid: answer, claim; did you mean 'claim'?"),
        (
            CLAIM + "then: abstain}",
            "rules[0].then is 'abstain'; valid: keep, hedge, drop, retrieve; 'abstain' is for whole answers ('for: answer')",
        ),
        (CLAIM + "then: kepe}", "rules[0].then is 'kepe'; valid: keep, hedge, drop, retrieve; did you mean 'keep'?"),
        (
            "  - {name: a, then: drop}",
            "rules[0].then is 'drop'; valid: answer, hedge, retrieve, abstain, ask_back, escalate, retry; 'drop' is for claims "
            "('for: claim')",
        ),
        (
            "  - {name: a, then: answer, when: {support: supported}}",
            "unknown key 'support' in rules[0].when; it is for claims ('for: claim'); valid keys in a rule for answers: "
            "confidence, label, length, unscored, in_range, familiar, evidence, finish_reason, claims, ambiguous, any, not, "
            "spread, rare, never_together, consistency",
        ),
        (
            CLAIM + "then: keep, when: {not: {evidence: absent}}}",
            "unknown key 'evidence' in rules[0].when.not; it is for whole answers ('for: answer'); "
            "valid keys in a rule for claims: confidence, label, length, unscored, in_range, familiar, support, kind, any, not",
        ),
        (
            CLAIM + "then: keep, when: {suport: supported}}",
            "unknown key 'suport' in rules[0].when; did you mean 'support'?",
        ),
        (
            CLAIM + "then: keep, when: {support: suported}}",
            "rules[0].when.support is 'suported'; valid: supported, contradicted, not found; did you mean 'supported'?",
        ),
        (
            CLAIM + "then: keep, when: {kind: rows}}",
            "rules[0].when.kind is 'rows'; valid: sentence, item, row, atomic, field; did you mean 'row'?",
        ),
        (CLAIM + "then: keep, when: {not: {}}}", "rules[0].when has an empty 'not', which never holds"),
        (
            CLAIM + "then: keep, say: '{answer}'}",
            "rules[0] has 'say', but then: keep shows no wording; of the rules for claims only hedge does",
        ),
        (
            CLAIM + "then: hedge, say: x}",
            "rules[0].say does not contain {answer}, which is the claim; to leave the claim out, use drop",
        ),
        (
            CLAIM + 'then: hedge, say: "{answer}\\nx"}',
            "rules[0].say has more than one line; a claim may stand in a list or a table",
        ),
        (
            "  - {name: no claim rules, then: answer}",
            "rules[0] has the name 'no claim rules', which is taken by what happens when none matches",
        ),
        (
            "  - {name: a, then: answer, when: {claims: {}}}",
            "rules[0].when.claims is empty; it wants one of: weakest, mean, share, count",
        ),
        (
            "  - {name: a, then: answer, when: {claims: 3}}",
            "rules[0].when.claims wants keys (weakest, mean, share, count), not 3",
        ),
        (
            "  - {name: a, then: answer, when: {claims: {shar: {below: 1}}}}",
            "unknown key 'shar' in rules[0].when.claims; did you mean 'share'?",
        ),
        (
            "  - {name: a, then: answer, when: {claims: {share: {confidence_below: 0.3}}}}",
            "rules[0].when.claims.share has no bound on the share itself; it wants one of: at_least, above, at_most, below",
        ),
        (
            "  - {name: a, then: answer, when: {claims: {share: {at_least: 0.3}}}}",
            "missing key 'confidence_below' in rules[0].when.claims.share",
        ),
        (
            "  - {name: a, then: answer, when: {claims: {share: {confidence_below: 2, below: 1}}}}",
            "rules[0].when.claims.share.confidence_below is 2; it must be at most 1",
        ),
        (
            "  - {name: a, then: answer, when: {claims: {count: {at_least: 1.5}}}}",
            "rules[0].when.claims.count.at_least wants a whole number, not 1.5",
        ),
        (
            "  - {name: b, for: claim, then: keep}\n" + CLAIM + "then: drop}",
            "rule 'a' can never fire: 'b' (line 4) matches whatever it matches",
        ),
        ("  - {name: a, then: answer}\n" + CLAIM + "then: drop}", "duplicate rule name 'a'; line 4 has it already"),
    ],
)
def test_mistakes(text: str, expected: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(HEAD + text + "\n", "my.yaml")
    assert str(caught.value) in (f"my.yaml:4: {expected}", f"my.yaml:5: {expected}")


def test_rules_of_different_units_do_not_shadow_each_other() -> None:
    assert policy("[{name: a, for: claim, then: keep}, {name: b, then: answer}]").warnings == ()


def test_warnings() -> None:
    def warnings(rules: str, head: str = "") -> str:
        return " ".join(policy(rules, head).warnings)

    assert "claims is 0, so no retrieve rule for claims ever fires" in warnings(LOOK, "retrieval: {claims: 0}\n")
    assert "rule 'a' asks for support, but no rule for claims retrieves" in warnings(
        "[{name: a, for: claim, when: {any: [{support: supported}]}, then: keep}]"
    )
    unused = "wording: {claim: {hedge: {low: 'x {answer}'}}}\n"
    assert "wording for hedged claims, but no rule for claims hedges" in warnings("[{name: h, then: hedge}]", unused)


names = {
    "label": st.sets(st.sampled_from(LABELS), min_size=1).map(tuple),
    "support": st.sets(st.sampled_from(SUPPORTS), min_size=1).map(tuple),
    "kind": st.sets(st.sampled_from(["sentence", "item", "row", "atomic"]), min_size=1).map(tuple),
    "unscored": st.booleans(),
    "in_range": st.booleans(),
    "confidence": st.floats(0, 0.99).map(lambda p: {"above": p}),
}
whens = st.fixed_dictionaries({}, optional=names).map(ClaimWhen.model_validate)  # type: ignore[arg-type]
verifications = st.sampled_from([None, *map(found, SUPPORTS)])
kinds = st.sampled_from(["sentence", "item", "row", "atomic"])


@given(whens, whens, confidences, scores, kinds, verifications)
def test_a_rule_called_covered_is_covered(wide, narrow, confidence, score, kind, verification) -> None:  # type: ignore[no-untyped-def]
    facts = ClaimFacts(confidence, score, kind, verification)
    if covers(wide, narrow) and evaluate(narrow, facts).truth is True:
        assert evaluate(wide, facts).truth is True


claim_situations = st.fixed_dictionaries(
    {"kind": kinds, "verification": verifications, "retriever": st.booleans(), "searched": st.integers(0, 9)}
)


@given(confidences, scores, claim_situations)
def test_per_claim_is_total_and_never_trusts_the_unknown(confidence, score, situation) -> None:  # type: ignore[no-untyped-def]
    decision = shipped("per_claim").decide_claim(confidence, score, **situation)
    assert decision.action in CLAIM_ACTIONS
    known = score.unscored is None and confidence.p_correct is not None and 0 <= confidence.p_correct <= 1
    verified = situation["verification"]
    if score.unscored or (verified and verified.support == "contradicted"):
        assert decision.action == "drop"
    elif verified and verified.support == "supported":
        assert decision.action == "keep"
    elif not known:
        assert decision.action in ("drop", "retrieve")  # a claim of unknown range may be looked up, not shown
    assert decision.action != "retrieve" or (situation["retriever"] and not verified and situation["searched"] < 8)


@given(probabilities, probabilities, claim_situations)
def test_more_confidence_in_a_claim_is_never_more_caution(p: float, q: float, situation: dict[str, object]) -> None:
    low, high = (shipped("per_claim").decide_claim(sure(x), SCORED, **situation).action for x in sorted((p, q)))  # type: ignore[arg-type]
    assert CAUTION[high] <= CAUTION[low]


def test_per_claim_of_the_whole() -> None:
    guard = shipped("per_claim")
    assert not guard.needs_confidence
    assert guard.needs_claim_confidence
    assert guard.judges_claims
    assert guard.looks_at_claims
    assert guard.verifies_claims
    for claims, action, rule in (
        ([sure(0.9), sure(0.2)], "abstain", "mostly weak"),
        ([sure(0.9), sure(0.4), sure(0.2)], "answer", "judged by its claims"),
        ([sure(0.9), UNKNOWN], "abstain", "mostly weak"),
        ([], "hedge", "nothing to check"),
        (None, "abstain", NO_RULE),
    ):
        decision = guard.decide(UNKNOWN, SCORED, claims=claims)
        assert (decision.action, decision.rule) == (action, rule)
    assert guard.decide(UNKNOWN, SCORED, claims=[sure(0.9)], finish_reason="length").rule == "cut off"


@given(unscored)
def test_per_claim_drops_what_is_unscored(score: Score) -> None:
    assert shipped("per_claim").decide_claim(sure(0.9), score).action == "drop"
    assert shipped("per_claim").decide(UNKNOWN, score, claims=[sure(0.9)]).action == "abstain"
