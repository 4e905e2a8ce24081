"""Retrieval when the model is unsure: any LangChain retriever; here, passages in a list."""

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from guardrail import Guard


class Notes(BaseRetriever):
    """A retriever of your own: everything that shares a word with the question."""

    notes: list[str]

    def _get_relevant_documents(self, query, *, run_manager):
        words = {word.strip("?.,").lower() for word in query.split() if len(word) > 4}
        found = [note for note in self.notes if words & {w.strip(".,").lower() for w in note.split()}]
        return [Document(page_content=note, metadata={"source": "notes"}) for note in found]


notes = Notes(
    notes=["Burkina Faso is a country in Africa. Its capital is Ouagadougou.", "The Moldau flows through Prague."]
)
verdict = Guard.from_pretrained("smollm2-135m", retriever=notes).answer("What is the capital of Burkina Faso?")
print("actions:  ", " → ".join(verdict.actions))
print("before:   ", verdict.original)
print("evidence: ", verdict.evidence[0].text)
print("after:    ", verdict.answer)
print("shown:    ", verdict.text)
