"""A calibrator of your own for a model: ask questions, grade the answers, fit, save, and answer with it."""

import tempfile
from pathlib import Path

import guardrail

model = guardrail.load_model("smollm2-135m")
path = Path(tempfile.mkdtemp()) / "calibrator.json"
fit = guardrail.calibrate(model, "bundled", path, limit=120, max_new_tokens=16)  # few, to be quick: take 400 or more
print(f"{fit.n} answers, {fit.metrics['accuracy'].value:.0%} right, by {fit.calibrator.provenance.scorer}")
for name in ("auroc", "ece"):
    value = fit.metrics[name]
    print(f"{name.upper()}, cross-validated: {value.value:.3f} ({value.low:.3f} to {value.high:.3f})")

guard = guardrail.Guard(model=model, calibrator=path)  # refuses the calibrator of another model, template or dtype
verdict = guard.answer("What is the capital of Japan?")
print(f"{verdict.text} {verdict.confidence.p_correct:.2f}, {verdict.label}, {verdict.confidence.basis}")
beyond = guardrail.IsotonicCalibrator.load(path).predict(1e6)  # a score as none of the calibration's
print(f"p {beyond.p_correct:.2f}, in range: {beyond.in_range}")
