"""The numbers of a report about claims: against `evaluate`, by brute force, and what becomes of a promise."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import guardrail
from guardrail.errors import CalibratorMismatchError, DataError
from guardrail.evaluation.assess_claims import assess_claims
from guardrail.evaluation.claim_tuning import claims_proof_of, find_claim_threshold
from guardrail.evaluation.report_claims import measure_claim_run
from guardrail.html.report import claim_report_page
from guardrail.html.report_claims import claim_promises
from guardrail.policy import Policy
from guardrail.policy.tuned import policy_text
from guardrail.runs.run_claims import load_claim_run
from tests.helpers import sample_claim_runs as s
from tests.helpers.sample_runs import EVIL, MADE


@pytest.fixture(scope="module")
def fitted():
    return s.calibrator()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return s.loaded(tmp_path_factory.mktemp("claims") / "run.jsonl")


@pytest.fixture(scope="module")
def tuned(fitted, tmp_path_factory):
    """A policy that `tune --unit claim` would write, found on answers of its own; their hash."""
    other = s.loaded(tmp_path_factory.mktemp("tune") / "t.jsonl", 200, seed=5, first=1000)
    found = find_claim_threshold(fitted, other.answers, all_right=0.8)
    model = fitted.provenance.model
    proof = claims_proof_of(found, fitted, "c.json", model, data=other.data, command="guardrail tune")
    return Policy.from_text(policy_text(proof), "tuned.yaml"), other


def kinds(run):
    return [row.extra["kind"] for row in run.rows]


def test_the_figures_are_those_of_evaluate(run, fitted):
    policy = Policy.load("per_claim")
    found = measure_claim_run(fitted, run.answers, [policy], data=run.data)
    oracle = assess_claims(fitted, run.answers, [policy])
    assert found.metrics == oracle.metrics
    assert found.reliability == oracle.reliability
    assert found.policies[0].outcome == oracle.policies[0]
    told = json.loads(json.dumps(found.to_dict()))
    assert (told["unit"], told["n"], told["answers"]) == ("claim", len(run.answers.correct), 60)
    assert told["policies"][0]["kept"]["kept"] == oracle.policies[0].actions["keep"]


def test_the_curve_by_brute_force(run, fitted):
    curve = (found := measure_claim_run(fitted, run.answers, [], data=run.data)).curve
    p, correct, groups = found.p_correct, run.answers.correct, run.answers.groups
    assert np.all(np.diff(curve.kept) > 0)
    assert np.all(np.diff(curve.lost) >= 0)
    for i, threshold in enumerate(curve.threshold):
        kept = [k for k in range(len(p)) if p[k] >= threshold]
        lost = {int(groups[k]) for k in kept if not correct[k]}
        assert (curve.kept[i], curve.lost[i]) == (len(kept) / len(p), len(lost) / 60)
        assert curve.low[i] <= curve.lost[i] <= curve.high[i]


def test_kinds_add_up_to_all(run, fitted, tuned):
    check = measure_claim_run(fitted, run.answers, [tuned[0]], data=run.data, kinds=kinds(run)).policies[0]
    assert set(check.groups) == {"kind 0", "kind 1", "kind 2"}
    for count in ("claims", "kept", "right", "right_kept"):
        assert sum(getattr(kept, count) for kept in check.groups.values()) == getattr(check.kept, count)
    assert sum(kept.lost.value * kept.lost.n for kept in check.groups.values()) == pytest.approx(
        check.kept.lost.value * check.kept.lost.n
    )


def test_a_promise_is_kept_broken_or_its_own_test(run, fitted, tuned, tmp_path):
    policy, other = tuned

    def became(run):
        [(slug, text)] = claim_promises(measure_claim_run(fitted, run.answers, [policy], data=run.data).policies[0])
        return slug, text

    slug, text = became(run)
    assert slug == "kept"
    assert "at least 80.0\u00a0% of answers will keep no wrong claim. Kept on this run:" in text
    slug, text = became(other)
    assert slug == "own"
    assert "so this is no test of it" in text
    # of the surest claims nearly all are wrong
    slug, text = became(s.loaded(tmp_path / "flipped.jsonl", 120, flipped=True))
    assert slug == "broken"
    assert "even the lower end of the interval is above" in text


def test_a_policy_that_keeps_nothing_keeps_no_promise(run, fitted, tuned):
    found = measure_claim_run(fitted, run.answers, [tuned[0]], data=run.data)
    nothing = np.zeros(len(run.answers.correct), dtype=bool)
    from dataclasses import replace

    from guardrail.evaluation.kept_claims import kept_of

    check = replace(found.policies[0], kept=kept_of(nothing, run.answers.correct, run.answers.groups))
    [(slug, text)] = claim_promises(check)
    assert slug == "nothing-to-judge"
    assert "keeps no claim, so nothing can be said of it" in text


def test_the_page_says_claims_and_escapes_them(fitted, tuned, tmp_path):
    rows, records = s.rows_and_records(40)
    for record in records:
        for claim in record["claims"]:
            claim["text"] = EVIL
    run = load_claim_run(s.write(tmp_path / "run.jsonl", rows, records), rows)
    found = measure_claim_run(fitted, run.answers, [tuned[0]], data=run.data, kinds=[EVIL, *kinds(run)[1:]])
    page = claim_report_page(found, run, calibrator="c.json", made=MADE)
    assert "<script" not in page
    assert "alert(1)&gt;" in page
    for said in (
        "What is kept",
        "answers that keep a wrong claim",
        "claims in each bin",
        "Right claims get more",
        "by kind of",
    ):
        assert said in page


def test_report_of_a_run_of_claims(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows, records = s.rows_and_records(40)
    s.write(tmp_path / "run.jsonl", rows, records)
    fitted.save("c.json")
    data = [
        {
            "question": row.question, "answer": row.answer, "kind": row.extra["kind"],
            "claims": [{"start": label.start, "end": label.end, "correct": label.correct} for label in row.labels],
        }
        for row in rows
    ]  # fmt: skip
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    found = guardrail.report(
        "run.jsonl", "r.html", calibrator="c.json", policies=["per_claim"], unit="claim", data="data.jsonl"
    )
    assert found.run.complete
    assert found.to_dict()["grader"] == "facts and labels"
    assert "Ranked by one score for the whole answer" in (tmp_path / "r.html").read_text()

    ask = {"calibrator": "c.json", "unit": "claim"}
    for more, says in (
        (ask, "give what it asked: --data"),
        (ask | {"data": "data.jsonl", "grader": "exact"}, "--grader exact is for whole answers"),
        (ask | {"data": "data.jsonl", "bench": "b.json"}, "--bench b.json is for whole answers"),
        ({"calibrator": "c.json", "data": "data.jsonl"}, "--data is for claims"),
        (ask | {"data": "bundled"}, "nothing is known of 40 of its 40 questions, such as 'What about 0?'"),
    ):
        with pytest.raises(DataError) as error:
            guardrail.report("run.jsonl", **more)
        assert says in str(error.value)


def test_another_extractor_is_refused(fitted, tmp_path):
    rows, records = s.rows_and_records(20)
    other = {"name": "atoms", "options": {}}
    from guardrail.runs.run_answers import check_fits

    run = load_claim_run(s.write(tmp_path / "run.jsonl", rows, records, extractor=other), rows)
    with pytest.raises(CalibratorMismatchError, match="another model|extractor"):
        check_fits(run, fitted, "c.json")


def test_it_needs_no_torch():
    code = "import sys, guardrail.pages, guardrail.runs.run_claims; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"
