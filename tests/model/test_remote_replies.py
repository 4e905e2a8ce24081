"""What an endpoint says -> a Reply: log-probabilities count only where they are those of the text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import EndpointError
from guardrail.model.remote.replies import Token, reply_of, spelling
from guardrail.model.remote.spelling import END, Speller, bytes_of, spelt, words_of
from guardrail.model.remote.streams import read_stream
from tests.helpers.endpoints import completion


def test_tokens_that_spell_the_answer_are_its_log_probabilities():
    reply = reply_of(completion(" Tokyo.", [(" Tok", -0.5), ("yo", -0.25), (".", -1.0)]))
    assert reply.text == "Tokyo."
    assert [t.log_prob for t in reply.tokens or ()] == [-0.5, -0.25, -1.0]
    assert not reply.ended


@pytest.mark.parametrize("end", ["", "<|im_end|>"])
def test_the_end_of_the_turn_is_a_token_and_no_text(end):
    reply = reply_of(completion("Tokyo", [("Tokyo", -0.5), (end, -0.1)]))
    assert reply.ended
    assert [t.log_prob for t in reply.tokens or ()] == [-0.5, -0.1]


@pytest.mark.parametrize(
    "tokens",
    [
        None,
        [],
        [("Tok", -1.0)],
        [("Tok", -1.0), ("yo", None)],
        [("Tok", -1.0), ("yo", "NaN")],
        [("Tok", -1.0), ("yo", 0.5)],
        [("Tok", -1.0), ("yo", True)],
        [("Kyoto", -1.0)],
        [("In", -1.0), ("Tokyo", -1.0)],
        [("Tokyo", -1.0), ("!", -1.0), ("!", -1.0)],
    ],
    ids=str,
)
def test_log_probabilities_that_are_not_those_of_the_text_are_none_and_say_why(tokens):
    reply = reply_of(completion("Tokyo", tokens))
    assert reply.text == "Tokyo"
    assert reply.tokens is None
    assert reply.why


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"choices": []},
        {"choices": [7]},
        {"choices": [{"finish_reason": "stop"}]},
        completion(["not", "text"]),  # type: ignore[arg-type]
        completion("Tokyo", finish="content_filter"),
        {"choices": [{"message": {"content": None, "tool_calls": [{}]}, "finish_reason": "tool_calls"}]},
        {"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "logprobs": {"content": "x"}}]},
    ],
    ids=lambda body: json.dumps(body)[:40],
)
def test_what_is_no_completion_is_an_error(body):
    with pytest.raises(EndpointError, match="is no chat completion"):
        reply_of(body)


def test_thinking_is_no_part_of_the_answer_nor_of_its_log_probabilities():
    tokens = [("<think>", -9.0), ("hm", -9.0), ("</think>", -9.0), ("\n\n", -9.0), ("To", -0.5), ("kyo", -0.25)]
    reply = reply_of(completion("<think>hm</think>\n\nTokyo", tokens))
    assert (reply.text, reply.thinking, reply.unfinished_thinking) == ("Tokyo", "hm", False)
    assert [t.log_prob for t in reply.tokens or ()] == [-0.5, -0.25]
    cut = reply_of(completion("<think>hm, that", [("<think>hm, that", -1.0)], "length"))
    assert (cut.text, cut.unfinished_thinking) == ("", True)


@given(st.lists(st.text(max_size=4), max_size=8))
def test_an_answer_is_spelt_by_its_own_tokens(pieces):
    tokens = [Token(piece.encode("utf-8", "replace"), -float(i)) for i, piece in enumerate(pieces)]
    text = b"".join(token.data for token in tokens).decode().strip()
    found = spelling(tokens, text, behind=False)
    assert found is not None
    if text:
        shown = b"".join(token.data for token in found[0]).decode().strip()
        assert shown == text or (found[1] and shown.startswith(text))
        assert {t.log_prob for t in found[0]} <= {t.log_prob for t in tokens}


@given(st.binary(max_size=12))
def test_an_id_spells_its_token(data):
    assert bytes_of(spelt(data)) == data
    assert spelt(data) != END


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_the_words_of_a_text_spell_it(text):
    assert Speller().decode([*words_of(text), END]) == text


def _chunk(text=None, told=None, finish=None):
    content = None if told is None else {"content": [{"token": t, "logprob": p} for t, p in told]}
    delta = {} if text is None else {"content": text}
    return {"choices": [{"delta": delta, "logprobs": content, "finish_reason": finish}]}


def test_a_stream_is_read_to_the_reply_that_it_makes():
    seen = []
    chunks = [_chunk(""), _chunk("To", [("To", -1.0)]), _chunk("kyo", [("kyo", -0.5)]), _chunk(finish="stop")]
    reply = read_stream(iter(chunks), lambda so_far: seen.append(so_far.text))
    assert (reply.text, [t.log_prob for t in reply.tokens or ()]) == ("Tokyo", [-1.0, -0.5])
    assert seen == ["To", "Tokyo"]


def test_a_stream_of_which_a_part_is_untold_has_no_log_probabilities_and_one_without_an_end_is_an_error():
    part = [_chunk("To", [("To", -1.0)]), _chunk("kyo"), _chunk(finish="stop")]
    assert read_stream(iter(part), lambda _: False).tokens is None
    with pytest.raises(EndpointError, match="without a finish reason"):
        read_stream(iter([_chunk("To", [("To", -1.0)])]), lambda _: False)
