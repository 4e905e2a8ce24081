"""The numbers of a report: against scipy, by hand, and against what `evaluate` says of the same answers."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from guardrail.calibration.metrics import aurc, wilson_interval
from guardrail.calibration.risk import exact_interval
from guardrail.errors import CalibrationError, CalibratorMismatchError, DataError
from guardrail.evaluation.assess import assess
from guardrail.evaluation.bench_file import load_bench
from guardrail.evaluation.report import check_promise, risk_curve
from guardrail.evaluation.report_examples import examples_by_label
from guardrail.grading import get_grader
from guardrail.policy import Policy
from guardrail.policy.proof import Promise
from guardrail.runs.run_answers import check_fits, check_same_model, load_run
from guardrail.types import Confidence
from tests.helpers import sample_runs as s


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


@settings(deadline=None)  # scipy.stats is slow the first time
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_intervals_are_scipys(counts):
    errors, n = counts
    found = exact_interval(errors, n)
    oracle = stats.binomtest(errors, n).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)
    assert (found.value, found.n) == (errors / n, n)


def test_no_interval_for_nothing():
    with pytest.raises(CalibrationError, match="at least one answer"):
        exact_interval(0, 0)


def test_the_report_says_what_evaluate_says(path):
    policy = Policy.load("default")
    found, run = s.measured(path, s.records(), [policy], draws=1000)
    oracle = assess(found.calibrator, run.answers, [policy])
    assert found.metrics == oracle.metrics
    assert (found.reliability, found.error_unguarded) == (oracle.reliability, oracle.error_unguarded)
    assert found.policies[0].outcome == oracle.policies[0]
    assert found.policies[0].error.value == oracle.policies[0].error.value
    assert json.loads(json.dumps(found.to_dict()))["policies"][0]["policy"] == "default"


def test_the_curve_ends_at_the_error_rate_of_all_and_counts_the_unscored(path):
    rows = [*s.records(80), *(s.record(i, False, None) for i in range(900, 920))]
    found, _ = s.measured(path, rows)
    assert found.unscored == 20
    assert found.curve.coverage[-1] == pytest.approx(0.8)
    assert found.curve.risk[-1] == pytest.approx((~found.correct).mean())
    last = stats.binomtest(int((~found.correct).sum()), 80).proportion_ci(0.95, "exact")
    assert (found.curve.low[-1], found.curve.high[-1]) == pytest.approx((last.low, last.high))
    assert ((found.curve.low <= found.curve.risk) & (found.curve.risk <= found.curve.high)).all()


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_oracle_and_random_are_aurcs_ends(right):
    correct = np.array(right)
    p = np.linspace(0.1, 0.9, len(right))
    curve = risk_curve(p, correct, len(right))
    assert curve.aurc_oracle == pytest.approx(aurc(~correct, correct.astype(bool)) if correct.all() else aurc(
        np.where(correct, np.arange(len(right)), 100 + np.arange(len(right))), correct))  # fmt: skip
    assert curve.aurc_random == pytest.approx(aurc(np.zeros(len(right)), correct))


def test_own_probability_is_the_mean_tokens(path):
    found, _ = s.measured(path, s.records(50))
    assert found.own == pytest.approx(np.full(50, np.exp(-0.3)))
    rows = [{k: v for k, v in row.items() if k != "log_probs"} for row in s.records(50)]
    without, _ = s.measured(path, [{**r, "log_probs": []} for r in rows])
    assert (without.own, without.own_ece, without.own_reliability) == (None, None, ())


def test_one_class_only_has_no_auroc_but_an_ece(path):
    found, _ = s.measured(path, [s.record(i, True, 0.1 + i / 100) for i in range(40)])
    assert set(found.undefined) == {"auroc", "brier_skill"}
    assert "these 40 are all right" in found.undefined["auroc"]
    assert {"accuracy", "aurc", "brier", "ece"} <= set(found.metrics)


def promise(max_error):
    return Promise(
        max_error=max_error, threshold=0.5, n=100, errors=5, level=0.05, bound=exact_level(5, 100), coverage=0.5,
        coverage_low=0.4, coverage_high=0.6,
    )  # fmt: skip


def exact_level(errors, n):
    return float(stats.beta.ppf(0.95, errors + 1, n - errors))


@pytest.mark.parametrize(
    ("errors", "n", "verdict"),
    [(10, 100, "kept"), (25, 100, "exceeded within chance"), (40, 100, "broken"), (20, 100, "kept")],
)
def test_whether_a_promise_held(errors, n, verdict):
    assert check_promise("answered", promise(0.2), exact_interval(errors, n)).verdict == verdict


def test_a_promise_about_nothing_is_not_kept():
    assert check_promise("answered", promise(0.2), None).verdict == "nothing to judge"


def test_examples_are_drawn_by_lot_whatever_the_order():
    rows = s.records(200)
    confidences = [
        Confidence(0.1 if i % 2 else 0.9, 0.0, 1.0, "very low" if i % 2 else "very high") for i in range(200)
    ]
    correct = np.arange(200) % 3 == 0
    groups = examples_by_label(rows, confidences, correct)
    assert [g.label for g in groups] == ["very high", "very low"]
    for group in groups:
        assert [e.right for e in group.examples] == [True, True, False, False]
        assert group.right == wilson_interval(round(group.right.value * 100), 100)
    back = np.arange(200)[::-1]
    again = examples_by_label([rows[i] for i in back], [confidences[i] for i in back], correct[back])
    assert again == groups
    assert examples_by_label(rows, confidences, correct, seed=1) != groups
    few = examples_by_label(rows[:2], [Confidence.none("empty_answer: x")] * 2, np.array([False, False]))
    assert [(g.label, len(g.examples)) for g in few] == [(None, 2)]


def test_no_scored_answer_is_no_report(path):
    with pytest.raises(CalibrationError, match="none of the 3 answers in this run has a score"):
        s.measured(path, [s.record(i, False, None) for i in range(3)])


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        ([], {}, "has no answers yet"),
        (None, {"kind": "guardrail bench"}, "not a run file (its first line has the kind 'guardrail bench')"),
        (None, {"version": 77}, "a run file of version 77"),
        (None, {"unit": "claim"}, "a run of claims"),
        (None, {"offsets": []}, "offsets"),
        (None, {"model": {"weights": "x"}}, "architecture"),
        ([{"key": "k"}], {}, "run.jsonl:2: question"),
        ([{**s.record(1, True, 0.2), "accepted": "number 1"}], {}, "run.jsonl:2: accepted"),
        ([{**s.record(1, True, 0.2), "finish_reason": "bored"}], {}, "run.jsonl:2: finish_reason"),
        ([{**s.record(1, True, 0.2), "semgrad": "none"}], {}, "the numbers of a record cannot be read"),
        ([{k: v for k, v in s.record(1, True, 0.2).items() if k != "paragrad"}], {}, "the numbers of a record cannot"),
    ],
)
def test_what_is_no_run_is_refused(path, rows, more, says):
    lines = s.records(5) if rows is None else rows
    known = [r for r in lines if "question" in r and isinstance(r["accepted"], list)]
    content = [json.dumps({**s.header(known), **more}), *map(json.dumps, lines)]
    path.write_text("".join(line + "\n" for line in content), encoding="utf-8")
    with pytest.raises(DataError) as error:
        load_run(path, get_grader("exact"))
    assert says in str(error.value)


def test_the_calibrators_own_questions_another_model_and_claims_are_refused(path):
    rows = s.records(40)
    with pytest.raises(DataError, match="1 of these questions were used for calibration"):
        s.measured(path, rows, fitted=s.calibrator(questions=["what is number 7"]))
    with pytest.raises(CalibratorMismatchError, match="answers of another model"):
        s.measured(path, rows, model={**s.MODEL, "weights": "f" * 64})
    run = load_run(s.write(path, rows), get_grader("exact"))
    with pytest.raises(DataError, match="b.json is about another model"):
        check_same_model(run, {**s.MODEL, "dtype": "float16"}, "b.json")
    with pytest.raises(CalibrationError, match="does not say what it was fitted on"):
        check_fits(run, type(s.calibrator())().fit(np.linspace(0, 1, 40), np.arange(40) < 20), "c.json")


def test_a_model_of_two_layers_has_one_band(path):
    rows = [{**row, "semgrad": [[0.25]]} for row in s.records(5)]
    run = load_run(s.write(path, rows, layers=2), get_grader("exact"))
    assert run.answers.signals.semgrad.keys() == {"code"}
    assert run.answers.signals.semgrad["code"].tolist() == [[0.25]] * 5


def test_a_run_that_was_stopped_is_known(path):
    rows = s.records(40)
    assert load_run(s.write(path, rows), get_grader("exact")).complete
    assert not load_run(s.write(path, rows[:30], data=s.header(rows)["data"]), get_grader("exact")).complete


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "guardrail sps"}, "kind"),
        ({"version": 2}, "version"),
        ({"surprise": 1}, "surprise"),
        ({"scorers": []}, "scorers"),
        ({"accuracy": {"value": 0.5, "low": 0.6, "high": 0.7, "n": 3}}, "outside its interval"),
    ],
)
def test_what_is_no_bench_is_refused(tmp_path, change, says):
    file = tmp_path / "b.json"
    file.write_text(json.dumps(s.bench(**change)))
    with pytest.raises(DataError, match=says) as error:
        load_bench(file)
    assert "b.json: not the result of a bench" in str(error.value)
    file.write_text(json.dumps(s.bench()))
    assert load_bench(file).scorers[0].name == "hybridgrad"
    with pytest.raises(DataError, match="cannot read it"):
        load_bench(tmp_path / "none.json")


def test_a_finished_run_is_read_without_torch():
    import subprocess

    code = (
        "import sys, guardrail.cli.report, guardrail.evaluation.report, guardrail.runs.run_answers, "
        "guardrail.html.report; "
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"
