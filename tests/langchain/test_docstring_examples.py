"""The examples in the docstrings of public classes run as printed, on a tiny model."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from importlib import import_module

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

import guardrail.langchain
from guardrail import Guard
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import Passages

MODULES = [
    *("langchain.callback", "langchain.gate", "langchain.middleware", "langchain.runnable", "observers.telemetry"),
    *("langchain.chat", "langchain.convert", "langchain.metadata", "langchain.stated", "langchain.tool_calls"),
    "langchain.turns",
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


@pytest.mark.parametrize("name", guardrail.langchain.__all__)
def test_every_public_name_is_shown(name):
    """By an example in its own docstring, which runs above; a constant by its module's or another name's."""
    value = getattr(guardrail.langchain, name)
    if not callable(value):
        source = inspect.getsource(import_module(guardrail.langchain._LAZY[name]))
        assert f"\n{name} = " in source
        assert re.search(rf'\n{name} = .*\n"""\w', source)
        return
    assert value.__module__.removeprefix("guardrail.") in MODULES
    assert doctest.DocTestParser().get_examples(inspect.getdoc(value) or "")


def public_functions():
    """Functions and methods of the modules behind the public names, with the docstrings of their classes."""
    for module in sorted(set(guardrail.langchain._LAZY.values())):
        for node in ast.parse(inspect.getsource(import_module(module))).body:
            inside = node.body if isinstance(node, ast.ClassDef) else []
            around = ast.get_docstring(node) or "" if isinstance(node, ast.ClassDef) else ""
            for function in (node, *inside):
                named = isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and function.name
                if named and not node.name.startswith("_") and not named.startswith("_"):
                    yield pytest.param(function, around, id=f"{module.split('.')[-1]}.{node.name}.{named}")


@pytest.mark.parametrize(("function", "around"), public_functions())
def test_errors_are_documented(function, around):
    own = ast.get_docstring(function) or ""
    assert own
    raised = {n.exc.func.id for n in ast.walk(function) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)}
    assert all(error in own + around for error in raised), raised
