"""Docstrings of the public names are Google style and name every parameter, so that editors and the site can read them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.load import Serializable
from langchain_core.retrievers import BaseRetriever
from typing_extensions import is_typeddict

import guardrail.langchain
import guardrail.testing

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Example|Examples|Note):$")
ITEM = re.compile(r"^    (\*{0,2}\w+)(?: \(.+\))?: \S")
OTHERS = ("METADATA_VERSION", "VERDICT_EVENT")
CALLABLE = [
    *(getattr(guardrail, name) for name in guardrail.__all__ if callable(getattr(guardrail, name))),
    *(getattr(guardrail.langchain, name) for name in guardrail.langchain.__all__ if name not in OTHERS),
    *(getattr(guardrail.testing, name) for name in ("tiny_local_model", "tiny_model", "tiny_tokenizer")),
]


def sections(docstring: str) -> dict[str, list[str]]:
    """Section -> the names of its items; raises `ValueError` for a line that is no part of one."""
    found: dict[str, list[str]] = {}
    current = None
    for line in docstring.splitlines():
        if title := SECTION.match(line):
            current = title[1]
            if current in found:
                raise ValueError(f"there are two sections {current!r}")
            found[current] = []
        elif line and not line.startswith(" "):
            if current is not None:
                raise ValueError(f"{line!r} stands after the section {current!r}")
        elif current in ("Args", "Attributes", "Raises") and line.strip() and not line.startswith(" " * 8):
            item = ITEM.match(line)
            if item is None:
                raise ValueError(f"{line!r} is no item of {current!r}")
            found[current].append(item[1])
    if empty := [title for title in ("Args", "Attributes", "Raises") if found.get(title) == []]:
        raise ValueError(f"the section {empty[0]!r} is empty")
    return found


def parameters(value: Callable[..., Any]) -> set[str]:
    if inspect.isclass(value) and issubclass(value, Exception) and "__init__" not in vars(value):
        return set()  # a message, as every exception takes one
    if is_typeddict(value):
        return set(value.__annotations__)
    if inspect.isclass(value) and issubclass(value, Serializable):  # LangChain's own fields are documented there
        theirs = {
            name for base in (BaseChatModel, BaseRetriever) if issubclass(value, base) for name in base.model_fields
        }
        return {name for name in value.model_fields if name not in theirs}
    return set(inspect.signature(value).parameters) - {"self"}


@pytest.mark.parametrize("value", CALLABLE, ids=lambda value: value.__name__)
def test_every_parameter_is_named(value: Callable[..., Any]) -> None:
    docstring = inspect.getdoc(value) or ""
    found = sections(docstring)
    assert docstring.splitlines()[0].endswith((".", "?")), "the first line is a sentence"
    named = {*found.get("Args", ()), *found.get("Attributes", ())}
    assert parameters(value) <= named
    if inspect.isfunction(value):
        assert set(found["Args"]) == parameters(value), "what is no parameter is no argument"
        assert "Returns" in found


@pytest.mark.parametrize("value", CALLABLE, ids=lambda value: value.__name__)
def test_what_is_raised_is_an_error_of_ours(value: Callable[..., Any]) -> None:
    for raised in sections(inspect.getdoc(value) or "").get("Raises", ()):
        assert issubclass(getattr(guardrail, raised), guardrail.GuardrailError)


@pytest.mark.parametrize(
    ("docstring", "says"),
    [
        ("Does.\n\nArgs:\n    a: One.\n\nMore prose.", "stands after the section"),
        ("Does.\n\nArgs:\n    one, two: Both.", "no item"),
        ("Does.\n\nArgs:\n\nReturns:\n    It.", "is empty"),
        ("Does.\n\nArgs:\n    a: One.\n\nArgs:\n    b: Two.", "two sections"),
    ],
)
def test_the_parser_refuses_what_is_none(docstring: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sections(docstring)
