"""What `default` shows as it is, with and without passages: python -m tests.benchmarks.shown [QUESTIONS]

Prints the table of docs/results/calibrators.md, "What `default` shows". Bundled held-out questions are put to a Guard with
the policy `default` and the bundled passages, under the shipped calibrator and under HybridGrad's, which was the default
before. What the policy would do without passages is decided of the same first answers.
"""

from __future__ import annotations

import sys

import numpy as np

from guardrail import Guard
from guardrail.calibration.metrics import wilson_interval
from guardrail.data import passages_path
from guardrail.datasets.questions import load_data
from guardrail.grading import get_grader
from guardrail.grading.protocol import AnswerRow
from guardrail.model.loading import load_model
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.retrieval import load_retriever

CALIBRATORS = {"shipped": "shipped:smollm2-135m", "HybridGrad alone": "shipped:smollm2-135m-hybridgrad"}
COLUMNS = ("calibrator", "passages", "answered", "of them wrong", "hedged", "answered or hedged, wrong")
BATCH = 16


def right(rows, answers):
    asked = [AnswerRow(row.question, answer, row.answers) for row, answer in zip(rows, answers, strict=True)]
    return np.array([grade is True for grade in get_grader("alias").grade(asked)])


def without(policy, attempt):
    """What the policy does with a first answer where there is nothing to search in."""
    told = attempt.confidence, attempt.score
    return policy.decide(*told, finish_reason=attempt.finish_reason, retriever=False).action


def line(name, passages, actions, correct):
    actions = np.array(actions)
    answered, shown = actions == "answer", np.isin(actions, ["answer", "hedge"])
    cells = [name, passages, share(answered, None), share(answered, correct)]
    cells += [share(actions == "hedge", None), share(shown, correct)]
    return f"| {' | '.join(cells)} |"


def share(at, correct):
    """The share of all that is so, or of these the share that is wrong."""
    hits, n = (int(at.sum()), len(at)) if correct is None else (int((~correct[at]).sum()), int(at.sum()))
    return f"{hits} of {n}" + (f", {told(wilson_interval(hits, n))}" if n else "")


def told(e):
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def main(count: int = 200) -> None:
    rows = load_data("bundled", "heldout", count).rows
    local, index = load_model(DEFAULT_MODEL), load_retriever(passages_path())
    print(f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|", flush=True)
    for name, calibrator in CALIBRATORS.items():
        guard = Guard(model=local, calibrator=calibrator, policy="default", retriever=index)
        verdicts = guard.answer_batch([row.question for row in rows], batch_size=BATCH)
        first = [verdict.attempts[0] for verdict in verdicts]
        alone = [without(guard.policy, attempt) for attempt in first]
        print(line(name, "none", alone, right(rows, [a.answer for a in first])), flush=True)
        print(
            line(name, "bundled", [v.action for v in verdicts], right(rows, [v.answer for v in verdicts])), flush=True
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
