"""Does a second answer help whose beginning is given: python -m tests.benchmarks.retries [QUESTIONS.jsonl] [--limit 60]

Prints the figures of docs/results/papers.md, "Asked once more". Each question is answered twice, freely and from each prefix.
Accuracy of the first answers, of the second ones, of the second where the first has a confidence below 0.5, and beside that
the second for as many questions drawn at random (in the mean); then what the second's confidence is worth. Embedded model.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from guardrail import Guard, Policy
from guardrail.calibration.metrics import auroc, bootstrap_interval
from guardrail.datasets.questions import load_data
from guardrail.grading import AnswerRow, get_grader

PREFIXES = ("The answer is", "In one word:", "Step by step:")
RULES = """
version: 1
name: twice
rules:
  - {{name: again, then: retry, retry: {{prefix: "{prefix}"}}}}
  - {{name: show, then: answer}}
"""
UNSURE = 0.5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default="bundled")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--prefix", action="append")
    given = parser.parse_args()
    rows = load_data(given.data, "heldout", given.limit).rows
    print(f"{given.data}: {len(rows)} questions")
    for prefix in given.prefix or PREFIXES:
        began = time.process_time()
        policy = Policy.from_text(RULES.format(prefix=prefix), "twice")
        guard = Guard.from_pretrained("smollm2-135m", policy=policy)
        verdicts = guard.answer_batch([row.question for row in rows], max_new_tokens=64)
        seconds = (time.process_time() - began) / len(rows)
        right, sure = (np.empty((2, len(rows))) for _ in range(2))
        for k in (0, 1):
            asked = [
                AnswerRow(row.question, v.attempts[k].answer, row.answers, row.items)
                for row, v in zip(rows, verdicts, strict=True)
            ]
            right[k] = [grade is True for grade in get_grader("alias").grade(asked)]
            sure[k] = [v.attempts[k].confidence.p_correct or 0.0 for v in verdicts]
        routed = sure[0] < UNSURE
        share = float(routed.mean())
        print(f"  {prefix!r}: {seconds:.1f} CPU seconds a question, {share:.2f} of the first answers are unsure")
        of_ways = {
            "first": right[0],
            "second": right[1],
            "second where unsure": np.where(routed, right[1], right[0]),
            "second for as many at random": (1 - share) * right[0] + share * right[1],
            "the surer of the two": np.where(sure[1] > sure[0], right[1], right[0]),
        }
        for name, hits in of_ways.items():
            print(f"    {name:<30} {_mean(hits)}; minus first {_mean(hits - right[0])}")
        for name, k in (("first", 0), ("second", 1)):
            hits = right[k].astype(bool)
            if 0 < hits.sum() < len(hits):
                found = bootstrap_interval(lambda u, c: auroc(u, c), 1 - sure[k], hits)
                print(f"    AUROC of the {name}'s confidence {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
            print(f"    mean confidence of the {name} {sure[k].mean():.3f}, of which right {hits.mean():.3f}")


def _mean(values: np.ndarray) -> str:
    found = bootstrap_interval(lambda v: float(v.mean()), values)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    main()
