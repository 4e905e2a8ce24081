"""The NLI verifier: classes read from the config, decisions by hand, a real cross-encoder of random weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sentence_transformers import CrossEncoder

from guardrail.errors import ModelError
from guardrail.verification import NliVerifier
from tests.helpers.random_nli import NLI, save_nli
from tests.helpers.worded_verifications import claim, finder, passage


class Table:
    """A cross-encoder that looks its probabilities up by premise: contradiction, entailment, neutral."""

    def __init__(self, rows, labels=NLI):
        self.config, self.rows, self.pairs = SimpleNamespace(id2label=labels), rows, []

    def predict(self, pairs, **options):
        assert options["apply_softmax"]
        self.pairs += pairs
        return [self.rows[premise] for premise, _ in pairs]


def said(by_sentence, by_passage, bound=0.9):
    text = "Lima is the capital. It is big."
    table = Table({"Lima is the capital.": by_sentence, text: by_passage})
    [v] = NliVerifier(table, bound=bound, premises=finder()).verify(
        [claim("Lima is the capital.")], [[passage(text)]], question=""
    )
    return v


@pytest.mark.parametrize(
    ("by_sentence", "by_passage", "support", "p"),
    [
        ((0.02, 0.95, 0.03), (0.1, 0.2, 0.7), "supported", 0.95),
        ((0.1, 0.2, 0.7), (0.02, 0.9, 0.08), "supported", 0.9),
        ((0.1, 0.89, 0.01), (0.1, 0.2, 0.7), "not found", 0.89),
        ((0.95, 0.02, 0.03), (0.1, 0.2, 0.7), "contradicted", 0.2),
        ((0.95, 0.02, 0.03), (0.02, 0.95, 0.03), "not found", 0.95),
        ((float("nan"), 0.95, 0.03), (0.02, 0.95, 0.03), "not found", None),
        ((0.02, 0.95, float("inf")), (0.02, 0.95, 0.03), "not found", None),
    ],
)
def test_decisions_by_hand(by_sentence, by_passage, support, p):
    v = said(by_sentence, by_passage)
    assert (v.support, v.p_supported) == (support, p)
    assert bool(v.evidence) == (support != "not found")
    assert "\n" not in v.method


@pytest.mark.parametrize(
    "labels", [{0: "LABEL_0"}, {}, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, {0: "entailment", 1: "not_entailment"}]
)
def test_a_model_with_other_classes_is_refused_by_name(labels):
    with pytest.raises(
        ModelError, match="Table is no NLI model: its classes are .* not entailment, contradiction, neutral"
    ):
        NliVerifier(Table({}, labels))


@pytest.mark.parametrize("bound", [0.5, 1.1, float("nan")])
def test_a_bound_that_both_sides_can_reach_is_refused(bound):
    with pytest.raises(ModelError, match="the bound of an NLI verifier"):
        NliVerifier(Table({}), bound=bound)


def test_a_model_loads_late_and_loudly():
    verifier = NliVerifier("no/such/model", premises=finder())
    assert verifier.verify([claim("Lima.")], [[]], question="")[0].support == "not found"
    with pytest.raises(ModelError, match="cannot load the cross-encoder 'no/such/model'"):
        verifier.verify([claim("Lima.")], [[passage("Lima.")]], question="")


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    return save_nli(tmp_path_factory.mktemp("nli"))


def test_a_real_cross_encoder_batched_and_one_by_one(cross_encoder):
    claims = [claim("Lima is the capital of Peru."), claim("Bern is big."), claim("")]
    evidence = [
        [passage("Lima is big. Lima is the capital."), passage("Peru is big. " * 60)],
        [passage("Bern is the capital.")],
        [],
    ]
    verifier = NliVerifier(cross_encoder, bound=0.51, premises=finder(min_similarity=0.1))
    together = verifier.verify(claims, evidence, question="")
    alone = [verifier.verify([c], [e], question="")[0] for c, e in zip(claims, evidence, strict=True)]
    assert [v.support for v in together] == [v.support for v in alone]
    assert [v.p_supported for v in together] == pytest.approx([v.p_supported for v in alone], abs=1e-5)
    given = NliVerifier(CrossEncoder(cross_encoder, device="cpu"), premises=finder(min_similarity=0.1), bound=0.51)
    assert [v.p_supported for v in given.verify(claims, evidence, question="")] == pytest.approx(
        [v.p_supported for v in together], abs=1e-5
    )
    assert together[0].p_supported is not None
    assert 0 <= together[0].p_supported <= 1
