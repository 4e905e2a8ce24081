"""A policy of your own: ordered rules, first match wins, no match abstains."""

from guardrail import Guard, Policy

policy = Policy.from_text(
    """
version: 1
name: helpdesk
description: Answer when likely right; else hand over.
wording:
  abstain: "Let me connect you with a colleague. ({explanation})"
rules:
  - name: sure
    when: {confidence: {at_least: 0.5}, finish_reason: stop}
    then: answer
  - name: say how sure
    when: {label: [low, medium], length: {at_most: 20}}
    then: hedge
    say: "Probably not the last word ({confidence}): {answer}"
""",
    "helpdesk.yaml",
)
guard = Guard.from_pretrained("smollm2-135m", policy=policy)
for question in (
    "What is the capital of Australia?",
    "What is the opposite of hot?",
    "Who wrote the novel The Radetzky March?",
):
    verdict = guard.answer(question)
    print(f"{verdict.rule:16} {verdict.text}")
