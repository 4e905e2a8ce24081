"""What a calibrated chain is worth: python -m tests.benchmarks.chains [CALIBRATE [HELD_OUT [CHAIN...]]]

Prints the tables of docs/results/chains.md: each chain of `chains_asked.py` is calibrated on so many bundled calibration
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


def coming(data, split, most):
    """The questions, in the order in which a run asks them."""
    rows = load_data(data, split, most).rows
    together.AHEAD[:] = sorted((row.question for row in rows), key=len)
    return rows


def figures(name, fit, data, most):
    """What is said of a chain's answers to questions that its calibrator has not seen, by name."""
    rows = coming(data, "heldout", most)
    found = collect_through(chain_of(f"{ASKED}:{name}"), rows, get_grader("alias"), RunOptions(cache=True))
    told = told_apart(found.local, fit.calibrator, found.answers)
    with text_reader() as reader:
        result = assess(fit.calibrator, told, [Policy.load("default")], reader=reader)
    p = np.array([c.p_correct for c in predictions(fit.calibrator, told) if c.p_correct is not None])
    (default,), own, text = result.policies, result.metrics, result.controls and result.controls.text
    kept = result.ece_calibrated
    return {
        "answers": f"{len(p)}{''.join(f'; {n} {why}' for why, n in found.left_out.items())}",
        "right": estimate(own["accuracy"]),
        "mean said": f"{p.mean():.3f}",
        "**ECE**": estimate(own["ece"]),
        "a true curve would show": estimate(ece_of_chance(p)),
        "called unlike": estimate(result.unlike),
        "still calibrated, their ECE": f"{kept.n}, {estimate(kept)}" if kept else "0",
        "a true curve would show there": estimate(result.ece_by_chance),
        "AUROC": estimate(own["auroc"]),
        "AUROC of a reader of the texts alone": estimate(text and text.auroc),
        "the score's minus it": estimate(text and text.difference),
        "`default` answered, of them wrong": f"{default.actions['answer']}, {estimate(default.error)}",
    }


def table(columns):
    """One row for each figure, one column for each chain."""
    (first, *_) = columns.values()
    lines = [f"| | {' | '.join(columns)} |", "| --- " * (1 + len(columns)) + "|"]
    lines += [f"| {row} | {' | '.join(column[row] for column in columns.values())} |" for row in first]
    return "\n".join(lines)


def estimate(e):
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})" if e else "none"


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.chains", description=__doc__)
    parser.add_argument("calibrate", type=int, nargs="?", default=200)
    parser.add_argument("held_out", type=int, nargs="?", default=150)
    parser.add_argument("chains", nargs="*", default=CHAINS)
    parser.add_argument("--others", help="a file of questions by others")
    options = parser.parse_args()
    fits = {}
    for name in options.chains:
        coming("bundled", "calibration", options.calibrate)
        fits[name] = calibrate_chain(f"{ASKED}:{name}", "bundled", limit=options.calibrate)
    calibrated = {
        name: {
            "answers": str(fit.calibrator.n),
            "right": estimate(fit.metrics["accuracy"]),
            "ECE, cross-validated": estimate(fit.metrics["ece"]),
            "a true curve would show": estimate(ece_of_chance(fit.p_correct)),
            "AUROC, cross-validated": estimate(fit.metrics["auroc"]),
        }
        for name, fit in fits.items()
    }
    print(f"Calibration\n\n{table(calibrated)}", flush=True)
    for data in ("bundled", *([options.others] if options.others else [])):
        found = {name: figures(name, fit, data, options.held_out) for name, fit in fits.items()}
        print(f"\n{Path(data).stem}, held out\n\n{table(found)}", flush=True)


if __name__ == "__main__":
    main()
