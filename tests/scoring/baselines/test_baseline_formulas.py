"""Every formula of the other scorers against values computed by hand, and at its extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from guardrail.scoring.baselines.clusters import clusters
from guardrail.scoring.baselines.deg import degree_uncertainty
from guardrail.scoring.baselines.g_nll import g_nll
from guardrail.scoring.baselines.inside import eigenscore
from guardrail.scoring.baselines.ln_pe import ln_pe
from guardrail.scoring.baselines.mutual_information import mutual_information
from guardrail.scoring.baselines.p_true import p_false
from guardrail.scoring.baselines.sar import sar, token_sar
from guardrail.scoring.baselines.self_consistency import inconsistency
from guardrail.scoring.baselines.semantic_density import sparsity
from guardrail.scoring.baselines.semantic_entropy import semantic_entropy

LOG2 = math.log(2)


def test_ln_pe_is_the_mean_over_samples_of_the_mean_over_tokens():
    assert ln_pe([[-1.0, -3.0], [-4.0]]) == pytest.approx((2 + 4) / 2)  # not (1 + 3 + 4) / 3


def test_p_true_by_hand():
    assert p_false(math.log(0.3), math.log(0.1)) == pytest.approx(0.25)
    assert p_false(-1.0, -1.0) == 0.5
    assert p_false(-900.0, -0.1) == pytest.approx(1)  # no overflow
    assert p_false(-0.1, -900.0) == pytest.approx(0)


def test_self_consistency_by_hand():
    assert inconsistency([True, True, False, True]) == 0.25
    assert inconsistency([True] * 3) == 0
    assert inconsistency([False] * 3) == 1


def test_deg_by_hand():
    """D = diag(1.5, 1.7, 1.2) for three samples: trace(3 I - D) / 9 = (9 - 4.4) / 9."""
    w = [[1, 0.5, 0.0], [0.5, 1, 0.2], [0.0, 0.2, 1]]
    assert degree_uncertainty(w) == pytest.approx((9 - 4.4) / 9)
    assert degree_uncertainty(np.ones((4, 4))) == 0
    assert degree_uncertainty(np.eye(4)) == pytest.approx(1 - 1 / 4)


def test_eigenscore_by_hand():
    """z = (1, -1) twice, alpha 1: C = [[2, 2], [2, 2]], so C + I has the eigenvalues 5 and 1."""
    assert eigenscore([[1, -1], [1, -1]], alpha=1) == pytest.approx(math.log(5) / 2)
    # (1, 0, -1) and (1, -2, 1) are centred and orthogonal: C = diag(2, 6) / 2
    assert eigenscore([[1, 0, -1], [1, -2, 1]], alpha=1) == pytest.approx((math.log(2) + math.log(4)) / 2)
    # each sample's own mean comes off
    assert eigenscore([[6, 5, 4], [1, -2, 1]], alpha=1) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert math.isnan(eigenscore([[math.nan, 1.0], [1.0, 2.0]]))


def test_semantic_entropy_by_hand():
    assert semantic_entropy([0, 0, 1, 2]) == pytest.approx(1.5 * LOG2)
    # likelihoods 0.1 and 0.2 in one cluster, 0.1 in another: 3/4 and 1/4
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert semantic_entropy([0, 0, 1], np.log([0.1, 0.2, 0.1])) == pytest.approx(expected)
    assert semantic_entropy([0, 0, 0], [-1.0, -700.0, -900.0]) == 0
    assert semantic_entropy([0, 1, 2, 3]) == pytest.approx(math.log(4))


def test_semantic_density_by_hand():
    assert sparsity([0, 0], [0, 0.5]) == pytest.approx(0.25)
    # f = 0.1 and 0.3, K = 1 and 0.2: SD = (0.1 + 0.06) / 0.4
    assert sparsity(np.log([0.1, 0.3]), [0, 0.8]) == pytest.approx(1 - 0.16 / 0.4)
    assert sparsity([-3.0, -800.0], [0, 0]) == 0
    assert sparsity([-3.0, -1.0], [1, 1]) == 1
    assert sparsity([0.0], [4.0]) == 1  # beyond the kernel's support, not negative


def test_mutual_information_by_hand():
    with np.errstate(divide="ignore"):
        copies = np.log(np.eye(2))
    assert mutual_information(np.log([0.5, 0.5]), copies) == pytest.approx(LOG2)
    # the second answer does not look at the first
    assert mutual_information(np.log([0.2, 0.1]), np.log([[0.3, 0.1]] * 2)) == pytest.approx(0, abs=1e-12)
    # q = [[3/8, 1/8], [1/8, 3/8]], uniform marginals
    expected = 2 * (3 / 8 * math.log(3 / 2) + 1 / 8 * math.log(1 / 2))
    assert mutual_information([-5, -5], np.log([[0.3, 0.1], [0.02, 0.06]])) == pytest.approx(expected)
    assert mutual_information([-7.0], [[-2.0]]) == 0


def test_g_nll_is_not_divided_by_the_length():
    assert g_nll([-1.0, -0.5]) == 1.5


def test_token_sar_by_hand():
    assert token_sar([-1.0, -3.0], [0.3, 0.1]) == pytest.approx(1.5)
    assert token_sar([-1.0, -3.0], [0.0, 0.0]) == pytest.approx(2)
    assert token_sar([-1.0, -math.inf], [0.2, 0.0]) == pytest.approx(1)


def test_sar_by_hand():
    assert sar([0, 0], [[1, 0.5], [0.5, 1]], t=1) == pytest.approx(-math.log(1.5))
    # p = 1/2 and 1/4; g = 0.2, t = 0.5: p_1 + 0.4 p_2 = 0.6, p_2 + 0.4 p_1 = 0.45
    expected = -(math.log(0.6) + math.log(0.45)) / 2
    assert sar([LOG2, 2 * LOG2], [[1, 0.2], [0.2, 1]], t=0.5) == pytest.approx(expected)
    assert sar([1.5], [[1.0]]) == pytest.approx(1.5)


def test_clusters_join_the_first_whose_first_member_is_the_same():
    same = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1]], dtype=bool)
    assert clusters(same).tolist() == [0, 1, 0, 2]  # the last is like a member of cluster 0, but not like its first
    assert clusters(np.zeros((0, 0), dtype=bool)).tolist() == []


N = st.integers(2, 7)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_order_of_samples_does_not_matter(data):
    n = data.draw(N)
    order = data.draw(st.permutations(range(n)))
    numbers = arrays(np.float64, n, elements=st.floats(-20, 0, allow_subnormal=False))
    log_p, other = data.draw(numbers), data.draw(numbers)
    w = data.draw(arrays(np.float64, (n, n), elements=st.floats(0, 1, allow_subnormal=False)))
    w = np.maximum(w, w.T)
    np.fill_diagonal(w, 1)
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    states = data.draw(arrays(np.float64, (n, 5), elements=st.floats(-3, 3, allow_subnormal=False)))
    grid = np.ix_(order, order)
    close = {"rel": 1e-6, "abs": 1e-8}
    rows = [np.array([a, b]) for a, b in zip(log_p, other, strict=True)]
    assert ln_pe([rows[i] for i in order]) == pytest.approx(ln_pe(rows), **close)
    assert degree_uncertainty(w[grid]) == pytest.approx(degree_uncertainty(w), **close)
    assert eigenscore(states[order]) == pytest.approx(eigenscore(states), **close)
    assert sar(-log_p[order], w[grid]) == pytest.approx(sar(-log_p, w), **close)
    assert sparsity(log_p[order], w[0][order]) == pytest.approx(sparsity(log_p, w[0]), **close)
    same = labels[:, None] == labels[None]
    entropy = semantic_entropy(clusters(same), log_p)
    assert semantic_entropy(clusters(same[grid]), log_p[order]) == pytest.approx(entropy, **close)
    second = data.draw(arrays(np.float64, (n, n), elements=st.floats(-20, 0, allow_subnormal=False)))
    information = mutual_information(log_p, second)
    assert mutual_information(log_p[order], second[grid]) == pytest.approx(information, **close)
    assert 0 <= information <= math.log(n) + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_equal_samples_are_the_least_uncertain_and_different_ones_the_most(data):
    n = data.draw(N)
    w = data.draw(arrays(np.float64, (n, n), elements=st.floats(0, 1, allow_subnormal=False)))
    w = np.maximum(w, w.T)
    np.fill_diagonal(w, 1)
    labels = data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))
    log_p = data.draw(arrays(np.float64, n, elements=st.floats(-20, 0, allow_subnormal=False)))
    distance2 = data.draw(arrays(np.float64, n, elements=st.floats(0, 1, allow_subnormal=False)))
    states = data.draw(arrays(np.float64, (n, 5), elements=st.floats(-3, 3, allow_subnormal=False)))
    apart, together = np.eye(n), np.ones((n, n))
    slack = 1e-9
    low, high = degree_uncertainty(together), degree_uncertainty(apart)
    assert low - slack <= degree_uncertainty(w) <= high + slack
    assert sar(-log_p, together) - slack <= sar(-log_p, w) <= sar(-log_p, apart) + slack
    assert semantic_entropy([0] * n, log_p) - slack <= semantic_entropy(labels, log_p)
    assert semantic_entropy(labels, log_p) <= semantic_entropy(range(n), log_p) + slack
    assert semantic_entropy(range(n), log_p) <= semantic_entropy(range(n)) + slack
    assert -slack <= sparsity(log_p, distance2) <= 1 + slack
    norm = np.linalg.norm(states - states.mean(axis=1, keepdims=True), axis=1)
    aligned = np.outer(norm, [1, -1, 1, -1, 0])  # the same lengths in one direction
    assert eigenscore(aligned / 2) <= eigenscore(states) + slack
