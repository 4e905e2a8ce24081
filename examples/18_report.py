"""A report: questions asked, answers kept in a run file, and one HTML page of what the confidence was worth on them."""

import tempfile
from pathlib import Path

from guardrail import load_model
from guardrail.calibration.shipped import shipped_calibrator
from guardrail.datasets.questions import load_questions_from
from guardrail.evaluation.report import report
from guardrail.grading import get_grader
from guardrail.html import report_page
from guardrail.policy import Policy
from guardrail.runs.asking import Asking
from guardrail.runs.collect import collect
from guardrail.runs.run_answers import check_fits, load_run

folder = Path(tempfile.mkdtemp())
model = load_model("smollm2-135m")
name, calibrator = shipped_calibrator(model.identity)
origin, grader = calibrator.provenance, get_grader("alias")

# The slow part, once. `guardrail evaluate bundled --limit 24 --run run.jsonl` does the same.
questions = load_questions_from("bundled", "heldout", limit=24)
collect(model, questions, grader, Asking(origin.prompt, origin.system, 32), run=folder / "run.jsonl")

# From here on no model is needed. `guardrail report run.jsonl -p default -o report.html` does the same.
run = load_run(folder / "run.jsonl", grader)
check_fits(run, calibrator, name)  # another model, or questions that it was fitted on, are refused
found = report(calibrator, run.answers, [Policy.load("default")], data=run.data)
print(f"right: {found.metrics['accuracy'].value:.2f} of {len(run.rows)}")
print("ECE {0.value:.2f} ({0.low:.2f} to {0.high:.2f})".format(found.metrics["ece"]))
done = found.policies[0].outcome.actions
print(f"the policy would have answered {done['answer']}, hedged {done['hedge']}, withheld {done['abstain']}")

page = folder / "report.html"
page.write_text(report_page(found, run, calibrator=name), encoding="utf-8")
print(f"page: {page}, {page.stat().st_size // 1024} KiB, loads nothing")
