"""Tool calls in the forms that common templates teach; what is no call is invalid or text, never half a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.langchain.call_forms import MarkedText, spelt_markers
from guardrail.langchain.tool_calls import parse_tool_calls

NAMES = ["add", "get_weather"]
ADD = {"name": "add", "args": {"a": 1}}
READ = {
    "hermes": '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
    "hermes, not closed": '<tool_call>{"name": "add", "arguments": {"a": 1}}',
    "arguments as a string": '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>',
    "mistral": '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}]',
    "mistral, newer": '[TOOL_CALLS]add[ARGS]{"a": 1}',
    "mistral, with an id": '[TOOL_CALLS]add[CALL_ID]abc123DEF[ARGS]{"a": 1}',
    "llama 3": '{"name": "add", "parameters": {"a": 1}}',
    "llama 3, python tag": '<|python_tag|>{"name": "add", "parameters": {"a": 1}}<|eom_id|>',
    "llama 3, function": '{"type": "function", "function": {"name": "add", "parameters": {"a": 1}}}',
}


@pytest.mark.parametrize("form", READ)
def test_read(form):
    parsed = parse_tool_calls(READ[form], NAMES)
    assert [{"name": c["name"], "args": c["args"]} for c in parsed.calls] == [ADD]
    assert (parsed.text, parsed.invalid) == ("", ())
    assert len(parsed.calls[0]["id"]) == 9


@pytest.mark.parametrize(
    "text",
    [
        'One <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call> two '
        '<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>',
        'One  two[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}, {"name": "get_weather"}]',
        'One  two[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]get_weather[ARGS]{}',
    ],
)
def test_several_and_the_text_beside_them(text):
    parsed = parse_tool_calls(MarkedText(text, tuple(spelt_markers(text)), exact=True), NAMES)
    assert [c["name"] for c in parsed.calls] == NAMES
    assert parsed.text == "One  two"
    assert parse_tool_calls(text, NAMES).calls == ()  # spelt out, they may be what a sentence shows


def test_parallel_calls_of_llama_3():
    text = '{"name": "add", "parameters": {"a": 1}}; {"name": "get_weather", "parameters": {}}'
    assert [c["name"] for c in parse_tool_calls(text, NAMES).calls] == NAMES


@pytest.mark.parametrize("beside", ["3", "[1]", '{"answer": 5}', '"so"', "x", '{"name": "add"'])
def test_bare_json_that_holds_more_than_calls_is_an_answer(beside):
    for text in (f"{READ['llama 3']}; {beside}", f"{beside}; {READ['llama 3']}"):
        parsed = parse_tool_calls(text, NAMES)
        assert (parsed.calls, parsed.invalid, parsed.text) == ((), (), text)


def test_a_control_token_within_an_argument_is_part_of_it():
    text = '<|python_tag|>{"name": "add", "parameters": {"a": "<|eot_id|>"}}<|eom_id|>'
    assert [c["args"] for c in parse_tool_calls(text, NAMES).calls] == [{"a": "<|eot_id|>"}]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('<tool_call>{"name": "add", "arg</tool_call>', "no JSON"),
        ('<tool_call>{"name": "add", "arguments": {"a": 1}', "no JSON"),
        ('<tool_call>{"name": "sub", "arguments": {}}</tool_call>', "no tool 'sub'; there are: add, get_weather"),
        ("<tool_call>[1, 2]</tool_call>", "object with a name"),
        ('<tool_call>{"name": "add", "arguments": [1]}</tool_call>', "no JSON object"),
        ('<tool_call>{"name": "add", "arguments": "x"}</tool_call>', "the arguments are no JSON"),
        ("[TOOL_CALLS]add[ARGS]{", "the arguments are no JSON"),
        ("[TOOL_CALLS]", "no JSON"),
    ],
)
def test_invalid(text, error):
    parsed = parse_tool_calls(text, NAMES)
    assert parsed.calls == ()
    assert error in parsed.invalid[0]["error"]


@pytest.mark.parametrize(
    "text", ["Paris.", "{}", "[1]", '{"name": "Paris", "parameters": {}}', '{"name": "add"', "3", ""]
)
def test_an_answer_is_no_call(text):
    assert parse_tool_calls(text, NAMES) == parse_tool_calls(text, [])
    assert parse_tool_calls(text, NAMES).text == text


@given(
    st.text()
    | st.lists(st.sampled_from(["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", *READ.values()])).map("".join)
)
def test_nothing_fails_and_calls_are_complete(text):
    parsed = parse_tool_calls(text, NAMES)
    for call in parsed.calls:
        assert call["name"] in NAMES
        assert isinstance(call["args"], dict)
