"""An answer that its provider cut is judged as cut: by the policy's rules for it, and without an end token nobody said."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage

from guardrail import Guard, Policy
from guardrail.errors import DataError
from guardrail.evaluation.score_rows import score_rows
from guardrail.langchain import GuardrailCallbackHandler, GuardRunnable, read_metadata
from guardrail.messages import finish_of
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model
from tests.helpers.langchain_doubles import Foreign

CUT = Policy.from_text(
    "version: 1\nname: cut\nrules:\n- {name: cut, when: {finish_reason: length}, then: abstain, say: Cut.}\n"
    "- {name: any, then: answer}\n",
    "cut.yaml",
)
LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=1024)
TEXT = "Take two tablets, but never"
METADATA = [
    {"finish_reason": "length"},
    {"finish_reason": "MAX_TOKENS"},
    {"finish_reason": "content_filter"},
    {"stop_reason": "max_tokens"},
    {"done_reason": "length"},
    {"stopReason": "max_tokens"},
    {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
]
WHOLE = [
    {},
    {"finish_reason": "stop"},
    {"stop_reason": "end_turn"},
    {"status": "completed"},
    {"incomplete_details": None},
]


def said(metadata):
    return AIMessage(TEXT, response_metadata=metadata)


@pytest.mark.parametrize(("metadata", "action"), [(m, "abstain") for m in METADATA] + [(m, "answer") for m in WHOLE])
def test_on_every_surface(invoke, metadata, action):
    guard = Guard(model=LOCAL, policy=CUT)
    held = invoke(GuardRunnable(guard, model=Foreign(script=[said(metadata)], calls=[])), "How many?")
    given = invoke(GuardRunnable(guard), {"messages": "How many?", "answer": said(metadata)})
    seen = []
    handler = GuardrailCallbackHandler(guard, on_verdict=seen.append)
    Foreign(script=[said(metadata)], calls=[]).invoke("How many?", {"callbacks": [handler]})
    assert [read_metadata(m)["action"] for m in (held, given)] + [v.action for v in seen] == [action] * 3
    assert held.text == ("Cut." if action == "abstain" else TEXT)


def test_a_cut_answer_is_scored_as_our_own_at_its_limit():
    own = LOCAL.generate("How many?", max_new_tokens=6)
    assert own.finish_reason == "length"
    cut = LOCAL.trace("How many?", TEXT, finish_reason="length")
    whole = LOCAL.trace("How many?", TEXT)
    assert whole.response_ids == (*cut.response_ids, LOCAL.eos_ids[0])
    assert (cut.finish_reason, whole.finish_reason) == ("length", "given")
    assert own.response_ids[-1] not in LOCAL.eos_ids
    checked = Guard(model=LOCAL, policy=CUT).check("How many?", TEXT, finish_reason="length")
    assert (checked.action, checked.attempts[0].finish_reason) == ("abstain", "length")


@pytest.mark.parametrize("reason", ["cut", "LENGTH", None, 3, "prompt_too_long"])
def test_a_finish_reason_that_no_answer_has_is_refused(reason):
    with pytest.raises(DataError, match="'length'"):
        Guard(model=LOCAL, policy=CUT).check("How many?", TEXT, finish_reason=reason)


def test_rows_of_score():
    rows = [
        (i, {"prompt": "How many?", "response": TEXT, **more})
        for i, more in enumerate([{}, {"finish_reason": "length"}])
    ]
    (whole, _), (cut, _) = score_rows(LOCAL, HybridGradScorer(LOCAL), rows)
    assert whole["score"]["length"] == cut["score"]["length"] + 1
    assert cut["finish_reason"] == "length"


@pytest.mark.parametrize("word", ["stop", "eos", "tool_calls", "stop_sequence", "", None, 0])
def test_other_words_are_of_whole_answers(word):
    assert finish_of(word) == "given"
