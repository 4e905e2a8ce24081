"""Calibrators by file and by name."""

from __future__ import annotations

import pytest

from guardrail import IsotonicCalibrator
from guardrail.calibration import shipped
from guardrail.calibration.shipped import (
    load_calibrator,
    shipped_by_name,
    shipped_calibrator,
    why_none_is_shipped,
)
from guardrail.errors import CalibrationError

NAMES = ["shipped:smollm2-135m", "shipped:smollm2-135m-claims", "shipped:smollm2-135m-hybridgrad"]


@pytest.mark.parametrize(
    ("name", "unit", "scorer"),
    [(NAMES[0], "answer", "stacked"), (NAMES[1], "claim", "stacked"), (NAMES[2], "answer", "hybridgrad")],
)
def test_by_name(name, unit, scorer):
    calibrator = load_calibrator(name)
    assert (calibrator.unit, calibrator.provenance.scorer, calibrator.source) == (unit, scorer, name)


def test_a_name_of_earlier_versions_is_todays_with_the_same_score():
    assert load_calibrator("shipped:smollm2-135m-stacked").digest == load_calibrator(NAMES[0]).digest


def test_of_a_scorer_the_one_that_was_fitted_on_it():
    model = shipped_by_name(NAMES[0]).provenance.model
    assert shipped_calibrator(model, scorer="hybridgrad")[0] == NAMES[2]
    assert shipped_calibrator(model, scorer="sar") is None
    assert shipped_calibrator(model, "claim", "hybridgrad") is None


def test_by_file(tmp_path):
    IsotonicCalibrator().fit([i / 200 for i in range(200)], [i % 3 == 0 for i in range(200)]).save(tmp_path / "c.json")
    assert load_calibrator(tmp_path / "c.json").n == 200


def test_a_calibrator_knows_the_name_it_was_loaded_under(tmp_path):
    made = IsotonicCalibrator().fit([i / 200 for i in range(200)], [i % 3 == 0 for i in range(200)])
    made.save(tmp_path / "c.json")
    loaded = load_calibrator(tmp_path / "c.json")
    assert (made.source, loaded.source, load_calibrator(NAMES[2]).source) == (None, str(tmp_path / "c.json"), NAMES[2])
    assert shipped_calibrator(shipped_by_name(NAMES[0]).provenance.model)[1].source == NAMES[0]
    assert "source" not in loaded.to_dict()
    assert loaded.digest == made.digest
    assert IsotonicCalibrator.from_dict(loaded.to_dict()).source is None
    assert loaded.fit([i / 200 for i in range(200)], [i % 3 == 0 for i in range(200)]).source is None


def test_a_name_that_is_none_says_which_there_are():
    with pytest.raises(
        CalibrationError, match="no calibrator 'shipped:gpt-5' is shipped; there are: shipped:smollm2-135m, "
    ):
        load_calibrator("shipped:gpt-5")


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("unit", "name"), [("answer", NAMES[0]), ("claim", NAMES[1])])
def test_of_several_for_one_model_the_plain_name_is_taken(unit, name, order, monkeypatch):
    model = shipped_by_name(NAMES[0]).provenance.model
    folder = shipped.resources.files("guardrail.data").joinpath("calibrators")
    files = sorted(folder.iterdir(), key=lambda f: f.name)[::order]
    monkeypatch.setattr(type(folder), "iterdir", lambda _: iter(files))
    assert shipped_calibrator(model, unit)[0] == name


def test_what_differs_from_the_shipped_calibrator_is_said_in_words():
    ours = shipped_by_name("shipped:smollm2-135m").provenance.model
    cases = {
        "another chat template": {"chat_template": "0" * 64},
        "in float32, here it is in bfloat16": {"dtype": "bfloat16", "weights": "1" * 64},
        "other weights of that name": {"weights": "1" * 64},
        "none is shipped for these weights": {"weights": "1" * 64, "name": "another"},
    }
    for words, changed in cases.items():
        assert words in why_none_is_shipped(ours.model_copy(update=changed))
