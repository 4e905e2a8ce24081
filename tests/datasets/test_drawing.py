"""Which rows `--limit` takes: the same in every command, a sample of all, and more of them for a larger limit."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.datasets.claims import load_claim_rows_from
from guardrail.datasets.drawing import check_limit, drawn
from guardrail.datasets.questions import load_data
from guardrail.errors import DataError


@given(st.lists(st.text(), unique=True, max_size=50), st.integers(1, 60), st.integers(0, 60), st.randoms())
def test_a_larger_limit_keeps_what_a_smaller_one_drew_and_the_order_of_the_file_does_not_matter(names, n, more, chance):
    rows = {name: name for name in names}
    some = drawn(rows, n)
    assert len(some) == min(n, len(rows))
    assert some == [name for name in names if name in some]
    assert set(some) <= set(drawn(rows, n + more))
    chance.shuffle(names)
    assert set(drawn({name: name for name in names}, n)) == set(some)


def test_it_is_a_sample_of_a_sorted_file():
    rows = {f"question {i}": i for i in range(1000)}
    found = drawn(rows, 200)
    assert 400 < sum(found) / len(found) < 600


def test_a_limit_is_at_least_one():
    check_limit(None)
    with pytest.raises(DataError, match="here, a limit must be at least 2, not 1"):
        check_limit(1, 2, "here, ")


def test_every_command_draws_the_same_questions(tmp_path):
    questions = [f"Question {i}?" for i in range(40)]

    def written(name, **answer):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"question": question, **answer}) + "\n" for question in questions))
        return path

    one, facts = written("one", answers=["a"]), written("facts", facts=[{"about": ["x"], "values": ["y"]}])
    random.Random(1).shuffle(questions)
    other = written("other", answers=["a"])
    asked = [{row.question for row in load_data(str(path), "heldout", 10).rows} for path in (one, other)]
    claims = {row.question for row in load_claim_rows_from(str(facts), "heldout", 10)}
    assert asked[0] == asked[1] == claims


def test_the_bundled_held_out_questions_are_drawn_from_all_kinds():
    kinds = [row.extra["kind"] for row in load_data("bundled", "heldout", 100).rows]
    first = [row.extra["kind"] for row in load_data("bundled", "heldout").rows[:100]]
    assert len(set(kinds)) > len(set(first))
