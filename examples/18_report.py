"""A report: questions asked, answers kept in a run file, and one HTML page of what the confidence was worth on them."""

import tempfile
from pathlib import Path

import guardrail

folder = Path(tempfile.mkdtemp())
run, page = folder / "run.jsonl", folder / "report.html"
guardrail.evaluate("smollm2-135m", "bundled", limit=24, run=run)  # the slow part, once

# From here on no model is needed.
found = guardrail.report(run, page, policies=["default"]).figures
print(f"right: {found.metrics['accuracy'].value:.2f} of 24")
print("ECE {0.value:.2f} ({0.low:.2f} to {0.high:.2f})".format(found.metrics["ece"]))
done = found.policies[0].outcome.actions
print(f"the policy would have answered {done['answer']}, hedged {done['hedge']}, withheld {done['abstain']}")
print(f"page: {page}, {page.stat().st_size // 1024} KiB, loads nothing")
