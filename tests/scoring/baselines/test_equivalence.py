"""When two answers say the same: by words, by embeddings, by a real (tiny, random) NLI cross-encoder and by a scripted one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from guardrail.errors import ScoringError
from guardrail.scoring.baselines.embedding_equivalence import EmbeddingEquivalence
from guardrail.scoring.baselines.equivalence import TokenF1, compare_all, token_f1
from guardrail.scoring.baselines.nli_equivalence import NliEquivalence

PLANE = {"east": [1.0, 0.0], "north": [0.0, 1.0], "west": [-1.0, 0.0], "north-east": [0.6, 0.8]}


class Plane(Embeddings):
    """Unit vectors of the plane; counts what it embeds."""

    def __init__(self):
        self.embedded: list[str] = []

    def embed_documents(self, texts):
        self.embedded += texts
        return [PLANE[text] for text in texts]

    def embed_query(self, text):
        raise NotImplementedError


def test_f1_of_words_by_hand():
    assert token_f1("the Nile", "Nile") == pytest.approx(2 / 3)
    assert token_f1("a a b", "a b b") == pytest.approx(2 * 2 / 6)
    assert token_f1("Paris.", "paris") == 1
    assert token_f1("", "Nile") == 0
    assert token_f1("", "?") == 1
    found = TokenF1(0.25).compare("", ["a b c d", "a b c"], ["a x y z", "a x y"])
    assert found.similarity.tolist() == pytest.approx([1 / 4, 1 / 3])
    assert found.same.tolist() == [False, True]  # exceeds, not reaches


def test_cosines_by_hand():
    found = EmbeddingEquivalence(Plane(), threshold=0.6).compare("?", ["east"] * 3, ["north", "west", "north-east"])
    assert found.same.tolist() == [False, False, True]
    assert found.similarity.tolist() == pytest.approx([0, 0, 0.6])
    assert found.distance2.tolist() == pytest.approx([0.5, 1, 0.2])


def test_the_words_of_the_question_are_left_out_where_something_remains():
    plane, question = Plane(), "Is the wind east or west?"
    made = EmbeddingEquivalence(plane, threshold=0.6)
    assert made.compare(question, ["The wind is north."], ["north"]).similarity.tolist() == [1]
    assert made.compare(question, ["west"], ["east"]).distance2.tolist() == [1]  # nothing would remain: whole
    assert set(plane.embedded) == {"north", "west", "east"}


def test_every_text_is_compared_with_every_other_and_copies_cost_nothing():
    plane = Plane()
    found = compare_all(EmbeddingEquivalence(plane), "?", ["east", "north", "east", "north-east"])
    assert sorted(plane.embedded) == ["east", "north", "north-east"]
    assert found.similarity == pytest.approx(
        np.array([[1, 0, 1, 0.6], [0, 1, 0, 0.8], [1, 0, 1, 0.6], [0.6, 0.8, 0.6, 1]])
    )
    assert found.same.tolist() == [
        [True, False, True, False],
        [False, True, False, True],
        [True, False, True, False],
        [False, True, False, True],
    ]
    assert found.distance2.diagonal().tolist() == [0] * 4
    assert compare_all(TokenF1(), "?", ["x"]).same.tolist() == [[True]]


class Script:
    """A cross-encoder that answers from a table of class probabilities, in the order contradiction, entailment, neutral."""

    def __init__(self, table, labels=("contradiction", "entailment", "neutral")):
        self.table, self.calls = table, []
        self.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(labels)), _name_or_path="script"))

    def predict(self, pairs, **options):
        assert options["apply_softmax"]
        self.calls.append(pairs)
        return np.array([self.table[tuple(pair)] for pair in pairs])


def test_entailment_counts_in_both_directions_and_the_question_is_the_context():
    script = Script(
        {
            ("Q? a", "Q? b"): [0.1, 0.7, 0.2],
            ("Q? b", "Q? a"): [0.2, 0.5, 0.3],
            ("Q? a", "Q? c"): [0.0, 0.9, 0.1],
            ("Q? c", "Q? a"): [0.1, 0.3, 0.6],  # c is more general: one direction only
        }
    )
    found = NliEquivalence(script).compare("Q?", ["a", "a"], ["b", "c"])
    assert len(script.calls) == 1  # one batch
    assert found.same.tolist() == [True, False]
    assert found.similarity.tolist() == pytest.approx([0.6, 0.6])
    assert found.distance2.tolist() == pytest.approx([(0.2 + 0.35) / 2, (0.05 + 0.4) / 2])


def test_another_cross_encoder_is_refused():
    with pytest.raises(ScoringError, match=r"classes \['bad', 'good'\]; an NLI model has entailment"):
        NliEquivalence(Script({}, labels=("good", "bad")))


def test_a_real_cross_encoder(tmp_path):
    """A tiny random BERT with three classes, saved and loaded: symmetric numbers in their ranges."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz?",
        *[f"##{c}" for c in "abcdefgh"],
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    names = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=names,
        label2id={v: k for k, v in names.items()},
        initializer_range=1.0,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    for nli in (NliEquivalence(str(tmp_path)), NliEquivalence(sentence_transformers.CrossEncoder(str(tmp_path)))):
        one, two = (
            nli.compare("q ?", *sides) for sides in ((["a b", "c"], ["d", "e f"]), (["d", "e f"], ["a b", "c"]))
        )
        assert one.similarity == pytest.approx(two.similarity, abs=1e-6)
        assert one.distance2 == pytest.approx(two.distance2, abs=1e-6)
        assert one.same.tolist() == two.same.tolist()
        assert all(0 <= x <= 1 for x in [*one.similarity, *one.distance2])
    assert nli.compare("q ?", [], []).same.shape == (0,)


@pytest.mark.parametrize("threshold", [-1.5, 2])
def test_thresholds_that_make_no_sense(threshold):
    with pytest.raises(ScoringError, match="threshold of a cosine"):
        EmbeddingEquivalence(Plane(), threshold=threshold)
    with pytest.raises(ScoringError, match="threshold of F1"):
        TokenF1(threshold)
