"""The helper tells linear from quadratic time, and noise changes nothing."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from tests.helpers import growth


def linear(n):
    return lambda: sum(i & 1 for i in range(n))


def quadratic(n):
    return lambda: sum(i & 1 for _ in range(n) for i in range(n))


def test_it_tells_linear_from_quadratic_time():
    assert not growth.superlinear(linear(50_000), linear(400_000), 8, quick=0)
    assert growth.superlinear(quadratic(200), quadratic(1_600), 8)


class Clock:
    """A thread's clock on which a step takes what it says, and others on the machine add up to twice as much."""

    def __init__(self, monkeypatch, seed):
        self.now, self.rng = 0.0, random.Random(seed)
        monkeypatch.setattr(time, "thread_time", lambda: self.now)

    def step(self, took):
        def run():
            self.now += took * (1 + 2 * self.rng.random())

        return run


@pytest.mark.parametrize("seed", range(20))
def test_on_a_busy_machine_linear_time_passes_and_quadratic_time_does_not(monkeypatch, seed):
    clock = Clock(monkeypatch, seed)
    assert not growth.superlinear(clock.step(0.1), clock.step(0.8), 8)
    assert growth.superlinear(clock.step(0.1), clock.step(6.4), 8)
    assert growth.superlinear(clock.step(0.1), clock.step(51.2), 8)


def test_what_takes_no_time_is_linear(monkeypatch):
    clock = Clock(monkeypatch, 0)
    assert not growth.superlinear(clock.step(0.0), clock.step(0.005), 8)


def test_a_stall_in_four_of_five_tries_is_no_growth(monkeypatch):
    clock = Clock(monkeypatch, 0)
    stalls = itertools.chain([100.0] * 4, itertools.repeat(0.0))

    def long():
        clock.now += 0.8 + next(stalls)

    assert not growth.superlinear(clock.step(0.1), long, 8)
