"""Passages that help and passages about something else: the answer repeats both, the confidence tells them apart."""

from langchain_core.documents import Document

from guardrail import Guard, load_model

QUESTION = "What is the capital of Burkina Faso?"
model = load_model("smollm2-135m")


class Shelf:
    """Finds the same passage, whatever is asked; any LangChain retriever will do."""

    def __init__(self, text):
        self.text = text

    def invoke(self, query, /):
        return [Document(self.text)]


# `guardrail calibrate DATA.jsonl --retriever DIR -o c.json` fits such a calibrator on a model and passages of yours
for text in (
    "Burkina Faso is a country in Africa. Its capital is Ouagadougou.",
    "Peru is a country in South America. The capital of Peru is Lima.",
):
    verdict = Guard(model=model, policy="retrieve_first", retriever=Shelf(text)).answer(QUESTION)
    confidence = verdict.confidence
    print(f"{verdict.answer}  {confidence.p_correct:.2f}, {confidence.label}, {confidence.basis}: {verdict.action}")
