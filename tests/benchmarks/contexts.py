"""What about a conversation moves the curve: python -m tests.benchmarks.contexts [QUESTIONS [WAY...]]

Prints the table of docs/results/contexts.md: the same held-out questions, put in several ways to the embedded model, judged by
the shipped calibrator's curve, which was fitted on the first of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import numpy as np

from guardrail.calibration.metrics import auroc, bootstrap_interval, ece, wilson_interval
from guardrail.calibration.shipped import shipped_calibrator
from guardrail.datasets.questions import load_data
from guardrail.evaluation.familiar import told_apart
from guardrail.grading import get_grader
from guardrail.messages import question_of
from guardrail.model.loading import load_model
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.runs.answers import graded
from guardrail.runs.asking import Asking
from guardrail.runs.collect import kept_for, read
from guardrail.runs.prompts import DIRECT
from guardrail.runs.readings import offsets_of
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.runs.scores import scores_of

BATCH, LENGTH = 16, 64
ASKING = Asking(DIRECT, None, LENGTH)
BEFORE = (
    {"role": "user", "content": "Which planet is the largest?"},
    {"role": "assistant", "content": "Jupiter is the largest planet."},
)
TOOL = {  # its own template takes no tools: as most templates do, in the system message
    "type": "function",
    "function": {
        "name": "search",
        "description": "Searches the web.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
    },
}
WAYS = {
    "as in calibration": (ASKING.messages, {}),
    "another wording": (lambda q: [{"role": "user", "content": f"Question: {q}\nAnswer:"}], {}),
    "the question alone": (lambda q: [{"role": "user", "content": q}], {}),
    "a system message": (Asking(DIRECT, "You are a careful assistant of a library. Be polite.").messages, {}),
    "several turns": (lambda q: [*BEFORE, *ASKING.messages(q)], {}),
    "tools": (Asking(DIRECT, f"You may call these tools: {json.dumps(TOOL)}").messages, {}),
    "temperature 0.7": (ASKING.messages, {"temperature": 0.7, "seed": 0}),
}


def answers(local, rows, put, options):
    """The graded answers of the questions, put in one way."""
    records = []
    for at in range(0, len(rows), BATCH):
        batch = rows[at : at + BATCH]
        prompts = [tuple(put(row.question)) for row in batch]
        traces = local.generate_batch(prompts, max_new_tokens=LENGTH, keep=kept_for(local), **options)
        found = read([row.question for row in batch], local, traces, offsets_of(local), ScorerPass())
        for row, prompt, record in zip(batch, prompts, found, strict=True):
            own = {"key": row.question, "question": row.question, "accepted": list(row.answers)}
            record.pop("state", None)  # the question's own is what is compared
            records.append({**record, **own, "asked": question_of(prompt)})
    return graded(records, get_grader("alias"), offsets_of(local), len(local.anatomy.layers))


def row_of(name, calibrator, local, found):
    """One line of the table."""
    found = told_apart(local, calibrator, found)
    correct = found.correct[found.scored]
    known = [found.records[i].get("familiarity") for i in found.scored.tolist()]
    said = [
        calibrator.predict(s, f).p_correct for s, f in zip(scores_of(calibrator, found).tolist(), known, strict=True)
    ]
    p = np.array(said)
    right = wilson_interval(int(correct.sum()), len(correct))
    told = [bootstrap_interval(auroc, 1 - p, correct), bootstrap_interval(ece, p, correct)]
    figures = " | ".join(f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})" for e in (right, *told))
    return f"| {name} | {len(correct)} | {p.mean():.3f} | {figures} |"


def main(most: int, ways: Sequence[str]) -> None:
    local = load_model(DEFAULT_MODEL)
    _, calibrator = shipped_calibrator(local.identity)
    rows = load_data("bundled", "heldout", most).rows
    print("| how it was put | scored | mean said | right | AUROC | ECE |")
    print("| --- " * 6 + "|")
    for name in ways or WAYS:
        put, options = WAYS[name]
        print(row_of(name, calibrator, local, answers(local, rows, put, options)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, sys.argv[2:])
