"""A tiny chain, and rows that it gets right. Not a test."""

from __future__ import annotations

import json

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from guardrail.langchain import ChatGuarded
from guardrail.runs.returned import text_of
from guardrail.testing import tiny_model, tiny_tokenizer

LENGTH = 6
SYSTEM = "You are brief."
FITTED = [n for n in range(100, 220) if n % 3]
HELD_OUT = [n for n in range(100, 220) if n % 3 == 0]
PROMPT = ChatPromptTemplate([("system", SYSTEM), ("human", "Question: {question}\nAnswer:")])


def saved_model(folder):
    """A folder that `load_model` reads."""
    tiny_model(vocab_size=261, max_position_embeddings=512).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def chat(local, calibrator=None, policy="observe"):
    return ChatGuarded(model=local, calibrator=calibrator, policy=policy, max_tokens=LENGTH)


def rows(path, chain, numbers, more=()):
    """The chain's own answers are the accepted ones for every other question."""
    with path.open("w") as file:
        for i in numbers:
            question = f"What is number {i}?"
            said = text_of(chain.invoke(question)) if i % 2 else "nothing"
            accepted = said if any(c.isalnum() for c in said) else "nothing"
            file.write(json.dumps({"question": question, "answers": [accepted]}) + "\n")
        for row in more:
            file.write(json.dumps(row) + "\n")
    return path


def either(local):
    """A chain that asks a plain question, or one under a system message, by turns."""
    system = PROMPT | chat(local) | StrOutputParser()
    plain = chat(local) | StrOutputParser()
    return RunnableLambda(lambda question: (system if int(question[15:-1]) % 4 < 2 else plain).invoke(question))
