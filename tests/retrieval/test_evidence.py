"""Any retriever gives evidence or a RetrievalError."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from guardrail.errors import RetrievalError
from guardrail.retrieval import find_evidence
from guardrail.types import Evidence

if TYPE_CHECKING:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun


class Fixed(BaseRetriever):
    """A LangChain retriever that returns, or raises, what it is given."""

    result: Any

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result  # type: ignore[no-any-return]


DOCUMENTS = [
    Document(page_content=" First. ", metadata={"source": "a.md", "similarity": 0.8}),
    Document(page_content="Second.", metadata={"score": 17.0}, id="doc-2"),
    Document(page_content="  "),
    Document(page_content="Third.", metadata={"similarity": float("nan")}),
]


def test_documents_become_evidence() -> None:
    expected = (Evidence("First.", "a.md", 0.8), Evidence("Second.", "doc-2", None), Evidence("Third.", "", None))
    assert find_evidence(Fixed(result=DOCUMENTS), "question", 5) == expected
    assert find_evidence(Fixed(result=DOCUMENTS), "question", 1) == expected[:1]
    assert find_evidence(Fixed(result=[]), "question", 3) == ()


@pytest.mark.parametrize("failure", [ConnectionError("no route\nto host"), KeyError("x"), RuntimeError("down")])
def test_a_failing_retriever_is_a_retrieval_error_with_its_cause(failure: Exception) -> None:
    with pytest.raises(RetrievalError, match=f"the retriever Fixed failed: {type(failure).__name__}: ") as caught:
        find_evidence(Fixed(result=failure), "question", 3)
    assert caught.value.__cause__ is failure
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("result", [None, ["plain text"], 5])
def test_a_retriever_that_returns_something_else_is_a_retrieval_error(result: object) -> None:
    with pytest.raises(RetrievalError, match="the retriever Fixed failed"):
        find_evidence(Fixed(result=result), "question", 3)


def test_a_blank_query_finds_nothing_and_asks_nobody() -> None:
    assert find_evidence(Fixed(result=RuntimeError("asked")), " \n", 3) == ()


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "sentence_transformers", "langchain_core", "numpy")
    code = f"import sys, guardrail.actions, guardrail.retrieval; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
