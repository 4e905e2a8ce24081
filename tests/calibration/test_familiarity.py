"""How like those of the calibration a question is: ranks by hand and by a slow reference, false alarms, and what is kept."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.calibration.familiarity import DOUBTFUL, UNLIKE_REASON, Familiarity
from guardrail.calibration.familiarity_fit import LEAST, Familiar, fit_familiarity, retention
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.pooling import fitted_probabilities
from guardrail.errors import CalibrationError
from guardrail.types import UNLIKE, Confidence

RNG = np.random.default_rng(7)
CENTRES = RNG.normal(size=(6, 120)) * 4


def drawn(n, rng=RNG):
    """n states of 120 units, of six kinds, and which kind each is of."""
    kinds = rng.integers(6, size=n)
    return CENTRES[kinds] + rng.normal(size=(n, 120)), kinds


STATES, KINDS = drawn(400)
SCORES = RNG.random(400)
CORRECT = RNG.random(400) > SCORES


def fitted(states=STATES, kinds=KINDS, scores=SCORES, correct=CORRECT):
    return fit_familiarity(Familiar(states, 3, range(len(states)), [str(k) for k in kinds]), scores, correct)


FAMILIARITY = fitted()


def test_of_questions_drawn_alike_at_most_a_share_p_has_a_p_value_of_p():
    p = FAMILIARITY.p_values(drawn(4000, np.random.default_rng(8))[0])
    for level in (UNLIKE, DOUBTFUL, 0.3):
        assert (p <= level).mean() <= level + 2.5 * math.sqrt(level * (1 - level) / 400)
    assert p.min() > 0
    assert p.max() <= 1


def test_a_kind_that_was_not_there_is_unlike():
    rng = np.random.default_rng(9)
    other = rng.normal(size=120) * 4 + rng.normal(size=(200, 120))
    assert (FAMILIARITY.p_values(other) <= UNLIKE).mean() > 0.95


def test_the_p_value_is_the_rank_of_the_mean_similarity_to_the_five_nearest():
    kept = json.loads(FAMILIARITY.model_dump_json())
    types = {"mean": "<f4", "directions": "<f2", "spread": "<f4", "points": "i1", "lengths": "<f4", "own": "<f4"}
    read = {k: np.frombuffer(base64.b64decode(kept[k]), t).astype(float) for k, t in types.items()}
    directions, points = read["directions"].reshape(120, -1), read["points"].reshape(400, -1) * kept["step"]

    def likeness(state):
        x = state - read["mean"]
        along = [float(x @ d) for d in directions.T]
        whitened = np.array([a / s for a, s in zip(along, read["spread"], strict=True)])
        square = float(whitened @ whitened) + kept["rest"] * max(float(x @ x) - sum(a * a for a in along), 0.0)
        products = [float(whitened @ point) for point in points]
        alike = [ab / (square + bb - ab) for ab, bb in zip(products, read["lengths"], strict=True)]
        return sum(sorted(alike)[-5:]) / 5

    for state in (STATES[0], STATES[0] + 2, -STATES[1]):
        expected = (1 + sum(x <= likeness(state) for x in read["own"])) / 401
        assert FAMILIARITY.p_values([state])[0] == pytest.approx(expected)


def test_nan_and_infinity_are_like_nothing():
    states = np.stack([STATES[0], np.full(120, np.nan), np.full(120, np.inf)])
    assert FAMILIARITY.p_values(states)[1:].tolist() == [1 / 401, 1 / 401]
    assert FAMILIARITY.p_values(states)[0] > UNLIKE


def test_states_of_another_width_are_refused():
    with pytest.raises(CalibrationError, match=r"\(n, 120\)"):
        FAMILIARITY.p_values(np.zeros((1, 119)))


def test_what_is_left_of_accuracy_on_kinds_that_were_left_out_by_hand():
    scores = np.array([0.1] * 20 + [0.9] * 20)
    correct = np.array([True] * 10 + [False] * 10 + [True] * 5 + [False] * 15)
    kinds = np.array(["a", "b"] * 20)
    said = [fitted_probabilities(scores[kinds != k], correct[kinds != k], scores[kinds == k]).sum() for k in "ab"]
    shares = [min(1.0, correct[kinds == k].sum() / s) for k, s in zip("ab", said, strict=True)]
    assert retention(scores, correct, kinds) == pytest.approx((sum(shares) / 2, min(shares)))
    assert retention(scores, correct, np.array(["a"] * 40)) == (None, None)  # nothing to fit on is left


def test_a_kind_that_is_all_wrong_pulls_down_what_is_said_of_unlike_questions():
    correct = CORRECT & (KINDS != 0)
    found = fitted(correct=correct)
    assert found.lowest == 0
    assert found.retained < 0.9


def test_without_kinds_clusters_stand_in_for_them():
    correct = CORRECT & (KINDS != 0)
    assert fitted(kinds=[""] * 400, correct=correct).lowest < fitted(kinds=[""] * 400).lowest


CONFIDENCE = Confidence(0.8, 0.7, 0.9, "very high")


@given(st.floats(1e-4, 1), st.floats(1e-4, 1))
def test_the_less_alike_the_less_is_said_and_the_wider_the_interval(p, q):
    known = FAMILIARITY.model_copy(update={"retained": 0.5, "lowest": 0.1})
    less, more = (known.applied(CONFIDENCE, x) for x in sorted((p, q)))
    assert less.p_correct <= more.p_correct <= CONFIDENCE.p_correct
    assert less.high - less.low >= more.high - more.low
    assert 0 < less.low <= less.p_correct <= less.high


def test_a_familiar_question_changes_nothing_and_an_unlike_one_says_so():
    known = FAMILIARITY.model_copy(update={"retained": 0.5, "lowest": 0.1})
    like, unlike = known.applied(CONFIDENCE, DOUBTFUL), known.applied(CONFIDENCE, UNLIKE)
    assert (like.p_correct, like.low, like.label, like.basis, like.familiar) == (
        0.8,
        0.7,
        "very high",
        "calibrated",
        True,
    )
    assert (unlike.p_correct, unlike.low, unlike.high) == (pytest.approx(0.4), pytest.approx(0.07), 0.9)
    assert (unlike.label, unlike.basis, unlike.reason) == ("medium", "extrapolated", UNLIKE_REASON)
    assert unlike.familiar is False
    assert CONFIDENCE.familiar is None


def test_a_calibrator_keeps_it_in_its_file_and_nothing_of_the_questions(tmp_path):
    asked = Familiar(STATES, 3, range(400), [f"secret {k}" for k in KINDS])
    calibrator = IsotonicCalibrator().fit(SCORES, CORRECT, familiar=asked)
    calibrator.save(tmp_path / "c.json")
    text = (tmp_path / "c.json").read_text()
    assert "secret" not in text
    read = IsotonicCalibrator.load(tmp_path / "c.json")
    assert read.familiarity == calibrator.familiarity == fitted()
    assert read.predict(0.2, 1 / 401).basis == "extrapolated"
    assert read.predict(0.2) == IsotonicCalibrator().fit(SCORES, CORRECT).predict(0.2)


def test_a_calibrator_that_knows_no_questions_keeps_its_digest():
    plain = IsotonicCalibrator().fit(SCORES, CORRECT)
    assert "familiarity" not in plain.to_dict()
    assert plain.predict(0.2, 0.01).familiar is None


def test_few_questions_are_kept_as_fewer_directions():
    few = fitted(STATES[:LEAST], KINDS[:LEAST], SCORES[:LEAST], CORRECT[:LEAST])
    assert len(base64.b64decode(few.directions)) == 120 * 5 * 2
    with pytest.raises(CalibrationError, match=f"n from {LEAST}"):
        fitted(STATES[: LEAST - 1], KINDS[: LEAST - 1], SCORES[: LEAST - 1], CORRECT[: LEAST - 1])
    with pytest.raises(CalibrationError, match="finite"):
        fitted(np.where(STATES[0, 0] == STATES, np.nan, STATES))


def test_equal_questions_are_like_each_other():
    same = fitted(np.ones((400, 120)))
    assert same.p_values(np.ones((1, 120)))[0] > UNLIKE


@pytest.mark.parametrize(
    "edit",
    [
        {"points": "AAAA"},
        {"points": "no base64!"},
        {"directions": base64.b64encode(np.full(120 * 64, np.nan, "<f2").tobytes()).decode()},
        {"directions": base64.b64encode(bytes(14)).decode()},
        {"mean": ""},
        {"own": ""},
        {"own": base64.b64encode(np.array([0.9, 0.1], "<f4").tobytes()).decode()},
        {"spread": base64.b64encode(bytes(4 * 64)).decode()},
        {"rest": -1.0},
        {"step": 0.0},
        {"lengths": base64.b64encode(np.full(400, -1, "<f4").tobytes()).decode()},
        {"mean": base64.b64encode(bytes(3)).decode()},
        {"layer": -1},
        {"retained": 0.5, "lowest": 0.6},
        {"retained": None},
        {"retained": 1.5},
        {"more": 1},
    ],
    ids=str,
)
def test_what_was_edited_is_refused(edit):
    with pytest.raises(ValueError, match=r".+"):
        Familiarity.model_validate({**FAMILIARITY.model_dump(), **edit})
