"""A Guard whose calibrator knows its questions: what is said of a question of another kind, on every way to a verdict."""

from __future__ import annotations

import numpy as np
import pytest

from guardrail import Guard, Policy
from guardrail.calibration.familiarity import UNLIKE_REASON
from guardrail.calibration.familiarity_fit import Familiar
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.errors import DataError
from guardrail.evaluation.familiar import familiar_with
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.model.question_states import middle_layer, states_entering
from guardrail.runs.asking import Asking
from guardrail.runs.states import packed, state_in
from guardrail.testing import tiny_local_model
from guardrail.types import UNLIKE
from tests.helpers.scripted_claims import provenance

LOCAL = tiny_local_model(vocab_size=261, max_position_embeddings=4096)
ASKED = [f"What is the capital of {place}{n}?" for place in ("Peru", "Chad", "Laos", "Mali") for n in range(25)]
LIKE, UNLIKELY = "What is the capital of Peru7?", "9 * 9 + ((3 - 1) / 5) = {[()]}"
ASKING = Asking("{question}", max_new_tokens=4)
POLICY = Policy.from_text(
    "version: 1\nname: p\nrules:\n"
    "- {name: unscored, when: {unscored: true}, then: abstain}\n"
    "- {name: unlike, when: {familiar: false}, then: hedge}\n"
    "- {name: like, when: {familiar: true}, then: answer}\n",
    "p.yaml",
)


def records(questions):
    return [{"question": question} for question in questions]


def calibrator(known=True):
    """One whose curve takes any score of the tiny model, and which knows its questions."""
    rng = np.random.default_rng(0)
    scores = np.concatenate([[0.0, 1e6], 10 ** rng.uniform(-12, 4, 98)])
    familiar = familiar_with(LOCAL, ASKING, records(ASKED), range(100), {}) if known else None
    origin = provenance(LOCAL, generation={"max_new_tokens": 4})
    return IsotonicCalibrator().fit(scores, rng.random(100) < 0.5, provenance=origin, familiar=familiar)


GUARD = Guard(model=LOCAL, calibrator=calibrator(), policy=POLICY)


def test_a_question_of_another_kind_is_extrapolated_and_the_policy_is_told():
    like, unlike = (GUARD.answer(question, max_new_tokens=4) for question in (LIKE, UNLIKELY))
    assert (like.action, like.confidence.basis) == ("answer", "calibrated")
    assert like.confidence.familiarity > UNLIKE
    assert (unlike.action, unlike.confidence.basis, unlike.confidence.reason) == (
        "hedge",
        "extrapolated",
        UNLIKE_REASON,
    )
    assert unlike.confidence.familiarity <= UNLIKE
    assert "unlike those of the calibration" in unlike.decision.explanation
    assert unlike.to_dict()["familiarity"] == unlike.confidence.familiarity


def test_the_same_is_said_on_every_way_to_a_verdict():
    whole = GUARD.answer(UNLIKELY, max_new_tokens=4)
    batch = GUARD.answer_batch([LIKE, UNLIKELY], max_new_tokens=4)[1]
    checked = GUARD.check(UNLIKELY, whole.answer)
    chat = ChatGuarded(model=LOCAL, calibrator=calibrator(), policy=POLICY, max_tokens=4)
    told = read_metadata(chat.invoke(UNLIKELY))
    said = [v.confidence.familiarity for v in (whole, batch, checked)] + [told["familiarity"]]
    assert said == pytest.approx([said[0]] * 4)
    assert told["action"] == "hedge"


def test_what_stands_around_a_question_does_not_change_how_it_is_told():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": LIKE}]
    around = GUARD.answer(messages, max_new_tokens=4)
    alone = GUARD.answer(LIKE, max_new_tokens=4)
    assert around.confidence.familiarity == pytest.approx(alone.confidence.familiarity)
    assert around.confidence.basis == "extrapolated"  # the messages are why
    assert UNLIKE_REASON not in around.confidence.reason


def test_both_reasons_are_said():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": UNLIKELY}]
    reason = GUARD.answer(messages, max_new_tokens=4).confidence.reason
    assert UNLIKE_REASON in reason
    assert "messages of your own" in reason


def test_a_question_beyond_the_context_is_unlike_and_ends_in_no_error():
    calibrated = GUARD.calibrated
    trace = LOCAL.generate("Hi", max_new_tokens=1)
    assert calibrated.familiarity("x" * 5000, trace) == pytest.approx(1 / 101)


def test_without_knowledge_nothing_is_said():
    verdict = Guard(model=LOCAL, calibrator=calibrator(known=False), policy=POLICY).answer(UNLIKELY, max_new_tokens=4)
    assert (verdict.confidence.familiarity, verdict.action) == (None, "abstain")  # neither rule matches what is unknown


def test_a_few_questions_are_too_few_to_know_others_by():
    assert familiar_with(LOCAL, ASKING, records(ASKED[:19]), range(19), {}) is None
    known = familiar_with(LOCAL, ASKING, records(ASKED[:20]), [*range(20), *range(20)], {ASKED[0]: "first"})
    assert isinstance(known, Familiar)
    assert (known.states.shape[0], known.layer, len(known.of)) == (20, middle_layer(LOCAL), 40)
    assert known.kinds[:2] == ["first", ""]


def test_a_record_holds_what_the_model_would_be_asked():
    prompt = LOCAL.encode_prompt(ASKING.messages(LIKE))
    layer = middle_layer(LOCAL)
    state = states_entering(LOCAL, [prompt], layer)[0]
    record = {"question": LIKE, **packed(state, layer)}
    np.testing.assert_array_equal(state_in(record, layer, len(state)), state)
    assert state_in(record, layer + 1, len(state)) is None
    assert state_in({"question": LIKE}, layer, len(state)) is None
    assert packed(np.full(3, np.nan), layer) == {}
    values = record["state"]["values"]
    for broken in ({}, {"layer": layer}, {"layer": layer, "values": "?"}, {"layer": layer, "values": values[:-8]}, 3):
        with pytest.raises(DataError, match="it was edited"):
            state_in({"state": broken}, layer, len(state))
