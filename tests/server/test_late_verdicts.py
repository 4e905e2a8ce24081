"""Verdicts that come after their answers: whose they are, how long they are kept, and who is told."""

from __future__ import annotations

import json

import pytest

from guardrail.errors import DataError
from guardrail.server.destinations import Destinations
from guardrail.server.late_verdicts import LateVerdicts, pending
from guardrail.server.webhooks import Webhooks
from tests.helpers.receiver import receiver

SECRET = b"0123456789abcdef"
LATE = {"version": 1, "action": "abstain", "enforced": False, "confidence": 0.1}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_verdict_is_pending_then_there_and_told_once():
    with receiver([200]) as (origin, got):
        webhooks = Webhooks(Destinations([origin]), SECRET)
        late = LateVerdicts(webhooks=webhooks)
        verdict_id = late.expect(owner="ann", to=late.destination(f"{origin}/v"))
        first = late.read(verdict_id, owner="ann")
        assert (first.state, json.loads(first.body)) == ("pending", pending(verdict_id))
        late.deliver(verdict_id, LATE)
        late.deliver(verdict_id, LATE)
        late.fail(verdict_id, {"code": "internal_error"})
        assert webhooks.close(10) == 0
        told = late.read(verdict_id, owner="ann")
        assert [body for _, _, body in got] == [told.body]
    about = {"id": verdict_id, "object": "guardrail.verdict", "status": "done", "enforced": False}
    assert (told.state, json.loads(told.body)) == ("done", {**about, "guardrail": LATE})


def test_nobody_else_reads_it():
    late = LateVerdicts()
    verdict_id = late.expect(owner="ann")
    assert late.read(verdict_id, owner="bob") is None
    assert late.read(verdict_id, owner=None) is None
    assert late.read("verdict-0", owner="ann") is None


def test_an_answer_that_failed_has_no_confidence():
    late = LateVerdicts()
    verdict_id = late.expect(owner=None)
    late.fail(verdict_id, {"code": "internal_error", "message": "something went wrong here"})
    told = json.loads(late.read(verdict_id, owner=None).body)
    assert told["status"] == "failed"
    assert "guardrail" not in told


def test_it_never_says_that_it_was_enforced():
    late = LateVerdicts()
    verdict_id = late.expect(owner=None)
    for enforced in ({**LATE, "enforced": True}, {"version": 1}):
        with pytest.raises(DataError, match="enforced"):
            late.deliver(verdict_id, enforced)
    with pytest.raises(ValueError, match="JSON"):
        late.deliver(verdict_id, {**LATE, "confidence": float("nan")})
    assert late.read(verdict_id, owner=None).state == "pending"


def test_they_are_kept_for_a_while_and_no_longer():
    clock = Clock()
    late = LateVerdicts(seconds=60, clock=clock)
    first = late.expect(owner=None)
    clock.now = 59.0
    second = late.expect(owner=None)
    late.deliver(first, LATE)
    assert late.read(first, owner=None) is not None
    clock.now = 60.0
    assert late.read(first, owner=None) is None
    assert late.read(second, owner=None) is not None
    late.deliver(first, LATE)  # too late: neither kept nor an error
    assert len(late) == 1


def test_they_are_bounded_in_number_and_bytes():
    late = LateVerdicts(most=3)
    ids = [late.expect(owner=None) for _ in range(5)]
    assert [late.read(each, owner=None) is not None for each in ids] == [False, False, True, True, True]
    late = LateVerdicts(most_bytes=2_000)
    ids = [late.expect(owner=None) for _ in range(3)]
    for each in ids:
        late.deliver(each, {**LATE, "original": "x" * 900})
    assert [late.read(each, owner=None) is not None for each in ids] == [False, False, True]


def test_a_webhook_that_nobody_allowed_is_refused_before_the_answer():
    for late in (LateVerdicts(), LateVerdicts(webhooks=Webhooks(Destinations([]), SECRET))):
        with pytest.raises(DataError, match="webhooks"):
            late.destination("https://hooks.example.com/")
        assert late.destination(None) is None
