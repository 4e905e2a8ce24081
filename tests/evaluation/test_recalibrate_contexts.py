"""Curves of kinds of conversation, fitted again from the labels of their own kind, or kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

import guardrail
from guardrail import Attempt, Decision, Evidence, IsotonicCalibrator, Score, Verdict, VerdictLog
from guardrail.calibration.curve_fit import context_probabilities
from guardrail.calibration.pooling import Curve, fit_blocks, fitted_probabilities
from guardrail.calibration.provenance import ModelIdentity, Provenance
from guardrail.errors import DataError
from guardrail.observers.protocol import Observation

MODEL = ModelIdentity(name="m", architecture="A", weights="ab" * 32, dtype="float32", chat_template="cd" * 32)
PROFILE = {"token": -4, "reduction": "mean"}
PASSAGE = (Evidence("A passage.", "", None),)


def answers(n, seed, drift=0.0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    return scores, rng.random(n) < 1 / (1 + np.exp(2 * (scores + drift)))


def fitted(*contexts, through=None):
    """A calibrator with these contexts, drawn to another curve where a chain asked."""
    source = {"through": through} if through else {}
    provenance = Provenance(
        model=MODEL, scorer="hybridgrad", profile=PROFILE, prompt="{question}", system=None, data="ab" * 32,
        questions=("aa",), n=500, accuracy=0.5, created="2026-01-31", command="guardrail calibrate",
        versions={"torch": "2"}, grader="alias", generation={"max_new_tokens": 8}, source=source,
    )  # fmt: skip
    out = IsotonicCalibrator().fit(*answers(500, 0), metrics={}, provenance=provenance)
    for i, name in enumerate(contexts):
        towards = Curve.through(out.blocks) if through else None
        kept = {"scorer": "hybridgrad", "options": PROFILE, "metrics": {}, "towards": towards}
        out = out.with_context(name, *answers(200, i + 1), source={"temperature": 0.0}, **kept)
    return out


def attempt(calibrator, context, score, evidence):
    value = Score(score, score, score, 1.0, 2.0, 3)
    return Attempt(
        "a", value, calibrator.predict(value, context=context), Decision("answer", "r", "e"), "stop", evidence
    )


def log_of(folder, calibrator, rows):
    """A log, and its labels. rows: (context of the last pass, score, right); evidence is given after a plain pass."""
    log, labels = VerdictLog(folder / "log.jsonl"), []
    for i, (context, score, right) in enumerate(rows):
        given = PASSAGE if context == "evidence" else ()
        passes = [(None, 0.5, ()), (context, score, given)] if given else [(context, score, ())]
        attempts = tuple(attempt(calibrator, *one) for one in passes)
        one = Verdict("t", attempts, {"generate": float(i)}, "m", "c", "p")
        log(Observation(({"role": "user", "content": "q"},), one, ()))
        labels.append({"id": log.id_of(one), "correct": bool(right)})
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    return {"log": folder / "log.jsonl", "labels": folder / "labels.jsonl"}


def rows_of(context, n, seed, drift=1.0):
    return [(context, s, c) for s, c in zip(*(a.tolist() for a in answers(n, seed, drift)), strict=True)]


def test_answers_with_passages_have_their_own_labels(tmp_path):
    old = fitted("evidence")
    plain, given = rows_of(None, 60, 7), rows_of("evidence", 50, 8)
    found = guardrail.recalibrate(calibrator=old, **log_of(tmp_path, old, plain + given))
    assert (found.n, found.left_out) == (60, {})
    (again,) = found.contexts
    assert (again.name, again.n, again.fitted) == ("evidence", 50, True)
    score, right = (np.array([row[i] for row in given]) for i in (1, 2))
    own = found.calibrator.contexts["evidence"]
    np.testing.assert_allclose(
        Curve.through(own.blocks).at(score)[0], fitted_probabilities(score, right, score), rtol=1e-9
    )
    assert own.source == {"temperature": 0.0}
    assert again.before["accuracy"].value == pytest.approx(right.mean())
    assert again.after["ece"].value < again.before["ece"].value
    assert found.to_dict()["contexts"][0]["fitted"] is True
    assert found.calibrator.provenance.recalibrated["contexts"] == {"evidence": 50}


def test_a_curve_with_too_few_labels_is_kept_and_said(tmp_path):
    old = fitted("evidence")
    found = guardrail.recalibrate(
        calibrator=old, **log_of(tmp_path, old, rows_of(None, 60, 7) + rows_of("evidence", 20, 8))
    )
    assert found.calibrator.contexts["evidence"] == old.contexts["evidence"]
    assert (
        "answers with passages: the old curve is kept, 20 labelled are too few (30, 5 right and 5 wrong)" in found.notes
    )
    assert found.to_dict()["contexts"] == [{"context": "evidence", "n": 20, "fitted": False, "before": {}, "after": {}}]


def test_the_curves_of_a_chain_are_drawn_to_the_labels_of_the_others(tmp_path):
    old = fitted("plain", "system", "turns", through="chain")
    rows = rows_of("plain", 60, 7) + rows_of("system", 45, 8) + rows_of("turns", 10, 9)
    given = log_of(tmp_path, old, rows)
    watched = guardrail.monitor(given["log"], old, labels=given["labels"])
    assert (watched.n, watched.labelled, watched.set_aside) == (115, 115, {})
    found = guardrail.recalibrate(calibrator=old, **given)
    assert found.n == 115
    assert {c.name: (c.n, c.fitted) for c in found.contexts} == {
        "plain": (60, True), "system": (45, True), "turns": (10, False)
    }  # fmt: skip
    score, right = (np.array([row[i] for row in rows if row[0] == "system"]) for i in (1, 2))
    others = Curve.through(fit_blocks(*(np.array([row[i] for row in rows if row[0] != "system"]) for i in (1, 2))))
    np.testing.assert_allclose(
        Curve.through(found.calibrator.contexts["system"].blocks).at(score)[0],
        context_probabilities(score, right, others, score),
        rtol=1e-9,
    )
    assert found.calibrator.contexts["turns"] == old.contexts["turns"]
    assert found.after["ece"].value < found.before["ece"].value


def test_a_context_that_the_calibrator_has_not_is_of_another(tmp_path):
    other, old = fitted("plain", "system", through="chain"), fitted("plain", through="chain")
    given = log_of(tmp_path, other, rows_of("system", 40, 8))
    with pytest.raises(DataError, match="'of another calibrator': 40"):
        guardrail.recalibrate(calibrator=old, **given)
