"""Batches that workers share: whoever finishes or dies when, every row comes out once, in order. No Ray here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import ClusterError, DataError, MissingExtraError
from guardrail.runs import cluster
from guardrail.runs.cluster import Cluster, Lost
from guardrail.runs.ray_workers import _Job, connect


@given(
    st.lists(st.integers(1, 5), max_size=12),
    st.sets(st.integers(0, 40), max_size=4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_every_row_once_and_in_order_with_the_poisoned_ones_lost(sizes, poisoned, ahead, attempts, chance):
    rows = iter(range(1000))
    batches = [[next(rows) for _ in range(size)] for size in sizes]
    job, out, running, innocent = _Job(iter(batches), ahead), [], [], 3
    while True:
        out += job.done()
        if job.finished:
            break
        while len(running) < 3 and (part := job.next_part()) is not None:
            running.append(part)
        assert running, "nothing runs and nothing can: a run would hang"
        part = running.pop(chance.randrange(len(running)))
        unlucky = innocent > 0 and len(part.rows) > 1 and chance.random() < 0.2  # killed for no fault of a row
        innocent -= unlucky
        if not unlucky and not poisoned & set(part.rows):
            job.put(part, [row * row for row in part.rows])
            continue
        part.deaths += 1
        if not job.again(part, attempts):
            assert len(part.rows) == 1
            assert part.deaths == attempts
            job.put(part, [Lost("died")])
    assert [batch for batch, _ in out] == batches
    for batch, found in out:
        assert list(found) == [Lost("died") if row in poisoned else row * row for row in batch]


def test_results_never_run_further_ahead_than_they_may():
    read = []
    job = _Job(([read.append(i) or i] for i in range(100)), 4)
    first, *rest = [job.next_part() for _ in range(4)]
    assert job.next_part() is None
    for part in rest:
        job.put(part, part.rows)
    assert list(job.done()) == []
    assert read == [0, 1, 2, 3]
    job.put(first, first.rows)
    assert [batch for batch, _ in job.done()] == [[0], [1], [2], [3]]


def test_a_batch_is_tried_again_as_it_is_before_its_rows_go_alone():
    job = _Job(iter([[1, 2, 3]]), 1)
    part = job.next_part()
    part.deaths += 1
    assert job.again(part, 3)
    again = job.next_part()
    assert again.rows == [1, 2, 3]
    again.deaths += 1
    assert job.again(again, 3)
    assert [job.next_part().rows for _ in range(3)] == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"cpus": 0}, "cpus is 0"),
        ({"gpus": -1}, "gpus is -1"),
        ({"gpus": float("nan")}, "gpus is nan"),
        ({"gpus": 1.5}, "gpus is 1.5; more than one must be a whole number"),
        ({"attempts": 0}, "attempts is 0"),
        ({"address": " "}, "address of the cluster is empty"),
    ],
)
def test_what_makes_no_cluster_is_refused(wrong, told):
    with pytest.raises(DataError, match=told):
        Cluster(**wrong)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"hybridgrad-guardrail\[ray\]"):
        Cluster()


def test_ray_that_does_not_start_says_so(monkeypatch):
    ray = pytest.importorskip("ray")

    def late(*_, **__):
        raise Exception("The current node timed out during startup.")  # as Ray raises it

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(
        ClusterError, match=r"did not start here: The current node timed out during startup\. On a machine"
    ):
        connect(Cluster(), lambda line: None)
    with pytest.raises(ClusterError, match=r"no Ray cluster at 'HOST:1': The current"):
        connect(Cluster("HOST:1"), lambda line: None)
