"""How far the order of the passages moves the confidence, on bundled questions and on questions by others.

    python -m tests.benchmarks.passage_orders [QUESTIONS.jsonl] [--limit 20]

Each question is answered with three bundled passages (none is left out for being unlike), and the answer is judged in all
six orders. Without a file: bundled held-out questions. Prints the mean spread with its 95 % bootstrap interval over questions,
how often the order decides about the rule `confident` of `default`, and the Brier score of the confidence in the prompt's order
and of the mean over the orders, beside that of always saying the share that is right.
"""

from __future__ import annotations

import argparse

import numpy as np

from guardrail import Guard, Policy, load_retriever
from guardrail.calibration.metrics import bootstrap_interval
from guardrail.data import passages_path
from guardrail.datasets.questions import load_data
from guardrail.grading import AnswerRow, get_grader

RULES = """
version: 1
name: in orders
retrieval: {passages: 3, orders: 6}
rules:
  - {name: look up, when: {evidence: absent}, then: retrieve}
  - {name: show, then: answer}
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default="bundled")
    parser.add_argument("--limit", type=int, default=20)
    given = parser.parse_args()
    rows = load_data(given.data, "heldout", given.limit).rows
    index = load_retriever(passages_path(), min_similarity=-1)
    guard = Guard.from_pretrained("smollm2-135m", policy=Policy.from_text(RULES, "in orders"), retriever=index)
    verdicts = guard.answer_batch([row.question for row in rows], batch_size=4)
    asked = [AnswerRow(row.question, v.answer, row.answers, row.items) for row, v in zip(rows, verdicts, strict=True)]
    right = np.array(get_grader("alias").grade(asked), dtype=float)
    known = [(v.attempts[-1].orders, r) for v, r in zip(verdicts, right, strict=True)]
    kept = [(orders, r) for orders, r in known if orders is not None and orders.known]
    p = np.array([orders.known for orders, _ in kept])  # (questions, orders)
    hits = np.array([r for _, r in kept])
    spread = p.max(axis=1) - p.min(axis=1)
    decides = (p.min(axis=1) < 0.5) & (p.max(axis=1) >= 0.5)
    print(f"{given.data}: {len(kept)} of {len(rows)} answers judged in 6 orders; {hits.mean():.2f} right")
    for name, values in (("spread", spread), ("order decides about 0.50", decides.astype(float))):
        found = bootstrap_interval(lambda v: float(v.mean()), values)
        print(f"  {name:<26} {found.value:.3f} ({found.low:.3f} to {found.high:.3f}); at most {values.max():.3f}")
    for name, said in (("first order", p[:, 0]), ("mean of the orders", p.mean(axis=1))):
        found = bootstrap_interval(lambda said, hits: float(((said - hits) ** 2).mean()), said, hits)
        print(f"  Brier, {name:<19} {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
    print(f"  Brier, always the share    {hits.mean() * (1 - hits.mean()):.3f}")


if __name__ == "__main__":
    main()
