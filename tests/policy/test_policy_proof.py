"""A tuned policy: written, read back, edited, used with the wrong calibrator."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from typer.testing import CliRunner

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.risk import upper_bound
from guardrail.cli.main import app
from guardrail.errors import CalibratorMismatchError, PolicyError
from guardrail.policy import Policy, check_proof
from guardrail.policy.proof import Proof, binomial_tail
from guardrail.policy.tuned import policy_text
from tests.helpers.policy_answers import SCORED, UNKNOWN, UNSCORED, sure

HASH = "0123456789abcdef" * 4


def promise(
    threshold: float, errors: int, n: int, max_error: float, level: float = 0.025, questions: int = 500
) -> dict:
    return {
        "max_error": max_error,
        "threshold": threshold,
        "n": n,
        "errors": errors,
        "level": level,
        "bound": upper_bound(errors, n, level),
        "coverage": n / questions,
        "coverage_low": 0.0,
        "coverage_high": 1.0,
    }


def proof(**changes) -> Proof:
    values = {
        "confidence": 0.95,
        "answered": promise(0.8, 4, 120, 0.1),
        "shown": promise(0.5, 60, 300, 0.3),
        "questions": 500,
        "data": HASH,
        "calibrator": "c.json",
        "calibrator_sha256": HASH,
        "model": {"name": "m", "architecture": "A", "weights": HASH, "dtype": "float32", "chat_template": HASH},
        "grader": "alias",
        "created": "2026-01-31",
        "command": "guardrail tune 'a b.jsonl' -o \"p: #1.yaml\"\n",
        "versions": {"torch": "2.13.0"},
    }
    return Proof.model_validate(values | changes)


def edited(change) -> str:
    """The file after `change` has worked on its content."""
    content = yaml.safe_load(policy_text(proof()))
    change(content)
    return yaml.safe_dump(content, sort_keys=False)


@pytest.mark.parametrize("shown", [True, False])
def test_written_and_read_back(shown: bool) -> None:
    written = proof() if shown else proof(shown=None)
    loaded = Policy.from_text(policy_text(written), "tuned.yaml")
    assert loaded.proof == written
    assert loaded.warnings == ()
    assert loaded.decide(sure(0.8), SCORED).action == "answer"
    assert loaded.decide(sure(0.79), SCORED).action == ("hedge" if shown else "abstain")
    assert loaded.decide(sure(0.5), SCORED).action == ("hedge" if shown else "abstain")
    for confidence, score in ((sure(0.49), SCORED), (sure(0.99, in_range=False), SCORED), (UNKNOWN, UNSCORED)):
        assert loaded.decide(confidence, score).action == "abstain"
    assert loaded.decide(sure(0.9), UNSCORED).action == "abstain"


@settings(deadline=None, max_examples=40)
@example(0.5, (4, 120), 0.05, "\x85 a\u2028b")
@given(
    st.floats(0, 1),
    st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))),
    st.floats(1e-7, 0.05),
    st.text(min_size=1),
)
def test_every_proof_survives_its_file(threshold: float, counts: tuple[int, int], level: float, command: str) -> None:
    errors, n = counts
    bound = upper_bound(errors, n, level)
    assume(bound < 0.999)
    answered = promise(threshold, errors, n, (bound + 1) / 2, level, questions=n)
    written = proof(answered=answered, shown=None, questions=n, command=command)
    assert Policy.from_text(policy_text(written), "tuned.yaml").proof == written


@given(st.integers(0, 200), st.integers(1, 400), st.floats(0.01, 0.99))
def test_the_check_sums_what_scipy_does(errors: int, n: int, rate: float) -> None:
    if errors <= n:
        assert binomial_tail(errors, n, rate) == pytest.approx(binom.cdf(errors, n, rate), rel=1e-8, abs=1e-290)


def at(*keys):
    """Sets a value deep in the file: `at("proof", "answered", "errors")(3)`."""

    def setter(value):
        def change(content):
            for key in keys[:-1]:
                content = content[key]
            content[keys[-1]] = value

        return change

    return setter


answered, rule = (lambda key: at("proof", "answered", key)), (lambda i, key: at("rules", i, key))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (answered("errors")(3), "does not follow from 3 errors among n 120"),
        (answered("n")(130), "does not follow from 4 errors among n 130"),
        (answered("level")(0.05), "does not follow"),
        (answered("bound")(0.05), "has a bound (0.05) that does not follow"),
        (answered("max_error")(0.05), "above max_error (0.05)"),
        (answered("coverage")(0.5), "has a coverage (0.5) that is not n 120 of 500"),
        (answered("coverage_low")(0.9), "outside its own interval"),
        (answered("errors")(120), "which bounds nothing"),
        (answered("n")(-1), "proof.answered.n is -1; it must be at least 1"),
        (answered("threshold")(0.7), "rule 'proven' is not what the proof is about, where 'when: {confidence: {at_least: 0.7}"),
        (answered("threshold")(0.4), "promises about shown answers that do not hold those answered"),
        (at("proof", "confidence")(0.99), "levels that sum to more than 1 - confidence (0.01)"),
        (at("proof", "questions")(600), "that is not n 120 of 600"),
        (at("proof", "calibrator_sha256")("abc"), "proof.calibrator_sha256"),
        (at("proof", "created")("soon"), "no ISO date"),
        (at("proof", "calibratr")("x"), "unknown key 'calibratr' in proof; did you mean 'calibrator'?"),
        (at("proof", "answered", "boundd")(1), "unknown key 'boundd' in proof.answered; did you mean 'bound'?"),
        (at("proof", "shown")({}), "missing key 'max_error' in proof.shown"),
        (lambda c: c["proof"].pop("data"), "missing key 'data' in proof"),
        (rule(1, "when")({"confidence": {"at_least": 0.75}, "in_range": True}), "rule 'proven' is not what"),
        (rule(1, "when")({"confidence": {"at_least": 0.85}, "in_range": True}), "rule 'proven' is not what"),
        (rule(1, "when")({"confidence": {"at_least": 0.8}}), "in_range: true}, then: answer' stands"),
        (rule(2, "then")("answer"), "rule 'unsure' is not what"),
        (rule(3, "then")("hedge"), "rule 'rest' is not what the proof is about, where 'then: abstain' stands"),
        (lambda c: c["rules"].pop(), "the end is not what the proof is about"),
        (lambda c: c["rules"].pop(0), "rule 'proven' is not what"),
        (lambda c: c["rules"].insert(1, {"name": "short", "when": {"length": {"below": 5}}, "then": "abstain"}), "'short'"),
        (lambda c: c["rules"].append({"name": "c", "for": "claim", "then": "drop"}), "where no further rule stands"),
        (lambda c: c["proof"].pop("shown"), "rule 'unsure' is not what"),
    ],
)  # fmt: skip
def test_an_edited_file_does_not_keep_its_proof(change, says: str) -> None:
    with pytest.raises(PolicyError) as error:
        Policy.from_text(edited(change), "tuned.yaml")
    assert says in str(error.value)
    assert str(error.value).startswith("tuned.yaml:")
    assert "\n" not in str(error.value)


def test_wording_is_free_and_rules_are_without_a_proof() -> None:
    def word(content):
        content["rules"][1] |= {"name": "sure", "because": "it was measured"}
        content["rules"][2]["say"] = "Perhaps: {answer}"
        content["wording"] = {"abstain": "I do not know."}

    assert Policy.from_text(edited(word), "tuned.yaml").decide(sure(0.6), SCORED).template == "Perhaps: {answer}"

    def unproven(content):
        del content["proof"]
        content["rules"][1]["when"]["confidence"]["at_least"] = 0.6

    assert Policy.from_text(edited(unproven), "tuned.yaml").proof is None


def test_another_calibrator_is_refused() -> None:
    scores = np.arange(60.0)
    one = IsotonicCalibrator().fit(scores, scores < 30)
    other = IsotonicCalibrator().fit(scores, scores < 31)
    held = proof(calibrator_sha256=one.digest)
    check_proof(held, "tuned", one, "one.json")
    check_proof(held, "tuned", IsotonicCalibrator.from_dict(one.to_dict()), "a copy of it")
    check_proof(None, "default", other, "any")
    with pytest.raises(
        CalibratorMismatchError, match=r"tuned with the calibrator c\.json .* and other\.json \("
    ) as error:
        check_proof(held, "tuned", other, "other.json")
    assert "guardrail tune DATA.jsonl --calibrator FILE --max-error 0.1 -o policy.yaml" in str(error.value)
    with pytest.raises(CalibratorMismatchError, match="and none is in use"):
        check_proof(held, "tuned", None, None)


def test_the_command_line_shows_the_proof_in_a_line(tmp_path) -> None:
    path = tmp_path / "tuned.yaml"
    path.write_text(policy_text(proof()), encoding="utf-8")
    checked = CliRunner().invoke(app, ["policy", "check", str(path)])
    assert checked.exit_code == 0
    line = checked.stdout.splitlines()[-1]
    for part in (
        "proof: at most 10.0% of answered questions wrong",
        "4 of 120 wrong",
        "60 of 300 wrong",
        "confidence 0.95",
    ):
        assert part in line
    shown = CliRunner().invoke(app, ["policy", "show", str(path)])
    assert shown.stdout == policy_text(proof())
    assert shown.stderr.splitlines() == [line]
