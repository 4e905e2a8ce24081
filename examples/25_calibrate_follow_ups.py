"""A follow-up question in a conversation: rows have `messages` in place of a question."""

import json
import tempfile
from pathlib import Path

import guardrail
from guardrail.data import load_questions

# a conversation about a place, and then the question; of one's own, `messages` come from a log
rows = [
    {
        "messages": [
            {"role": "user", "content": "Answer all that I ask in a few words."},
            {"role": "assistant", "content": "All right."},
            {"role": "user", "content": row.question},
        ],
        "answers": list(row.answers),
    }
    for row in load_questions("calibration")
]
data = Path(tempfile.mkdtemp()) / "conversations.jsonl"
data.write_text("".join(json.dumps(row) + "\n" for row in rows))

guard = guardrail.Guard.from_pretrained("smollm2-135m", policy="observe")


def chain(messages):
    """Any function will do: a question or messages in, an answer out."""
    return guard.answer(messages, max_new_tokens=12)


fit = guardrail.calibrate_chain(chain, data, limit=40)  # few, to be quick: take 400 or more
for name, own in fit.calibrator.contexts.items():
    print(f"{name}: {own.n} answers, {own.n_correct} right")

guarded = guardrail.Guard(model=guard.model, calibrator=fit.calibrator)
asked = [*rows[0]["messages"][:2], {"role": "user", "content": "What is the capital of Japan?"}]
for messages in (asked, "What is the capital of Japan?"):
    confidence = guarded.answer(messages, max_new_tokens=12).confidence
    print(f"{confidence.basis}{': ' if confidence.reason else ''}{confidence.reason}")
