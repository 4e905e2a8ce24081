"""Searching before an answer against answering first: python -m tests.benchmarks.ask_first PIK.json [QUESTIONS]

Prints the table of docs/results/ask-first.md. PIK.json: made by `guardrail calibrate bundled --scorer pik`. QUESTIONS bundled
held-out questions (60) are each answered twice by the embedded model, without passages and with the one that the bundled
passages give, after P(IK) was read. Every way to decide is then made of the same two answers and of the time that each step
took: what one would have had, and how long it would have been at it. Right as `alias` grades; what a policy would hold back
is not looked at, the answers are.
"""

from __future__ import annotations

import sys

import numpy as np

from guardrail import Guard, Policy
from guardrail.calibration.metrics import accuracy, bootstrap_difference, bootstrap_interval
from guardrail.data import passages_path
from guardrail.datasets.questions import load_data
from guardrail.grading import get_grader
from guardrail.grading.protocol import AnswerRow
from guardrail.model.loading import load_model
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.retrieval import load_retriever

BOUNDS = (0.2, 0.3, 0.5)
ANSWERED_FIRST = 0.5  # below this confidence the policy `default` looks up
ALWAYS = (
    "version: 1\nname: always\nask_first: {below: 1.0}\nretrieval: {passages: 1}\nrules: [{name: any, then: answer}]\n"
)
BEFORE, SEARCH = ("ask first",), ("retrieve",)
JUDGED = ("generate", "score", "calibrate", "decide", "render")


def main(pik: str, count: int = 60) -> None:
    rows = load_data("bundled", "heldout", count).rows
    local = load_model(DEFAULT_MODEL)
    index, grader = load_retriever(passages_path()), get_grader("alias")
    plain = Guard(model=local, policy="observe")
    always = Guard(model=local, policy=Policy.from_text(ALWAYS, "always"), retriever=index, question_calibrator=pik)
    plain.answer(rows[0].question), always.answer(rows[0].question)  # warm
    closed = [plain.answer(row.question) for row in rows]
    given = [always.answer(row.question) for row in rows]

    def right(verdicts):
        asked = [AnswerRow(row.question, v.answer, row.answers) for row, v in zip(rows, verdicts, strict=True)]
        return np.array([grade is True for grade in grader.grade(asked)])

    def seconds(verdicts, stages):
        return np.array([sum(v.timing_ms.get(stage, 0.0) for stage in stages) for v in verdicts]) / 1000

    without, with_passage = right(closed), right(given)
    asked, searched = seconds(given, BEFORE), seconds(given, SEARCH)
    answered, again = seconds(closed, JUDGED), seconds(given, JUDGED)
    p_ik = np.array([v.asked_first.confidence.p_correct or 0.0 for v in given])
    sure = np.array([v.confidence.p_correct or 0.0 for v in closed])
    unsure = sure < ANSWERED_FIRST
    first = (np.where(unsure, with_passage, without), answered + unsure * (searched + again), unsure)
    ways = {
        "never search": (without, answered, np.zeros_like(unsure)),
        f"answer first, below {ANSWERED_FIRST:g}": first,
    }
    for bound in BOUNDS:
        below = p_ik < bound
        time = asked + np.where(below, searched + again, answered)
        ways[f"ask first, below {bound:g}"] = (np.where(below, with_passage, without), time, below)
    ways["search always"] = (with_passage, searched + again, np.ones_like(unsure))

    def told(e):
        return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"

    def mean(x):
        return float(np.mean(x))

    print(
        f"{len(rows)} questions; P(IK) read in {asked.mean() * 1000:.0f} ms on average, answers in {answered.mean():.2f} s"
    )
    print("| | searched | right | minus answering first | seconds a question | minus answering first |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (correct, time, search) in ways.items():
        gain = bootstrap_difference(accuracy, (correct,), (first[0],))
        slower = bootstrap_interval(mean, time - first[1])
        print(
            f"| {name} | {search.mean():.2f} | {told(bootstrap_interval(accuracy, correct))} | {told(gain)} | "
            f"{time.mean():.2f} | {told(slower)} |"
        )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
