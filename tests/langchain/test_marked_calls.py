"""A call counts where the model marked it: not where it is quoted, spelt out where there is a token for it, or misread."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from guardrail.json_text import MAX_DEPTH, parse
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.langchain.call_forms import MARKERS, CallForms, MarkedText, spelt_markers
from guardrail.langchain.tool_calls import parse_tool_calls
from tests.helpers.growth import superlinear
from tests.helpers.speaking_model import say, spelt, tokens, tool_model

NAMES = ["add", "launch"]
CALL = '{"name": "launch", "arguments": {"where": "Mars"}}'
WHOLE = f"<tool_call>{CALL}</tool_call>"
ASK = {"messages": [("user", "Do not launch. How would a launch look?")]}
QUOTED = {
    "code span": f"One writes `{WHOLE}`",
    "double backticks": f"One writes ``{WHOLE}``",
    "fence": f"So:\n```\n{WHOLE}\n```",
    "fence with a language": f"So:\n```xml\n{WHOLE}\n```\nand no other way",
    "open fence": f"So:\n```xml\n{WHOLE}",
    "tildes": f"So:\n~~~\n{WHOLE}\n~~~",
    "indented": f"So:\n\n    {WHOLE}",
    "cited": f"You said:\n> {WHOLE}",
    "straight quotes": f'You said "{WHOLE}"',
    "curly quotes": f"You said \u201c{WHOLE}\u201d",
    "mistral": f"One writes `[TOOL_CALLS][{CALL}]`",
    "code": f"One writes <code>{WHOLE}</code>",
    "code of a class": f'One writes <CODE class="xml">\n{WHOLE}</CODE> and no more',
    "pre": f"So:\n<pre>\n{WHOLE}\n</pre>",
    "pre and code": f"So: <pre><code>{WHOLE}</code></pre>",
    "open pre": f"So:\n<pre>Send this: {WHOLE}",
    "open code": f"So: <code> {WHOLE}",
    "samp": f"It said <samp>I do: {WHOLE}</samp>",
    "quotation": f"You said <q>do {WHOLE}</q>",
    "block quotation": f"You said:\n<blockquote>\ndo\n{WHOLE}\n</blockquote>",
    "quotation in a quotation": f"<blockquote>a<blockquote>b</blockquote>{WHOLE}</blockquote>",
    "French": f"Vous avez dit «\u00a0{WHOLE}\u00a0»",
    "Chinese": f"你说《{WHOLE}》",
    "Swiss": f"Sie sagten ‹{WHOLE}›",
    "comment": f"Nothing. <!-- {WHOLE} -->",
}


def launching(launched):
    @tool
    def launch(where: str) -> str:
        """Launch."""
        launched.append(where)
        return "gone"

    return launch


@pytest.mark.parametrize("form", QUOTED)
def test_a_quoted_call_is_text(form):
    parsed = parse_tool_calls(QUOTED[form], NAMES)
    assert (parsed.calls, parsed.invalid, parsed.text) == ((), (), QUOTED[form])


SPELT = {
    "hermes": WHOLE,
    "hermes, not closed": f"<tool_call>{CALL}",
    "mistral": f"[TOOL_CALLS] [{CALL}]",
    "mistral, newer": '[TOOL_CALLS]launch[ARGS]{"where": "Mars"}',
    "llama 3": '{"name": "launch", "parameters": {"where": "Mars"}}',
}


@pytest.mark.parametrize("behind", ["", ".", " is how.", "\n\nDo not run it."])
@pytest.mark.parametrize("before", ["", "One writes ", "Never write:\n\n"])
@pytest.mark.parametrize("form", SPELT)
def test_a_spelt_call_counts_only_where_it_is_the_whole_response(form, before, behind):
    text = f"{before}{SPELT[form]}{behind}"
    parsed = parse_tool_calls(text, NAMES)
    if before or (behind and form in ("hermes", "llama 3")):
        assert (parsed.calls, parsed.invalid, parsed.text) == ((), (), text.strip())
    else:
        assert len(parsed.calls) == (not behind)


@pytest.mark.parametrize(
    "text", ["<start_function_call>call:launch{where:<escape>Mars<escape>}<end_function_call>", 'launch(where="Mars")']
)
def test_forms_that_are_not_read_are_text(text):
    assert parse_tool_calls(text, NAMES).text == text
    assert parse_tool_calls(text, NAMES).calls == ()


def test_code_before_a_call_is_no_quotation_of_it():
    text = f"With `launch`, as in\n```\nx\n```\nso: {WHOLE}"
    parsed = parse_tool_calls(MarkedText(text, tuple(spelt_markers(text)), exact=True), NAMES)
    assert [c["args"] for c in parsed.calls] == [{"where": "Mars"}]


@pytest.mark.parametrize("before", ["Use <code> here. ", "<code>launch</code>: ", "<pre>x</pre>\n", "</pre> ", "<b>So</b> ",
                                    "`<pre>` shows it: ", "<!-- first --> ", "a < b, c > d: ", "<preset> ",
                                    'The "first" ', "»Jetzt« ", "„Jetzt“ "])  # fmt: skip
def test_html_before_a_call_is_no_quotation_of_it(before):
    text = f"{before}{WHOLE}"
    parsed = parse_tool_calls(MarkedText(text, tuple(spelt_markers(text)), exact=True), NAMES)
    assert [c["args"] for c in parsed.calls] == [{"where": "Mars"}]


@pytest.mark.parametrize("held", ["```python", "`", "~~~", "<pre>", "<code>", "<!--", "</code>", "<blockquote>"])
def test_marks_in_one_call_quote_no_other(held):
    """Two files that are written in one turn: what stands in the first does not open a quotation that holds the second."""
    call = '<tool_call>{"name": "add", "arguments": {"a": "x\\nHELD y"}}</tool_call>'.replace("HELD", held)
    text = f"{call}\n{call}\n{call}"
    parsed = parse_tool_calls(MarkedText(text, tuple(spelt_markers(text)), exact=True), NAMES)
    assert [c["args"] for c in parsed.calls] == [{"a": f"x\n{held} y"}] * 3
    assert parsed.text == ""


@pytest.mark.parametrize(
    "held", ["</tool_call>", "<tool_call>", "a</tool_call> <tool_call>b", "`", "```\n", "[TOOL_CALLS]"]
)
@pytest.mark.parametrize("form", ['<tool_call>{"name": "add", "arguments": {"a": "%s"}}</tool_call>',
                                  '[TOOL_CALLS][{"name": "add", "arguments": {"a": "%s"}}]',
                                  '[TOOL_CALLS]add[ARGS]{"a": "%s"}'])  # fmt: skip
def test_markers_in_a_string_of_json_belong_to_it(held, form):
    parsed = parse_tool_calls(form % held.replace("\n", "\\n"), NAMES)
    assert [c["args"] for c in parsed.calls] == [{"a": held}]
    assert (parsed.text, parsed.invalid) == ("", ())


def test_of_a_broken_call_nothing_remains_as_text():
    parsed = parse_tool_calls('<tool_call>{"name": "add", "arguments": {"a": "x</tool_call>y" 1}}</tool_call>', NAMES)
    assert (parsed.text, parsed.calls, len(parsed.invalid)) == ("", (), 1)


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ('{"name": "add", "args": {"a": 1}}', "args"),
        ('{"name": "add", "input": {"a": 1}}', "input"),
        ('{"name": "add", "a": 1}', "a"),
        ('{"name": "add", "arguments": {}, "a": 1}', "a"),
        ('{"function": {"name": "add"}, "arguments": {"a": 1}}', "arguments"),
        ('{"name": "add", "arguments": {"a": 1}, "parameters": {"a": 2}}', "two keys"),
        ('{"name": "add", "arguments": {"a": 1}, "arguments": {}}', "twice"),
        ('{"name": "add", "arguments": {"a": 1, "a": 2}}', "twice"),
        ('{"name": "add", "arguments": null}', "no JSON object"),
        ('{"name": "add", "arguments": {"a": NaN}}', "NaN"),
        ('{"name": "add", "arguments": {"a": [-Infinity]}}', "Infinity"),
        ('{"name": "add", "arguments": {"a": 1e999}}', "too large"),
        ('{"name": "add", "arguments": "{\\"a\\": NaN}"}', "NaN"),
        ('{"name": "add", "arguments": {"a": "\\ud800"}}', "surrogate"),
        ('{"name": "add", "arguments": {"a": %s}}' % ("[" * 2000 + "]" * 2000), "nested deeper"),
        ('{"name": "add", "arguments": {"a": %s}}' % ('{"a":' * 100 + "1" + "}" * 100), "nested deeper"),
        ('{"name": "add", "arguments": "%s"}' % ("[" * 2000 + "]" * 2000), "nested deeper"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_read_for_sure_make_a_call_invalid(item, error):
    for text in (f"<tool_call>{item}</tool_call>", f"[TOOL_CALLS][{item}]"):
        parsed = parse_tool_calls(text, NAMES)
        assert (parsed.calls, parsed.text) == ((), "")
        assert error in parsed.invalid[0]["error"]
    assert parse_tool_calls(item, NAMES).calls == ()  # bare, it is an answer


def test_a_call_without_arguments_has_none():
    assert parse_tool_calls('<tool_call>{"name": "add"}</tool_call>', NAMES).calls[0]["args"] == {}


def test_nesting_is_counted_where_brackets_in_strings_are_not():
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert parse('["' + "[" * 5000 + '"]') == ["[" * 5000]
    with pytest.raises(ValueError, match="nested deeper"):
        parse("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


@pytest.mark.parametrize("start", ["", '<tool_call>["', "```\n"])
@pytest.mark.parametrize(
    "unit",
    ["`", "` `` ", "`<tool_call>`", "<tool_call>", "<tool_call>{", '<tool_call>["', WHOLE, "[TOOL_CALLS]a", "1;", "{};", '"',
     "[TOOL_CALLS]a[ARGS]{", "> <tool_call>\n", "    <tool_call>", "<|eot_id|>"],
)  # fmt: skip
def test_long_responses_take_time_in_proportion(unit, start):
    short, long = (start + unit * (size // len(unit)) for size in (10_000, 80_000))
    assert not superlinear(lambda: parse_tool_calls(short, NAMES), lambda: parse_tool_calls(long, NAMES), 8)


class TestControlTokens:
    """Of a tokenizer that has a token for the marker, only that token marks a call."""

    @pytest.mark.parametrize("special", [False, True])
    @pytest.mark.parametrize("marker", MARKERS)
    def test_the_token_counts_and_its_spelling_does_not(self, marker, special):
        local = tool_model(marker, marker=marker, special=special)
        forms = CallForms.of(local.tokenizer)
        text = f"Well. {marker}[{CALL}]"
        assert local.tokenizer.convert_tokens_to_ids(marker) in tokens(local, text)
        for ids, counts in ((tokens(local, text), 1), (spelt(local, text), 0)):
            parsed = parse_tool_calls(forms.mark(local.tokenizer, ids), NAMES)
            assert len(parsed.calls) == counts
            assert parsed.invalid == ()
            assert parsed.text == ("Well." if counts else text)

    def test_a_spelling_beside_a_token_is_text(self):
        local = tool_model("<tool_call>")
        quoted = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
        ids = spelt(local, f"Not {quoted} but ") + tokens(local, WHOLE)
        parsed = parse_tool_calls(CallForms.of(local.tokenizer).mark(local.tokenizer, ids), NAMES)
        assert [c["name"] for c in parsed.calls] == ["launch"]
        assert parsed.text == f"Not {quoted} but"

    @pytest.mark.parametrize("form", ["code span", "open fence", "cited", "straight quotes"])
    def test_a_quoted_token_is_text(self, form):
        local = tool_model("<tool_call>")
        parsed = parse_tool_calls(
            CallForms.of(local.tokenizer).mark(local.tokenizer, tokens(local, QUOTED[form])), NAMES
        )
        assert (parsed.calls, parsed.text) == ((), QUOTED[form])

    def test_a_marker_that_the_template_does_not_teach_is_text(self):
        local = tool_model(marker="CALLING")
        mark = CallForms.of(local.tokenizer).mark
        assert parse_tool_calls(mark(local.tokenizer, spelt(local, WHOLE)), NAMES).calls == ()
        assert (
            len(parse_tool_calls(mark(local.tokenizer, spelt(local, CALL)), NAMES).calls) == 1
        )  # Llama 3 has no marker

    @pytest.mark.parametrize("added", [(), ("<tool_call>",)])
    def test_bare_json_is_no_call_of_a_model_with_a_marker(self, added):
        local = tool_model(*added)
        ids = spelt(local, CALL)
        assert parse_tool_calls(CallForms.of(local.tokenizer).mark(local.tokenizer, ids), NAMES).calls == ()


@pytest.mark.parametrize("drive", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("form", ["code span", "fence", "spelt"])
def test_an_agent_runs_no_call_that_was_only_shown(form, drive):
    local, launched = tool_model("<tool_call>"), []
    shown = {"spelt": f"One writes {WHOLE}"} | QUOTED
    ids = spelt(local, shown[form]) if form == "spelt" else tokens(local, shown[form])
    agent = create_agent(ChatGuarded(model=say(local, ids), policy="observe", max_tokens=200), [launching(launched)])
    if drive == "stream":
        messages = list(agent.stream(ASK, stream_mode="values"))[-1]["messages"]
    else:
        out = agent.invoke(ASK) if drive == "invoke" else asyncio.run(agent.ainvoke(ASK))
        messages = out["messages"]
    assert launched == []
    assert messages[-1].text == shown[form]
    assert read_metadata(messages[-1])["unscored"] is None  # an answer, and judged like one


def test_an_agent_runs_a_call_that_the_model_made():
    local, launched = tool_model("<tool_call>"), []
    say(local, tokens(local, WHOLE), spelt(local, "Gone."))
    agent = create_agent(ChatGuarded(model=local, policy="observe", max_tokens=200), [launching(launched)])
    assert agent.invoke(ASK)["messages"][-1].text == "Gone."
    assert launched == ["Mars"]


@pytest.mark.parametrize("marks", [("<think>", "</think>"), ()])
def test_an_agent_runs_no_call_out_of_a_thought_and_keeps_the_answer_behind_it(marks):
    local, launched = tool_model("<tool_call>", *marks), []
    local.tokenizer.chat_template += "{# <think></think> #}"
    thought = tokens(local, f"<think>I could write {WHOLE}</think>No, I do not launch.")
    agent = create_agent(
        ChatGuarded(model=say(local, thought), policy="observe", max_tokens=300), [launching(launched)]
    )
    last = agent.invoke(ASK)["messages"][-1]
    assert launched == []
    assert (last.text, last.tool_calls, last.invalid_tool_calls) == ("No, I do not launch.", [], [])
    assert read_metadata(last)["unscored"] is None
