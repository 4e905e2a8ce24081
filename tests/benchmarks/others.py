"""The shipped calibrator on questions by others: python -m tests.benchmarks.others [bundled] [FILE.jsonl ...]

Prints the table of docs/results/calibrators.md, "On questions by others". What is unlike the calibration's questions shows
before anything is answered, so all questions of each file are looked at, and those alone are answered that are not called
unlike: they are what is still called calibrated, and, since the shipped `default` never answers an unlike question, all that
it can show as it is. That it does not is checked on its rules. `bundled` are the held-out questions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from guardrail.calibration.chance import ece_of_chance
from guardrail.calibration.metrics import bootstrap_interval, ece, wilson_interval
from guardrail.calibration.shipped import shipped_calibrator
from guardrail.datasets.questions import load_data
from guardrail.evaluation.assess import calibrated, outcome, predictions
from guardrail.evaluation.familiar import told_apart
from guardrail.grading import get_grader
from guardrail.model.loading import load_model
from guardrail.model.question_states import states_entering
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.policy import Policy
from guardrail.runs.asking import RunOptions
from guardrail.runs.collect import collect
from guardrail.runs.scores import asking_of
from guardrail.types import UNLIKE, Confidence, Score

COLUMNS = (
    "questions", "asked", "noticed", "still calibrated, right", "mean said", "ECE", "of a true curve",
    "`default` answered, wrong",
)  # fmt: skip


def familiar(local, calibrator, rows):
    """Of each question, whether it is not called unlike, (n,)."""
    asking = asking_of(calibrator.provenance)
    prompts = [local.encode_prompt(asking.messages(row.question)) for row in rows]
    states = states_entering(local, prompts, calibrator.familiarity.layer)
    return calibrator.familiarity.p_values(np.stack(states)) > UNLIKE


def row_of(local, calibrator, policy, name, rows):
    """One line of the table."""
    known = familiar(local, calibrator, rows)
    asked = [row for row, own in zip(rows, known, strict=True) if own]
    cells = [name, str(len(rows)), share(wilson_interval(int((~known).sum()), len(known)))]
    if not asked:
        return f"| {' | '.join([*cells, '0', '', '', '', '0'])} |"
    options = RunOptions(cache=True)
    answers = collect(local, asked, get_grader("alias"), asking_of(calibrator.provenance), options)
    told = told_apart(local, calibrator, answers)
    said = predictions(calibrator, told)
    at = np.flatnonzero(calibrated(said))
    p, correct = np.array([said[i].p_correct for i in at]), told.correct[at]
    did = outcome(policy, said, told)
    right = share(wilson_interval(int(correct.sum()), len(at)))
    error = share(bootstrap_interval(ece, p, correct))
    shown = f"{did.actions['answer']}, {share(did.error)}" if did.error else "0"
    cells += [f"{len(at)}, {right}", f"{p.mean():.3f}", error, share(ece_of_chance(p)), shown]
    return f"| {' | '.join(cells)} |"


def check_never_answers_unlike(policy):
    """No confidence in an unlike question, however high, is answered as it is."""
    score = Score(0.0, 0.0, 0.0, 0.0, 0.0, 5)
    for p in np.linspace(0.01, 0.99, 99):
        unlike = Confidence(p, p, p, "very high", familiarity=UNLIKE, basis="extrapolated", reason="unlike")
        assert policy.decide(unlike, score, evidence=[], finish_reason="stop", retriever=False).action != "answer"


def share(e):
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def main(files: list[str]) -> None:
    local = load_model(DEFAULT_MODEL)
    _, calibrator = shipped_calibrator(local.identity)
    policy = Policy.load("default")
    check_never_answers_unlike(policy)
    print(f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|", flush=True)
    for data in files or ["bundled"]:
        print(row_of(local, calibrator, policy, Path(data).stem, load_data(data, "heldout").rows), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
