"""Proofs of promises, as `guardrail tune` writes them, with numbers that agree."""

from __future__ import annotations

from guardrail.calibration.risk import upper_bound
from guardrail.policy.proof import ClaimsProof, Proof

HASH = "0123456789abcdef" * 4


def promise(
    threshold: float, errors: int, n: int, max_error: float, level: float = 0.025, questions: int = 500
) -> dict:
    return {
        "max_error": max_error,
        "threshold": threshold,
        "n": n,
        "errors": errors,
        "level": level,
        "bound": upper_bound(errors, n, level),
        "coverage": n / questions,
        "coverage_low": 0.0,
        "coverage_high": 1.0,
    }


def proof(**changes) -> Proof:
    values = {
        "confidence": 0.95,
        "answered": promise(0.8, 4, 120, 0.1),
        "shown": promise(0.5, 60, 300, 0.3),
        "questions": 500,
        "data": HASH,
        "calibrator": "c.json",
        "calibrator_sha256": HASH,
        "model": {"name": "m", "architecture": "A", "weights": HASH, "dtype": "float32", "chat_template": HASH},
        "grader": "alias",
        "created": "2026-01-31",
        "command": "guardrail tune 'a b.jsonl' -o \"p: #1.yaml\"\n",
        "versions": {"torch": "2.13.0"},
    }
    return Proof.model_validate(values | changes)


def claims_proof(**changes) -> ClaimsProof:
    values = proof().model_dump(exclude={"confidence", "answered", "shown", "second"})
    values |= {"all_right": 0.9, "confidence": 0.95, "threshold": 0.7, "n": 200, "errors": 10,
               "bound": upper_bound(10, 200, 1 - 0.95), "claims": 600, "kept": 300, "right": 350, "right_kept": 285,
               "retention_low": 0.4, "retention_high": 0.6}  # fmt: skip
    return ClaimsProof.model_validate(values | changes)
