"""SPS from sums of unit vectors: a slow pairwise reference, hand-computed cases, its bootstrap."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.errors import ScoringError
from guardrail.scoring.sps import SpsSums, unit_sum

ALL = slice(0, None)


def collect(groups, kept=ALL):
    """groups: arrays (texts, K, O, D)."""
    sums = SpsSums(kept)
    for states in groups:
        sums.add(unit_sum(states, range(-states.shape[2], 0)), len(states))
    return sums.result()


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def slowly(groups):
    """By all pairs of texts: (K, O)."""
    _, layers, tokens, _ = groups[0].shape
    out = np.empty((layers, tokens))
    for k in range(layers):
        for o in range(tokens):
            texts = [[row[k, o].astype(np.float64) for row in group] for group in groups]
            within = [np.mean([cosine(a, b) for a, b in combinations(group, 2)]) for group in texts]
            across = [np.mean([cosine(a, b) for a in g for b in h]) for g, h in combinations(texts, 2)]
            out[k, o] = np.mean(within) - np.mean(across)
    return out


def random_groups(sizes, seed=0, layers=3, tokens=2, units=5):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(1, layers, tokens, units)) + 0.5 * rng.normal(size=(n, layers, tokens, units))).astype(
            np.float32
        )
        for n in sizes
    ]


def vectors(*texts):
    return np.array(texts, dtype=np.float32)[:, None, None, :]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 6), min_size=2, max_size=6), st.integers(0, 1000))
def test_it_is_what_all_pairs_give(sizes, seed):
    groups = random_groups(sizes, seed)
    assert collect(groups).sps == pytest.approx(slowly(groups), abs=1e-9)


def test_hand_computed():
    same, other = vectors([1, 0], [3, 0]), vectors([0, 2], [0, 1])
    assert collect([same, other]).sps == pytest.approx(1.0)  # within 1, across 0
    assert collect([same, vectors([-1, 0], [-1, 0])]).sps == pytest.approx(2.0)  # the largest
    assert collect([vectors([1, 0], [-1, 0]), vectors([1, 0], [-1, 0])]).sps == pytest.approx(
        -1.0
    )  # within -1, across 0
    assert collect([same, same]).sps == pytest.approx(0.0)  # paraphrases are no nearer than other questions
    # within (1 + 0) / 2; across the mean of 1, 0, 1, 0
    assert collect([same, vectors([1, 0], [0, 1])]).sps == pytest.approx(0.0)


def test_questions_weigh_alike_however_many_paraphrases_they_have():
    few, many = vectors([1, 0], [0, 1]), vectors(*[[1, 0]] * 9)
    # within (0 + 1) / 2, across 1 / 2; by pairs of texts, `many` would make it 36 of 37
    assert collect([few, many]).sps == pytest.approx(0.0)


@given(st.integers(0, 100), st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_neither_length_nor_order_matters(seed, scale):
    groups = random_groups([3, 2, 4], seed)
    again = [group[::-1] * np.float32(scale) for group in reversed(groups)]
    assert collect(again).sps == pytest.approx(collect(groups).sps, abs=1e-6)


def test_states_of_one_direction_in_float32_lose_no_digits():
    """As transformers' states are: nearly parallel, and far from unit length."""
    rng = np.random.default_rng(1)
    groups = [(100 + rng.normal(size=(3, 2, 2, 300)) * 0.01).astype(np.float32) for _ in range(5)]
    assert collect(groups).sps == pytest.approx(slowly(groups), abs=1e-14)


def test_only_the_kept_layers_are_kept():
    groups = random_groups([2, 3, 2])
    result, whole = collect(groups, slice(1, 3)), collect(groups)
    assert result.means.shape == (2, 3, 2, 5)
    assert result.sps == pytest.approx(whole.sps)
    assert result.upper_mean == pytest.approx(whole.sps[1:3].mean(0))


def test_the_bootstrap_is_sps_of_the_groups_drawn_again():
    groups = random_groups([2, 3, 4, 2], layers=2)
    result, drawn = collect(groups), np.random.default_rng(5).integers(0, 4, (30, 4))
    expected = []
    for row in drawn:
        if len(set(row)) == 1:
            continue
        pairs = [(g, h) for i, g in enumerate(row) for h in row[i + 1 :] if g != h]
        within = np.mean([result.within[g] for g in row], axis=0)
        across = np.mean([slow_across(groups[g], groups[h]) for g, h in pairs], axis=0)
        expected.append(within - across)
    assert result.redrawn(30, seed=5) == pytest.approx(np.array(expected), abs=1e-6)


def slow_across(a, b):
    """Mean cosine between two groups, over layers too: (O,)."""
    return [
        np.mean([cosine(x[k, o], y[k, o]) for x in a for y in b for k in range(a.shape[1])]) for o in range(a.shape[2])
    ]


@pytest.mark.parametrize(("common", "at_most"), [(1.0, 0.99), (0.0, 1.0)])
def test_the_interval_holds_the_truth_as_often_as_it_says(common, at_most):
    """Groups around directions drawn at random, whose true SPS a large sample gives.

    common: what all states share, as those of a language model do. Without it the mean across is zero for every group. With 500
    samples of 30 groups and 300 draws: 0.92 and 0.97; of 100 groups: 0.95 and 0.95.
    """

    def draw(seed, count):
        return [g + np.float32(common) for g in random_groups([3] * count, seed, layers=1, tokens=1, units=6)]

    truth = collect(draw(999, 8_000)).upper_mean[0]
    held = 0
    for seed in range(120):
        low, high = np.quantile(collect(draw(seed, 30)).redrawn(200, seed), [0.025, 0.975])
        held += low <= truth <= high
    assert 0.88 <= held / 120 <= at_most


def test_refusals():
    sums = SpsSums(ALL)
    with pytest.raises(ScoringError, match="two texts or more"):
        sums.add(np.ones((1, 1, 2)), 1)
    sums.add(unit_sum(vectors([1, 0], [0, 1]), [-1]), 2)
    with pytest.raises(ScoringError, match="two questions or more, with paraphrases each; got 1"):
        sums.result()
    for bad in (np.nan, np.inf, 0.0):
        with pytest.raises(ScoringError, match=r"h\^\(0\) at token -1 has no direction"):
            unit_sum(vectors([1, 1], [bad, bad]), [-1])
