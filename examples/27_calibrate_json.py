"""A chain that returns JSON: what is graded is its value, what is scored is the whole answer that it was read from."""

from langchain_core.output_parsers import JsonOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

import guardrail
from guardrail.langchain import ChatGuarded, read_metadata

prompt = ChatPromptTemplate(
    [("human", '{question}\nAnswer with a few words in the field of this JSON: {{"answer": ""}}')]
)
model = guardrail.load_model("smollm2-135m")


def chain_with(chat):
    return prompt | chat | RunnableLambda(lambda message: message.text) | JsonOutputParser()


fit = guardrail.calibrate_chain(
    chain_with(ChatGuarded(model=model, policy="observe", max_tokens=32)), "bundled", limit=60
)  # few, to be quick: take 400 or more
left = {why: n for why, n in fit.left_out.items() if n}  # what is no JSON raises in the parser, and is no answer
print(f"left out: {left}")
for name, own in fit.calibrator.contexts.items():
    print(f"{name}: {own.n} answers, {own.n_correct} right")

told = read_metadata(
    (prompt | ChatGuarded(model=model, calibrator=fit.calibrator)).invoke("What is the capital of Japan?")
)
print(f"{told['action']}, {told['basis']}")
