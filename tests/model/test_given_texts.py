"""A text that exists already is scored as it would be shown."""

from __future__ import annotations

import pytest

from guardrail import HybridGradScorer, ModelError
from guardrail.model.local import LocalModel
from guardrail.plain_text import is_blank
from guardrail.testing import CHATML, tiny_local_model, tiny_model, tiny_tokenizer

LOCAL = tiny_local_model(vocab_size=261)


@pytest.mark.parametrize(
    "text", ["Paris ", "\n Paris\n", "Paris<|im_end|>", "Paris <|im_end|>\n", "\ufeffParis\u200b", "Paris\x00"]
)
def test_what_is_not_shown_changes_nothing(text):
    scorer = HybridGradScorer(LOCAL)
    trace = LOCAL.trace("Where?", text)
    assert trace.text == "Paris"
    assert trace.response_ids == LOCAL.trace("Where?", "Paris").response_ids
    assert scorer.score_trace(trace) == scorer.score_trace(LOCAL.trace("Where?", "Paris"))


@pytest.mark.parametrize(
    "text", ["<|im_end|>\n", "\u200b", "\x00", "\u2800", "\u3164", "\u200d\ufe0f", " \t\n", "\u202e", "\U000e0041"]
)
def test_a_text_of_which_nothing_can_be_seen_is_an_empty_answer(text):
    assert HybridGradScorer(LOCAL).score_trace(LOCAL.trace("Where?", text)).unscored == "empty_answer"


@pytest.mark.parametrize("text", ["7", "é", "e\u0301", "-", "日", "👩\u200d🚀", "हिन्दी"])
def test_a_text_that_can_be_seen_is_none(text):
    assert not is_blank(text)
    assert HybridGradScorer(LOCAL).score_trace(LOCAL.trace("Where?", text)).unscored is None


def test_a_padding_token_without_an_embedding_row_is_only_padding():
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    local = LocalModel(tiny_model(vocab_size=261), tokenizer)
    traces = local.generate_batch(["Who?", "What is it?"], max_new_tokens=3)
    alone = local.generate("Who?", max_new_tokens=3)
    assert traces[0].response_ids == alone.response_ids


def test_a_token_without_an_embedding_row_is_named():
    tokenizer = tiny_tokenizer(CHATML.replace("<|im_start|>", "<|new|>"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|new|>"]})
    with pytest.raises(ModelError, match=r"token '<\|new\|>' has the id 261, and .* has embeddings for 261"):
        LocalModel(tiny_model(vocab_size=261), tokenizer).encode_prompt("Who?")
