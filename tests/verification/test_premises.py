"""The part of a passage that speaks of a claim, and the search for passages."""

from __future__ import annotations

import pytest

from guardrail.errors import RetrievalError
from guardrail.verification import PremiseFinder, evidence_for
from guardrail.verification.search import query_for
from tests.helpers.worded_verifications import WordEmbeddings, claim, finder, passage

TEXT = "Peru lies in South America. The capital of Peru is Lima. People pay with the sol."


def test_the_nearest_sentence_and_its_cosine():
    [[premise]] = finder().find([claim("The capital of Peru is Bern.")], [[passage(TEXT)]], "")
    assert premise.sentence == "The capital of Peru is Lima."
    assert premise.similarity == pytest.approx(5 / 6)
    assert (premise.text, premise.evidence) == (TEXT, 0)


def test_most_similar_passage_first_and_none_below_the_bound():
    passages = [passage("Nothing else."), passage("Peru is big."), passage(TEXT)]
    [found] = finder(min_similarity=0.2).find([claim("The capital of Peru is Lima.")], [passages], "")
    assert [p.evidence for p in found] == [2, 1]


def test_a_heading_stays_with_its_text():
    [[premise]] = finder().find(
        [claim("The capital is Lima.")], [[passage("# Peru\n\nThe capital is Lima.\n\n# Chile\n\nSantiago.")]], ""
    )
    assert premise.text == "Peru\nThe capital is Lima."
    assert premise.sentence == "The capital is Lima."


@pytest.mark.parametrize("text", ["", "  \n ", "...", "---\n***", "\ud800", "😀"])
def test_a_passage_without_words_is_no_premise(text):
    assert finder().find(
        [claim("The capital of Peru is Lima."), claim("")], [[passage(text)], [passage(TEXT)]], ""
    ) == [[], []]


def test_of_a_huge_passage_a_bounded_part_is_read():
    embeddings = WordEmbeddings()
    huge = passage("The sun is hot. " * 100_000 + "The capital of Peru is Lima.")
    found = PremiseFinder(embeddings, max_sentences=50).find([claim("The capital of Peru is Lima.")], [[huge]], "")
    assert len(embeddings.texts) == 2
    assert all(len(p.text) <= 800 for premises in found for p in premises)


def test_every_text_is_embedded_once():
    embeddings = WordEmbeddings()
    PremiseFinder(embeddings).find([claim("Lima."), claim("Lima."), claim("Peru.")], [[passage(TEXT)]] * 3, "")
    assert len(embeddings.texts) == len(set(embeddings.texts)) == 5


def test_not_even_the_embedding_model_loads_without_passages():
    assert PremiseFinder("no/such-model").find([claim("Lima.")], [[]], "") == [[]]


@pytest.mark.parametrize(
    ("text", "kind", "query"),
    [
        ("Lima is in Peru.", "sentence", "Lima is in Peru."),
        ("It has\n10 million people.", "sentence", "Tell me about Lima. It has 10 million people."),
        ("**Their** capital", "sentence", "Tell me about Lima. **Their** capital"),
        ("Italy is large.", "sentence", "Italy is large."),
        ("population: 10 million", "item", "Tell me about Lima. population: 10 million"),
        ("Lima is the capital of Peru.", "item", "Lima is the capital of Peru."),
        ("Peru | 34", "row", "Tell me about Lima. Peru | 34"),
        ("  ", "sentence", ""),
    ],
)
def test_what_is_searched_for(text, kind, query):
    assert query_for(claim(text, kind), "Tell me about  Lima.") == query


class Searched:
    """Finds the query itself, and counts."""

    def __init__(self, failure=None):
        self.queries, self.failure = [], failure

    def invoke(self, query):
        from langchain_core.documents import Document

        self.queries.append(query)
        if self.failure:
            raise self.failure
        return [Document(page_content=f"{query} {i}", metadata={"source": "s"}) for i in range(5)]


def test_one_search_for_each_different_claim():
    retriever = Searched()
    found = evidence_for(retriever, [claim("Lima."), claim("It is big."), claim("Lima."), claim(" ")], "Peru?", 2)
    assert retriever.queries == ["Lima.", "Peru? It is big."]
    assert [[e.text for e in es] for es in found] == [
        ["Lima. 0", "Lima. 1"],
        ["Peru? It is big. 0", "Peru? It is big. 1"],
        ["Lima. 0", "Lima. 1"],
        [],
    ]
    assert evidence_for(retriever, [], "Peru?", 2) == []


def test_a_failing_retriever_stays_loud():
    with pytest.raises(RetrievalError, match="the retriever Searched failed: KeyError"):
        evidence_for(Searched(KeyError("x")), [claim("Lima.")], "", 1)
