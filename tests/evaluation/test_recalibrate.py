"""A curve fitted again from a log and labels: what is kept, what is new, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import guardrail
from guardrail import Attempt, Claim, Decision, Evidence, JudgedClaim, Score, Verdict, VerdictLog
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.provenance import ExtractorIdentity, ModelIdentity, Provenance
from guardrail.errors import CalibrationError, CalibratorMismatchError, DataError
from guardrail.observers.protocol import Observation
from guardrail.policy.proof import check_proof
from guardrail.types import ClaimDecision

MODEL = ModelIdentity(name="m", architecture="A", weights="ab" * 32, dtype="float32", chat_template="cd" * 32)


def right(scores):
    return 1 / (1 + np.exp(2 * scores))


def origin(unit="answer"):
    return Provenance(
        model=MODEL, scorer="hybridgrad", profile={"token": -4, "reduction": "mean"}, prompt="{question}", system=None,
        data="ab" * 32, questions=("aa", "bb"), n=500, accuracy=0.5, created="2026-01-31", command="guardrail calibrate",
        versions={"torch": "2"}, grader="alias", generation={"max_new_tokens": 8},
        extractor=ExtractorIdentity(name="sentences") if unit == "claim" else None,
    )  # fmt: skip


def fitted(seed=0, unit="answer"):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=500)
    return IsotonicCalibrator().fit(
        scores, rng.random(500) < right(scores), metrics={}, unit=unit, provenance=origin(unit)
    )


@pytest.fixture(scope="module")
def old():
    return fitted()


def attempt(calibrator, score, evidence=(), unlike=""):
    value = Score(score, score, score, 1.0, 2.0, 3)
    found = calibrator.predict(value)
    if unlike:
        found = guardrail.Confidence(found.p_correct, found.low, found.high, found.label, True, unlike, "extrapolated")
    return Attempt("a", value, found, Decision("answer", "rule", "e"), "stop", evidence)


def log_of(path, calibrator, scores, *, model="m", unlike="", start=0):
    """A log of these scores, appended; the ids in order."""
    log, ids = VerdictLog(path), []
    for i, score in enumerate(scores):
        one = Verdict("t", (attempt(calibrator, score, unlike=unlike),), {"generate": 1.0 + start + i}, model, "c", "p")
        log(Observation(({"role": "user", "content": "q"},), one, ()))
        ids.append(log.id_of(one))
    return ids


def label(path, ids, correct):
    rows = [{"id": i, "correct": bool(c)} for i, c in zip(ids, correct, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def drifted(old, tmp_path):
    """400 answers that are right less often than the old calibrator says: the log, its scores, who was right, the labels."""
    rng = np.random.default_rng(1)
    scores = rng.normal(size=400)
    correct = rng.random(400) < right(scores + 1.0)
    ids = log_of(tmp_path / "log.jsonl", old, scores.tolist())
    return tmp_path / "log.jsonl", scores, correct, label(tmp_path / "labels.jsonl", ids, correct)


def test_the_new_curve_says_what_is_right_now(old, drifted, tmp_path):
    log, scores, correct, labels = drifted
    found = guardrail.recalibrate(log, old, tmp_path / "new.json", labels=labels)
    assert (found.n, found.answers, found.unit, found.left_out) == (400, 400, "answer", {})
    assert found.after["accuracy"].value == found.before["accuracy"].value == pytest.approx(correct.mean())
    assert found.before["ece"].value > 0.12
    assert found.after["ece"].value < 0.06
    assert found.ece_difference.high < 0
    new = IsotonicCalibrator.load(tmp_path / "new.json")
    assert new.digest == found.calibrator.digest != old.digest
    assert new.n == 400
    assert new.metrics == found.after
    plain = IsotonicCalibrator().fit(scores, correct, metrics={})
    assert new.blocks == plain.blocks, "the curve is the one of these scores and labels"


def test_the_identity_is_kept_and_what_is_new_is_recorded(old, drifted, tmp_path):
    log, _, correct, labels = drifted
    found = guardrail.recalibrate(log, old, labels=labels, command="by hand")
    before, after = old.provenance, found.calibrator.provenance
    kept = ("model", "scorer", "profile", "prompt", "system", "data", "questions", "grader", "generation", "versions")
    assert all(getattr(before, name) == getattr(after, name) for name in kept)
    assert (after.n, after.accuracy, after.command) == (400, pytest.approx(correct.mean()), "by hand")
    told = after.recalibrated
    assert (told["calibrator_sha256"], told["n"], told["log"]) == (old.digest, 500, str(log))
    assert "recalibrated" not in old.to_dict()["provenance"], "older files keep their digest"
    with pytest.raises(CalibratorMismatchError):
        check_proof(_proof(old), "tuned", found.calibrator, "new.json")


def _proof(calibrator):
    from guardrail.calibration.risk import upper_bound
    from guardrail.policy.proof import Proof

    return Proof.model_validate({
        "confidence": 0.95,
        "answered": {"max_error": 0.2, "threshold": 0.5, "n": 200, "errors": 20, "level": 0.05,
                     "bound": upper_bound(20, 200, 0.05), "coverage": 0.5, "coverage_low": 0.4, "coverage_high": 0.6},
        "questions": 400, "data": "ab" * 32, "calibrator": "c.json", "calibrator_sha256": calibrator.digest,
        "model": MODEL.model_dump(), "grader": "alias", "created": "2026-01-31", "command": "x", "versions": {},
    })  # fmt: skip


def test_lines_of_others_are_left_out_and_counted(old, drifted, tmp_path):
    log, _, correct, labels = drifted
    ids = [json.loads(line)["id"] for line in labels.read_text().splitlines()]
    other = log_of(log, fitted(9), [0.1, 0.2, 0.3], start=1000)  # another calibrator's
    model = log_of(log, old, [0.4] * 5, model="another", start=2000)
    asked = log_of(log, old, [0.4] * 7, unlike="evidence in the prompt", start=3000)
    log_of(log, old, [0.4] * 11, start=4000)  # no label
    given = Verdict("t", (attempt(old, 0.1), attempt(old, 0.2, (Evidence("p"),))), {"generate": 9000.0}, "m", "c", "p")
    VerdictLog(log)(Observation((), given, ()))
    more = [*other, *model, *asked, VerdictLog.id_of(given), "gone"]
    label(labels, [*ids, *more], [*correct, *[True] * len(more)])
    found = guardrail.recalibrate(log, old, labels=labels)
    assert found.n == 400
    assert found.left_out == {
        "of another calibrator": 3,
        "extrapolated": 7,
        "labels for ids that are not in the log": 11,  # of those that were left out, and of none
        "labelled answers given with evidence or without a score": 1,
        "labelled answers of another model": 5,
        "without a label": 12,
    }
    assert guardrail.recalibrate(log, old, labels=labels, with_extrapolated=True).n == 407


def test_one_other_name_is_the_same_weights_and_several_are_refused(old, tmp_path):
    rng = np.random.default_rng(3)
    scores = rng.normal(size=80)
    log = tmp_path / "log.jsonl"
    ids = log_of(log, old, scores[:40].tolist(), model="/models/m")
    labels = label(tmp_path / "l.jsonl", ids, rng.random(40) < right(scores[:40]))
    assert guardrail.recalibrate(log, old, labels=labels).n == 40
    ids += log_of(log, old, scores[40:].tolist(), model="other", start=100)
    label(labels, ids, rng.random(80) < right(scores))
    with pytest.raises(DataError, match=r"several models \(/models/m 40, other 40\), none of them 'm'"):
        guardrail.recalibrate(log, old, labels=labels)


def test_claims_are_fitted_by_answers(tmp_path):
    old, rng = fitted(unit="claim"), np.random.default_rng(4)
    log, rows = VerdictLog(tmp_path / "log.jsonl"), []
    for i in range(60):
        claims = tuple(
            JudgedClaim(Claim("c", 0, 1), 0, 1, Score(s, s, s, 1.0, 1.0, 1), old.predict(s), ClaimDecision("keep", "r", "e"))
            for s in rng.normal(size=3).tolist()
        )  # fmt: skip
        one = Verdict("t", (attempt(fitted(5), 0.1),), {"generate": float(i)}, "m", "c", "p", claims, (), "claims.json")
        log(Observation((), one, ()))
        rows += [
            {"id": log.id_of(one), "claim": j, "correct": bool(rng.random() < right(c.score.value))}
            for j, c in enumerate(claims)
        ]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = guardrail.recalibrate(tmp_path / "log.jsonl", old, labels=tmp_path / "l.jsonl")
    assert (found.unit, found.n, found.answers, found.calibrator.unit) == ("claim", 180, 60, "claim")
    assert found.calibrator.provenance.extractor.name == "sentences"


@pytest.mark.parametrize(
    ("n", "share", "says"),
    [
        (29, 0.5, r"29 labelled answers are too few .*371 without a label\); label at least 1 more, drawn at random"),
        (200, 0.0, "0 of 200 labelled answers are right"),
        (200, 1.0, "200 of 200 labelled answers are right"),
    ],
)
def test_too_few_are_refused_and_nothing_is_written(old, drifted, tmp_path, n, share, says):
    log, _, _, labels = drifted
    ids = [json.loads(line)["id"] for line in labels.read_text().splitlines()]
    label(labels, ids[:n], np.arange(n) < share * n)
    with pytest.raises(CalibrationError, match=says):
        guardrail.recalibrate(log, old, tmp_path / "new.json", labels=labels)
    assert not (tmp_path / "new.json").exists()


def test_a_log_that_was_copied_twice_counts_once(old, drifted, tmp_path):
    log, _, correct, labels = drifted
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    inline = [line | {"correct": bool(c)} for line, c in zip(lines, correct, strict=True)]
    log.write_text("".join(json.dumps(line) + "\n" for line in [*inline, *inline]))
    found = guardrail.recalibrate(log, old)
    assert (found.n, found.left_out["labels for an id that stands in the log twice"]) == (400, 400)
    log.write_text("".join(json.dumps(line) + "\n" for line in lines * 2))
    assert guardrail.recalibrate(log, old, labels=labels).n == 400


def test_without_provenance_or_over_a_file_that_is_read_it_is_refused(old, drifted, tmp_path):
    log, scores, correct, labels = drifted
    with pytest.raises(CalibrationError, match="does not say what it was fitted on"):
        guardrail.recalibrate(log, IsotonicCalibrator().fit(scores, correct, metrics={}), labels=labels)
    old.save(tmp_path / "old.json")
    for taken in (log, labels, tmp_path / "old.json"):
        kept = taken.read_bytes()
        with pytest.raises(DataError, match="is the log, the labels or the old calibrator"):
            guardrail.recalibrate(log, tmp_path / "old.json", taken, labels=labels)
        assert taken.read_bytes() == kept
    with pytest.raises(DataError, match="there is no folder"):
        guardrail.recalibrate(log, old, tmp_path / "no" / "new.json", labels=labels)


def test_the_command_writes_what_python_gives_and_monitor_names_it(cli, old, drifted, tmp_path):
    log, _, _, labels = drifted
    old.save("old.json")
    arguments = (log.name, "--labels", labels.name, "-c", "old.json")
    drift = cli("monitor", *arguments)
    assert drift.returncode == 4
    advice = f"guardrail recalibrate {log.name} --labels {labels.name} -c old.json -o NEW.json"
    assert advice in " ".join(drift.stdout.split())
    shown = cli("recalibrate", *arguments, "-o", "new.json")
    assert shown.returncode == 0, shown.stderr
    assert "labelled    400 answers" in shown.stdout
    assert " before, " in shown.stdout
    assert shown.stdout.endswith("written to new.json\n")
    found = guardrail.recalibrate(log.name, "old.json", "python.json", labels=labels.name)
    again = json.loads(cli("recalibrate", *arguments, "-o", "json.json", "--json").stdout)
    assert again == json.loads(json.dumps(found.to_dict()))
    new, python = (IsotonicCalibrator.load(name) for name in ("new.json", "python.json"))
    assert (new.blocks, new.metrics) == (python.blocks, python.metrics)
    assert new.provenance.command.startswith("guardrail recalibrate log.jsonl")
    few = cli("recalibrate", log.name, "-c", "old.json", "-o", "none.json")
    assert (few.returncode, few.stdout) == (1, "")
    assert few.stderr.startswith("error: 0 labelled answers are too few")
    assert not Path("none.json").exists()
