"""The threshold at which asking a second model costs least: against every threshold tried by hand, and in a real Guard."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import guardrail
from guardrail import Guard, IsotonicCalibrator, Policy, load_model
from guardrail.calibration.risk import Plan, upper_bound
from guardrail.cli import runtime
from guardrail.cli.main import app
from guardrail.datasets.questions import load_question_rows
from guardrail.errors import CalibrationError, CalibratorMismatchError, DataError, ModelError, PolicyError
from guardrail.evaluation.routing import Told, escalated, searched
from guardrail.grading import get_grader
from guardrail.grading.protocol import AnswerRow
from guardrail.policy.tuned import policy_text
from tests.helpers.policy_answers import SCORED, UNKNOWN, sure
from tests.helpers.policy_proofs import HASH, promise, proof

MODEL = {"name": "big", "architecture": "A", "weights": HASH, "dtype": "float32", "chat_template": HASH}
SECOND = {"calibrator": "big.json", "calibrator_sha256": HASH[::-1], "model": MODEL, "escalated": 400,
          "cost_per_call": 1.0, "cost_of_second": 5.0}  # fmt: skip


def told(*pairs):
    p, correct = zip(*pairs, strict=True)
    p = np.array(p)
    return Told(p, np.array(correct, dtype=bool), p >= 0)


def test_six_questions_by_hand():
    first = told((0.9, 1), (0.8, 0), (0.6, 1), (0.3, 0), (-1, 0), (0.2, 1))
    second = told((0.1, 0), (0.9, 1), (0.9, 0), (0.85, 1), (0.7, 1), (-1, 0))
    plan = Plan((0.8, 0.5), (1.0, 0.0))
    found = searched(first, second, max_error=0.99, confidence=0.95, plan=plan)
    # at 0.8 the first answers two, one of them wrongly; of the rest the second answers the third (wrong) and the fourth
    # at 0.5 the first answers three (one wrong), the second the fourth and the fifth (both right)
    assert [(t.n, t.errors) for t in found.tests] == [(4, 2), (5, 1)]
    assert found.tests[1].bound == upper_bound(1, 5, 0.05)
    assert [escalated(first, t).value for t in (0.8, 0.5)] == [4 / 6, 3 / 6]
    assert found.chosen.threshold == 0.5, "the lowest that passes asks the second least"


def test_what_is_counted_is_what_the_policy_does():
    """Every question, at every threshold, decided on by the policy itself; unscored and out of range ones, too."""
    rng = np.random.default_rng(3)
    n = 300
    said = []
    for _ in range(2):
        p = rng.random(n).round(2)
        kind = rng.integers(0, 10, n)  # 0: unscored, 1: out of range
        said.append(
            [UNKNOWN if k == 0 else sure(float(x), in_range=bool(k != 1)) for x, k in zip(p, kind, strict=True)]
        )
    right = rng.random((2, n)) < 0.6
    models = [
        Told(
            np.array([c.p_correct if c.p_correct is not None and c.in_range else -1.0 for c in each]),
            correct,
            np.ones(n, dtype=bool),
        )
        for each, correct in zip(said, right, strict=True)
    ]
    plan = Plan((0.9, 0.6, 0.31), (1.0, 0.0, 0.0))
    tests = searched(*models, max_error=0.999, confidence=0.5, plan=plan).tests
    for test in tests:
        made = proof(shown=None, answered=promise(test.threshold, 4, 120, 0.1), second=SECOND)
        policy = Policy.from_text(policy_text(made), "routed.yaml")
        answered = wrong = asked = 0
        for i in range(n):
            decision = policy.decide(said[0][i], SCORED, no_escalation="")
            correct = right[0][i]
            if decision.action == "escalate":
                asked += 1
                decision, correct = policy.decide(said[1][i], SCORED, no_escalation="it has answered"), right[1][i]
            assert decision.action in ("answer", "abstain")
            answered += decision.action == "answer"
            wrong += decision.action == "answer" and not correct
        assert (answered, wrong) == (test.n, test.errors)
        assert asked == round(escalated(models[0], test.threshold).value * n)


@pytest.fixture(scope="module")
def made(tiny_folder, tiny_data, tiny_heldout, tmp_path_factory):
    """One tiny model with two calibrators: it stands for both models."""
    folder, local = tmp_path_factory.mktemp("route"), load_model(str(tiny_folder), device="cpu")
    for name, limit in (("c.json", 90), ("d.json", 80)):
        guardrail.calibrate(local, tiny_data, folder / name, grader="exact", max_new_tokens=6, limit=limit)
    options = {"calibrator": folder / "c.json", "second_calibrator": folder / "d.json", "run": folder / "t.run"}
    found = guardrail.tune_escalation(
        local,
        local,
        tiny_heldout,
        max_error=0.9,
        cost_per_call=1,
        cost_of_second=4,
        output=folder / "p.yaml",
        **options,
    )
    return local, folder, found


def test_the_policy_does_in_a_guard_what_its_proof_has_counted(made, tiny_heldout):
    local, folder, found = made
    assert found.reached
    policy = Policy.load(folder / "p.yaml")
    proven, routing = policy.proof, found.routing
    assert routing.cost.value == pytest.approx(1 + 4 * proven.second.escalated / proven.questions)
    assert routing.cost.low <= routing.cost.value <= routing.cost.high
    second = Guard(model=local, calibrator=folder / "d.json", policy=policy)
    guard = Guard(model=local, calibrator=folder / "c.json", policy=policy, escalate_to=second)
    rows = load_question_rows(tiny_heldout)
    verdicts = guard.answer_batch([row.question for row in rows])
    answered = [(v, row) for v, row in zip(verdicts, rows, strict=True) if v.action == "answer"]
    assert len(answered) == proven.answered.n
    grades = get_grader("exact").grade([AnswerRow(row.question, v.answer, row.answers) for v, row in answered])
    assert sum(grade is not True for grade in grades) == proven.answered.errors
    assert sum(v.actions[0] == "escalate" for v in verdicts) == proven.second.escalated

    with pytest.raises(PolicyError, match="a proof about two models"):
        Guard(model=local, calibrator=folder / "c.json", policy=policy)
    with pytest.raises(PolicyError, match="this guard is the second of policy 'tuned'"):
        second.answer("What is number 4?")
    with pytest.raises(CalibratorMismatchError, match=r"was tuned with the calibrator"):
        Guard(model=local, calibrator=folder / "d.json", policy=policy, escalate_to=second)
    first = IsotonicCalibrator.load(folder / "c.json")
    alone = replace(policy, proof=None)
    other = Guard(model=local, calibrator=first, policy=alone)
    with pytest.raises(CalibratorMismatchError, match="for the second model"):
        Guard(model=local, calibrator=first, policy=policy, escalate_to=other)


def test_an_edited_file_is_refused(made):
    text = (made[1] / "p.yaml").read_text()
    for edited in (
        text.replace("then: escalate", "then: retrieve"),
        re.sub("escalated: [0-9]+", "escalated: 100000", text),
        text.replace("- {name: ask the second model, then: escalate}\n", ""),
    ):
        assert edited != text
        with pytest.raises(PolicyError, match="proof"):
            Policy.from_text(edited, "p.yaml")


def test_what_cannot_be_used_is_refused(made, tiny_heldout, tiny_data):
    local, folder, _ = made
    with pytest.raises(DataError, match="--cost-of-second is -1"):
        guardrail.tune_escalation(local, local, tiny_heldout, max_error=0.5, cost_of_second=-1)
    with pytest.raises(CalibrationError, match="both models have the calibrator"):
        guardrail.tune_escalation(
            local, local, tiny_heldout, max_error=0.5, calibrator=folder / "c.json", second_calibrator=folder / "c.json"
        )
    with pytest.raises(DataError, match="calibration"):
        guardrail.tune_escalation(
            local, local, tiny_data, max_error=0.5, calibrator=folder / "c.json", second_calibrator=folder / "d.json"
        )


def test_the_device_of_the_first_model_is_nothing_to_a_second_behind_an_endpoint():
    assert runtime.load_second("openai:http://127.0.0.1:9/v1#BIG", "cpu", "float32").name == "BIG"
    with pytest.raises(ModelError, match="there is no dtype 'float8'"):
        runtime.load_second("smollm2-135m", "cpu", "float8")


def test_the_command(made, tiny_heldout, monkeypatch):
    local, folder, found = made
    monkeypatch.setattr(runtime, "load", lambda *_: local)

    def run(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    asked = ["tune", tiny_heldout, "-c", folder / "c.json", "-o", folder / "q.yaml", "--run", folder / "t.run", "--resume",
             "--max-error", 0.9]  # fmt: skip
    route = [
        "--escalate-to",
        "x",
        "--escalate-calibrator",
        folder / "d.json",
        "--cost-per-call",
        1,
        "--cost-of-second",
        4,
    ]
    shown = run(*asked, *route)
    assert shown.exit_code == 0, shown.exception
    assert "asked of the second model: " in shown.stdout
    assert "the first alone, for 1 a question: " in shown.stdout
    told = json.loads(run(*asked, *route, "--json").stdout)
    assert told["routing"] == json.loads(json.dumps(found.routing.to_dict()))
    assert "need --escalate-to" in str(run(*asked, "--cost-per-call", 1).exception)
    assert "--hedge-max-error is for one model" in str(run(*asked, *route, "--hedge-max-error", 0.95).exception)
    assert Policy.load(folder / "q.yaml").proof.second == Policy.load(folder / "p.yaml").proof.second
