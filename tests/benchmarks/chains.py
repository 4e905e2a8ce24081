"""What a calibrated chain is worth: python -m tests.benchmarks.chains [CALIBRATE [HELD_OUT [CHAIN...]]]

Prints the table of docs/results/chains.md: each chain of `chains_asked.py` is calibrated on so many bundled calibration
questions, and judged on so many held-out ones; with `--others FILE.jsonl`, on as many questions of a file, too. Answers come
from the cache where it has them, so a stopped run goes on and a larger one keeps what a smaller one asked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from guardrail.calibration.chance import ece_of_chance
from guardrail.datasets.questions import load_data
from guardrail.evaluation.assess import assess, predictions
from guardrail.evaluation.controls import text_reader
from guardrail.evaluation.familiar import told_apart
from guardrail.evaluation.through import calibrate_chain
from guardrail.grading import get_grader
from guardrail.policy import Policy
from guardrail.runs.asking import RunOptions
from guardrail.runs.chains import chain_of
from guardrail.runs.through import collect_through
from tests.benchmarks import together

ASKED = Path(__file__).with_name("chains_asked.py")
CHAINS = ("system", "rag", "follow_up", "agent", "json")
HEAD = (
    "chain", "questions", "calibrated on, right", "ECE there, cross-validated", "answers", "unlike", "right", "mean said",
    "AUROC", "readers of the texts", "minus these", "ECE", "of a true curve", "calibrated alone, ECE", "of a true curve",
    "`default` answered, wrong",
)  # fmt: skip


def coming(data, split, most):
    """The questions, in the order in which a run asks them."""
    rows = load_data(data, split, most).rows
    together.AHEAD[:] = sorted((row.question for row in rows), key=len)
    return rows


def row_of(name, fit, data, most):
    """One line of the table: a chain's calibrator on questions it has not seen."""
    rows = coming(data, "heldout", most)
    found = collect_through(chain_of(f"{ASKED}:{name}"), rows, get_grader("alias"), RunOptions(cache=True))
    told = told_apart(found.local, fit.calibrator, found.answers)
    with text_reader() as reader:
        result = assess(fit.calibrator, told, [Policy.load("default")], reader=reader)
    correct = told.correct[told.scored]
    said = [c for c in predictions(fit.calibrator, told) if c.p_correct is not None]
    p = np.array([c.p_correct for c in said])
    (default,) = result.policies
    text = result.controls and result.controls.text
    cells = [
        name,
        Path(data).stem,
        f"{fit.calibrator.n}, {fit.calibrator.n_correct}",
        estimate(fit.metrics["ece"]),
        f"{len(correct)}{''.join(f'; {n} {why}' for why, n in found.left_out.items())}",
        estimate(result.unlike),
        estimate(result.metrics["accuracy"]),
        f"{p.mean():.3f}",
        estimate(result.metrics["auroc"]),
        estimate(text and text.auroc),
        estimate(text and text.difference),
        estimate(result.metrics["ece"]),
        estimate(ece_of_chance(p)),
        f"{result.ece_calibrated.n if result.ece_calibrated else 0}, {estimate(result.ece_calibrated)}",
        estimate(result.ece_by_chance),
        f"{default.actions['answer']}, {estimate(default.error)}",
    ]
    return f"| {' | '.join(cells)} |"


def estimate(e):
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})" if e else "none"


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.chains", description=__doc__)
    parser.add_argument("calibrate", type=int, nargs="?", default=200)
    parser.add_argument("held_out", type=int, nargs="?", default=150)
    parser.add_argument("chains", nargs="*", default=CHAINS)
    parser.add_argument("--others", help="a file of questions by others")
    options = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n{'| --- ' * len(HEAD)}|", flush=True)
    for name in options.chains:
        coming("bundled", "calibration", options.calibrate)
        fit = calibrate_chain(f"{ASKED}:{name}", "bundled", limit=options.calibrate)
        for data in ("bundled", *([options.others] if options.others else [])):
            print(row_of(name, fit, data, options.held_out), flush=True)


if __name__ == "__main__":
    main()
