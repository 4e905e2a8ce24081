"""An answer read as JSON: only what the policy let through as an answer, and only whole objects."""

from __future__ import annotations

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from guardrail.langchain.structured import json_output

DICT = {"title": "City", "type": "object", "properties": {"name": {"type": "string"}}}
LIMA = '{"name": "Lima"}'


class City(BaseModel):
    name: str


def output(text, schema=City, *, action="answer", include_raw=False):
    """Structured output of a model that says `text` and carries a verdict."""
    said = AIMessage(text, response_metadata={"guardrail": {"version": 1, "action": action}})
    return json_output(GenericFakeChatModel(messages=iter([said])), schema, include_raw)


@pytest.mark.parametrize("text", [LIMA, f" {LIMA}\n", f"```json\n{LIMA}\n```", f"```\n{LIMA}\n```"])
def test_whole_objects_are_read(text):
    assert output(text).invoke("Where?") == City(name="Lima")
    assert output(text, DICT).invoke("Where?") == {"name": "Lima"}


@pytest.mark.parametrize(
    "text", ['{"name": "Li', '{"name": "Lima"', f"```json\n{LIMA}", f"Perhaps: {LIMA}", '{"name": NaN}', "", '"Lima"']
)
@pytest.mark.parametrize("schema", [City, DICT])
def test_what_is_no_whole_object_is_an_error(text, schema):
    with pytest.raises(OutputParserException):
        output(text, schema).invoke("Where?")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"Lima"'])
def test_a_dict_schema_gives_a_dict(text):
    with pytest.raises(OutputParserException, match="no object"):
        output(text, DICT).invoke("Where?")


@pytest.mark.parametrize("action", ["hedge", "abstain", "retrieve"])
def test_what_is_no_answer_is_no_object_even_if_it_reads_as_one(action):
    with pytest.raises(OutputParserException, match=f"decided '{action}'"):
        output(LIMA, action=action).invoke("Where?")
    both = output(LIMA, action=action, include_raw=True).invoke("Where?")
    assert (both["parsed"], both["raw"].content) == (None, LIMA)
    assert isinstance(both["parsing_error"], OutputParserException)


def test_with_the_raw_message():
    both = output(LIMA, include_raw=True).invoke("Where?")
    assert (both["parsed"], both["parsing_error"]) == (City(name="Lima"), None)
