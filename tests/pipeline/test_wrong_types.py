"""What is of another type than the Guard takes is an error of ours, in words, at every entry."""

from __future__ import annotations

import math
import re

import pytest

from guardrail import Guard
from guardrail.errors import DataError, GuardrailError, ModelError
from guardrail.testing import tiny_local_model

USER = {"role": "user", "content": "Hi"}
NO_CONVERSATION = (
    3, None, True, b"Hi", {"role": "user"}, {"a", "b"}, object(), [], [3], [None], [[]], [{"content": "x"}], [{"role": "user"}],
    [{"role": 1, "content": "x"}], [{"role": "user", "content": 3}], [{**USER, "tool_calls": "no list"}], "half \ud800",
    [{"role": "assistant", "content": None, "tool_calls": 3}], [{"role": "human", "content": "Hi"}], (m for m in [USER]),
)  # fmt: skip


def shown(value):
    """A name that is the same in every process: without addresses and the order of sets."""
    return re.sub(r" at 0x\w+", "", repr(sorted(value) if isinstance(value, set) else value))


@pytest.fixture(scope="module")
def guard():
    return Guard(model=tiny_local_model(), policy="observe")


def judged(guard, messages, text):
    judging = guard.judge(messages)
    next(judging)
    judging.send(text)


@pytest.mark.parametrize("asked", NO_CONVERSATION, ids=shown)
def test_what_is_no_conversation(guard, asked):
    for ask in (
        lambda: guard.answer(asked, max_new_tokens=2),
        lambda: guard.answer_batch([asked], max_new_tokens=2),
        lambda: guard.check(asked, "x"),
        lambda: judged(guard, asked, "x"),
    ):
        with pytest.raises(GuardrailError):
            ask()


@pytest.mark.parametrize("answer", [3, None, b"Hi", ["Hi"], USER, object(), "half \ud800"], ids=shown)
def test_what_is_no_answer(guard, answer):
    with pytest.raises(DataError):
        guard.check([USER], answer)
    with pytest.raises(DataError):
        judged(guard, [USER], answer)


@pytest.mark.parametrize("batch", ["Hi", b"Hi", 3, None, USER, {"a"}, (q for q in ["Hi"])], ids=shown)
def test_what_is_no_batch(guard, batch):
    with pytest.raises(DataError, match="a batch is a list of questions or conversations, not"):
        guard.answer_batch(batch)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        *(("max_new_tokens", v, "max_new_tokens is") for v in ("2", 2.5, True, 0, -1, [2], b"2")),
        *(("temperature", v, "temperature is") for v in ("0.5", "", [1], True, math.nan, math.inf, -1, None)),
        *(("seed", v, "seed is") for v in ("1", 1.5, True, [1], 2**70)),
        *(("stop", v, "stop strings are") for v in (3, True, object(), [3], [""])),
        *(("system", v, "a system message must be a string") for v in (3, [], ["Hi"], b"Hi", {})),
        *(("batch_size", v, "the batch size is") for v in ("2", 2.5, None, True, 0, [2])),
    ],
)
def test_options(guard, option, value, says):
    with pytest.raises((ModelError, DataError), match=re.escape(says)):
        guard.answer_batch(["Hi"], **{"max_new_tokens": 2, option: value})


def test_a_whole_temperature_is_a_temperature(guard):
    one, same = (guard.answer("Hi", max_new_tokens=4, temperature=t, seed=3) for t in (1, 1.0))
    assert one.attempts[0].score == same.attempts[0].score


def test_a_conversation_that_ends_in_the_checked_answer_is_checked_once(guard):
    said = {"role": "assistant", "content": "Hello"}
    once, twice = guard.check([USER], "Hello"), guard.check([USER, said], "Hello")
    assert once.attempts[0].score == twice.attempts[0].score
    assert guard.check([USER, said], "Other").attempts[0].score != guard.check([USER], "Other").attempts[0].score
