"""The default retriever with the real embedding model, over a small folder."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from guardrail.errors import RetrievalError
from guardrail.retrieval import MIN_SIMILARITY, find_evidence, load_retriever
from guardrail.retrieval.embedding_spec import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.retrievers import BaseRetriever

FACTS = {
    "burkina_faso.md": "# Burkina Faso\n\nIts capital is Ouagadougou.\n\nUntil 1984 it was called Upper Volta.",
    "elements.txt": "Gold has the symbol Au.\n\nSilver has the symbol Ag.\n\nIron has the symbol Fe.",
    "books.txt": "Jane Austen wrote Pride and Prejudice.",
}


def test_the_alias_is_the_packaged_model_and_anything_else_is_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = resolve("all-minilm-l6-v2")
    assert os.path.isfile(os.path.join(packaged, "modules.json"))
    assert resolve("org/model") == "org/model"
    assert resolve(str(tmp_path)) == str(tmp_path)
    monkeypatch.setattr("guardrail.retrieval.embedding_spec.find_spec", lambda name: None)
    assert resolve("all-minilm-l6-v2") == "sentence-transformers/all-MiniLM-L6-v2"


def test_bad_files_fail_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(RetrievalError, match="no such file or folder"):
        load_retriever(tmp_path / "missing")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts")
    for name, text in FACTS.items():
        (path / name).write_text(text)
    return path


@pytest.fixture(scope="module")
def retriever(folder: Path) -> BaseRetriever:
    return load_retriever(folder)


@pytest.mark.real_model
@pytest.mark.parametrize(
    ("question", "text", "source"),
    [
        ("What is the capital of Burkina Faso?", "Burkina Faso\nIts capital is Ouagadougou.", "burkina_faso.md"),
        (
            "What was Burkina Faso called before?",
            "Burkina Faso\nUntil 1984 it was called Upper Volta.",
            "burkina_faso.md",
        ),
        ("What is the chemical symbol of gold?", "Gold has the symbol Au.", "elements.txt"),
        ("Who is the author of Pride and Prejudice?", "Jane Austen wrote Pride and Prejudice.", "books.txt"),
    ],
)
def test_the_right_passage_comes_first(retriever: BaseRetriever, question: str, text: str, source: str) -> None:
    found = find_evidence(retriever, question, 3)
    assert (found[0].text, found[0].source) == (text, source)
    similarities = [evidence.similarity or 0.0 for evidence in found]
    assert similarities == sorted(similarities, reverse=True)
    assert MIN_SIMILARITY <= similarities[-1] <= similarities[0] <= 1.0
    assert find_evidence(retriever, question, 1) == found[:1]


@pytest.mark.real_model
@pytest.mark.parametrize("question", ["Who painted the Mona Lisa?", "How many moons has Mars?", "Tell me a joke."])
def test_a_question_on_another_topic_finds_nothing(retriever: BaseRetriever, question: str) -> None:
    assert find_evidence(retriever, question, 3) == ()


@pytest.mark.real_model
def test_options_and_progress(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    everything = load_retriever(folder, 2, min_similarity=-1.0, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 6), (6, 6)]
    assert len(find_evidence(everything, "Who painted the Mona Lisa?", 9)) == 2


@pytest.mark.real_model
def test_an_embedding_model_that_is_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="cannot load the embedding model") as caught:
        load_retriever(folder, embedding=str(tmp_path))
    assert "\n" not in str(caught.value)
