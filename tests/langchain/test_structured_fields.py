"""JSON answers through LangChain: kept to a schema, judged field by field, and fields held back on every surface."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from guardrail import Policy
from guardrail.errors import MissingExtraError, ModelError
from guardrail.langchain import ChatGuarded
from guardrail.testing import tiny_local_model
from tests.helpers.speaking_model import say, spelt, tokens, tool_model


class Flags(BaseModel):
    """Two of them."""

    sure: bool
    size: Literal[1, 2, None]  # a random model would never end a number


SCHEMA = {
    "title": "Flags",
    "type": "object",
    "properties": {"sure": {"type": "boolean"}, "size": {"enum": [1, 2, None]}},
    "required": ["sure", "size"],
}
TOOL = {"type": "function", "function": {"name": "flags", "description": "Sets flags.", "parameters": SCHEMA}}
OTHER = {"type": "function", "function": {"name": "other", "description": "Does nothing."}}
HELD = """
version: 1
name: held
rules:
  - {name: long, for: claim, when: {length: {at_least: 5}}, then: drop, because: it is long}
  - {name: rest, for: claim, then: keep}
  - {name: any, then: answer}
"""


def chat(local=None, policy="observe", **options):
    return ChatGuarded(model=local or tiny_local_model(), policy=policy, max_tokens=80, **options)


def fields_of(message):
    claims = message.response_metadata["guardrail"]["claims"]
    return {claim["path"]: claim for claim in claims}


@pytest.mark.parametrize("method", [None, "json_schema", "json_mode"])
def test_an_answer_is_kept_to_its_schema(method, invoke):
    flags = invoke(chat().with_structured_output(Flags, method=method), "Flags?")
    assert isinstance(flags, Flags)


def test_a_stream_and_a_batch_are_kept_too():
    structured = chat().with_structured_output(SCHEMA)
    assert [set(each) for each in structured.batch(["Flags?", "And now?"])] == [{"sure", "size"}] * 2
    assert [set(each) for each in structured.stream("Flags?")] == [{"sure", "size"}]
    claims = chat(claims="sentences", stream_policy="claim")
    bound = claims.bind(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}})
    pieces = list(bound.stream("Flags?"))
    assert set(json.loads("".join(piece.text for piece in pieces))) == {"sure", "size"}
    passed = chat(stream_policy="passthrough").bind(response_format={"type": "json_object"}, max_tokens=20)
    assert "".join(piece.text for piece in passed.stream("Flags?"))[0] == "{"


def test_each_field_is_in_the_metadata(invoke):
    both = invoke(chat().with_structured_output(SCHEMA, include_raw=True), "Flags?")
    fields = fields_of(both["raw"])
    assert set(fields) == {"/sure", "/size"}
    for path, claim in fields.items():
        value = both["raw"].text[claim["start"] : claim["end"]]
        assert json.loads(value) == both["parsed"][path[1:]]
        assert claim["kind"] == "field"
        assert claim["score"]["length"] == claim["token_end"] - claim["token_start"] > 0
        assert (claim["confidence"], claim["label"], claim["basis"]) == (None, None, "none")  # no calibrator, no number


def structured_call(arguments, beside=""):
    local = tool_model("<tool_call>", "</tool_call>")
    call = json.dumps({"name": "flags", "arguments": arguments})
    return say(local, [*spelt(local, beside), *tokens(local, f"<tool_call>\n{call}\n</tool_call>")])


def test_fields_of_a_call_are_judged_and_held_back_where_null_may_stand(invoke):
    """`true` and `null` are four letters and so four tokens: the rule holds back what has five, `false`."""
    policy = Policy.from_text(HELD, "held")
    nullable = {**SCHEMA, "properties": {"sure": {"type": ["boolean", "null"]}, "size": {"type": "integer"}}}
    tool = {"type": "function", "function": {"name": "flags", "parameters": nullable}}
    bound = chat(structured_call({"sure": False, "size": 2}), policy, score_tool_calls=True).bind_tools([tool])
    message = invoke(bound, [HumanMessage("Flags?")])
    assert [call["args"] for call in message.tool_calls] == [{"sure": None, "size": 2}]
    held, kept = fields_of(message)["/sure"], fields_of(message)["/size"]
    assert (held["action"], held["text"], held["shown"]) == ("drop", None, "")
    assert "it is long" in held["explanation"]
    assert (kept["action"], kept["shown"]) == ("keep", "2")


def test_where_null_must_not_stand_the_whole_is_held_back(invoke):
    bound = chat(structured_call({"sure": False, "size": 2}), Policy.from_text(HELD, "held"), score_tool_calls=True)
    message = invoke(bound.bind_tools([TOOL]), [HumanMessage("Flags?")])
    assert message.tool_calls == []
    assert "false" not in message.text.lower()
    assert message.response_metadata["guardrail"]["rule"] == "held back whole"
    assert "null must not stand for /sure" in message.response_metadata["guardrail"]["explanation"]


def test_json_fields_are_held_back_in_the_text(invoke):
    local = tiny_local_model()
    text = '{"sure": true, "note": "a long one"}'
    say(local, spelt(local, text))
    schema = {"type": "object", "properties": {"sure": {"type": "boolean"}, "note": {"type": ["string", "null"]}}}
    structured = chat(local, Policy.from_text(HELD, "held")).with_structured_output(schema, include_raw=True)
    both = invoke(structured, "Flags?")
    assert both["parsed"] == {"sure": True, "note": None}
    assert both["raw"].text == '{"sure": true, "note": null}'
    assert "a long one" not in both["raw"].model_dump_json()


@pytest.mark.parametrize(
    ("marker", "more"),
    [("<tool_call>", ""), ("[TOOL_CALLS]", ""), ("[TOOL_CALLS]", "{# [ARGS] #}"), ("", "")],
    ids=["hermes", "mistral", "named", "bare"],
)
@pytest.mark.parametrize("choice", ["any", "flags", True, {"type": "function", "function": {"name": "flags"}}])
def test_a_choice_of_tool_is_kept_in_the_form_of_the_template(marker, more, choice):
    local = tool_model(*([marker] if marker else []), marker=marker)
    local.tokenizer.chat_template += more
    message = chat(local).bind_tools([TOOL, OTHER], tool_choice=choice).invoke([HumanMessage("Flags?")])
    (call,) = message.tool_calls
    assert call["name"] == "flags" or (choice in ("any", True) and call["name"] == "other")
    assert set(call["args"]) == ({"sure", "size"} if call["name"] == "flags" else set())
    assert message.response_metadata["guardrail"]["score"] is None


def test_a_choice_of_a_special_token_is_kept():
    local = tool_model("[TOOL_CALLS]", marker="[TOOL_CALLS]", special=True)
    message = chat(local).bind_tools([TOOL], tool_choice="any").invoke([HumanMessage("Flags?")])
    assert set(message.tool_calls[0]["args"]) == {"sure", "size"}


def test_structured_output_by_a_call_is_kept_and_judged(invoke):
    both = invoke(chat(tool_model("<tool_call>")).with_structured_output(Flags, include_raw=True), "Flags?")
    assert isinstance(both["parsed"], Flags)
    assert set(fields_of(both["raw"])) == {"/sure", "/size"}


def test_an_agents_response_format_is_kept():
    agents = pytest.importorskip("langchain.agents")
    agent = agents.create_agent(chat(tool_model("<tool_call>")), response_format=Flags)
    state = agent.invoke({"messages": [HumanMessage("Flags?")]})
    assert isinstance(state["structured_response"], Flags)


def test_without_the_extra_answers_are_checked_as_before(monkeypatch):
    monkeypatch.setattr("guardrail.model.constraint.can_constrain", lambda: False)
    with pytest.raises(OutputParserException):
        chat().with_structured_output(SCHEMA).invoke("Flags?")
    message = chat(tool_model("<tool_call>")).bind_tools([TOOL], tool_choice="any").invoke([HumanMessage("Flags?")])
    assert message.tool_calls == []
    asked: list[Any] = [
        lambda: chat().with_structured_output(SCHEMA, method="json_schema", strict=True),
        lambda: chat(tool_model("<tool_call>")).with_structured_output(SCHEMA, strict=True),
        lambda: chat().bind(response_format={"type": "json_object"}).invoke("Flags?"),
    ]
    for ask in asked:
        with pytest.raises(MissingExtraError, match="structured"):
            ask()


def test_a_schema_that_cannot_be_kept():
    odd = {"title": "odd", "type": "object", "properties": {"a": {"type": "string", "pattern": "(?<=a)b"}}}
    with pytest.raises(ModelError, match="no answer can be kept to this schema"):
        chat().with_structured_output(odd, method="json_schema", strict=True)
    with pytest.raises(OutputParserException):  # nobody insisted: it is only checked
        chat().with_structured_output(odd).invoke("Flags?")
    with pytest.raises(OutputParserException):
        chat().with_structured_output(SCHEMA, method="json_schema", strict=False).invoke("Flags?")


@pytest.mark.parametrize(
    "given", ["json", {"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {}}]
)
def test_a_response_format_of_no_known_form_is_refused(given):
    with pytest.raises(ModelError, match="response_format is"):
        chat().invoke("Flags?", response_format=given)


def test_cut_at_the_limit_it_is_no_object():
    with pytest.raises(OutputParserException):
        ChatGuarded(model=tiny_local_model(), policy="observe", max_tokens=6).with_structured_output(SCHEMA).invoke(
            "Hm?"
        )


def test_concurrent_calls_with_other_schemas_do_not_mix():
    local = tiny_local_model()
    other = {"title": "o", "type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}

    async def all_of_them():
        pair = [chat(local).with_structured_output(schema) for schema in (SCHEMA, other)]
        return await asyncio.gather(*(each.ainvoke("Flags?") for each in pair))

    assert [set(each) for each in asyncio.run(all_of_them())] == [{"sure", "size"}, {"n"}]


def test_fields_are_never_streamed_one_by_one():
    with pytest.raises(ModelError, match="the extractor 'fields' reads whole answers"):
        chat(claims="fields", stream_policy="claim")


def test_an_agents_response_format_by_the_provider_is_kept():
    agents = pytest.importorskip("langchain.agents")
    strategy = pytest.importorskip("langchain.agents.structured_output").ProviderStrategy
    agent = agents.create_agent(chat(), response_format=strategy(Flags))
    state = agent.invoke({"messages": [HumanMessage("Flags?")]})
    assert isinstance(state["structured_response"], Flags)


def test_without_the_guard_a_response_format_is_kept_too():
    wanted = {"type": "json_schema", "json_schema": {"name": "flags", "schema": SCHEMA}}
    message = chat().unguarded().invoke("Flags?", response_format=wanted)
    assert set(json.loads(message.text)) == {"sure", "size"}
