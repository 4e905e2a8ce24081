"""Confidence that a model is asked for: replies read strictly, and what cannot be read is no confidence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import ScoringError
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.baselines import elicited
from guardrail.scoring.baselines.elicited import guesses_in, probability_in
from guardrail.scoring.registry import scorer, scorer_from
from guardrail.testing import tiny_local_model


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("90%", 0.9),
        ("90", 0.9),
        ("0.9", 0.9),
        ("0,25", 0.25),
        ("75 percent.", 0.75),
        ("~75 %", 0.75),
        ("I am 75 percent sure.", None),
        ("20%-40%", None),
        ("100% wrong", None),
        ("not 100%", None),
        ("1,000", None),
        ("100%", 1.0),
        ("0%", 0.0),
        ("1", 0.01),
        ("1.0", 1.0),
        ("12.5%", 0.125),
        ("between 20 and 40", None),
        ("150%", None),
        ("1.5", None),
        ("-5%", None),
        ("x5", None),
        ("very sure", None),
        ("", None),
        ("NaN", None),
    ],
)
def test_a_reply_states_one_probability_or_none(reply, value):
    assert probability_in(reply) == (pytest.approx(value) if value is not None else None)


@given(st.text(max_size=40))
def test_whatever_is_replied_a_number_is_a_probability(reply):
    found = probability_in(reply)
    assert found is None or 0 <= found <= 1
    assert all(0 <= p <= 1 for p in guesses_in(reply).values())


def test_guesses_are_read_line_by_line():
    reply = "G1: The Nile\nP1: 60%\nG2: Amazon\nP2: 30 %\nG3: nile.\nP3: 5%\nG4: Congo\nG5: \nP5: 3%"
    assert guesses_in(reply) == {"nile": pytest.approx(0.65), "amazon": pytest.approx(0.3)}
    assert guesses_in("The Nile, 60%") == {}


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261, max_position_embeddings=1024)


def replying(monkeypatch, local, reply):
    """The model replies this to whatever it is asked; returns what it was asked."""
    asked = []

    def generate(messages, **_):
        asked.append(messages)
        return local.trace("?", reply)

    monkeypatch.setattr(local, "generate", generate)
    return asked


def test_a_number_after_the_answer(local, monkeypatch):
    trace, asked = local.trace("Who wrote Faust?", "Goethe"), replying(monkeypatch, local, "80%")
    (score,) = scorer("verbal-percent", local).score_traces([trace])
    assert score.value == pytest.approx(0.2)
    assert [m["content"] for m in asked[0]] == ["Who wrote Faust?", "Goethe", elicited.PERCENT]
    replying(monkeypatch, local, "quite")
    (score,) = scorer("verbal-percent", local).score_traces([trace])
    assert (score.unscored, "'quite'" in score.detail) == ("unstated", True)


@pytest.mark.parametrize(("fault", "reason"), [("not_finite", "not_finite"), ("out_of_memory", "out_of_memory")])
def test_a_model_that_cannot_reply_states_nothing(local, monkeypatch, fault, reason):
    trace = local.trace("Who wrote Faust?", "Goethe")
    monkeypatch.setattr(local, "generate", lambda *_, **__: replace(local.trace("?", "80%"), fault=fault))
    (score,) = scorer("verbal-percent", local).score_traces([trace])
    assert score.unscored == reason


def test_the_guess_that_is_the_answer(local, monkeypatch):
    made, trace = scorer("verbal-top-k", local, guesses=2), local.trace("Who wrote {k}?", "Goethe!")
    asked = replying(monkeypatch, local, "G1: Goethe\nP1: 70%\nG2: Schiller\nP2: 20%")
    assert made.score_traces([trace])[0].value == pytest.approx(0.3)
    assert "Give your 2 best" in asked[0][0]["content"]
    assert asked[0][0]["content"].endswith("Who wrote {k}?")
    assert made.score_traces([local.trace("Who?", "Lessing")])[0].value == 1.0
    replying(monkeypatch, local, "Goethe, I think")
    assert made.score_traces([trace])[0].unscored == "unstated"
    assert scorer_from("verbal-top-k", json.loads(json.dumps(made.options)), local).guesses == 2
    with pytest.raises(ScoringError, match="from 1 to 20"):
        scorer("verbal-top-k", local, guesses=0)


def test_an_answer_as_somebodys_by_hand(local):
    trace = local.trace("Who wrote {answer}?", "{question}")
    text = (
        "Question: Who wrote {answer}?\nPossible answer: {question}\nHow likely is it that the possible answer is right? "
        "Reply with very low, low, medium, high or very high."
    )
    prompt = local.encode_prompt(text)
    labels = ["very low", "low", "medium", "high", "very high"]
    sums = [float(token_log_probs(local, [(prompt, local.encode_response(x, ended=False))])[0].sum()) for x in labels]
    p = np.exp(sums - np.max(sums)) / np.exp(sums - np.max(sums)).sum()
    (score,) = scorer("self-probing", local).score_traces([trace])
    assert score.value == pytest.approx(1 - p @ [0.1, 0.3, 0.5, 0.7, 0.9], abs=1e-5)


def test_a_claim_is_asked_about_by_itself(local):
    trace = local.trace("What is it?", "It is big. It is red.")
    whole, (first, second) = (
        scorer("self-probing", local).score_traces([trace])[0],
        scorer("self-probing", local).score_spans([trace], [[(0, 10), (10, 21)]])[0],
    )
    asked = elicited.PROBED_PART.format(
        question="What is it?", text="It is red.", labels="very low, low, medium, high or very high"
    )
    prompt = local.encode_prompt(asked)
    labels = ["very low", "low", "medium", "high", "very high"]
    sums = [float(token_log_probs(local, [(prompt, local.encode_response(x, ended=False))])[0].sum()) for x in labels]
    p = np.exp(sums - np.max(sums)) / np.exp(sums - np.max(sums)).sum()
    assert second.value == pytest.approx(1 - p @ [0.1, 0.3, 0.5, 0.7, 0.9], abs=1e-5)
    assert len({whole.value, first.value, second.value}) == 3
    with pytest.raises(ScoringError, match="not within the response's"):
        scorer("self-probing", local).score_spans([trace], [[(0, 99)]])


@pytest.mark.parametrize("name", ["verbal-percent", "verbal-top-k", "self-probing", "verbalized"])
def test_a_model_that_replies_nonsense_or_has_no_room_gives_no_confidence(name, local):
    short = tiny_local_model(vocab_size=261, max_position_embeddings=64)
    (score,) = scorer(name, short).score_traces([short.trace("Who?", "Goethe")])
    assert score.unscored == "prompt_too_long"
    (score,) = scorer(name, local).score_traces([local.trace("Who?", "Goethe")])
    assert score.unscored == "unstated" if name.startswith("verbal-") else 0 < score.value < 1
