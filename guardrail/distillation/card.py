"""The model card of an adapter that states a confidence: what it is, how it was made, how it is used."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from guardrail.distillation.settings import BY_LIKELIHOOD
from guardrail.scoring.registry import DEFAULT
from guardrail.stated import Wording


def model_card(record: Mapping[str, Any], wording: Wording) -> str:
    """record: what `distillation.json` holds."""
    teaching, teacher, training = record["teaching"], record["teacher"], record["training"]
    name = record["model"]["name"]
    how = {
        "sampling": f"how often {teacher.get('samples')} samples say the same",
        DEFAULT: "the calibrated confidence of its own greedy answer, from one gradient pass",
        "labels": "right or wrong alone",
    }[teacher["kind"]]
    where = (
        "in a turn after the answer, on which alone the adapter is active: the answers are the base model's"
        if wording.turn == "after"
        else "at the end of its answer; answers may differ from the base model's"
    )
    asked = (
        f" --prompt {shlex.quote(record['asking']['prompt'] + wording.instruction)}" if wording.turn == "same" else ""
    )
    taught = ", ".join(f"{label}: {n}" for label, n in zip(wording.labels, teaching["bins"], strict=True))
    bins = (
        taught
        if any(teaching["bins"]) and record["objective"] in BY_LIKELIHOOD
        else "none: the labels' probabilities are taught, which only the scorer reads"
    )
    return f"""---
library_name: peft
tags: [uncertainty, calibration, lora]
---
# {name}, stating its confidence

A LoRA adapter of {name} by uncertainty distillation. The model says how sure it is, {where}.

    guardrail calibrate DATA.jsonl --model THIS_FOLDER --scorer verbalized -o calibrator.json{asked}
    guardrail ask "..." --model THIS_FOLDER --calibrator calibrator.json

The stated confidence is a signal, and becomes a probability by that calibration.

| | |
| --- | --- |
| base model | {name}, weights {record["model"]["weights"][:16]}, {record["model"]["dtype"]} |
| teacher | {how} |
| answers | {teaching["answers"]} to {teaching["questions"]} questions, {teaching["right"]} right |
| graded by | {record["grader"]} |
| objective | {record["objective"]} |
| labels taught | {bins} |
| calibration of the shares | {teaching["map"]} |
| training | {training["epochs"]:g} epochs, batches of {training["batch_size"]}, learning rate {training["learning_rate"]:g}, \
rank {training["rank"]}, last loss {record["loss"]:.3f} |
| data | {_named(record["source"])}, SHA-256 {record["data"][:16]} |
| command | `{record["command"] or "guardrail.distill(...)"}` |
| versions | {", ".join(f"{k} {v}" for k, v in record["versions"].items())} |
"""


def _named(source: Mapping[str, Any]) -> str:
    return ", ".join(str(part) for key, part in source.items() if key != "kind") or str(source)
