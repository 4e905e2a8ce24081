"""A calibrator knows whether its answers were thought about, and does not call others calibrated."""

from __future__ import annotations

import json

import pytest

import guardrail
from guardrail import Guard, IsotonicCalibrator
from guardrail.calibration.contexts import thinking_differs, thinking_of
from tests.helpers.thinkers import saying, thinker

THOUGHT, UNTHOUGHT = "<think>Lyon?</think>Paris", "Paris"
AFTER, WITHOUT = (
    "given after thinking, which the calibration's were not",
    "given without thinking, unlike the calibration's",
)


@pytest.fixture
def data(tmp_path):
    """Questions of which every other one is answered with Paris."""
    paths = []
    for name, numbers in (("fit", range(100, 136)), ("held-out", range(300, 312))):
        lines = [{"question": f"What is number {n}?", "answers": ["Paris" if n % 2 else "nothing"]} for n in numbers]
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return paths


@pytest.mark.parametrize(
    ("in_calibration", "now", "reason"), [(THOUGHT, UNTHOUGHT, WITHOUT), (UNTHOUGHT, THOUGHT, AFTER)]
)
def test_thinking_is_part_of_what_was_calibrated(in_calibration, now, reason, data, tmp_path, monkeypatch):
    local = saying(thinker("qwen"), in_calibration, monkeypatch)
    guardrail.calibrate(local, data[0], tmp_path / "c.json", scorer="hybridgrad", cache=False)
    fitted = IsotonicCalibrator.load(tmp_path / "c.json")
    assert fitted.provenance.generation.get("thinking") == (True if in_calibration == THOUGHT else None)
    guard = Guard(model=local, calibrator=fitted, policy="observe")
    assert guard.answer("What is number 103?").confidence.basis == "calibrated"
    as_then = guardrail.evaluate(local, data[1], fitted, ["observe"], cache=False)
    assert as_then.ece_calibrated is not None

    monkeypatch.undo()
    saying(local, now, monkeypatch)
    guard = Guard(model=local, calibrator=fitted, policy="observe")
    confidence = guard.answer("What is number 103?").confidence
    assert (confidence.basis, confidence.reason) == ("extrapolated", reason)
    assert guard.check("What is number 103?", now).confidence.reason == reason
    otherwise = guardrail.evaluate(local, data[1], fitted, ["observe"], cache=False)
    assert otherwise.ece_calibrated is None


def test_what_is_kept_of_it():
    assert [thinking_of(seen) for seen in ((), [False, False], [True, True], [True, False])] == [
        {},
        {},
        {"thinking": True},
        {"thinking": "some"},
    ]
    assert thinking_differs("some", True) == thinking_differs("some", False) == thinking_differs(None, False) == []
    assert thinking_differs(True, True) == []
