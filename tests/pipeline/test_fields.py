"""The fields of JSON answers in a Guard: their confidences, and what the policy holds back."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import BaseModel, ConfigDict

from guardrail import Guard, Policy
from guardrail.calibration.provenance import ExtractorIdentity
from guardrail.errors import DataError
from guardrail.testing import tiny_local_model
from tests.helpers.scripted_claims import SENTENCES, fitted

ASKED = "What about Lima?"
ANSWER = '{"name": "Lima", "people": 10, "sea": true}'
RULES = """
version: 1
name: fields
rules:
  - {name: unsure, for: claim, when: {confidence: {below: 0.5}}, then: THEN}
  - {name: sure, for: claim, then: keep}
  - {name: any, then: answer}
"""
NULLABLE = {"type": "object", "properties": {key: {} for key in ("name", "people", "sea")}}


class City(BaseModel):
    name: str
    people: int | None
    sea: bool | None


def scores(local):
    verdict = Guard(model=local, policy="observe").check(ASKED, ANSWER, schema=City)
    return [claim.score.value for claim in verdict.claims]


def judged(schema, extractor, then="drop", held=1):
    """The answer judged with a calibrator that is unsure of the `held` worst fields."""
    local = tiny_local_model()
    ordered = sorted(scores(local))
    bound = (ordered[-held - 1] + ordered[-held]) / 2 if held < len(ordered) else ordered[0] / 10
    policy = Policy.from_text(RULES.replace("THEN", then), "fields")
    guard = Guard(model=local, policy=policy, claims=extractor.name, claim_calibrator=fitted(local, bound, extractor))
    return guard.check(ASKED, ANSWER, schema=schema)


FIELDS = ExtractorIdentity(name="fields", options={})


def test_without_a_calibrator_a_field_has_a_score_and_no_confidence():
    verdict = Guard(model=tiny_local_model(), policy="observe").check(ASKED, ANSWER, schema=City)
    assert [c.claim.path for c in verdict.claims] == ["/name", "/people", "/sea"]
    assert [ANSWER[c.claim.start : c.claim.end] for c in verdict.claims] == ['"Lima"', "10", "true"]
    assert all(c.score.unscored is None and c.confidence.p_correct is None for c in verdict.claims)
    assert {c.confidence.basis for c in verdict.claims} == {"none"}
    assert verdict.text == ANSWER


def test_a_calibrator_of_other_claims_extrapolates_and_says_why():
    confidences = [claim.confidence for claim in judged(NULLABLE, SENTENCES).claims]
    assert {c.basis for c in confidences} == {"extrapolated"}
    assert all("claims of 'fields', not of 'sentences'" in c.reason for c in confidences)


def test_a_calibrator_of_fields_is_calibrated():
    confidences = [claim.confidence for claim in judged(NULLABLE, FIELDS).claims]
    assert {(c.basis, c.reason) for c in confidences} == {("calibrated", "")}


@pytest.mark.parametrize("then", ["drop", "hedge"])
def test_the_field_that_is_unsure_is_null(then):
    verdict = judged(NULLABLE, FIELDS, then)
    (held,) = [claim for claim in verdict.claims if claim.action == then]
    said, shown = json.loads(ANSWER), json.loads(verdict.text)
    assert shown == {**said, held.claim.path[1:]: None}
    assert held.shown == ""
    assert "0.5" in held.decision.explanation
    assert verdict.action == "answer"
    assert verdict.answer == ANSWER


def test_where_null_must_not_stand_the_whole_is_held_back():
    strict = {"type": "object", "properties": {key: {"type": "string"} for key in ("name", "people", "sea")}}
    verdict = judged(strict, FIELDS)
    assert (verdict.action, verdict.rule) == ("abstain", "held back whole")
    assert "Lima" not in verdict.text
    assert not any(claim.shown for claim in verdict.claims)


def test_where_no_schema_is_known_null_is_never_put_in():
    assert judged(None, FIELDS).rule == "held back whole"


def test_where_no_field_is_left_nothing_is_shown():
    verdict = judged(NULLABLE, FIELDS, held=3)
    assert (verdict.action, verdict.rule) == ("abstain", "nothing left")


def test_an_answer_that_is_no_json_is_judged_as_ever():
    guard = Guard(model=tiny_local_model(), policy="observe", claims="sentences")
    with_schema, without = (guard.check(ASKED, "Lima is big. It lies by the sea.", schema=s) for s in (City, None))
    assert [c.claim for c in with_schema.claims] == [c.claim for c in without.claims]
    assert with_schema.text == without.text


def test_each_answer_of_a_batch_has_its_own_schema():
    number = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    flag = {"type": "object", "properties": {"f": {"type": "boolean"}}, "required": ["f"]}
    guard = Guard(model=tiny_local_model(), policy="observe")
    verdicts = guard.answer_batch([ASKED] * 3, schema=[number, flag, None], max_new_tokens=30)
    assert [[c.claim.path for c in v.claims] for v in verdicts] == [["/n"], ["/f"], []]
    assert [set(json.loads(v.text)) for v in verdicts[:2]] == [{"n"}, {"f"}]


class Opaque:
    """A type that JSON has none for."""


class OfOpaque(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    inner: Opaque


DEEP = {"type": "object", "properties": {"a": NULLABLE}}
for _ in range(40):
    DEEP = {"type": "object", "properties": {"a": DEEP}}
LOOP = {"type": "object"}
LOOP["properties"] = {"a": LOOP}


@pytest.mark.parametrize(
    "schema",
    [
        "text",
        3,
        [NULLABLE, NULLABLE],
        [3],
        {"enum": {1}},
        {"const": math.nan},
        {"const": "\ud800"},
        OfOpaque,
        DEEP,
        LOOP,
    ],
)
def test_what_is_no_schema_is_refused(schema):
    with pytest.raises(DataError, match="schema"):
        Guard(model=tiny_local_model(), policy="observe").answer_batch([ASKED], schema=schema)


def test_json_of_a_path_appears_for_fields_only():
    guard = Guard(model=tiny_local_model(), policy="observe", claims="sentences")
    field, sentence = guard.check(ASKED, ANSWER, schema=City), guard.check(ASKED, "Lima is big.")
    assert field.to_dict()["claims"][0]["path"] == "/name"
    assert "path" not in sentence.to_dict()["claims"][0]


def test_an_answer_from_elsewhere_has_the_fields_of_its_check():
    guard = Guard(model=tiny_local_model(), policy="observe")
    judging = guard.judge(ASKED, schema=City)
    assert next(judging)[-1]["content"] == ASKED
    with pytest.raises(StopIteration) as done:
        judging.send(ANSWER)
    expected = guard.check(ASKED, ANSWER, schema=City)
    assert [c.to_dict() for c in done.value.value.claims] == [c.to_dict() for c in expected.claims]
    assert len(expected.claims) == 3
