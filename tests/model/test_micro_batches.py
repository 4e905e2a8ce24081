"""Micro-batches: calls that wait for the model together are done together, and fail alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from guardrail.deadlines import Deadline, Lock, before
from guardrail.errors import DeadlineError
from guardrail.model.continuous.micro_batches import CROWD, ENOUGH, MicroBatches
from tests.helpers.taken import taken


def calls(rows, work, keys=None, max_rows=8):
    """Everybody asks while the lock is taken, so that all wait together."""
    lock = Lock()
    batches, seen = MicroBatches(lock, max_rows), []

    def watched(together):
        seen.append(list(together))
        return work(together)

    with ThreadPoolExecutor(len(rows)) as pool:
        with taken(lock):
            futures = []
            for i, row in enumerate(rows):
                futures.append(pool.submit(batches.run, keys[i] if keys else 0, watched, [row]))
                while len(batches._calls) <= i:
                    threading.Event().wait(0.001)
        return futures, seen


def test_those_that_wait_are_done_in_one_call_up_to_its_size_and_by_kind():
    futures, seen = calls([1, 2, 3, 4, 5], lambda rows: [10 * x for x in rows], keys=[0, 0, 1, 0, 0], max_rows=3)
    assert [f.result() for f in futures] == [[10], [20], [30], [40], [50]]
    assert seen == [[1, 2, 4], [3], [5]]


def test_what_fails_together_is_done_alone_and_raised_where_it_belongs():
    futures, seen = calls([1, 0, 2], lambda rows: [2 // x for x in rows])
    assert futures[0].result() == [2]
    assert futures[2].result() == [1]
    with pytest.raises(ZeroDivisionError):
        futures[1].result()
    assert sorted(seen) == [[0], [1], [1, 0, 2], [2]]


def test_who_waits_too_long_leaves_and_the_next_takes_its_place():
    lock = Lock()
    batches = MicroBatches(lock, 8)

    def late():
        with before(Deadline.after(0.1)):
            batches.run(0, list, [1])

    with ThreadPoolExecutor(2) as pool:
        with taken(lock):
            first = pool.submit(late)
            second = pool.submit(batches.run, 0, list, [2])
            with pytest.raises(DeadlineError):
                first.result()
        assert second.result() == [2]
    assert not batches._calls
    assert not batches._led


@pytest.mark.parametrize("ends", ["enough rows", "patience", "few at work"])
def test_among_many_at_work_the_first_waits_for_others_and_not_for_long(ends):
    batches, seen = MicroBatches(Lock(), 8), []

    def work(rows):
        seen.append(list(rows))
        return rows

    def joined(count):
        while sum(len(call.rows) for call in batches._calls) < count:
            threading.Event().wait(0.001)

    batches.stepped(CROWD)
    with ThreadPoolExecutor(4) as pool:
        first = [pool.submit(batches.run, 0, work, [row]) for row in (1, 2)]
        joined(2)
        assert not first[0].done()
        if ends == "enough rows":
            first += [pool.submit(batches.run, 0, work, [row]) for row in (3, 4)]
        elif ends == "patience":
            for _ in range(4):
                assert not seen
                batches.stepped(CROWD)
        else:
            batches.stepped(CROWD - 1)
        assert [each.result(30) for each in first] == [[row + 1] for row in range(len(first))]
    assert [sorted(rows) for rows in seen] == [list(range(1, len(first) + 1))]
    assert len(first) == (ENOUGH if ends == "enough rows" else 2)
