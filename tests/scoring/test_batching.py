"""Groups of answers: each row once, within the budget, with little padding."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardrail.kernels.passes import WEIGHTS_READ
from guardrail.scoring.batching import by_token_budget
from guardrail.scoring.suffix import Row

rows = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 80)), max_size=30)


@given(rows, st.integers(1, 2000), st.floats(1.0, 3.0))
def test_each_row_once_within_budget_and_waste(lengths, budget, waste):
    made = [Row([1] * p, [2] * t) for p, t in lengths]
    groups = by_token_budget(made, budget, waste)
    assert sorted(i for group in groups for i in group) == list(range(len(made)))
    for group in groups:
        P, T = (max(lengths[i][k] for i in group) for k in (0, 1))
        assert len(group) == 1 or len(group) * (P + T) <= budget
        runs = [sum(lengths[i]) for i in group]
        assert len(group) * max(runs) <= waste * sum(runs) + WEIGHTS_READ * (len(group) - 1) + 1e-9


def test_like_lengths_share_a_pass():
    made = [Row([1] * p, [2] * 5) for p in (50, 300, 52, 310, 51)]
    assert [sorted(g) for g in by_token_budget(made)] == [[0, 2, 4], [1, 3]]


def test_a_few_short_answers_share_a_pass_whatever_their_lengths():
    made = [Row([1] * 50, [2] * t) for t in (3, 12, 7, 150)]
    assert [sorted(g) for g in by_token_budget(made)] == [[0, 1, 2], [3]]
