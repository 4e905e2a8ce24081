"""Claims with a stated confidence each: of a model in memory, of an adapter's, and of a chat model without weights."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import guardrail
from guardrail.errors import ScoringError
from guardrail.langchain import ChatGuarded, StatedModel
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.baselines.verbalized import VerbalizedScorer, stated_doubt
from guardrail.stated import Wording
from guardrail.testing import tiny_local_model
from tests.helpers.stating_chat import Stating, written

ANSWER = "It is big. It is red."
ASKED = "What are the double of {} and its sum with and its difference from 1?"


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261, max_position_embeddings=1024)


def test_a_claim_is_asked_about_as_if_it_were_the_answer_by_hand(local):
    trace, scorer = local.trace("What is it?", ANSWER), VerbalizedScorer(local)
    ((first, second),) = scorer.score_spans([trace], [[(0, 10), (10, 21)]])
    prompt = local.encode_prompt(Wording().asking_after(trace.messages, "It is red."))
    labels = [local.encode_response(label, ended=False) for label in Wording().labels]
    sums = [float(token_log_probs(local, [(prompt, label)])[0].sum()) for label in labels]
    assert second.value == pytest.approx(stated_doubt(sums, [0.1, 0.3, 0.5, 0.7, 0.9]), abs=1e-5)
    assert (first.length, second.length) == (10, 11)
    assert first.value == scorer.score_traces([local.trace("What is it?", "It is big.")])[0].value
    assert scorer.score_spans([local.trace("Who?", " ")], [[(0, 1)]])[0][0].unscored == "empty_answer"
    with pytest.raises(ScoringError, match="not within the response's"):
        scorer.score_spans([trace], [[(0, 99)]])


def test_what_generation_kept_changes_no_claims_number(local):
    scorer = VerbalizedScorer(local)
    kept = local.generate("What is it?", max_new_tokens=12, keep=scorer.keep)
    spans = [[(0, 5), (3, 12), (0, 12)]]
    with_kept, without = (scorer.score_spans([t], spans)[0] for t in (kept, replace(kept, state=None)))
    np.testing.assert_allclose([s.value for s in with_kept], [s.value for s in without], atol=1e-5)
    assert kept.state is not None


def test_an_answer_that_states_its_own_confidence_has_claims_that_are_asked_about():
    wording = Wording(turn="same")
    model = StatedModel(Stating(says=lambda _: "Low"), wording=wording)
    trace = model.trace("What is it?", f"{ANSWER} (with very high confidence)")
    scorer = VerbalizedScorer(model)
    assert trace.text == ANSWER
    assert scorer.score_traces([trace])[0].value == pytest.approx(0.1)
    assert [s.value for s in scorer.score_spans([trace], [[(0, 3), (3, 6)]])[0]] == pytest.approx([0.7, 0.7])
    assert "Behind your answer" not in str(model.chat.asked)


def tells(messages):
    """What it knows of a number, mostly, and its difference from 1, of which it knows that it does not know it."""
    n = int(re.search(r"\d+", messages[0].content)[0])
    if messages[-1].content == Wording().question:
        if "difference" in messages[-2].content:
            return "I cannot say" if n % 10 == 7 else "Low"
        return "Very high"
    sure = f"The sum is {n + 1 if n % 9 else n}. The double is {2 * n if n % 8 else n}."
    return f"{sure} The difference is {n if n % 9 else n - 1}."


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    rows = [
        {
            "question": ASKED.format(n),
            "facts": [
                {"about": [what], "values": [str(value)]}
                for what, value in {"sum": n + 1, "double": 2 * n, "difference": n - 1}.items()
            ],
        }
        for n in range(20, 36)
        if n % 10 != 7
    ]
    file = folder / "claims.json"
    options = {"unit": "claim", "prompt": "{question}", "cache": False}
    fit = guardrail.calibrate(StatedModel(Stating(says=tells)), written(folder / "facts.jsonl", rows), file, **options)
    assert (fit.calibrator.unit, fit.calibrator.provenance.scorer) == ("claim", "verbalized")
    assert fit.metrics["auroc"].value > 0.8
    return file


@pytest.mark.parametrize("stream_policy", ["answer", "claim"])
def test_claims_of_a_model_without_weights_are_kept_and_dropped_by_what_it_states(fitted, stream_policy):
    chat = ChatGuarded(
        model=StatedModel(Stating(says=tells)),
        policy="per_claim",
        claim_calibrator=str(fitted),
        stream_policy=stream_policy,
    )
    first, *rest = chat.stream(ASKED.format(50))
    message = sum(rest, first)
    told = message.response_metadata["guardrail"]["claims"]
    assert [(c["action"], c["unscored"]) for c in told] == [("keep", None), ("keep", None), ("drop", None)]
    assert told[0]["confidence"] > 0.7 > 0.2 > told[2]["confidence"]
    assert "51" in message.text
    assert "difference" not in message.text


def test_a_claim_of_which_nothing_can_be_read_is_unscored_and_dropped(fitted):
    guard = guardrail.Guard(model=StatedModel(Stating(says=tells)), policy="per_claim", claim_calibrator=str(fitted))
    verdict = guard.answer(ASKED.format(47))
    assert [(c.action, c.score.unscored) for c in verdict.claims] == [
        ("keep", None),
        ("keep", None),
        ("drop", "unstated"),
    ]
