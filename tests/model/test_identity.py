"""What ends an answer is part of which model this is; files that do not say it are taken as they are."""

from __future__ import annotations

import json

import pytest

from guardrail import Guard
from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.provenance import Provenance
from guardrail.calibration.sps_profile import SpsProfile
from guardrail.errors import CalibratorMismatchError, DataError
from guardrail.model.identity import ModelIdentity, told_apart
from guardrail.runs.run_file import RunFile
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.testing import tiny_local_model


def ending_at(*ids):
    local = tiny_local_model()
    local.model.generation_config.eos_token_id = list(ids)
    return local


def fitted(local, model):
    scorer = HybridGradScorer(local)
    provenance = Provenance(
        model=model, scorer=scorer.name, profile=scorer.options, prompt="{question}", system=None, data="x", n=60,
        accuracy=0.5, created="2026-01-01", command="a test", versions={}, grader="exact",
        generation={"max_new_tokens": 40},
    )  # fmt: skip
    scores = [10.0 ** (i / 10 - 6) for i in range(60)]
    return IsotonicCalibrator().fit(scores, [i < 30 for i in range(60)], provenance=provenance)


def earlier(identity):
    return identity.model_copy(update={"end_ids": ""})


def test_the_ids_are_in_the_identity():
    assert tiny_local_model().identity.end_ids == "2"
    assert ending_at(7, 2, 7).identity.end_ids == "2 7"  # the union with the tokenizer's and the template's, ascending
    assert told_apart(tiny_local_model().identity, ending_at(7).identity) == ["end_ids"]


def test_a_calibrator_of_other_end_tokens_is_refused_in_words():
    calibrator = fitted(ending_at(2), ending_at(2).identity)
    with pytest.raises(CalibratorMismatchError, match=r"model end-of-turn token ids 2 \(in use: 2 7\)"):
        Guard(model=ending_at(7), calibrator=calibrator, policy="observe")
    assert Guard(model=ending_at(2), calibrator=calibrator, policy="observe").check("What?", "Lyon").label


@pytest.mark.parametrize("ids", [(2,), (2, 7)])
def test_a_calibrator_that_does_not_say_is_taken(tmp_path, ids):
    local = ending_at(*ids)
    calibrator = fitted(local, earlier(local.identity))
    calibrator.save(tmp_path / "c.json")
    assert "end_ids" not in (tmp_path / "c.json").read_text()
    confidence = Guard(model=local, calibrator=tmp_path / "c.json", policy="observe").check("What?", "Lyon").confidence
    assert confidence.basis == "calibrated"


def test_a_file_keeps_what_it_does_not_say():
    told = {"name": "m", "architecture": "A", "weights": "w", "dtype": "d", "chat_template": "t"}
    assert json.loads(ModelIdentity(**told).model_dump_json()) == told
    assert ModelIdentity(**told).model_dump(exclude={"name"}) == {k: v for k, v in told.items() if k != "name"}
    assert ModelIdentity(**told, end_ids="2 7").model_dump() == {**told, "end_ids": "2 7"}


def test_a_run_goes_on_where_it_does_not_say(tmp_path):
    model = tiny_local_model().identity.model_dump(exclude={"name"})
    old = {key: value for key, value in model.items() if key != "end_ids"}
    for name, first, then, fits in (
        ("old", old, model, True), ("same", model, model, True), ("other", model, {**model, "end_ids": "2 7"}, False),
    ):  # fmt: skip
        with RunFile(tmp_path / name, {"kind": "x", "model": first}, resume=False):
            pass
        if fits:
            with RunFile(tmp_path / name, {"kind": "x", "model": then}, resume=True) as file:
                assert file.rows == {}
        else:
            with pytest.raises(DataError, match="is another run"):
                RunFile(tmp_path / name, {"kind": "x", "model": then}, resume=True).__enter__()


def test_an_sps_profile_of_other_end_tokens_is_refused():
    ours, theirs = ending_at(2).identity, ending_at(7).identity
    with pytest.raises(CalibratorMismatchError, match="end-of-turn token ids 2 7"):
        SpsProfile.model_construct(model=theirs).profile_for(ours)
