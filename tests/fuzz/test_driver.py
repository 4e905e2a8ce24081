"""A hundred thousand mutated inputs, the same each time: readers refuse in our words, or what they read holds.

`python -m tests.fuzz --seconds 60` looks longer, `--seed` elsewhere.
"""

from __future__ import annotations

import time

import pytest

from tests.fuzz.driver import SLOWEST, Target, fuzz
from tests.fuzz.targets import TARGETS

INPUTS = 100_000
SHARES = sum(target.share for target in TARGETS.values())


def test_the_shares_are_of_a_thousand():
    assert SHARES == 1000


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_is_a_fault(name):
    found = fuzz(TARGETS[name], inputs=INPUTS * TARGETS[name].share // SHARES)
    assert [str(fault) for fault in found.faults] == []
    assert found.slowest < SLOWEST
    assert len(found.outcomes) > 5, "mutations reach more than one refusal"


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_read_not_refused(name):
    accepted = [TARGETS[name].read(data) for data in TARGETS[name].corpus]
    assert accepted
    assert not any("Error" in each or "Exception" in each for each in accepted)


def target(read):
    return Target("made", read, [b"one two", b"three"], [b"{", b"}"], 1)


def test_an_error_of_another_tree_is_a_fault_with_its_input():
    def read(data):
        return {True: "no brace"}[b"{" not in data]

    found = fuzz(target(read), inputs=300)
    assert [fault.error for fault in found.faults] == ["KeyError: False"]
    assert b"{" in found.faults[0].data


def test_an_input_that_takes_long_is_a_fault(monkeypatch):
    monkeypatch.setattr("tests.fuzz.driver.SLOWEST", 0.05)

    def read(data):
        end = time.thread_time() + (0.1 if data == b"three" else 0)
        while time.thread_time() < end:
            pass
        return "read"

    found = fuzz(target(read), inputs=2)
    assert [(fault.data, fault.error) for fault in found.faults] == [(b"three", "took 0.1 s")]


def test_a_seed_gives_the_same_inputs_and_another_seed_others():
    def seen(seed):
        inputs = []
        fuzz(target(lambda data: inputs.append(data) or str(len(data))), inputs=200, seed=seed)
        return inputs

    assert seen(1) == seen(1) != seen(2)


def test_what_leads_to_a_new_outcome_is_mutated_further():
    """Four braces in a row are far to find by chance alone; a brace more is an outcome of its own."""
    deep = fuzz(target(lambda data: str(max(n for n in range(9) if b"{" * n in data))), inputs=4000)
    assert int(max(deep.outcomes)) >= 4
