"""What a chain returned, as text, and whether a model's answer is in it."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel

from guardrail.runs.returned import holds, text_of


class City(BaseModel):
    name: str
    people: int | None = None


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (None, ""),
        ("Paris", "Paris"),
        (AIMessage("Paris"), "Paris"),
        (AIMessage([{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}]), "Paris"),
        ({"messages": [HumanMessage("Where?"), AIMessage("Paris")]}, "Paris"),
        ({"messages": [AIMessage("Done")], "structured_response": City(name="Paris")}, "Paris"),
        ([AIMessage("Lyon"), AIMessage("Paris")], "Paris"),
        ({"answer": "Paris", "sources": ["a", "b"]}, "Paris"),
        ({"capital": "Paris"}, "Paris"),
        ({"capital": {"name": "Paris", "note": ""}}, "Paris"),
        (City(name="Paris"), "Paris"),
        (City(name="Paris", people=2), '{"name": "Paris", "people": 2}'),
        ({"capital": "Paris", "river": "Seine"}, '{"capital": "Paris", "river": "Seine"}'),
        ({"raw": AIMessage("{}"), "parsed": {"name": "Paris"}, "parsing_error": None}, "Paris"),
        ({"raw": AIMessage("no JSON"), "parsed": None, "parsing_error": ValueError("no JSON")}, ""),
        (7, "7"),
        ({}, ""),
        ([], ""),
        (ToolMessage("Paris", tool_call_id="1"), "Paris"),
    ],
)
def test_text(returned, text):
    assert text_of(returned) == text


@pytest.mark.parametrize(
    ("text", "answer", "held"),
    [
        ("Paris", "Paris.", True),
        ("PARIS", "It is Paris", True),
        ("The answer: it is Paris!", "It is\nParis.", True),
        ("7", "17", False),
        ("Paris", "Lyon", False),
        ("Paris", "", False),
        ("", "Paris", False),
        ("?!", "?!", True),
        ("Paris", "?!", False),
        ('{"name": "Paris", "people": 2}', '```json\n{"name":"Paris","people":2}\n```', True),
    ],
)
def test_what_holds_an_answer(text, answer, held):
    assert holds(text, answer) is held
