"""`calibrate --scorer stacked` on a tiny model on disk, in real processes, and what a guard makes of the file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from guardrail import Guard, IsotonicCalibrator, load_model
from guardrail.calibration.provenance import Provenance
from guardrail.errors import CalibrationError
from guardrail.runs.prompts import DIRECT
from guardrail.scoring.stacked.model import StackedFeature, StackedModel
from guardrail.scoring.stacked.scorer import StackedScorer

MODEL = StackedModel(
    intercept=-1,
    common_words=("the",),
    features=tuple(
        StackedFeature(name=name, weight=1.0, quantiles=(0.0, 1.0, 30.0)) for name in ("new_nll", "semgrad[-6]")
    ),
)


def calibrator_of(local, profile, path):
    """Fitted on made-up scores, as if by the command."""
    scores = np.linspace(-3, 3, 80)
    origin = Provenance(
        model=local.identity,
        scorer="stacked",
        profile=profile,
        prompt=DIRECT,
        system=None,
        data="none",
        n=80,
        accuracy=0.5,
        created="2026-01-01",
        command="guardrail calibrate",
        versions={},
        grader="exact",
        generation={"max_new_tokens": 6},
    )
    IsotonicCalibrator().fit(scores, np.arange(80) % 7 < 4 - scores, provenance=origin).save(path)
    return path


def test_calibrate_says_what_it_found_and_evaluate_reads_it(cli, tiny_folder, tiny_data, tiny_heldout, tmp_path):
    out = cli("calibrate", tiny_data, "-o", "s.json", "-m", tiny_folder, "--scorer", "stacked", "--grader", "exact",
              "--max-new-tokens", "6")  # fmt: skip
    assert out.returncode == 0, out.stderr
    made = json.loads((tmp_path / "s.json").read_text())["provenance"]
    assert "stacked         AUROC" in out.stdout
    assert ("not adopted" in out.stdout) == (made["scorer"] != "stacked")
    record = json.loads((tmp_path / "s.json.run.jsonl").read_text().splitlines()[1])
    assert len(record["pieces"]) == len(record["entropies"])
    assert "".join(record["pieces"]).strip() == record["answer"]
    shown = cli("evaluate", tiny_heldout, "-c", "s.json", "-m", tiny_folder, "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["n"] == 60


def test_the_guard_makes_the_scorer_again_and_evaluate_gives_its_scores(cli, tiny_folder, tiny_heldout, tmp_path):
    local = load_model(str(tiny_folder), device="cpu")
    path = calibrator_of(local, MODEL.model_dump(mode="json"), tmp_path / "c.json")
    guard = Guard(model=local, calibrator=IsotonicCalibrator.load(path), policy="observe")
    assert isinstance(guard.scorer, StackedScorer)
    out = cli("evaluate", tiny_heldout, "-c", path, "-m", tiny_folder, "--json", "--run", "e.run")
    assert out.returncode == 0, out.stderr

    from guardrail.grading import get_grader
    from guardrail.runs.run_answers import load_run
    from guardrail.runs.scores import scores_of

    answers = load_run(tmp_path / "e.run", get_grader("exact")).answers
    found = scores_of(guard.calibrator, answers)
    for i in (0, 17, 59):
        row = answers.records[answers.scored[i]]
        verdict = guard.answer(row["question"])
        assert verdict.score.value == pytest.approx(found[i], rel=1e-3)
        assert verdict.confidence.basis == "calibrated"


def test_a_profile_that_is_none_is_refused(tiny_folder, tmp_path):
    local = load_model(str(tiny_folder), device="cpu")
    path = calibrator_of(local, {"intercept": 0.0, "features": "all"}, tmp_path / "c.json")
    with pytest.raises(CalibrationError, match="no stacked model"):
        Guard(model=local, calibrator=IsotonicCalibrator.load(path), policy="observe")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--scorer", "stakced"), "there is no scorer 'stakced'"),
        (("--scorer", "stacked", "--paper"), "--paper is about the profile of hybridgrad"),
        (("--scorer", "stacked", "--samples", "3"), "stacked draws none"),
        (
            ("--scorer", "ln-pe", "--unit", "claim"),
            "claims are scored by g-nll or mean-nll or max-nll or quantile-nll or hybridgrad or ccp or verbalized or "
            "verbalized-list or self-probing or hedging or stacked",
        ),
    ],
)
def test_options_that_do_not_go_together(cli, options, says):
    out = cli("calibrate", "d.jsonl", "-o", "x.json", *options)
    assert out.returncode == 1
    assert says in out.stderr
