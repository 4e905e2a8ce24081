import json
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from sklearn.isotonic import IsotonicRegression

from guardrail.calibration import isotonic
from guardrail.calibration.isotonic import IsotonicCalibrator, cross_validated_predictions
from guardrail.calibration.metrics import ece
from guardrail.calibration.pooling import Curve, fit_blocks, pool_adjacent_violators
from guardrail.calibration.provenance import ModelIdentity, Provenance
from guardrail.calibration.record import Record
from guardrail.errors import CalibrationError, NotFittedError
from guardrail.types import Score

PROVENANCE = Provenance(
    model=ModelIdentity(name="tiny", architecture="Llama", weights="w", dtype="float32", chat_template="t"),
    scorer="hybridgrad",
    profile={"token": -4, "tau": 0.1},
    prompt="{question}",
    system=None,
    data="ab" * 32,
    n=300,
    accuracy=1 / 3,
    created="2026-02-03",
    command="guardrail calibrate q.jsonl -o c.json",
    versions={},
    grader="alias",
    generation={"max_new_tokens": 32},
)


def simulate(n=300, seed=0, slope=1.5, shift=-0.7):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    truth = 1 / (1 + np.exp(slope * z - shift))
    return np.exp(1.5 * z), rng.random(n) < truth, truth


SCORES, CORRECT, _ = simulate()


@pytest.fixture(scope="module")
def fitted():
    return IsotonicCalibrator().fit(SCORES, CORRECT, provenance=PROVENANCE)


@st.composite
def graded(draw):
    """Scores with ties, of any size, and labels with at least five of each kind."""
    n = draw(st.integers(30, 80))
    values = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e300, 1e300), st.floats(0, 1e-300))
    scores = draw(st.lists(values, min_size=n, max_size=n).filter(lambda s: len(set(s)) > 1))
    labels = draw(
        st.permutations([True] * 5 + [False] * 5 + draw(st.lists(st.booleans(), min_size=n - 10, max_size=n - 10)))
    )
    return np.array(scores), np.array(labels)


# --- the fit


def test_pava_by_hand():
    # right/all, ascending score: 1/1 0/1 1/1 1/2 0/1 -> 1/1 | 2/4 | 0/1
    assert pool_adjacent_violators([1, 1, 1, 2, 1], [1, 0, 1, 1, 0]) == [(1, 1, 1), (4, 4, 2), (5, 1, 0)]


@given(graded())
@settings(max_examples=60, deadline=None)
def test_pava_against_sklearn(data):
    s, c = data
    distinct, group, size = np.unique(s, return_inverse=True, return_counts=True)
    blocks = pool_adjacent_violators(size, np.bincount(group, weights=c).astype(int))
    ours, start = np.empty(len(distinct)), 0
    for stop, n, right in blocks:
        ours[start:stop] = right / n
        start = stop
    rank = np.arange(len(distinct))[group]  # sklearn merges scores that nearly agree; ranks never do
    theirs = IsotonicRegression(increasing=False).fit(rank, c.astype(float)).predict(np.arange(len(distinct)))
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@given(graded())
@settings(max_examples=60, deadline=None)
def test_predictions_never_rise_with_the_score_nor_reach_0_or_1(data):
    s, c = data
    blocks = fit_blocks(s, c)
    curve = Curve.through(blocks)
    x = np.sort(
        np.concatenate([s, np.nextafter(s, 1e308), (np.sort(s)[1:] / 2 + np.sort(s)[:-1] / 2), [-1e308, 1e308]])
    )
    p, low, high = curve.at(x)
    for row in (p, low, high):
        assert (np.diff(row) <= 0).all()
        assert row.min() > 0
        assert row.max() < 1
    assert (low <= p).all()
    assert (p <= high).all()
    assert sum(b.n for b in blocks) == len(s)
    one_by_one = np.array([curve.at_one(float(score)) for score in x]).T
    np.testing.assert_allclose(one_by_one, [p, low, high], rtol=1e-12)
    assert (np.diff(one_by_one) <= 0).all()


def test_a_block_is_its_count_with_two_pseudo_answers_at_the_base_rate():
    s = np.repeat([1.0, 2.0], 20)
    c = np.array([True] * 20 + [False] * 15 + [True] * 5)
    calibrator = IsotonicCalibrator().fit(s, c)
    base = 25 / 40
    assert calibrator.base_rate == base
    assert calibrator.predict(1.0).p_correct == pytest.approx((20 + 2 * base) / 22)
    assert calibrator.predict(2.0).p_correct == pytest.approx((5 + 2 * base) / 22)
    middle = calibrator.predict(1.5)
    assert middle.p_correct == pytest.approx((25 + 4 * base) / 44)
    assert calibrator.predict(1.0).low == pytest.approx(beta.ppf(0.025, 20.5, 0.5))  # Jeffreys, 20 of 20


def test_the_truth_is_recovered_and_the_interval_covers_it():
    covered, error = [], []
    for seed in range(40):
        s, c, _ = simulate(280, seed)
        x, _, truth = simulate(500, 1000 + seed)
        p, low, high = Curve.through(fit_blocks(s, c)).at(x)
        covered.append(((low <= truth) & (truth <= high)).mean())
        error.append(np.abs(p - truth).mean())
    assert np.mean(covered) > 0.95
    assert np.mean(error) < 0.05


def test_a_score_that_ranks_backwards_gives_the_base_rate():
    calibrator = IsotonicCalibrator().fit(-SCORES, CORRECT)
    np.testing.assert_allclose(calibrator.probabilities([-1e9, -1.0, 0.0]), CORRECT.mean())


# --- what fit refuses


@pytest.mark.parametrize(
    ("scores", "correct", "message"),
    [
        (SCORES[:29], CORRECT[:29], "29 scored answers are too few.*at least 30"),
        ([], [], "no answers"),
        (SCORES, np.ones(300, bool), "300 of 300 answers are right.*5 wrong: add harder questions"),
        (SCORES, np.arange(300) < 4, "4 of 300 answers are right.*add easier questions"),
        (np.where(SCORES > 1, np.nan, SCORES), CORRECT, "not finite; leave those answers out"),
        (np.where(SCORES > 1, np.inf, SCORES), CORRECT, "not finite"),
        ([Score.none("empty_answer")] * 300, CORRECT, "300 of 300 scores are unscored"),
        (SCORES[:-1], CORRECT, "299 scores but labels of shape"),
        (SCORES, CORRECT.astype(int), "must be booleans.*int64"),
        (SCORES, CORRECT.astype(float), "must be booleans.*float64"),
        (np.ones(300), CORRECT, "all 300 scores are 1"),
        (SCORES[:, None], CORRECT, "row of numbers"),
    ],
)
def test_fit_refuses_what_cannot_be_calibrated(scores, correct, message):
    calibrator = IsotonicCalibrator()
    with pytest.raises(CalibrationError, match=message):
        calibrator.fit(scores, correct)
    with pytest.raises(NotFittedError):
        calibrator.predict(1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.predict(1.0),
        lambda c: c.predict(Score.none("empty_answer")),
        lambda c: c.probabilities([1.0]),
        lambda c: c.save("never.json"),
        lambda c: c.to_dict(),
        lambda c: c.metrics,
        lambda c: c.provenance,
    ],
)
def test_nothing_works_before_fit(call):
    with pytest.raises(NotFittedError, match=r"call fit\(scores, correct\) or IsotonicCalibrator.load\(path\) first"):
        call(IsotonicCalibrator())


# --- predict


def test_scores_outside_the_range_go_to_the_nearest_end(fitted):
    first, last = fitted.score_range
    sure, unsure = fitted.predict(first), fitted.predict(last)
    assert sure.in_range
    assert unsure.in_range
    assert sure.p_correct > 0.6 > 0.1 > unsure.p_correct
    below, above = fitted.predict(first - 1), fitted.predict(last * 10)
    assert (below.in_range, above.in_range) == (False, False)
    assert below.p_correct == sure.p_correct
    assert below.label == sure.label
    assert above.p_correct == unsure.p_correct
    assert above.label == unsure.label == "very low"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_for_what_is_not_finite(fitted, value):
    for score in (value, Score(value, 0.0, 0.0, 0.0, 0.0, 1)):
        confidence = fitted.predict(score)
        assert confidence.p_correct is confidence.low is confidence.high is confidence.label is None
        assert not confidence.in_range
        assert confidence.reason.startswith("not_finite")


def test_no_number_for_an_unscored_answer(fitted):
    confidence = fitted.predict(Score.none("prompt_truncated", "512 of 600 tokens read"))
    assert confidence.p_correct is None
    assert confidence.reason == "prompt_truncated: 512 of 600 tokens read"


def test_a_score_counts_by_its_value_and_many_agree_with_one(fitted):
    assert fitted.predict(Score(0.5, 9.0, 9.0, 9.0, 9.0, 3)) == fitted.predict(0.5)
    np.testing.assert_allclose(fitted.probabilities(SCORES), [fitted.predict(s).p_correct for s in SCORES], rtol=1e-12)
    with pytest.raises(CalibrationError, match="1 of 2 scores"):
        fitted.probabilities([Score.none("not_finite"), 1.0])


def test_fit_takes_scores_and_does_not_depend_on_order():
    order = np.random.default_rng(5).permutation(300)
    as_scores = [Score(s, s, s, 0.0, 0.0, 1) for s in SCORES[order].tolist()]
    again = IsotonicCalibrator().fit(as_scores, CORRECT[order])
    first = IsotonicCalibrator().fit(SCORES, CORRECT)
    assert again.to_dict()["blocks"] == first.to_dict()["blocks"]


# --- cross-validation


def test_out_of_fold_probabilities_are_repeatable_and_do_not_flatter():
    p = cross_validated_predictions(SCORES, CORRECT, folds=5, seed=3)
    assert p.shape == (300,)
    np.testing.assert_array_equal(p, cross_validated_predictions(SCORES, CORRECT, folds=5, seed=3))
    # on noise a fit looks calibrated to its own points, and to no others
    rng = np.random.default_rng(0)
    pure_noise = rng.normal(size=300)
    fitted_error = ece(IsotonicCalibrator().fit(pure_noise, CORRECT).probabilities(pure_noise), CORRECT)
    held_out_error = ece(cross_validated_predictions(pure_noise, CORRECT), CORRECT)
    assert fitted_error < held_out_error
    with pytest.raises(CalibrationError, match="5 folds of 30 answers, 3 of the rarer kind; take 2 to 3"):
        cross_validated_predictions(SCORES[:30], np.arange(30) < 3)


def test_metrics_carry_intervals_and_are_held_out(fitted):
    metrics = fitted.metrics
    assert list(metrics) == ["accuracy", "auroc", "aurc", "brier", "ece"]
    assert all(e.low <= e.value <= e.high and e.n == 300 for e in metrics.values())
    assert metrics["ece"].value == ece(cross_validated_predictions(SCORES, CORRECT), CORRECT)
    assert (fitted.unit, fitted.n, fitted.base_rate) == ("answer", 300, CORRECT.mean())


# --- the file


def test_a_file_gives_back_every_bit(fitted, tmp_path):
    path = tmp_path / "c.json"
    fitted.save(path)
    loaded = IsotonicCalibrator.load(str(path))
    assert loaded.to_dict() == fitted.to_dict() == json.loads(path.read_text())
    assert loaded.provenance == PROVENANCE
    assert loaded.metrics == fitted.metrics
    np.testing.assert_array_equal(loaded.probabilities(SCORES), fitted.probabilities(SCORES))
    assert IsotonicCalibrator.from_dict(fitted.to_dict()).to_dict() == fitted.to_dict()
    assert os.listdir(tmp_path) == ["c.json"]


@given(graded())
@settings(max_examples=25, deadline=None)
def test_any_fit_survives_the_round_trip(data):
    s, c = data
    record = Record(
        n=len(c),
        n_correct=int(c.sum()),
        pseudo_answers=2.0,
        blocks=fit_blocks(s, c),
        metrics={},
        provenance=None,
    ).model_dump(mode="json")
    assert IsotonicCalibrator.from_dict(json.loads(json.dumps(record))).to_dict() == record


def test_a_failed_write_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    path = tmp_path / "c.json"
    path.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(isotonic.os, "fsync", full)
    with pytest.raises(CalibrationError, match=f"{path}: cannot write the calibrator: No space left"):
        fitted.save(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["c.json"]


def test_saving_into_no_folder_and_through_a_link(fitted, tmp_path):
    with pytest.raises(CalibrationError, match=r"nowhere.*No such file"):
        fitted.save(tmp_path / "nowhere" / "c.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    fitted.save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert IsotonicCalibrator.load(tmp_path / "real.json").n == 300


def edited(**change):
    return lambda d: {**d, **change}


def first_block(**change):
    return lambda d: {**d, "blocks": [{**d["blocks"][0], **change}, *d["blocks"][1:]]}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edited(schema_version=2), "schema_version: Input should be 1"),
        (edited(kind="platt"), "kind"),
        (edited(surprise=1), "surprise: Extra inputs"),
        (edited(n="300"), "n: Input should be a valid integer"),
        (edited(n=301), "do not add up"),
        (edited(n_correct=3), "n_correct"),
        (edited(blocks=[]), "blocks"),
        (lambda d: {**d, "blocks": d["blocks"][::-1]}, "must ascend from block to block"),
        (lambda d: {k: v for k, v in d.items() if k != "blocks"}, "blocks: Field required"),
        (first_block(p_correct=1.0), "less than 1"),
        (lambda d: first_block(p_correct=d["blocks"][0]["p_correct"] - 1e-6)(d), "does not follow from the counts"),
        (first_block(low=0.999), r"outside \[low, high\]"),
        (first_block(first=1e9), "first <= score <= last"),
        (first_block(n_correct=10_000), "do not add up"),
        (first_block(score=math.nan), "finite number"),
        (first_block(score=math.inf), "finite number"),
        (first_block(score=None), "valid number"),
        (lambda d: {**d, "provenance": {**d["provenance"], "extra": 1}}, "provenance.extra"),
        (lambda d: {**d, "metrics": {"ece": {"value": 0.1}}}, "metrics.ece.low"),
    ],
)
def test_an_edited_file_is_refused_by_name(fitted, tmp_path, edit, message):
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(edit(fitted.to_dict())))
    with pytest.raises(CalibrationError, match=message) as e:
        IsotonicCalibrator.load(path)
    assert str(e.value).startswith(f"{path}: not a calibrator: ")
    assert str(e.value).endswith(f"guardrail calibrate DATA.jsonl -o {path}")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"\x80\x04pickle"])
def test_what_is_no_calibrator_is_refused_by_name(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=f"^{path}: not a calibrator: ") as e:
        IsotonicCalibrator.load(path)
    assert "\n" not in str(e.value)


def test_a_missing_file_says_how_to_make_it(tmp_path):
    path = tmp_path / "none.json"
    with pytest.raises(
        CalibrationError, match=f"{path}: cannot read .*No such file.*guardrail calibrate DATA.jsonl -o {path}"
    ):
        IsotonicCalibrator.load(path)
