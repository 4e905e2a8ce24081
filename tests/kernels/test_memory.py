"""What does not fit is halved and tried again; one row that does not fit is an error with advice."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from guardrail.errors import ModelError, ScoringError
from guardrail.kernels.memory import halve_on_out_of_memory, is_out_of_memory
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model
from tests.helpers.limited_memory import limit_memory


def real_allocation_failure() -> BaseException:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


def test_recognises_real_failures():
    assert is_out_of_memory(real_allocation_failure())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(KeyError("out of memory"))


def test_halves_until_it_fits_and_keeps_the_order():
    sizes = []

    def work(rows):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise real_allocation_failure()
        return [row * 10 for row in rows]

    assert halve_on_out_of_memory(work, list(range(7)), lambda _: ModelError("")) == [0, 10, 20, 30, 40, 50, 60]
    assert sizes == [7, 3, 1, 2, 4, 2, 2]


def test_other_errors_come_through():
    def work(rows):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        halve_on_out_of_memory(work, [1, 2], lambda _: ModelError(""))


def test_scores_and_answers_are_those_of_enough_memory():
    local = tiny_local_model()
    scorer = HybridGradScorer(local)
    questions = ["Who?", "What is it?", "And where, if at all?", "When?", "Why so?"]
    traces = [replace(t, text="x") for t in local.generate_batch(questions, max_new_tokens=4, keep=scorer.keep)]
    scores = scorer.score_traces(traces)
    limit_memory(local, rows=2)
    again = [replace(t, text="x") for t in local.generate_batch(questions, max_new_tokens=4, keep=scorer.keep)]
    assert [t.response_ids for t in again] == [t.response_ids for t in traces]
    assert [s.hybridgrad for s in scorer.score_traces(again)] == pytest.approx([s.hybridgrad for s in scores], rel=1e-4)


def test_one_row_that_does_not_fit():
    local = tiny_local_model()
    scorer = HybridGradScorer(local, semantic_token=-2)
    limit_memory(local, rows=0)
    with pytest.raises(ModelError, match="ran out of memory; shorten it"):
        local.generate("Who?")
    with pytest.raises(ScoringError, match="one answer of 2 tokens after a prompt of 3 ran out of memory"):
        scorer.score([5, 6, 7], [8, 9])


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_a_token_budget_changes_nothing_but_memory(budget):
    local = tiny_local_model()
    pairs = [([5, 6, 7, 8] * n, [9, 10, 11]) for n in (1, 2, 5, 9)]
    whole = HybridGradScorer(local, semantic_token=-2).score_batch(pairs)
    parts = HybridGradScorer(local, semantic_token=-2, tokens_per_pass=budget).score_batch(pairs)
    assert [s.hybridgrad for s in parts] == pytest.approx([s.hybridgrad for s in whole], rel=1e-4)
    with pytest.raises(ScoringError, match="tokens_per_pass is 0"):
        HybridGradScorer(local, semantic_token=-2, tokens_per_pass=0)
