"""A curve of its own for a kind of conversation: fitted, kept, read, and no part of files that have none."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from guardrail import IsotonicCalibrator, Score
from guardrail.calibration.metrics import calibration_metrics
from guardrail.errors import CalibrationError

rng = np.random.default_rng(0)
SCORES = rng.normal(size=200)
CORRECT = rng.random(200) < 1 / (1 + np.exp(2 * SCORES))
OTHER = rng.random(200) < 0.3 + 0.4 * (SCORES < 0)


def fitted():
    return IsotonicCalibrator().fit(SCORES, CORRECT)


def with_passages(calibrator=None, scores=SCORES, correct=OTHER):
    metrics = calibration_metrics(scores, np.full(len(scores), 0.5), OTHER[: len(scores)])
    return (calibrator or fitted()).with_context(
        "evidence", scores, correct, scorer="stacked", options={"intercept": 0}, metrics=metrics, source={"passages": 1}
    )


def test_each_kind_has_its_own_curve():
    plain, both = fitted(), with_passages()
    alone = IsotonicCalibrator().fit(SCORES, OTHER)
    for score in (-2.5, -0.3, 0.4, 9.0):
        assert both.predict(score) == plain.predict(score)
        assert both.predict(score, context="evidence") == replace(alone.predict(score), context="evidence")
    assert both.predict(Score.of("stacked", 0.1, length=3), context="evidence").basis == "calibrated"
    assert both.predict(Score.none("empty_answer"), context="evidence").p_correct is None


def test_the_first_calibrator_stays_as_it_is():
    plain = fitted()
    before = plain.digest
    both = with_passages(plain)
    assert (plain.contexts, plain.digest) == ({}, before)
    assert both.digest != before
    assert "contexts" not in plain.to_dict()


def test_a_file_holds_it_and_an_edit_is_found(tmp_path):
    both = with_passages()
    both.save(tmp_path / "c.json")
    again = IsotonicCalibrator.load(tmp_path / "c.json")
    assert (again.digest, again.contexts) == (both.digest, both.contexts)
    assert again.contexts["evidence"].source == {"passages": 1}
    assert again.predict(0.2, context="evidence") == both.predict(0.2, context="evidence")
    content = json.loads((tmp_path / "c.json").read_text())
    for change in (
        lambda c: c["contexts"]["evidence"].update(source={"passages": 3}),
        lambda c: c["contexts"]["evidence"]["blocks"][0].update(p_correct=0.99),
        lambda c: c["contexts"]["evidence"].update(n=10_000),
        lambda c: c["contexts"].update(weather=c["contexts"]["evidence"]),
    ):
        edited = json.loads(json.dumps(content))
        change(edited)
        with pytest.raises(CalibrationError, match="not a calibrator"):
            IsotonicCalibrator.from_dict(edited)


def test_too_few_are_refused():
    with pytest.raises(CalibrationError, match="20 scored answers in the context 'evidence' are too few"):
        with_passages(scores=SCORES[:20], correct=OTHER[:20])


def test_another_fit_may_keep_them():
    both = with_passages()
    later = IsotonicCalibrator().fit(SCORES, ~CORRECT, contexts=both.contexts)
    assert later.contexts == both.contexts
    assert later.predict(0.1, context="evidence") == both.predict(0.1, context="evidence")
