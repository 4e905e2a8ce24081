"""Runs of claims made from numbers, without a model, and a calibrator of claims that fits them."""

from __future__ import annotations

import json

import numpy as np

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.provenance import ExtractorIdentity
from guardrail.datasets.claims import ClaimRow, Label, claim_data_hash, row_digest
from guardrail.runs.asking import KIND, VERSION
from guardrail.runs.run_claims import load_claim_run
from tests.helpers.sample_runs import MODEL, PROMPT
from tests.helpers.sample_runs import calibrator as of_answers

EXTRACTOR = {"name": "sentences", "options": {"language": "en"}}


def calibrator(n=300, *, seed=1):
    """Fitted on scores in 0 to 1 of two claims an answer: the lower, the more probably right."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(0, 1, n)
    origin = of_answers().provenance.model_copy(
        update={"extractor": ExtractorIdentity.model_validate(EXTRACTOR), "grader": "facts"}
    )
    return IsotonicCalibrator().fit(
        score, rng.uniform(0, 1, n) > score, unit="claim", groups=np.arange(n) // 2, provenance=origin, metrics={}
    )


def rows_and_records(n=60, *, seed=2, flipped=False, first=0):
    """n answers of one to three claims. flipped: what is right is wrong, and the other way round."""
    rng = np.random.default_rng(seed)
    rows, records = [], []
    for i in range(first, first + n):
        scores = rng.uniform(0.02, 0.98, int(rng.integers(1, 4))).tolist()
        texts = [f"Claim {i}.{j} is this." for j in range(len(scores))]
        answer, claims, labels, at = " ".join(texts), [], [], 0
        for j, (text, score) in enumerate(zip(texts, scores, strict=True)):
            right = bool(rng.uniform() > score) != flipped
            place = {"text": text, "start": at, "end": at + len(text), "kind": "sentence"}
            claims.append({**place, "token_start": 2 * j, "token_end": 2 * j + 2, **_numbers(score, 2)})
            labels.append(Label(at, at + len(text), right))
            at += len(text) + 1
        row = ClaimRow(f"What about {i}?", answer=answer, labels=tuple(labels), extra={"kind": f"kind {i % 3}"})
        rows.append(row)
        records.append(
            {
                "key": row_digest(row), "question": row.question, "answer": answer, "finish_reason": "stop",
                "prompt_tokens": 9, "unscored": None, "unaligned": 0, "claims": claims,
                "pieces": [f" p{k}" for k in range(2 * len(texts))], "whole": _numbers(max(scores), 2 * len(texts)),
            }
        )  # fmt: skip
    return rows, records


def _numbers(score, tokens):
    return {"semgrad": [[score]] * 2, "paragrad": score, "entropies": [0.5] * tokens, "log_probs": [-0.3] * tokens}


def write(path, rows, records, **more):
    """A run file of claims."""
    header = {
        "kind": KIND, "version": VERSION, "model": MODEL,
        "asking": {"prompt": PROMPT, "system": None, "max_new_tokens": 8}, "data": claim_data_hash(rows), "offsets": [-1],
        "layers": 4, "unit": "claim", "extractor": EXTRACTOR, **more,
    }  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *records)), encoding="utf-8")
    return path


def loaded(path, n=60, **more):
    """A run of n answers, read."""
    rows, records = rows_and_records(n, **more)
    return load_claim_run(write(path, rows, records), rows)
