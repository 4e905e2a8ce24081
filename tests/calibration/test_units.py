"""Calibrators of answers and of claims are never taken for each other; claims of one answer are never torn apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.calibration import metrics as m
from guardrail.calibration.folds import stratified_folds
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.provenance import ExtractorIdentity, ModelIdentity, Provenance, check_compatible
from guardrail.errors import CalibrationError, CalibratorMismatchError

MODEL = ModelIdentity(name="tiny", architecture="LlamaForCausalLM", weights="w", dtype="float32", chat_template="t")
SENTENCES = ExtractorIdentity(name="sentences", options={"language": "en"})
RNG = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(60), 3)
CORRECT = RNG.random(180) < 0.4
SCORES = RNG.random(180) - 0.5 * CORRECT


def provenance(extractor=SENTENCES):
    return Provenance(
        model=MODEL, scorer="hybridgrad", profile={"token": -1}, prompt="{question}", system=None, data="d", n=180,
        accuracy=0.4, created="2026-01-02", command="c", versions={}, grader="facts", generation={}, extractor=extractor,
    )  # fmt: skip


def check(unit, wanted, fitted=SENTENCES, used=SENTENCES):
    check_compatible(
        provenance(fitted), MODEL, "hybridgrad", {"token": -1}, "c.json", unit=unit, wanted=wanted, extractor=used
    )


def test_the_unit_survives_the_file(tmp_path):
    fitted = IsotonicCalibrator().fit(SCORES, CORRECT, unit="claim", groups=GROUPS, provenance=provenance())
    fitted.save(tmp_path / "c.json")
    loaded = IsotonicCalibrator.load(tmp_path / "c.json")
    assert (loaded.unit, loaded.provenance.extractor) == ("claim", SENTENCES)


def test_files_without_the_new_keys_are_calibrators_of_answers():
    data = IsotonicCalibrator().fit(SCORES, CORRECT, provenance=provenance(None)).to_dict()
    del data["unit"], data["provenance"]["extractor"]
    assert IsotonicCalibrator.from_dict(data).unit == "answer"


def test_a_unit_without_its_extractor_is_no_calibrator():
    with pytest.raises(CalibrationError, match="says what cut them"):
        IsotonicCalibrator().fit(SCORES, CORRECT, unit="claim", provenance=provenance(None))
    data = IsotonicCalibrator().fit(SCORES, CORRECT, unit="claim", provenance=provenance()).to_dict()
    with pytest.raises(CalibrationError, match="unit 'answer' with provenance.extractor"):
        IsotonicCalibrator.from_dict({**data, "unit": "answer"})


def test_the_wrong_unit_is_refused_with_the_command_that_makes_the_right_one():
    check("claim", "claim")
    check("answer", "answer", None, None)
    with pytest.raises(
        CalibratorMismatchError, match=r"of claims, and one of answers .* DATA\.jsonl -o calibrator\.json"
    ):
        check("claim", "answer", used=None)
    with pytest.raises(CalibratorMismatchError, match=r"of answers, and one of claims .* DATA\.jsonl --unit claim -o"):
        check("answer", "claim", None)


def test_claims_cut_in_another_way_are_refused():
    with pytest.raises(CalibratorMismatchError, match=r"extractor sentences \(in use: atomic\)"):
        check("claim", "claim", used=ExtractorIdentity(name="atomic", options={"language": "en"}))
    with pytest.raises(CalibratorMismatchError, match=r"extractor option language en \(in use: de\).* --unit claim"):
        check("claim", "claim", used=ExtractorIdentity(name="sentences", options={"language": "de"}))


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=30, max_size=120), st.integers(0, 5))
def test_folds_never_tear_a_group_apart(claims, seed):
    groups, correct = np.array([g for g, _ in claims]), np.array([c for _, c in claims])
    try:
        folds = stratified_folds(correct, 3, seed, groups)
    except CalibrationError:
        return
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(claims)))
    for a in range(3):
        for b in range(a):
            assert not set(groups[folds[a]]) & set(groups[folds[b]])


def test_grouped_folds_spread_right_and_wrong():
    shares = [CORRECT[fold].mean() for fold in stratified_folds(CORRECT, 5, 0, GROUPS)]
    assert max(shares) - min(shares) < 0.1
    with pytest.raises(CalibrationError, match="leave one empty"):
        stratified_folds(np.array([True, False] * 10), 3, 0, np.repeat([0, 1], 10))


def test_drawing_groups_of_copies_is_drawing_their_single_rows():
    """Five copies of each row, drawn together, know no more than one: the interval is that of the single rows."""
    one = CORRECT[:60]
    copies, groups = np.repeat(one, 5), np.repeat(np.arange(60), 5)
    single, grouped = m.bootstrap_interval(m.accuracy, one), m.bootstrap_interval(m.accuracy, copies, groups=groups)
    assert (grouped.low, grouped.high, grouped.n) == (pytest.approx(single.low), pytest.approx(single.high), 300)
    naive = m.bootstrap_interval(m.accuracy, copies)
    assert grouped.high - grouped.low > 1.8 * (naive.high - naive.low)


def test_groups_of_one_are_no_groups():
    metrics = m.calibration_metrics(SCORES, 1 / (1 + np.exp(SCORES)), CORRECT, groups=np.arange(180))
    plain = m.calibration_metrics(SCORES, 1 / (1 + np.exp(SCORES)), CORRECT)
    assert {k: v for k, v in metrics.items() if k != "accuracy"} == {k: v for k, v in plain.items() if k != "accuracy"}


def test_one_group_for_each_row():
    with pytest.raises(CalibrationError, match="3 groups for 2 rows"):
        m.bootstrap_interval(m.accuracy, [True, False], groups=[1, 2, 3])
