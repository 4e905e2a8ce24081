"""What the model is unsure of it answers once more, with the beginning of its reply given.

The second answer's confidence is extrapolated, for this calibrator has seen no reply that was begun; so the rule that shows it
hedges. `guardrail calibrate --retry-prefix` fits a curve for such replies.
"""

from guardrail import Guard, Policy, load_model
from guardrail.langchain import ChatGuarded, read_metadata

POLICY = Policy.from_text(
    """
version: 1
name: retrying
rules:
  - {name: unscored, when: {unscored: true}, then: abstain}
  - {name: sure, when: {confidence: {at_least: 0.6}}, then: answer}
  - {name: once more, when: {confidence: {below: 0.6}}, then: retry, retry: {prefix: "The answer is"}}
  - {name: better, when: {confidence: {at_least: 0.3}}, then: hedge}
  - {name: rest, then: abstain, because: it is unsure in both wordings}
""",
    "retrying.yaml",
)
model = load_model("smollm2-135m")
guard = Guard(model=model, policy=POLICY)

for question in (
    "What is the capital of Japan?",
    "What is the chemical symbol for gold?",
    "What is the largest planet of the solar system?",
    "What is the capital of Burkina Faso?",
):
    verdict = guard.answer(question)
    print(f"{question} {verdict.text}")
    print(f"  {' → '.join(verdict.actions)}, by rule {verdict.rule!r}")
    for attempt in verdict.attempts[1:]:
        print(f"  begun with {attempt.prefix!r}: {attempt.confidence.p_correct:.2f}, {attempt.confidence.basis}")

message = ChatGuarded(model=model, policy=POLICY).invoke("What is the capital of Burkina Faso?")
told = read_metadata(message)
print(f"chat: {' → '.join(told['actions'])}: {message.content}")
