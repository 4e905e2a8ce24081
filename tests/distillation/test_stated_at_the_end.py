"""Turn `same`: an answer whose label was taken off is scored as the same answer given as a text is."""

from __future__ import annotations

import pytest

from guardrail import LocalModel
from guardrail.model.generate import generate
from guardrail.model.run import Decoding
from guardrail.pipeline.conversation import length_differs
from guardrail.scoring.registry import scorer as scorer_named
from guardrail.stated import StatedFile, Wording
from guardrail.testing import tiny_model, tiny_tokenizer
from tests.helpers.speaking_model import say, spelt

REPLY = "Goethe (with high confidence)"


def stating(reply: str) -> LocalModel:
    """A tiny model of turn `same` that replies so."""
    stated = StatedFile(base="tiny", wording=Wording(turn="same"))
    local = LocalModel(tiny_model(vocab_size=261, max_position_embeddings=512), tiny_tokenizer(), stated=stated)
    return say(local, spelt(local, reply))


@pytest.mark.parametrize("end", ["its end token", "the limit"])
def test_what_was_generated_is_what_is_given(end):
    local = stating(REPLY)
    messages = ({"role": "user", "content": "Who wrote Faust?"},)
    length = len(spelt(local, REPLY)) + (end == "its end token")
    decoding = Decoding(length, log_probs=True)
    made = generate(local, [messages], [local.encode_prompt(messages)], decoding, None, [False])[0]
    given = local.trace(messages, REPLY, finish_reason="stop" if end == "its end token" else "length")
    assert (made.text, made.stated, made.finish_reason) == ("Goethe", 3, given.finish_reason)
    assert made.response_ids == given.response_ids
    assert (made.response_ids[-1] in local.eos_ids) is (end == "its end token")
    assert len(made.log_probs) == len(made.response_ids)
    assert length_differs(made, 64) == length_differs(given, 64)
    scorer = scorer_named("g-nll", local)
    assert scorer.score_traces([made])[0].value == pytest.approx(scorer.score_traces([given])[0].value, rel=1e-5)


def test_a_stop_string_behind_the_label_is_no_end_token():
    local = stating(REPLY + "! Or not")
    made = local.generate_batch(["Who wrote Faust?"], max_new_tokens=60, stop="!")[0]
    assert (made.text, made.stated, made.stop_string) == ("Goethe", 3, True)
    assert made.response_ids[-1] not in local.eos_ids
