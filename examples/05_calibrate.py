"""A calibrator of your own, from scores and grades: fit, save, load, predict."""

import random
import tempfile
from pathlib import Path

from guardrail import IsotonicCalibrator

random.seed(0)
scores = [random.random() for _ in range(400)]  # higher = more uncertain, as every score here
right = [random.random() > 0.2 + 0.6 * score for score in scores]
calibrator = IsotonicCalibrator().fit(scores, right)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "calibrator.json"
    calibrator.save(path)
    loaded = IsotonicCalibrator.load(path)
for score in (0.05, 0.5, 0.95, 7.0):
    c = loaded.predict(score)
    print(f"score {score:4}: p {c.p_correct:.2f} ({c.low:.2f} to {c.high:.2f}), {c.label}, in range: {c.in_range}")
ece = loaded.metrics["ece"]
print(f"ECE, cross-validated: {ece.value:.3f} ({ece.low:.3f} to {ece.high:.3f})")
