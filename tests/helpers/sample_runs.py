"""Runs and calibrators made from numbers, without a model: what a report is about, sound and hostile."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.provenance import Provenance
from guardrail.datasets.questions import QuestionRow, data_hash, question_digest
from guardrail.evaluation.report import report
from guardrail.grading import get_grader
from guardrail.html.report import report_page
from guardrail.model.identity import ModelIdentity
from guardrail.runs.asking import KIND, VERSION
from guardrail.runs.run_answers import check_fits, load_run
from guardrail.scoring.profile import Profile

MODEL = {"architecture": "Tiny", "weights": "a" * 64, "dtype": "float32", "chat_template": "b" * 64}
PROMPT = "Answer briefly: {question}"
MADE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def calibrator(n=300, *, questions=("What was asked in calibration?",), seed=1, **more):
    """Fitted on scores in 0 to 1: the lower, the more probably right."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(0, 1, n)
    correct = rng.uniform(0, 1, n) > score
    origin = Provenance(
        **{
            "model": ModelIdentity(name="tiny", **MODEL),
            "scorer": "hybridgrad",
            "profile": Profile(token=-1, token_source="template").model_dump(mode="json"),
            "prompt": PROMPT,
            "system": None,
            "data": "c" * 64,
            "questions": tuple(question_digest(q) for q in questions),
            "n": n,
            "accuracy": float(correct.mean()),
            "created": "2026-01-01",
            "command": "guardrail calibrate q.jsonl -o c.json",
            "versions": {"torch": "2"},
            "grader": "exact",
            "generation": {"max_new_tokens": 8},
            **more,
        }
    )
    return IsotonicCalibrator().fit(score, correct, provenance=origin, metrics={})


def record(i, right, score, **more):
    """An answer of which both SemGrad and ParaGrad are `score`; None: it has no score."""
    question = f"What is number {i}?"
    numbers = {"unscored": "empty_answer"} if score is None else {
        "unscored": None, "semgrad": [[score]] * 2, "paragrad": score, "entropies": [0.5, 0.5], "log_probs": [-0.2, -0.4],
    }  # fmt: skip
    return {
        "key": question_digest(question),
        "question": question,
        "accepted": [f"number {i}"],
        "answer": f"number {i}" if right else "something else",
        "finish_reason": "stop",
        "prompt_tokens": 9,
        **numbers,
        **more,
    }


def records(n=200, seed=2):
    rng = np.random.default_rng(seed)
    return [record(i, bool(rng.uniform() > s), float(s)) for i, s in enumerate(rng.uniform(0.02, 0.98, n))]


def header(rows, **more):
    data = data_hash([QuestionRow(r["question"], tuple(r["accepted"])) for r in rows])
    asking = {"prompt": PROMPT, "system": None, "max_new_tokens": 8}
    return {
        "kind": KIND, "version": VERSION, "model": MODEL, "asking": asking, "data": data, "offsets": [-1], "layers": 4, **more,
    }  # fmt: skip


def write(path, rows, **more):
    """A run file."""
    path.write_text("".join(json.dumps(line) + "\n" for line in (header(rows, **more), *rows)), encoding="utf-8")
    return path


def measured(path, rows, policies=(), fitted=None, draws=40, **more):
    """The report of a run and the run."""
    fitted = fitted or calibrator()
    run = load_run(write(path, rows, **more), get_grader("exact"))
    check_fits(run, fitted, "c.json")
    return report(fitted, run.answers, policies, data=run.data, draws=draws), run


def page_of(path, rows, policies=(), bench=None, fitted=None, header=None, **more):
    found, run = measured(path, rows, policies, fitted, **(header or {}))
    return report_page(found, run, calibrator="c.json", bench=bench, made=MADE, command="guardrail report", **more)


EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)> \u202eabc\u2066 \x00\x1b[31m </title></svg> {{ 7 * 7 }} &amp;"


def hostile():
    rows = records(60)
    rows[0] |= {"answer": EVIL, "question": f"{EVIL}?"}
    rows[1] |= {"answer": "long " * 20_000}
    rows[2] |= {"answer": "מה עיר הבירה של יפן", "accepted": [EVIL, *(f"form {i}" for i in range(40))]}
    rows[3] |= {"answer": "W" * 3000}
    rows[4] = record(4, False, None, answer="")
    return rows


def bench(scorers=("hybridgrad", "sar", EVIL), data="d" * 64, **more):
    """What guardrail bench writes, as plain values."""

    def est(value):
        return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 100}

    return {
        "kind": "guardrail bench",
        "version": 1,
        "model": {"name": "tiny", **MODEL},
        "data": {"name": "bench.jsonl", "hash": data, "n": 100},
        "grader": "exact",
        "asking": {"prompt": PROMPT},
        "n": 100,
        "accuracy": est(0.5),
        "scorers": [
            {
                "name": name, "options": {}, "n": 100, "unscored": 0, "auroc": est(0.7 - 0.1 * i), "aurc": est(0.4),
                "prr": est(0.3),
                "difference": None if i == 0 else est(-0.1 * i), "seconds": {"median": 0.1 + i, "low": 0.05, "high": 1.2 + i},
                "memory_mb": None,
            }
            for i, name in enumerate(scorers)
        ],
        "command": "guardrail bench q.jsonl",
        "created": "2026-01-01",
        "versions": {"torch": "2"},
        **more,
    }  # fmt: skip
