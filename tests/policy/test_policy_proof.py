"""A tuned policy: written, read back, edited, used with the wrong calibrator."""

from __future__ import annotations

from dataclasses import replace

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
from guardrail.policy.proof import binomial_tail
from guardrail.policy.tuned import policy_text
from tests.helpers.policy_answers import SCORED, UNKNOWN, UNSCORED, sure
from tests.helpers.policy_proofs import claims_proof, promise, proof


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


def edited_claims(change) -> str:
    content = yaml.safe_load(policy_text(claims_proof()))
    change(content)
    return yaml.safe_dump(content, sort_keys=False)


@pytest.mark.parametrize("marginal", [False, True])
@pytest.mark.parametrize("familiar", [None, True])
def test_a_promise_about_claims_written_and_read_back(marginal: bool, familiar: bool | None) -> None:
    written = claims_proof(**({"confidence": None, "bound": 11 / 201} if marginal else {}), familiar=familiar)
    loaded = Policy.from_text(policy_text(written), "tuned.yaml")
    assert (loaded.claims_proof, loaded.proof, loaded.warnings) == (written, None, ())
    decided = loaded.decide_claim
    like, unlike = (replace(sure(0.99), familiarity=p_value) for p_value in (0.5, 0.001))
    assert decided(replace(like, p_correct=0.7), SCORED).action == "keep"
    assert decided(replace(like, p_correct=0.69), SCORED).action == "drop"
    assert decided(unlike, SCORED).action == ("drop" if familiar else "keep")
    for confidence, score in ((replace(like, in_range=False), SCORED), (UNKNOWN, UNSCORED), (like, UNSCORED)):
        assert decided(confidence, score).action == "drop"
    assert loaded.decide(UNKNOWN, SCORED, claims=[sure(0.9)]).action == "answer"
    assert loaded.decide(UNKNOWN, SCORED, claims=[]).action == "abstain"
    assert ("on average" if marginal else "with confidence 0.95") in written.in_words()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["claims_proof"].update(errors=9), r"bound \(.*\) that does not follow from 9 errors"),
        (lambda c: c["claims_proof"].update(all_right=0.95), r"above 1 - all_right \(0\.05\)"),
        (lambda c: c["claims_proof"].pop("confidence"), "does not follow from 10 errors among n 200 on average"),
        (lambda c: c["claims_proof"].update(right_kept=295), "counts of claims that contradict each other"),
        (lambda c: c["claims_proof"].update(kept=400), "outside its own interval"),
        (lambda c: c["claims_proof"].update(n=600), "10 errors among n 600 of 500 questions"),
        (lambda c: c["claims_proof"].update(treshold=0.7), "unknown key 'treshold' in claims_proof; did you mean 'threshold'"),
        (lambda c: c["rules"][1]["when"]["confidence"].update(at_least=0.6), "'proven claim' is not what the proof is about"),
        (lambda c: c["rules"][1]["when"].pop("in_range"), "'proven claim' is not what the proof is about"),
        (lambda c: c["rules"].pop(0), "'proven claim' is not what the proof is about"),
        (lambda c: c["rules"].pop(2), "the end is not what the proof is about, where 'then: drop' stands"),
        (lambda c: c["rules"].insert(0, {"name": "x", "for": "claim", "when": {"support": "supported"}, "then": "keep"}),
         "rule 'x' is not what the proof is about"),
        (lambda c: c["rules"].insert(3, {"name": "x", "when": {"evidence": "absent"}, "then": "retrieve"}),
         "rule 'x' is not what the proof is about, where no rule that retrieves stands.* remove `claims_proof`"),
    ],
)  # fmt: skip
def test_an_edited_promise_about_claims_is_refused(change, message) -> None:
    with pytest.raises(PolicyError, match=message):
        Policy.from_text(edited_claims(change), "tuned.yaml")


def test_rules_for_answers_are_free_beside_a_promise_about_claims() -> None:
    """An answer that is held back keeps no wrong claim."""
    stricter = {"name": "cut off", "when": {"finish_reason": "length"}, "then": "abstain"}
    assert Policy.from_text(edited_claims(lambda c: c["rules"].insert(3, stricter)), "p.yaml").claims_proof is not None


@pytest.mark.parametrize("command", ["0e0", "1e5", "0o17", "007", "0x1F", "1e999", "-.5", "guardrail tune"])
def test_text_that_looks_like_a_number_stays_text(command):
    assert Policy.from_text(policy_text(proof(command=command)), "tuned.yaml").proof.command == command
