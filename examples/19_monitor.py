"""A log of verdicts, and whether what it holds still looks like the calibration: VerdictLog and guardrail monitor."""

import json
import random
import tempfile
from pathlib import Path

from guardrail import Guard, IsotonicCalibrator, VerdictLog, monitor

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "verdicts.jsonl"
    guard = Guard.from_pretrained("smollm2-135m", observers=[VerdictLog(path)])
    for country in ("Japan", "Italy", "Burkina Faso"):
        guard.answer(f"What is the capital of {country}?")
    lines = path.read_text().splitlines()
    print(f"{len(lines)} lines, {'no text' if not any('Tokyo' in line for line in lines) else 'text'} in them")
    found = monitor(path, "shipped:smollm2-135m")
    print(found.verdict, *found.notes, sep="\n  ")

    # A month later the questions are harder. Here the scores are drawn; in life they come from the Guard.
    random.seed(0)
    calibration = [random.gauss(0, 1) for _ in range(500)]
    calibrator = IsotonicCalibrator().fit(
        calibration, [random.random() > 0.5 + 0.2 * max(-2, min(2, s)) for s in calibration]
    )
    line = json.loads(lines[0])
    with path.open("w") as file:
        for _ in range(300):
            score = random.gauss(0.5, 1)
            line["attempts"] = []  # one pass
            line |= {"score": {"hybridgrad": score}, "confidence": calibrator.predict(score).p_correct}
            file.write(json.dumps(line) + "\n")
    found = monitor(path, calibrator)
    print(found.verdict, *found.reasons, sep="\n  ")
