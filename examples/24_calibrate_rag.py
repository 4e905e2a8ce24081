"""A chain that looks passages up and puts them into its own prompt, calibrated as it is."""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

import guardrail
from guardrail.data import passages_path
from guardrail.langchain import ChatGuarded, read_metadata

prompt = ChatPromptTemplate([("human", "Context:\n{context}\n\nAnswer in a few words: {question}")])
model = guardrail.load_model("smollm2-135m")
retriever = guardrail.load_retriever(passages_path(), 1)


def passages(question):
    """What is found, which may be about something else: the calibration sees that, too."""
    return "\n".join(found.page_content for found in retriever.invoke(question))


looked_up = {"context": passages, "question": RunnablePassthrough()} | prompt
chain = looked_up | ChatGuarded(model=model, policy="observe", max_tokens=12) | StrOutputParser()
fit = guardrail.calibrate_chain(chain, "bundled", limit=40)  # few, to be quick: take 400 or more
for name, own in fit.calibrator.contexts.items():
    print(f"{name}: {own.n} answers, {own.n_correct} right; around the passages and the question: {own.source['user']}")

guarded = looked_up | ChatGuarded(model=model, calibrator=fit.calibrator, max_tokens=12)
told = read_metadata(guarded.invoke("What is the capital of Burkina Faso?"))
print(f"{told['action']}, {told['confidence']:.2f}, {told['basis']}")
