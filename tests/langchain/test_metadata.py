"""The contract in `response_metadata["guardrail"]`: complete, JSON, typed, and without what was held back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import TypeAdapter

from guardrail.langchain import METADATA_VERSION, VerdictMetadata, read_metadata, verdict_metadata
from guardrail.langchain.metadata import is_judged
from guardrail.types import (
    Attempt,
    Claim,
    ClaimDecision,
    Confidence,
    Decision,
    Evidence,
    JudgedClaim,
    Score,
    Verdict,
    Verification,
)

SECRET = "the held back text"


def verdict(action="abstain", *, score=None, confidence=None, text="I do not know."):
    attempt = Attempt(
        SECRET,
        score or Score(0.5, 0.25, 0.125, 3.5, 7.0, 4),
        confidence or Confidence(0.25, 0.125, 0.5, "low", False, "given with evidence", "extrapolated"),
        Decision(action, "too unsure", "confidence 0.25 (low) is below 0.30"),
        "length",
        (Evidence("A passage.", "a.txt", 0.5),),
    )
    return Verdict(text, (attempt,), {"generate": 1.23456, "score": 2.0}, "a-model", "c.json", "default")


def test_the_contract_to_the_letter():
    assert verdict_metadata(verdict()) == {
        "version": 1,
        "action": "abstain",
        "enforced": True,
        "actions": ["abstain"],
        "rule": "too unsure",
        "explanation": "confidence 0.25 (low) is below 0.30",
        "confidence": 0.25,
        "confidence_interval": [0.125, 0.5],
        "label": "low",
        "basis": "extrapolated",
        "basis_reason": "given with evidence",
        "in_range": False,
        "familiarity": None,
        "score": {"hybridgrad": 0.5, "semgrad": 0.25, "paragrad": 0.125, "entropy": 3.5, "nll": 7.0, "length": 4},
        "unscored": None,
        "finish_reason": "length",
        "model": "a-model",
        "calibrator": "c.json",
        "policy": "default",
        "evidence": [{"text": "A passage.", "source": "a.txt", "similarity": 0.5}],
        "latency_ms": {"generate": 1.235, "score": 2.0},
        "claims": [],
        "claim_calibrator": None,
        "text_hash": hashlib.sha256(b'["I do not know.", []]').hexdigest(),
    }
    assert METADATA_VERSION == 1


@pytest.mark.parametrize("include_original", [False, True])
@pytest.mark.parametrize("unscored", [False, True])
def test_json_and_types(include_original, unscored):
    score = Score.none("empty_answer", "nothing", length=1) if unscored else None
    confidence = Confidence.none("unscored: empty_answer") if unscored else None
    metadata = verdict_metadata(verdict(score=score, confidence=confidence), include_original=include_original)
    assert TypeAdapter(VerdictMetadata).validate_python(metadata, strict=True) == metadata
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata
    assert (metadata["score"], metadata["confidence"], metadata["unscored"]) == (
        (None, None, "empty_answer") if unscored else (metadata["score"], 0.25, None)
    )


def test_a_dropped_claim_says_what_was_decided_and_not_what_it_said():
    passage = Evidence("A passage.", "a.txt", 0.5)
    dropped = JudgedClaim(
        Claim("a-secret", 0, 8),
        0,
        3,
        Score.none("not_finite", "NaN", length=3),
        Confidence.none("unscored: not_finite"),
        ClaimDecision("drop", "contradicted", "the claim is contradicted by evidence"),
        Verification("contradicted", "by hand", (passage,)),
    )
    kept = JudgedClaim(
        Claim("Kept.", 9, 14),
        3,
        5,
        Score(0.5, 0.25, 0.125, 3.5, 7.0, 2),
        Confidence(0.75, 0.5, 0.875, "high"),
        ClaimDecision("keep", "sure", "sure enough"),
        shown="Kept.",
    )
    whole = replace(verdict("hedge"), claims=(dropped, kept), claim_calibrator="claims.json")
    metadata = verdict_metadata(whole)
    assert "a-secret" not in json.dumps(metadata)
    assert metadata["claims"][0] == {
        "text": None,
        "shown": "",
        "kind": "sentence",
        "start": 0,
        "end": 8,
        "token_start": 0,
        "token_end": 3,
        "score": None,
        "unscored": "not_finite",
        "confidence": None,
        "confidence_interval": None,
        "label": None,
        "basis": "none",
        "in_range": False,
        "familiarity": None,
        "action": "drop",
        "rule": "contradicted",
        "explanation": "the claim is contradicted by evidence",
        "support": "contradicted",
        "evidence": [{"text": "A passage.", "source": "a.txt", "similarity": 0.5}],
    }
    assert [metadata["claims"][1][key] for key in ("text", "shown", "confidence")] == ["Kept.", "Kept.", 0.75]
    assert TypeAdapter(VerdictMetadata).validate_python(metadata, strict=True) == metadata
    assert verdict_metadata(whole, include_original=True)["claims"][0]["text"] == "a-secret"


def test_the_held_back_text_is_an_explicit_choice():
    assert SECRET not in json.dumps(verdict_metadata(verdict()))
    assert verdict_metadata(verdict(), include_original=True)["original"] == SECRET


def test_it_survives_the_merging_of_chunks_in_the_last_one():
    metadata = verdict_metadata(verdict())
    last = AIMessageChunk(content="", response_metadata={"guardrail": metadata}, chunk_position="last")
    merged = AIMessageChunk(content="I do ") + AIMessageChunk(content="not know.") + last
    assert read_metadata(merged) == metadata


def test_readers_find_nothing_where_there_is_nothing():
    assert read_metadata(AIMessage("hello")) is None
    assert read_metadata("a string") is None
    assert read_metadata(AIMessage("x", response_metadata={"guardrail": {"version": 2}})) is None
    assert read_metadata(AIMessage("x", response_metadata={"guardrail": "x"})) is None


def test_what_counts_as_judged():
    message = AIMessage("I do not know.", response_metadata={"guardrail": verdict_metadata(verdict())})
    assert is_judged(message)
    call = {"name": "f", "args": {}, "id": "1"}
    for changed in ({"content": "I know."}, {"tool_calls": [call]}):
        assert not is_judged(message.model_copy(update=changed))
    own = message.response_metadata["guardrail"]
    for metadata in (
        {"enforced": True},
        {**own, "version": 2},
        {**own, "enforced": 1},
        {**own, "text_hash": ""},
        "yes",
    ):
        assert not is_judged(AIMessage("I do not know.", response_metadata={"guardrail": metadata}))
    assert not is_judged(
        AIMessage(SECRET, response_metadata={"guardrail": verdict_metadata(verdict(), enforced=False)})
    )


def test_a_review_is_part_of_the_contract():
    metadata = {**verdict_metadata(verdict()), "reviewed": True}
    assert TypeAdapter(VerdictMetadata).validate_python(metadata, strict=True) == metadata
