"""A log of verdicts: written, read back, torn, mixed with others', labelled; and what `guardrail monitor` says about it."""

from __future__ import annotations

import json
import multiprocessing
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import guardrail
from guardrail import Attempt, Claim, Confidence, Decision, Evidence, JudgedClaim, Score, Verdict, VerdictLog
from guardrail.calibration.familiarity_fit import Familiar
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.risk import upper_bound
from guardrail.cli.main import app
from guardrail.errors import CalibratorMismatchError, DataError
from guardrail.langchain.metadata import verdict_metadata
from guardrail.monitoring import monitor
from guardrail.observers.protocol import Observation
from guardrail.policy import Policy
from guardrail.policy.proof import ClaimsProof, Proof
from guardrail.policy.tuned import policy_text
from guardrail.types import ClaimDecision

SECRET = "the patient's name"


def right(score):
    return 1 / (1 + np.exp(2 * score))


def fitted(seed, unit="answer", unscored=None):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=500)
    return IsotonicCalibrator().fit(scores, rng.random(500) < right(scores), metrics={}, unit=unit, unscored=unscored)


@pytest.fixture(scope="module")
def calibrator():
    return fitted(0)


def attempt(calibrator, score, action="answer", evidence=()):
    value = Score.none("empty_answer") if score is None else Score(score, 1.0, 1.0, 1.0, 2.0, 3)
    decision = Decision(action, "rule", f"because of {SECRET}")
    return Attempt(SECRET, value, calibrator.predict(value), decision, "stop", evidence)


def verdict(calibrator, *attempts, claims=(), tick=0.0):
    text = f"No: {SECRET}" if attempts[-1].decision.action == "abstain" else SECRET
    return Verdict(text, attempts, {"generate": 1.0 + tick}, "m", "c.json", "tuned", claims, (), "claims.json")


def observation(found):
    return Observation(({"role": "user", "content": SECRET},), found, ())


def write(path, calibrator, scores, *, text=False, act=lambda p: "answer" if p >= 0.5 else "abstain"):
    """A log of these scores; the ids in order."""
    log, ids = VerdictLog(path, text=text), []
    for i, score in enumerate(scores):
        p = calibrator.predict(score).p_correct if score is not None else 0.0
        one = verdict(calibrator, attempt(calibrator, score, act(p)), tick=i)
        log(observation(one))
        ids.append(log.id_of(one))
    return ids


def label(path, ids, correct):
    path.write_text(
        "".join(json.dumps({"id": i, "correct": bool(c)}) + "\n" for i, c in zip(ids, correct, strict=True))
    )
    return path


def test_a_line_holds_numbers_and_names_unless_texts_are_asked_for(calibrator, tmp_path):
    one = verdict(
        calibrator,
        attempt(calibrator, 0.1, "retrieve"),
        attempt(calibrator, 0.2, "hedge", (Evidence(SECRET, SECRET, 0.5),)),
    )
    VerdictLog(tmp_path / "a.jsonl")(observation(one))
    VerdictLog(tmp_path / "b.jsonl", text=True)(observation(one))
    bare, whole = (json.loads((tmp_path / name).read_text()) for name in ("a.jsonl", "b.jsonl"))
    assert SECRET not in json.dumps(bare)
    assert bare["evidence"] == [{"similarity": 0.5}]
    assert bare["attempts"][0]["score"]["hybridgrad"] == 0.1
    assert whole["messages"] == [{"role": "user", "content": SECRET}]
    assert {k: v for k, v in whole.items() if k not in ("messages", "id", "time")} == json.loads(
        json.dumps(one.to_dict())
    )
    assert bare["id"] == whole["id"] == VerdictLog.id_of(one)
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o077 == 0


def test_a_key_that_is_new_in_a_verdict_is_left_out_of_a_bare_line(calibrator):
    from guardrail.observers.verdict_log import without_text

    record = verdict(calibrator, attempt(calibrator, 0.1)).to_dict()
    bare = without_text(record | {"new": SECRET})
    assert "new" not in bare
    assert record.keys() - bare.keys() == {"text", "answer", "original", "explanation", "asides"}


def _many(path):
    calibrator = fitted(0)
    write(path, calibrator, [0.1] * 60)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork, no lock")
def test_processes_share_a_log(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_many, args=(tmp_path / "log.jsonl",)) for _ in range(3)]
    for w in writers:
        w.start()
    for w in writers:
        w.join(60)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 180


def test_a_torn_line_costs_itself_alone(calibrator, tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, calibrator, [0.1, 0.2])
    path.write_bytes(path.read_bytes()[:-40])
    write(path, calibrator, [0.3])
    with path.open("a") as file:
        file.write('{"id": "half')
    found = monitor(path, calibrator)
    assert (found.lines, found.unreadable, found.n) == (2, 2, 2)


def test_a_log_like_the_calibration_shows_nothing_and_a_shifted_one_drift(calibrator, tmp_path):
    rng = np.random.default_rng(1)
    scores = rng.normal(size=700)
    ids = write(tmp_path / "log.jsonl", calibrator, scores)
    labels = label(tmp_path / "labels.jsonl", ids, rng.random(700) < right(scores))
    found = monitor(tmp_path / "log.jsonl", calibrator, labels=labels)
    assert (found.verdict, found.n, found.labelled, found.drift) == ("no sign of drift", 700, 700, False)
    assert found.calibrators == {"c.json": 700}
    assert found.risks[0].total == found.risks[0].n == sum(calibrator.probabilities(scores) >= 0.5)
    json.dumps(found.to_dict(), allow_nan=False)
    assert monitor(tmp_path / "log.jsonl", calibrator, labels=labels) == found, "the same seed, the same numbers"

    ids = write(tmp_path / "worse.jsonl", calibrator, scores)
    labels = label(tmp_path / "worse_labels.jsonl", ids, rng.random(700) < right(scores + 0.7))
    found = monitor(tmp_path / "worse.jsonl", calibrator, labels=labels)
    assert found.verdict == "drift: recalibrate"
    assert found.reasons[0].startswith("confidence: ")

    write(tmp_path / "higher.jsonl", calibrator, scores + 0.5)
    found = monitor(tmp_path / "higher.jsonl", calibrator)
    assert found.drift
    assert found.reasons[0].startswith("scores: the model is less sure than in the calibration")
    assert any(note.startswith("no labels") for note in found.notes)


def test_too_few_say_how_many_are_missing(calibrator, tmp_path):
    rng = np.random.default_rng(2)
    scores = rng.normal(size=300)
    ids = write(tmp_path / "log.jsonl", calibrator, scores)
    few = monitor(tmp_path / "log.jsonl", calibrator, last=20)
    assert (few.verdict, few.n, few.lines) == ("too few data", 20, 20)
    assert any(f"{few.more_scores} more scored answers" in note for note in few.notes)
    enough = monitor(tmp_path / "log.jsonl", calibrator, last=20 + few.more_scores)
    assert enough.verdict == "no sign of drift"
    labels = label(tmp_path / "l.jsonl", ids[:20], rng.random(20) < right(scores[:20]))
    assert monitor(tmp_path / "log.jsonl", calibrator, labels=labels).verdict == "too few data"


def test_lines_of_another_calibrator_are_set_aside_whatever_they_are_called(calibrator, tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, calibrator, np.random.default_rng(3).normal(size=50))
    write(path, fitted(9), np.random.default_rng(4).normal(size=30))
    found = monitor(path, calibrator)
    assert (found.n, found.set_aside) == (50, {"of another calibrator": 30})
    write(tmp_path / "other.jsonl", fitted(9), [0.1, 0.2])
    with pytest.raises(DataError, match=r"no answer of this calibrator.*give the calibrator"):
        monitor(tmp_path / "other.jsonl", calibrator)


def test_answers_with_evidence_count_by_their_first_score_and_as_risk(calibrator, tmp_path):
    path = tmp_path / "log.jsonl"
    one = verdict(
        calibrator, attempt(calibrator, 0.5, "retrieve"), attempt(calibrator, -1.0, "hedge", (Evidence("p"),))
    )
    VerdictLog(path)(observation(one))
    found = monitor(path, calibrator, labels=label(tmp_path / "l.jsonl", [VerdictLog.id_of(one)], [False]))
    assert (found.n, found.labelled, found.calibration) == (1, 1, None)
    assert [(r.what, r.errors, r.n) for r in found.risks] == [("answered", 0, 0), ("shown", 1, 1)]
    assert any("given with evidence" in note for note in found.notes)


def test_langchain_metadata_is_a_line_too(calibrator, tmp_path):
    plain, given = attempt(calibrator, 0.5), attempt(calibrator, -1.0, "hedge", (Evidence("p"),))
    first = verdict_metadata(verdict(calibrator, plain))
    second = verdict_metadata(verdict(calibrator, attempt(calibrator, 0.5, "retrieve"), given))
    lines = [
        {**first, "id": "a", "correct": True, "time": "2026-01-01T00:00:00"},
        {"guardrail": first, "id": "b"},
        {"response_metadata": {"guardrail": second}, "id": "c", "content": "x"},
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = monitor(path, calibrator)
    assert (found.lines, found.n, found.labelled) == (3, 2, 1), "the first score of what evidence followed is not known"
    assert found.risks[1].total == 3


def test_unscored_answers_are_compared_where_the_calibration_counted_them(tmp_path):
    calibrator = fitted(0, unscored=5)
    rng = np.random.default_rng(5)
    write(tmp_path / "log.jsonl", calibrator, [None] * 40 + list(rng.normal(size=300)))
    found = monitor(tmp_path / "log.jsonl", calibrator)
    assert found.unscored.value == pytest.approx(40 / 340)
    assert found.reasons[0].startswith("unscored: 0.118")
    assert "unscored" not in monitor(tmp_path / "log.jsonl", fitted(0)).p_values


def test_claims_are_compared_with_a_calibrator_of_claims(tmp_path):
    calibrator = fitted(0, unit="claim")
    rng = np.random.default_rng(6)
    path, log = tmp_path / "log.jsonl", VerdictLog(tmp_path / "log.jsonl")
    labels = []
    for i in range(150):
        claims = tuple(
            JudgedClaim(Claim("c", 0, 1), 0, 1, Score(s, s, s, 1.0, 1.0, 1), calibrator.predict(s),
                        ClaimDecision("keep" if s < 0 else "drop", "r", "e"))
            for s in rng.normal(size=2).tolist()
        )  # fmt: skip
        one = verdict(calibrator, attempt(fitted(1), 0.1), claims=claims, tick=i)
        log(observation(one))
        labels += [
            {"id": log.id_of(one), "claim": j, "correct": bool(rng.random() < right(c.score.value))}
            for j, c in enumerate(claims)
        ]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    found = monitor(path, calibrator, labels=tmp_path / "l.jsonl")
    assert (found.unit, found.n, found.labelled, found.calibrators) == ("claim", 300, 300, {"claims.json": 300})
    assert not found.drift
    assert found.calibration.design_effect < 1.3
    twice = "".join(line + "\n" for line in path.read_text().splitlines() for _ in range(3))
    (tmp_path / "twice.jsonl").write_text(twice)
    assert monitor(tmp_path / "twice.jsonl", calibrator, labels=tmp_path / "l.jsonl").set_aside == {
        "labels for an id that stands in the log twice": 600
    }


@pytest.mark.parametrize(("all_right", "status"), [(0.8, "kept"), (0.99, "broken")])
def test_a_promise_about_claims_is_checked(tmp_path, all_right, status):
    """Two claims an answer, kept from 0.5 on; about six in a hundred answers keep a wrong one. Ten have no label."""
    calibrator, rng = fitted(0, unit="claim"), np.random.default_rng(8)
    policy = claims_promise(calibrator, all_right)
    log, labels, lost = VerdictLog(tmp_path / "log.jsonl"), [], []
    for i in range(200):
        scores = rng.normal(size=2).tolist()
        predicted = [calibrator.predict(s) for s in scores]
        acts = ["keep" if c.p_correct >= 0.5 else "drop" for c in predicted]
        if i == 0:
            acts[0] = "hedge"  # of no rule of the proof: this answer is not one that was promised
        claims = tuple(
            JudgedClaim(Claim("c", 0, 1), 0, 1, Score(s, s, s, 1.0, 1.0, 1), c, ClaimDecision(act, "r", "e"))
            for s, c, act in zip(scores, predicted, acts, strict=True)
        )
        one = replace(verdict(calibrator, attempt(fitted(1), 0.1), claims=claims, tick=i), policy="tuned_claims")
        log(observation(one))
        true = [bool(rng.random() < right(s)) for s in scores]
        if i >= 10:  # of dropped claims alone a label is needed too: it says that somebody looked
            labels += [{"id": log.id_of(one), "claim": j, "correct": t} for j, t in enumerate(true)]
            lost.append(any(act == "keep" and not t for act, t in zip(acts, true, strict=True)))
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    found = monitor(tmp_path / "log.jsonl", calibrator, labels=tmp_path / "l.jsonl", policy=policy)
    risk = found.risks[-1]
    assert (risk.what, risk.n, risk.errors, risk.total) == ("answers", 190, sum(lost), 199)
    assert risk.max_error == pytest.approx(1 - all_right)
    assert found.statuses["answers"] == status
    average = monitor(
        tmp_path / "log.jsonl", calibrator, labels=tmp_path / "l.jsonl", policy=on_average(policy, all_right)
    )
    assert (average.risks[-1].errors, average.risks[-1].max_error) == (
        sum(lost),
        None,
    )  # told, and no promise of this policy
    assert [r for r in found.reasons if "keep a wrong claim" in r] == ([found.reasons[0]] if status == "broken" else [])
    with pytest.raises(CalibratorMismatchError, match="--unit claim --calibrator FILE --all-right"):
        monitor(tmp_path / "log.jsonl", fitted(3, unit="claim"), policy=policy)


def claims_promise(calibrator, all_right):
    values = promise(calibrator, 0.2).proof.model_dump(exclude={"confidence", "answered", "shown", "second"})
    proof = ClaimsProof(**values, all_right=all_right, confidence=0.95, threshold=0.5, n=400, errors=0,
                        bound=upper_bound(0, 400, 1 - 0.95), claims=800, kept=400, right=500, right_kept=390,
                        retention_low=0.4, retention_high=0.6)  # fmt: skip
    return Policy.from_text(policy_text(proof), "p.yaml")


def on_average(policy, all_right):
    n = 400
    proof = policy.claims_proof.model_copy(update={"confidence": None, "errors": 0, "n": n, "bound": 1 / (n + 1)})
    return Policy.from_text(policy_text(proof), "p.yaml")


def promise(calibrator, max_error):
    values = {
        "confidence": 0.95,
        "answered": {"max_error": max_error, "threshold": 0.5, "n": 200, "errors": 20, "level": 0.05,
                     "bound": upper_bound(20, 200, 0.05), "coverage": 0.5, "coverage_low": 0.4, "coverage_high": 0.6},
        "questions": 400, "data": "ab" * 32, "calibrator": "c.json", "calibrator_sha256": calibrator.digest,
        "model": {"name": "m", "architecture": "A", "weights": "ab" * 32, "dtype": "f", "chat_template": "ab" * 32},
        "grader": "alias", "created": "2026-01-31", "command": "x", "versions": {},
    }  # fmt: skip
    return Policy.from_text(policy_text(Proof.model_validate(values)), "p.yaml")


@pytest.mark.parametrize(("errors", "status"), [(10, "kept"), (80, "broken"), (30, "not known yet")])
def test_a_promise_is_held_against_what_happened(calibrator, tmp_path, errors, status):
    scores = np.linspace(-1.5, -0.5, 200)
    ids = write(tmp_path / "log.jsonl", calibrator, [*scores, 1.0], act=lambda p: "answer" if p >= 0.5 else "abstain")
    labels = label(tmp_path / "l.jsonl", ids[:200], [i >= errors for i in range(200)])
    found = monitor(tmp_path / "log.jsonl", calibrator, policy=promise(calibrator, 0.18), labels=labels)
    assert (found.risks[0].errors, found.risks[0].n, found.risks[0].total) == (errors, 200, 200)
    assert found.statuses == {"answered": status, "shown": None}
    assert ("promise: answered" in found.p_values) is True
    assert any(r.startswith("risk: ") for r in found.reasons) == (status == "broken")
    with pytest.raises(CalibratorMismatchError, match="was tuned with the calibrator"):
        monitor(tmp_path / "log.jsonl", fitted(9), policy=promise(calibrator, 0.18))


def test_other_decisions_than_the_policys_are_no_risk_of_it(calibrator, tmp_path):
    write(tmp_path / "log.jsonl", calibrator, [-1.0, 1.0], act=lambda p: "answer")
    found = monitor(tmp_path / "log.jsonl", calibrator, policy=promise(calibrator, 0.2))
    assert found.risks[0].total == 1
    assert found.set_aside == {"decided by another policy (not counted as risk)": 1}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"question": "q"}', "log.jsonl:1: this is no verdict (action, confidence, evidence, policy, score missing)"),
        ("[1]", "this is no verdict"),
        ("torn", "holds no verdict (1 lines are torn)"),
        ("", "holds no verdict"),
        ('{**, "correct": 1}', "`correct` is 1; it is true, false, or left out"),
        ('{**, "time": "yesterday"}', "'yesterday' is no ISO time"),
        ('{**, "confidence": "high"}', "is no number"),
        ('{**, "score": 3}', "this is no verdict as guardrail writes it"),
        ('{"action": "abstain", "action": "answer"}', "the key 'action' comes twice in one object"),
        ('{"confidence": NaN}', "NaN is not a JSON number"),
    ],
)
def test_what_is_no_log_is_refused_with_its_line(calibrator, tmp_path, line, says):
    whole = {"action": "answer", "confidence": 0.5, "score": {"hybridgrad": 0.1}, "policy": "p", "evidence": []}
    path = tmp_path / "log.jsonl"
    if line.startswith("{**, "):
        line = json.dumps(whole | json.loads("{" + line.removeprefix("{**, ")))
    path.write_text(line + "\n")
    with pytest.raises(DataError) as error:
        monitor(path, calibrator)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "rows", ['{"id": "a"}', '{"id": "a", "correct": 1}', '{"id": "a", "correct": true}\n{"id": "a", "correct": false}']
)
def test_labels_that_are_none_are_refused(calibrator, tmp_path, rows):
    write(tmp_path / "log.jsonl", calibrator, [0.1])
    (tmp_path / "l.jsonl").write_text(rows + "\n")
    with pytest.raises(DataError, match=r"l.jsonl:\d: "):
        monitor(tmp_path / "log.jsonl", calibrator, labels=tmp_path / "l.jsonl")


def test_labels_drawn_by_score_are_told(calibrator, tmp_path):
    rng = np.random.default_rng(12)
    scores = rng.normal(size=400)
    ids = write(tmp_path / "log.jsonl", calibrator, scores)
    low = np.flatnonzero(scores < 0)
    labels = label(tmp_path / "l.jsonl", [ids[i] for i in low], rng.random(len(low)) < right(scores[low]))
    found = monitor(tmp_path / "log.jsonl", calibrator, labels=labels)
    assert found.selected < 1e-6
    assert any("have other scores than the rest" in note for note in found.notes)
    assert not found.drift, "labels chosen by score raise no alarm"


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(app, ["monitor", *map(str, arguments)])
        error = result.exception if not isinstance(result.exception, SystemExit) else None
        return SimpleNamespace(code=result.exit_code, out=result.stdout, error=error)

    return run


def test_the_command_has_exit_code_4_for_drift(calibrator, tmp_path, command):
    calibrator.save(tmp_path / "c.json")
    rng = np.random.default_rng(1)
    write(tmp_path / "same.jsonl", calibrator, rng.normal(size=300))
    write(tmp_path / "other.jsonl", calibrator, rng.normal(size=300) + 1)
    same = command("same.jsonl", "-c", "c.json")
    assert (same.code, same.out.splitlines()[0]) == (0, "no sign of drift"), same.error
    drifted = command("other.jsonl", "-c", "c.json", "--json")
    assert drifted.code == 4
    told = json.loads(drifted.out)
    assert (told["verdict"], told["kind"], told["scores"]["n"]) == ("drift: recalibrate", "guardrail monitor", 300)
    assert command("other.jsonl", "-c", "c.json").out.startswith("drift: recalibrate\n  scores: the model is less sure")
    assert "holds no verdict" in str(command("same.jsonl", "-c", "c.json", "--since", "2999-01-01").error)
    assert "--since: 'soon' is no ISO time" in str(command("same.jsonl", "-c", "c.json", "--since", "soon").error)
    assert "the false-alarm rate is 2" in str(command("same.jsonl", "-c", "c.json", "--false-alarms", "2").error)
    assert "there are: shipped:smollm2-135m" in str(command("same.jsonl", "-c", "shipped:x").error)
    assert "cannot read it" in str(command("none.jsonl", "-c", "c.json").error)


def test_days_are_told_apart(calibrator, tmp_path, command):
    calibrator.save(tmp_path / "c.json")
    write(tmp_path / "log.jsonl", calibrator, np.random.default_rng(1).normal(size=120))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for span, rows in ((2, 2), (40, 7)):
        for i, line in enumerate(lines):
            line["time"] = f"2026-{1 + i * span // 120 // 28:02d}-{1 + i * span // 120 % 28:02d}T23:30:00-01:00"
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        told = json.loads(command("log.jsonl", "-c", "c.json", "--json").out)
        assert len(told["periods"]) == rows
        assert sum(p["n"] for p in told["periods"]) == 120
    assert told["periods"][0]["start"] == "2025-12-29"
    assert "By day, or by week" in command("log.jsonl", "-c", "c.json").out


def test_an_unwritable_log_is_said_at_once(tmp_path):
    with pytest.raises(DataError, match="cannot write the verdict log"):
        VerdictLog(tmp_path / "no" / "log.jsonl")


def test_confidence_without_a_calibrator_is_set_aside(calibrator, tmp_path):
    value = Score(0.1, 1.0, 1.0, 1.0, 2.0, 3)
    bare = Attempt("a", value, Confidence.none("no calibrator"), Decision("answer", "r", "e"), "stop")
    write(tmp_path / "log.jsonl", calibrator, [0.2])
    VerdictLog(tmp_path / "log.jsonl")(observation(verdict(calibrator, bare)))
    assert monitor(tmp_path / "log.jsonl", calibrator).set_aside == {"without a confidence": 1}


def test_python_gets_what_the_command_prints(cli, calibrator, tmp_path):
    calibrator.save("c.json")
    rng = np.random.default_rng(5)
    ids = write(tmp_path / "log.jsonl", calibrator, rng.normal(0.8, 1.0, 200).tolist())
    label(tmp_path / "l.jsonl", ids[:60], rng.random(60) < 0.3)
    printed = cli("monitor", "log.jsonl", "-c", "c.json", "--labels", "l.jsonl", "--json")
    found = guardrail.monitor("log.jsonl", "c.json", labels="l.jsonl")
    assert json.loads(json.dumps(found.to_dict())) == json.loads(printed.stdout)
    assert (found.drift, printed.returncode, found.calibrator) == (True, 4, "c.json")
    assert guardrail.monitor("log.jsonl", calibrator, labels="l.jsonl").calibrator == "given"


def test_questions_unlike_those_of_the_calibration_are_counted_and_still_known_as_its_own(tmp_path):
    rng = np.random.default_rng(5)
    scores = rng.normal(size=500)
    asked = Familiar(rng.normal(size=(500, 12)), 1, range(500), [str(i % 5) for i in range(500)])
    knowing = IsotonicCalibrator().fit(scores, rng.random(500) < right(scores), metrics={}, familiar=asked)
    log = VerdictLog(tmp_path / "log.jsonl")
    for i, score in enumerate(rng.normal(size=200)):
        value, familiarity = Score(score, 1.0, 1.0, 1.0, 2.0, 3), 0.01 if i % 4 == 0 else 0.5
        said = knowing.predict(value, familiarity)
        log(observation(verdict(knowing, Attempt(SECRET, value, said, Decision("hedge", "r", ""), "stop"), tick=i)))
    found = monitor(tmp_path / "log.jsonl", knowing)
    assert found.unlike.value == 0.25
    assert found.n == 200
    assert found.set_aside == {}
    assert monitor(tmp_path / "log.jsonl", knowing, calibrated_only=True).set_aside == {"extrapolated": 50}


def test_a_calibrator_that_does_not_know_its_questions_counts_none(calibrator, tmp_path):
    write(tmp_path / "log.jsonl", calibrator, [0.1] * 40)
    assert monitor(tmp_path / "log.jsonl", calibrator).unlike is None
