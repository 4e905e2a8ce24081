"""Whether samples that agree with an answer say more than its confidence does, on bundled questions and on questions by others.

    python -m tests.benchmarks.consistency [QUESTIONS.jsonl] [--limit 40]

Without a file: bundled held-out questions. Each is answered greedily (at most 30 tokens) and has five samples at temperature
0.7, compared by sentence embeddings. AUROC, with 95 % bootstrap intervals over questions, of the shipped calibrator's
confidence, of the share of samples that agree, of the mean of the two, and of a control that reads no model: the fewer words,
the surer. Then the mean minus the confidence, paired; and what both cost, in CPU seconds an answer.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from guardrail import Guard
from guardrail.calibration.metrics import auroc, bootstrap_difference, bootstrap_interval
from guardrail.datasets.questions import load_data
from guardrail.grading import AnswerRow, get_grader
from guardrail.scoring.baselines.samples import SampleSource
from guardrail.scoring.baselines.self_consistency import SelfConsistency

LONGEST = 30
FEWEST = 5
"""Right answers, or wrong ones, that a comparison needs."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default="bundled")
    parser.add_argument("--limit", type=int, default=40)
    given = parser.parse_args()
    rows = load_data(given.data, "heldout", given.limit).rows
    guard = Guard.from_pretrained("smollm2-135m", policy="observe")
    samples = SelfConsistency(guard.model, source=SampleSource(guard.model, max_new_tokens=LONGEST), samples=5)
    begun = time.process_time()
    verdicts = guard.answer_batch([row.question for row in rows], max_new_tokens=LONGEST)
    answered = time.process_time()
    scores = samples.score_traces([verdict.attempts[-1].trace for verdict in verdicts])
    drawn = time.process_time()
    asked = [AnswerRow(row.question, v.answer, row.answers, row.items) for row, v in zip(rows, verdicts, strict=True)]
    right = np.array(get_grader("alias").grade(asked), dtype=bool)
    p = np.array([v.confidence.p_correct or 0.0 for v in verdicts])
    c = np.array([0.0 if score.number is None else 1 - score.number for score in scores])
    print(
        f"{given.data}: {len(rows)} answers, {int(right.sum())} right; all samples agree on {(c == 1).mean():.2f} of them"
    )
    told = {
        "confidence": -p,
        "share that agrees": -c,
        "mean of both": -(p + c) / 2,
        "fewer words (control)": np.array([float(len(v.answer.split())) for v in verdicts]),
    }
    if min(right.sum(), (~right).sum()) < FEWEST:
        print(f"  fewer than {FEWEST} of one kind: no AUROC")
        told = {}
    for name, unsure in told.items():
        found = bootstrap_interval(auroc, unsure, right)
        print(f"  AUROC, {name:<22} {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
    if told:
        found = bootstrap_difference(auroc, (told["mean of both"], right), (told["confidence"], right))
        print(f"  mean of both minus confidence {found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})")
    for name, kept in (("confidence at least 0.5", p >= 0.5), ("and 3 of 5 samples agree", (p >= 0.5) & (c >= 0.6))):
        print(f"  answered where {name}: {int(kept.sum())}, {int(right[kept].sum())} of them right")
    n = len(rows)
    print(
        f"  CPU seconds an answer: {(answered - begun) / n:.2f} with its score, {(drawn - answered) / n:.2f} for its samples"
    )


if __name__ == "__main__":
    main()
