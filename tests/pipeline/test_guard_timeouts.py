"""`timeout`: no verdict in time is a `DeadlineError`, wherever the time went, and the model is left as it was."""

from __future__ import annotations

import threading
import time

import pytest
from langchain_core.documents import Document

from guardrail import Guard, Policy
from guardrail.deadlines import Deadline, before
from guardrail.errors import DeadlineError, ModelError
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import SURE, UNSURE, Fixed, calibrator
from tests.helpers.taken import taken

RULES = """
version: 1
name: parts
on_error: %s
rules:
  - {name: claim look, for: claim, when: {unscored: false}, then: retrieve}
  - {name: claim rest, for: claim, then: keep}
  - {name: look, when: {confidence: {below: 0.5}}, then: retrieve}
  - {name: rest, then: answer}
"""
BOUND = 20.0  # seconds; far more than a deadline of 0.2 s needs, far less than what it cuts short
SHORT, LONG = 0.2, 600.0


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261, max_position_embeddings=2**16)


@pytest.fixture(scope="module")
def guard(local):
    return Guard(model=local, policy="observe")


def hooks_of(local):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in local.model.modules())


def told(verdict):
    return {key: value for key, value in verdict.to_dict().items() if key != "timing_ms"}


def overdue(call):
    """The call ends as a `DeadlineError`, long before its work would."""
    began = time.monotonic()
    with pytest.raises(DeadlineError, match="no verdict within the timeout"):
        call()
    assert time.monotonic() - began < BOUND


class Slow:
    """Layers that take their time, and how many have run. Undone when the context is left."""

    def __init__(self, local, seconds):
        self.local, self.seconds, self.ran = local, seconds, 0

    def __enter__(self):
        self.hooks = [layer.register_forward_hook(self) for layer in self.local.anatomy.layers]
        return self

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()

    def __call__(self, *_):
        self.ran += 1
        time.sleep(self.seconds)


def test_a_long_generation_ends_and_the_model_is_as_before(guard, local):
    before_it = told(guard.answer("Who?", max_new_tokens=4))
    overdue(lambda: guard.answer("Tell me all.", max_new_tokens=60_000, timeout=SHORT))
    assert hooks_of(local) == 0
    assert told(guard.answer("Who?", max_new_tokens=4)) == before_it


def test_an_answer_that_is_kept_to_a_schema_ends_too(guard, local):
    endless = {"type": "string", "minLength": 50_000}
    overdue(lambda: guard.answer("Tell me all.", max_new_tokens=60_000, timeout=SHORT, schema=endless))
    assert hooks_of(local) == 0
    assert guard.answer("Who?", max_new_tokens=4, schema={"enum": ["a"]}, timeout=LONG).answer == '"a"'


def test_time_enough_changes_nothing(guard):
    options = {"max_new_tokens": 4, "temperature": 1.0, "seed": 3}
    assert told(guard.answer("Who?", **options, timeout=LONG)) == told(guard.answer("Who?", **options))
    assert told(guard.check("Who?", "It is so.", timeout=LONG)) == told(guard.check("Who?", "It is so."))


def test_reading_the_prompt_ends_at_the_next_layer(guard, local):
    with Slow(local, 1.5 * SHORT) as slow:
        overdue(lambda: guard.answer("Who?", max_new_tokens=4, timeout=SHORT))
    assert slow.ran == 1


def test_scoring_ends_at_the_next_layer(guard, local):
    guard.check("Who?", "It is so.")  # the first one proves the gradients, too
    with Slow(local, 1.5 * SHORT) as slow:
        overdue(lambda: guard.check("Who?", "It is so.", timeout=SHORT))
    assert slow.ran == 1
    assert hooks_of(local) == 0


def test_a_batch_has_one_deadline(guard):
    overdue(lambda: guard.answer_batch(["a", "b", "c"], batch_size=1, max_new_tokens=60_000, timeout=SHORT))


def test_waiting_for_the_model_counts(guard, local):
    with taken(local.lock, BOUND):
        overdue(lambda: guard.answer("Who?", max_new_tokens=4, timeout=SHORT))
        overdue(lambda: guard.check("Who?", "It is so.", timeout=SHORT))


class Late(Fixed):
    """A scorer that knows no deadlines."""

    def score_traces(self, traces):
        time.sleep(1.5 * SHORT)
        return super().score_traces(traces)


def test_a_verdict_that_comes_too_late_is_none_and_nobody_is_told(local):
    seen = []
    late = Guard(model=local, scorer=Late(SURE), calibrator=calibrator(local), observers=[seen.append])
    overdue(lambda: late.check("Who?", "It is so.", timeout=SHORT))
    assert seen == []
    assert late.check("Who?", "It is so.").action == "answer"
    assert len(seen) == 1


class Part:
    """A retriever, a verifier and a claim extractor: each does what it is told."""

    name, options, method = "part", {}, "by hand"

    def __init__(self, act):
        self.invoke = self.verify = self.extract = act


def hangs(*_, **__):
    threading.Event().wait(BOUND)


async def awaits(*_):
    import asyncio

    await asyncio.sleep(BOUND)


@pytest.mark.parametrize("on_error", ["abstain", "continue", "raise"])
@pytest.mark.parametrize("what", ["retriever", "async retriever", "claims' retriever", "verifier"])
def test_no_policy_makes_an_answer_of_a_part_that_takes_all_the_time(local, on_error, what):
    finds = Part(lambda q: [Document(page_content="A passage.")])
    parts = {
        "retriever": {"retriever": Part(hangs)},
        "async retriever": {"retriever": Part(awaits)},
        "claims' retriever": {"retriever": Part(hangs), "claims": "sentences"},
        "verifier": {"retriever": finds, "claims": "sentences", "verifier": Part(hangs)},
    }[what]
    made = Guard(
        model=local,
        scorer=Fixed(UNSURE),
        calibrator=calibrator(local),
        policy=Policy.from_text(RULES % on_error, "parts.yaml"),
        **parts,
    )
    overdue(lambda: made.answer("Who?", max_new_tokens=8, timeout=2.0))


def test_a_time_limit_of_a_parts_own_is_the_policys_business(local):
    """A retriever that asks a model within a limit, and does not get its answer, has failed; the caller has time."""

    def asks(query):
        with before(Deadline(0.0, 1.0)):
            raise AssertionError("too late")

    rules = Policy.from_text(RULES % "abstain", "parts.yaml")
    made = Guard(model=local, scorer=Fixed(UNSURE), calibrator=calibrator(local), policy=rules, retriever=Part(asks))
    for timeout in (None, LONG):
        verdict = made.answer("Who?", max_new_tokens=4, timeout=timeout)
        assert (verdict.action, verdict.decision.rule) == ("abstain", "on error")


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), True, "2", (1, 2)])
def test_what_is_no_timeout(guard, value):
    for call in (guard.answer, lambda q, **o: guard.check(q, "a", **o), lambda q, **o: guard.answer_batch([q], **o)):
        with pytest.raises(ModelError, match="it is the number of seconds that a call may take"):
            call("Who?", timeout=value)
