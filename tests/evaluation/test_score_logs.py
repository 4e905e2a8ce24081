"""Logs of conversations, as other tools write them, through `guardrail.score`: understood, or refused in words."""

from __future__ import annotations

import io
import json
import sys

import pytest

import guardrail
from guardrail.datasets.questions import load_data
from guardrail.errors import DataError
from guardrail.model.local import LocalModel
from guardrail.testing import CHATML, tiny_local_model, tiny_tokenizer

USER = {"role": "user", "content": "What is the capital of Japan?"}
CALL = {"id": "1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
ASKED = [
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "Tokyo"},
]
SAID = {"role": "assistant", "content": "Tokyo"}


@pytest.fixture(scope="module")
def local():
    return tiny_local_model()


def one(local, row):
    return guardrail.score(local, [row]).rows[0]


def value(local, row):
    return one(local, row)["score"]["hybridgrad"]


def test_every_way_to_write_one_conversation_gets_one_score(local):
    plain = value(local, {"prompt": USER["content"], "response": "Tokyo"})
    parts = [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of Japan?"}]
    for row in (
        {"messages": [USER], "response": "Tokyo"},
        {"messages": [USER], "response": "Tokyo", "prompt": None},
        {"prompt": USER["content"], "response": "Tokyo", "messages": None},
        {"messages": [{**USER, "content": parts}], "response": "Tokyo"},
        {"messages": [{**USER, "content": ["What is the capital of Japan?"]}], "response": "Tokyo"},
        {"messages": [USER, SAID]},
        {"messages": [USER, SAID], "response": "Tokyo"},
        {"messages": [USER, {**SAID, "content": [{"type": "text", "text": "Tokyo"}]}], "response": "Tokyo"},
    ):
        assert value(local, row) == pytest.approx(plain, rel=1e-5), row


def test_tool_calls_and_their_results_are_a_prompt(local):
    assert value(local, {"messages": [USER, *ASKED], "response": "Tokyo"}) > 0
    assert value(local, {"messages": [USER, *ASKED, SAID]}) > 0
    tokenizer = tiny_tokenizer(CHATML.replace("m['tool_calls'] or []", "[]"))
    knows_no_calls = LocalModel(local.model, tokenizer, name="tiny")
    said = {"role": "assistant", "content": '{"name": "lookup", "arguments": "{}"}'}
    row = {"messages": [USER, said, ASKED[1]], "response": "Tokyo"}
    assert value(knows_no_calls, {"messages": [USER, *ASKED], "response": "Tokyo"}) == value(knows_no_calls, row)


def test_a_developer_is_the_system(local):
    rows = [
        {"messages": [{"role": role, "content": "Be brief."}, USER], "response": "Tokyo"}
        for role in ("system", "developer")
    ]
    assert value(local, rows[0]) == value(local, rows[1])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [USER, SAID], "response": "Kyoto"}, "end in the answer 'Tokyo' and `response` is another one"),
        ({"messages": [SAID]}, "hold an answer and no question"),
        ({"messages": [USER]}, "no `response`"),
        ({"messages": [USER, ASKED[0]], "response": "Tokyo"}, "end in a tool call"),
        ({"messages": [{**USER, "role": "human"}], "response": "Tokyo"}, "the role 'human'; write 'user'"),
        ({"messages": [USER, {**SAID, "role": "ai"}]}, "the role 'ai'; write 'assistant'"),
        ({"messages": [{**USER, "content": [{"type": "image_url"}]}], "response": "Tokyo"}, "'image_url'"),
        ({"messages": [{**USER, "content": [{"type": "input_audio"}]}], "response": "Tokyo"}, "'input_audio'"),
        ({"messages": [{**USER, "content": None}], "response": "Tokyo"}, "a message's content is text, not None"),
        ({"messages": "What?", "response": "Tokyo"}, "`messages` must be a list"),
        ({"messages": [["user", "What?"]], "response": "Tokyo"}, "a message is a mapping"),
        ({"messages": [USER], "response": ["Tokyo"]}, "no `response`: it must be a string"),
        ({"prompt": "What?", "completion": "Tokyo"}, "no `response`"),
        ({"messages": None, "prompt": None, "response": "Tokyo"}, "either `messages` or `prompt`"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_with_an_answer_is_refused_in_words(local, row, says):
    done = guardrail.score(local, [row])
    assert done.failed == 1
    assert says in done.rows[0]["error"]
    assert "score" not in done.rows[0]


def test_the_outcome_of_an_earlier_run_gives_way(local):
    good = {"prompt": "Hi", "response": "Hello", "error": "out of memory", "line": 3, "id": 7}
    assert one(local, good).keys() == {"prompt", "response", "id", "score"}
    bad = {"prompt": "Hi", "response": 3, "score": {"hybridgrad": 0.1}}
    assert one(local, bad).keys() == {"prompt", "response", "error", "line"}
    own = {"prompt": "Hi", "response": "Hello", "line": "a line of verse", "error": None}
    assert one(local, own).keys() == {*own, "score"}
    again = one(local, one(local, {"prompt": "Hi", "response": None}) | {"response": "Hello"})
    assert again.keys() == {"prompt", "response", "score"}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "cp932", "utf-16", "utf-8"])
def test_rows_on_standard_output_are_json_in_every_encoding(local, monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace"))
    given = [{"prompt": "Say 😀", "response": "Hello 😀 → café"}, {"prompt": "दिल्ली कहाँ है?", "response": "भारत में"}]
    guardrail.score(local, given, "-")
    sys.stdout.flush()
    lines = raw.getvalue().decode(encoding).splitlines()
    assert [{k: v for k, v in json.loads(line).items() if k != "score"} for line in lines] == given


def test_a_question_may_be_a_conversation_of_one_message(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(
        json.dumps({"messages": [{**USER, "content": [{"type": "text", "text": "Why?"}]}], "answers": ["x"]}) + "\n"
    )
    assert load_data(str(path), "calibration").rows[0].question == "Why?"
    for messages in (
        [USER, SAID],
        [{"role": "system", "content": "s"}, USER],
        "Why?",
        [{**USER, "content": [{"type": "image_url"}]}],
    ):
        path.write_text(json.dumps({"messages": messages, "answers": ["x"]}) + "\n")
        with pytest.raises(DataError, match=r"q.jsonl:1: (`messages` must be one message|a message holds a part)"):
            load_data(str(path), "calibration")
