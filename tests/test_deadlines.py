"""Deadlines: whose holds, where, and how long something is waited for."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from guardrail.deadlines import (
    Deadline,
    Lock,
    bare_context,
    before,
    check_deadline,
    check_timeout,
    deadline_now,
    sooner,
)
from guardrail.errors import DeadlineError, GuardrailError, ModelError
from guardrail.waiting import within
from tests.helpers.taken import taken

LONG = 60.0
PASSED = Deadline(at=0.0, seconds=2.0)


@pytest.mark.parametrize("value", [0, -1, 0.0, float("nan"), float("inf"), True, "5", (1, 2), [3]])
def test_no_timeout(value):
    with pytest.raises(ModelError, match="it is the number of seconds that a call may take, above 0, or None"):
        check_timeout(value)


def test_timeouts():
    assert [check_timeout(value) for value in (None, 2, np.float32(0.5))] == [None, 2.0, 0.5]
    assert Deadline.after(None) is None
    assert LONG - 5 < Deadline.after(LONG).left <= LONG
    assert PASSED.left == 0.0


def test_the_error_is_ours_and_pythons():
    with pytest.raises(TimeoutError, match="no verdict within the timeout of 2 s") as error, before(PASSED):
        raise AssertionError("the block must not begin")
    assert isinstance(error.value, DeadlineError)
    assert isinstance(error.value, GuardrailError)


def test_the_nearest_deadline_holds():
    near, far = Deadline.after(LONG), Deadline.after(2 * LONG)
    with before(far):
        with before(near), before(far), before(None):
            assert deadline_now() is near
        assert deadline_now() is far
    assert deadline_now() is None
    check_deadline()


def test_a_deadline_ends_with_its_block_whatever_happens_there():
    with pytest.raises(KeyError), before(Deadline.after(LONG)):
        raise KeyError
    assert deadline_now() is None


def test_threads_see_it_where_they_are_handed_the_context():
    with before(deadline := Deadline.after(LONG)):
        assert within(LONG, deadline_now) is deadline
        assert bare_context().run(deadline_now) is deadline
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(deadline_now).result() is None
    assert len(list(bare_context())) == 0


def test_the_shorter_of_a_limit_and_what_is_left():
    assert (sooner(None), sooner(3.0)) == (None, 3.0)
    with before(Deadline.after(LONG)):
        assert LONG - 5 < sooner(None) <= LONG
        assert LONG - 5 < sooner(2 * LONG) <= LONG
        assert sooner(3.0) == 3.0
    with before(short := Deadline.after(0.01)):
        time.sleep(0.05)
        assert short.left == 0
        with pytest.raises(DeadlineError):
            sooner(3.0)


def test_a_lock_is_waited_for_until_the_deadline():
    lock = Lock()
    with taken(lock, LONG), pytest.raises(DeadlineError), before(Deadline.after(0.05)), lock:
        raise AssertionError("another thread has it")
    with lock, lock:
        pass
    with before(Deadline.after(LONG)), lock:
        assert deadline_now() is not None
    with before(short := Deadline.after(0.05)):
        time.sleep(0.1)
        assert short.left == 0
        with pytest.raises(DeadlineError), lock:
            raise AssertionError("it is free, and too late")


def test_a_lock_is_first_come_first_served():
    lock, order, others = Lock(), [], []

    def wait(name):
        with lock:
            order.append(name)

    with ThreadPoolExecutor(3) as threads:
        with lock:
            for name in "abc":
                others.append(threads.submit(wait, name))
                while len(lock._waiting) < len(others):  # it stands in line
                    time.sleep(0.001)
        with lock:  # let go of, and taken again at once
            order.append("me")
        for other in others:
            other.result()
    assert order == ["a", "b", "c", "me"]
    assert not lock.held
