"""What compares answers fails, lies, or gives what is no number: the answer is unscored, in words."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from guardrail import Guard
from guardrail.errors import GuardrailError, PartError
from guardrail.scoring.baselines.embedding_equivalence import EmbeddingEquivalence
from guardrail.scoring.baselines.equivalence import Comparison, compare_all
from guardrail.scoring.baselines.nli_equivalence import NliEquivalence
from guardrail.scoring.baselines.sar import Sar
from guardrail.scoring.baselines.self_consistency import SelfConsistency
from guardrail.scoring.baselines.semantic_density import SemanticDensity
from guardrail.scoring.baselines.semantic_entropy import SemanticEntropy
from guardrail.testing import tiny_local_model
from tests.faults.outcomes import WRONG
from tests.faults.test_out_of_memory import ERRORS


class Embeds:
    def __init__(self, value):
        self.value = value

    def embed_documents(self, texts):
        return [[self.value, 0.0] for _ in texts]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_answers_compared_by_embeddings_that_are_no_numbers_are_unscored(value):
    local = tiny_local_model(vocab_size=261)
    scorer = SemanticEntropy(local, equivalence=EmbeddingEquivalence(Embeds(value)), samples=4, temperature=2.0)
    [score] = scorer.score_traces([local.generate("Who?", max_new_tokens=4)])
    assert (score.unscored, score.number) == ("not_finite", None)


class CrossEncoder:
    """Real in what it is asked; its answer is the fault's."""

    def __init__(self, fault):
        names = ("contradiction", "entailment", "neutral")
        self.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(names)), _name_or_path="nli"))
        self.fault = fault

    def predict(self, pairs, **_):
        return self.fault(len(pairs))


def raises(_):
    raise ValueError("a tokenizer without a token")


def runs_out(_):
    raise ERRORS["CUDA"]()


FAULTS = {
    "raises": (raises, "error"),
    "runs out of memory": (runs_out, "out_of_memory"),
    "NaN": (lambda n: np.full((n, 3), math.nan), "not_finite"),
    "infinity": (lambda n: np.full((n, 3), -math.inf), "not_finite"),
    "NaN once": (lambda n: np.array([[math.nan] * 3] + [[0.1, 0.8, 0.1]] * (n - 1)), "not_finite"),
    "nothing": (lambda n: None, "error"),
    "too few": (lambda n: np.full((n - 1, 3), 1 / 3), "error"),
    "other classes": (lambda n: np.full((n, 2), 0.5), "error"),
    "logits": (lambda n: np.tile([5.0, -3.0, 7.0], (n, 1)), "error"),
    "below zero": (lambda n: np.tile([-1.0, 1.0, 1.0], (n, 1)), "error"),
}


SCORERS = (SemanticEntropy, SemanticDensity, SelfConsistency)


def cases(scorers=SCORERS):
    """(what was done, what it came to)."""
    for scorer in scorers:
        local = tiny_local_model(vocab_size=261)
        for name, (fault, _) in FAULTS.items():
            given = scorer(local, equivalence=NliEquivalence(CrossEncoder(fault)), samples=2)
            verdict = Guard(model=local, scorer=given, policy="observe").answer("Who?", max_new_tokens=4)
            score = verdict.score
            closed = score.unscored and score.number is None and score.detail and verdict.confidence.p_correct is None
            yield f"{name}, {given.name}", f"unscored {score.unscored}" if closed else WRONG


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_cross_encoder_that_fails_leaves_the_answer_unscored_in_words(scorer):
    found = dict(cases([scorer]))
    assert len(found) == len(FAULTS)
    for done, outcome in found.items():
        assert outcome == f"unscored {FAULTS[done.split(', ')[0]][1]}", done


@pytest.mark.parametrize("fault", [name for name, (_, unscored) in FAULTS.items() if unscored == "error"])
@pytest.mark.parametrize("scorer", [SemanticEntropy, SemanticDensity, SelfConsistency, Sar])
def test_a_cross_encoder_that_fails_outside_a_guard_is_an_error_of_ours(scorer, fault):
    local = tiny_local_model(vocab_size=261)
    given = scorer(local, equivalence=NliEquivalence(CrossEncoder(FAULTS[fault][0])), samples=4)
    with pytest.raises(GuardrailError, match=r"compar"):
        given.score_traces([local.generate("Who?", max_new_tokens=4)])


def test_a_comparison_of_ones_own_gives_one_result_a_pair():
    class Own:
        options: ClassVar = {"kind": "own"}

        def compare(self, question, left, right):
            return Comparison(np.ones(1, dtype=bool), np.ones(1), np.zeros(1))

    with pytest.raises(PartError, match=r"the comparison of answers \(own\) failed: it gave .* for 3 pairs"):
        compare_all(Own(), "Who?", ["a", "b", "c"])


def test_a_cross_encoder_without_a_fault_gives_a_number():
    local = tiny_local_model(vocab_size=261)
    nli = NliEquivalence(CrossEncoder(lambda n: np.tile([0.8, 0.1, 0.1], (n, 1))))
    [score] = SemanticEntropy(local, equivalence=nli, samples=4).score_traces(
        [local.generate("Who?", max_new_tokens=4)]
    )
    assert score.number == pytest.approx(math.log(4), abs=0.1)
