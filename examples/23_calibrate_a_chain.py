"""A chain with a system message, calibrated as it is: prompt | model | parser."""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

import guardrail
from guardrail.langchain import ChatGuarded, read_metadata

prompt = ChatPromptTemplate([("system", "You answer in a few words."), ("human", "{question}")])
model = guardrail.load_model("smollm2-135m")

# The command line does the same: guardrail calibrate DATA.jsonl --through app.py:chain -o c.json
chain = prompt | ChatGuarded(model=model, policy="observe", max_tokens=12) | StrOutputParser()
fit = guardrail.calibrate_chain(chain, "bundled", limit=40)  # few, to be quick: take 400 or more
for name, own in fit.calibrator.contexts.items():
    print(f"{name}: {own.n} answers, {own.n_correct} right, ECE {own.metrics['ece'].value:.2f}")

guarded = prompt | ChatGuarded(model=model, calibrator=fit.calibrator, max_tokens=12)
told = read_metadata(guarded.invoke("What is the capital of Japan?"))
print(f"{told['action']}, {told['confidence']:.2f}, {told['basis']}")

other = ChatPromptTemplate([("system", "You are a pirate."), ("human", "{question}")])
told = read_metadata((other | guarded.last).invoke("What is the capital of Japan?"))
print(f"{told['basis']}: {told['basis_reason']}")
