"""Stop strings: the text ends before the first one, and the tokens that stay are those that spell it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from guardrail import HybridGradScorer, ModelError
from guardrail.model.stopping import check_stops, cut, is_stopped
from guardrail.testing import tiny_local_model, tiny_tokenizer
from tests.helpers.growth import superlinear
from tests.helpers.tokenizer_kinds import byte_fallback, byte_level

BYTES = tiny_tokenizer()


def words():
    """A tokenizer whose tokens reach over the boundaries of stop strings."""
    vocabulary = {"<unk>": 0, "Pa": 1, "ris\n": 2, "END": 3, " x": 4, "ris": 5}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize(
    ("ids", "stops", "kept", "text"),
    [
        ([1, 5, 3, 4], ["END"], [1, 5], "Paris"),
        ([1, 2, 4], ["\n"], [1, 2], "Paris"),  # the token that ends the text begins the stop string: it stays
        ([1, 2, 3, 4], ["\nEN"], [1, 2], "Paris"),
        ([1, 5, 3, 4], ["x", "ND", "END"], [1, 5], "Paris"),  # the first in the text, not in the list
        ([1, 5, 3], ["Paris"], [], ""),
        ([1, 5, 3], ["y"], [1, 5, 3], None),
        ([1, 5, 3], [], [1, 5, 3], None),
        ([], ["y"], [], None),
    ],
)
def test_by_hand(ids, stops, kept, text):
    assert cut(words(), ids, stops) == (kept, text)


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=2), min_size=1, max_size=3))
def test_the_kept_tokens_are_the_shortest_that_spell_the_text(text, stops):
    ids = BYTES(text, add_special_tokens=False)["input_ids"]
    kept, shown = cut(BYTES, ids, stops)
    if shown is None:
        assert kept == ids
        assert not any(stop in BYTES.decode(ids) for stop in stops)
        return
    assert ids[: len(kept)] == kept
    assert BYTES.decode(kept).startswith(shown)
    assert not any(stop in shown for stop in stops)
    assert not kept or not BYTES.decode(kept[:-1]).startswith(shown)


@pytest.mark.parametrize("tokenizer", [BYTES, byte_level(), byte_fallback()], ids=["bytes", "byte level", "fallback"])
@pytest.mark.parametrize("stop", ["\ufffd", "日", "日本", "本。", "n"])
def test_half_a_character_is_no_stop_string_and_hides_none(tokenizer, stop):
    for text in ("日本日本日本。日本", "ein 日本。", "é\ufffd日本。"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        stopped = [is_stopped(tokenizer, ids[:n], [stop]) for n in range(len(ids) + 1)]
        # a mark that stands there for itself is told from half a character by what follows
        assert any(stopped) == (stop in tokenizer.decode(ids)), (text, stop)
        for n, done in enumerate(stopped):
            assert not done or stop in tokenizer.decode(ids[:n])
            assert done or stop == "\ufffd" or stop not in text or not tokenizer.decode(ids[:n]).endswith(stop)


def test_rows_of_a_batch_stop_on_their_own_and_are_scored_as_if_alone():
    local = tiny_local_model(vocab_size=261)
    scorer = HybridGradScorer(local)
    questions = ["Who?", "What is it?", "Where?"]
    whole = local.generate_batch(questions, max_new_tokens=10)
    stop = whole[1].text[3:5]
    assert stop
    together = local.generate_batch(questions, max_new_tokens=10, stop=[stop], keep=scorer.keep)
    for question, trace, free in zip(questions, together, whole, strict=True):
        alone = local.generate(question, max_new_tokens=10) if not trace.stop_string else trace
        assert trace.text == free.text.partition(stop)[0].strip()
        assert trace.response_ids == free.response_ids[: len(trace.response_ids)]
        assert alone.text == trace.text
    assert together[1].stop_string
    assert together[1].finish_reason == "stop"
    assert len(together[1].response_ids) < len(whole[1].response_ids)
    kept = scorer.score_traces(together)
    again = scorer.score_batch([(t.prompt_ids, t.response_ids) for t in together])  # from the ids alone
    assert [s.hybridgrad for s in kept] == pytest.approx([s.hybridgrad for s in again], rel=1e-4)


def test_every_step_is_seen_and_may_end_the_generation():
    local = tiny_local_model(vocab_size=261)
    seen = []
    trace = local.generate_batch(["Who?"], max_new_tokens=5, on_step=lambda rows, _: seen.append(rows[0]))[0]
    assert seen == [list(trace.response_ids[:n]) for n in range(1, 6)]

    def enough(rows, snapshot):
        if len(rows[0]) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.generate_batch(["Who?"], max_new_tokens=5, on_step=enough)
    assert local.generate("Who?", max_new_tokens=5).response_ids == trace.response_ids  # the model is as it was


@pytest.mark.parametrize("stops", [[""], ["a", ""], "", [3]])
def test_stop_strings_that_are_none(stops):
    if stops == "":
        stops = [stops]
    with pytest.raises(ModelError, match="stop strings are texts"):
        check_stops(stops)


def test_tools_need_a_template_that_shows_them():
    tool = {"type": "function", "function": {"name": "add", "description": "x", "parameters": {}}}
    local = tiny_local_model(vocab_size=261)
    assert not local.takes_tools
    with pytest.raises(ModelError, match="takes no tools"):
        local.generate_batch(["Who?"], tools=[tool])
    local = tiny_local_model(vocab_size=261)
    local.tokenizer.chat_template += "{% for t in tools or [] %}{{ t['function']['name'] }}{% endfor %}"
    assert local.takes_tools
    assert local.tokenizer.decode(local.encode_prompt("Who?", [tool])).endswith("add")


def test_end_ids_are_those_of_config_tokenizer_and_template():
    local = tiny_local_model(vocab_size=261)
    local.model.generation_config.eos_token_id = 1  # as a base model's
    local.tokenizer.eos_token = "<s>"
    assert local.eos_ids == [1, 2]  # the template ends a turn with <|im_end|>
    assert local.end_tokens == ["<s>", "<|im_end|>"]


def test_a_stop_string_that_is_a_special_token_stops():
    plain = tiny_local_model(vocab_size=261)
    ids = [5 + 60, 5 + 61, plain.tokenizer.convert_tokens_to_ids("<|im_start|>"), 5 + 62]
    text = plain.tokenizer.decode(ids[:2])
    assert cut(plain.tokenizer, ids, ["<|im_start|>"]) == (ids[:2], text)
    assert cut(plain.tokenizer, ids, ["<|im_start|>", text[1]]) == (ids[:1], text[:1])
    assert cut(plain.tokenizer, ids[:2], ["<|im_start|>"]) == (ids[:2], None)
    for stop in ("<|im_start|>\n", "\n<|im_start|>", " <|im_start|>"):
        assert cut(plain.tokenizer, ids, [stop]) == (ids[:2], text)


def test_a_long_answer_is_cut_in_linear_time():
    tokenizer = byte_level()

    def stopped(n):
        ids = tokenizer("Tokyo is big. " * n + "END", add_special_tokens=False)["input_ids"]
        return lambda: cut(tokenizer, ids, ["END"])

    assert stopped(5)()[1] == "Tokyo is big. " * 5
    assert not superlinear(stopped(60), stopped(480), 8)
