"""A second model answers what the first is unsure of: the same policy decides on both, and the verdict says who spoke.

One model comes with guardrail, so the second one here is the same weights with notes at hand, which the first does not have; a
bigger model, or one behind an endpoint (`load_model("openai:URL#NAME")`), goes in its place with a calibrator of its own.
"""

import json
import tempfile
from pathlib import Path

from guardrail import Guard, Policy, load_model
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.retrieval import load_retriever

NOTES = [
    "Burkina Faso is a country in Africa. Its capital is Ouagadougou.",
    "The Moldau flows through Prague.",
]

POLICY = Policy.from_text(
    """
version: 1
name: routed
rules:
  - {name: unscored, when: {unscored: true}, then: abstain}
  - {name: sure, when: {confidence: {at_least: 0.5}, in_range: true}, then: answer}
  - {name: ask the second, when: {evidence: absent}, then: escalate}
  - {name: look it up, when: {evidence: absent}, then: retrieve}
  - {name: unsure, when: {confidence: {at_least: 0.3}}, then: hedge}
  - {name: rest, then: abstain, because: neither model knows}
""",
    "routed.yaml",
)
model = load_model("smollm2-135m")
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "notes.jsonl"
    file.write_text("".join(json.dumps({"text": note}) + "\n" for note in NOTES), encoding="utf-8")
    second = Guard(model=model, policy=POLICY, retriever=load_retriever(file))
guard = Guard(model=model, policy=POLICY, escalate_to=second)

for question in (
    "What is the capital of Japan?",
    "What is the capital of Burkina Faso?",
    "Who wrote The Radetzky March?",
):
    verdict = guard.answer(question)
    print(f"{question} {verdict.text}")
    print(f"  {' → '.join(verdict.actions)}, by rule {verdict.rule!r}")
    if verdict.escalation is not None:
        for which, spent in (("first", verdict.escalation.first), ("second", verdict.escalation.second)):
            tokens = f"{spent.read} tokens read, {spent.written} written"
            print(f"  {which}: {spent.confidence:.2f} after {spent.passes} pass(es), {tokens}")

chat = ChatGuarded(model=model, policy=POLICY, escalate_to=second)
message = chat.invoke("What is the capital of Burkina Faso?")
told = read_metadata(message)
print(f"chat: {message.content} ({told['model']} after {told['escalation']['first']['model']})")
print(f"tokens of both: {message.usage_metadata['total_tokens']}")
