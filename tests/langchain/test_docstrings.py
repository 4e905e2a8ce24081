"""The examples in the docstrings of public classes run as printed, on a tiny model."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest
from doubles import Passages
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from guardrail import Guard
from guardrail.testing import tiny_local_model

MODULES = [
    *("langchain.callback", "langchain.gate", "langchain.middleware", "langchain.runnable", "telemetry"),
    *("langchain.chat", "langchain.convert", "langchain.metadata", "langchain.tool_calls"),
]


@pytest.fixture(scope="module")
def names():
    """What the examples take as given."""
    local = tiny_local_model(vocab_size=261)
    model = FakeListChatModel(responses=["Paris."])
    prompt = ChatPromptTemplate.from_template("{question}")
    return {
        "Guard": Guard, "RunnablePassthrough": RunnablePassthrough, "chain": model, "create_agent": create_agent,
        "guard": Guard(model=local, policy="observe"), "index": Passages(queries=[]), "local": local, "model": model,
        "parser": StrOutputParser(), "prompt": prompt, "tools": [],
    }  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_docstring(name, names):
    result = doctest.testmod(import_module(f"guardrail.{name}"), extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
