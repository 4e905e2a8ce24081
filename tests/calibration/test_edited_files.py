"""A calibrator's file that was edited by hand: refused whatever was edited, in words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.shipped import load_calibrator
from guardrail.errors import CalibrationError
from tests.calibration.test_isotonic import PROVENANCE

SHIPPED = {  # what proofs of policies hold: they must never change
    "shipped:smollm2-135m": "728297350efcb14a70073e6141a6344d4b3197c9715a623c22f705af0387b1c4",
    "shipped:smollm2-135m-hybridgrad": "69d53468715fdcaa8ccf9890d70f59615314544cb268b0c52631d5d362e07591",
    "shipped:smollm2-135m-claims": "db24e28a0f651bcc3d37ad98076d77963efe238710c274138935dfee97d35c8c",
}


@pytest.fixture(scope="module")
def content():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=200)
    correct = rng.random(200) < 1 / (1 + np.exp(2 * scores))
    return IsotonicCalibrator().fit(scores, correct, provenance=PROVENANCE).to_dict()


def provenance(**change):
    return lambda d: {**d, "provenance": {**d["provenance"], **change}}


def metric(**change):
    return lambda d: {**d, "metrics": {**d["metrics"], "ece": {**d["metrics"]["ece"], **change}}}


EDITS = {
    "prompt": provenance(prompt="Answer: {question}"),
    "system": provenance(system="You are sure."),
    "token limit": provenance(generation={"max_new_tokens": 1000, "temperature": 0.0}),
    "temperature": provenance(generation={"max_new_tokens": 64, "temperature": 1.0}),
    "grader": provenance(grader="exact"),
    "command": provenance(command="guardrail calibrate other.jsonl"),
    "questions": provenance(questions=["0" * 16]),
    "metric": metric(value=0.0, low=0.0),
    "no provenance": lambda d: {**d, "provenance": None},
    "no sketch": lambda d: {k: v for k, v in d.items() if k != "sketch"},
    "median": lambda d: {**d, "blocks": [{**d["blocks"][0], "score": d["blocks"][0]["first"]}, *d["blocks"][1:]]},
    "another digest": lambda d: {**d, "digest": "0" * 64},
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_nothing_else_in_the_file_shows_is_seen_by_the_digest(content, tmp_path, edit):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(EDITS[edit](content)))
    with pytest.raises(
        CalibrationError, match=r"its content has the digest .* it was edited after it was written. Make it"
    ):
        IsotonicCalibrator.load(path)


def without_digest(content):
    return {key: value for key, value in content.items() if key != "digest"}


def recomputed(pseudo):
    """The blocks as they would be with other pseudo-answers: consistent in themselves."""

    def edit(d):
        base = d["n_correct"] / d["n"]
        blocks = [{**b, "p_correct": (b["n_correct"] + pseudo * base) / (b["n"] + pseudo)} for b in d["blocks"]]
        blocks = [{**b, "low": min(b["low"], b["p_correct"]), "high": max(b["high"], b["p_correct"])} for b in blocks]
        return {**d, "pseudo_answers": pseudo, "blocks": blocks}

    return edit


def blocks(change):
    return lambda d: {**d, "blocks": [{**b, **change(b)} for b in d["blocks"]]}


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (blocks(lambda b: {"low": b["p_correct"], "high": b["p_correct"]}), "low .* does not follow from the counts"),
        (blocks(lambda b: {"low": b["p_correct"] - 1e-4}), "low .* does not follow from the counts"),
        (blocks(lambda b: {"high": 0.999999}), "high .* does not follow from the counts"),
        (blocks(lambda b: {"low": b["high"], "high": b["low"]}), r"lies outside \[low, high\]"),
        (blocks(lambda b: {"n": b["n_correct"], "n_correct": b["n"]}), "blocks"),
        (recomputed(1e-9), "pseudo_answers is 1e-09, and every fit takes 2.0"),
        (lambda d: {**d, "n": 10**400}, "n: Input should be less than or equal to 1000000000|not a calibrator"),
        (provenance(generation={"max_new_tokens": "many"}), "max_new_tokens is 'many', which is no token limit"),
        (provenance(generation={"max_new_tokens": 0}), "max_new_tokens is 0"),
        (provenance(generation={"temperature": True}), "temperature is True, which is no temperature"),
        (provenance(prompt=3), "provenance.prompt: Input should be a valid string"),
        (provenance(profile=[]), "provenance.profile"),
        (provenance(created="yesterday"), "provenance.created"),
        (lambda d: {**d, "blocks": {"0": d["blocks"][0]}}, "blocks: Input should be a valid"),
        (lambda d: {**d, "metrics": {"ece": 0.1}}, "metrics.ece"),
        (lambda d: {**d, "digest": "abc"}, "digest: String should match pattern"),
        (lambda d: {**d, "digest": None}, "`digest` is null, which no fit writes"),
        (lambda d: {**d, "sketch": {**d["sketch"], "unscored": -1}}, "sketch.unscored"),
    ],
)
def test_an_older_file_is_checked_as_before(content, tmp_path, edit, says):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(edit(without_digest(content))))
    with pytest.raises(CalibrationError, match=says) as error:
        IsotonicCalibrator.load(path)
    assert "\n" not in str(error.value)


def test_an_older_file_loads_and_is_known_for_one(content):
    old, new = (IsotonicCalibrator.from_dict(d) for d in (without_digest(content), content))
    assert (old.sealed, new.sealed) == (False, True)
    assert old.digest == new.digest == content["digest"]
    assert old.to_dict() == without_digest(content), "reading does not vouch for what it has read"


@pytest.mark.parametrize("key", ["n_correct", "prompt", "value", "digest"])
def test_a_key_that_comes_twice_is_refused(content, tmp_path, key):
    text = json.dumps(content)
    path = tmp_path / "c.json"
    start = text.index(f'"{key}": ')
    value = json.JSONDecoder().raw_decode(text, start + len(key) + 4)[0]
    path.write_text(f"{text[:start]}{json.dumps(key)}: {json.dumps(value)}, {text[start:]}")
    with pytest.raises(CalibrationError, match=f"the key '{key}' comes twice"):
        IsotonicCalibrator.load(path)


@pytest.mark.parametrize("data", [3, None, "text", [1], {"n": {1, 2}}, {"n": math.nan}, {1: 2}, {("a",): 1}])
def test_what_is_no_file_at_all_is_an_error_in_words(data):
    with pytest.raises(CalibrationError, match="^calibrator: not a calibrator: "):
        IsotonicCalibrator.from_dict(data)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_calibrators_hold_their_digest_and_it_is_what_it_was(name):
    loaded = load_calibrator(name)
    assert loaded.sealed
    assert loaded.digest == SHIPPED[name]
