"""Certainty and consistency together: answer, look up a passage, or look up several and judge the answer in several orders."""

from guardrail import Guard, Policy, load_retriever
from guardrail.data import passages_path

POLICY = """
version: 1
name: certain and consistent
sampling: {samples: 5, temperature: 0.7}
retrieval: {max_passes: 2}
rules:
  - {name: both, when: {confidence: {at_least: 0.5}, consistency: {at_least: 0.6}, evidence: absent}, then: answer}
  - name: one of the two
    when: {any: [{confidence: {at_least: 0.3}}, {consistency: {at_least: 0.6}}], evidence: absent}
    then: retrieve
    retrieve: {passages: 1}
  - {name: neither, when: {evidence: absent}, then: retrieve, retrieve: {passages: 4, orders: 4}}
  - {name: the order decides, when: {spread: {above: 0.3}}, then: abstain}
  - {name: from passages, when: {confidence: {at_least: 0.4}}, then: answer}
  - {name: rest, then: hedge}
"""

index = load_retriever(passages_path(), min_similarity=0.2)
policy = Policy.from_text(POLICY, "certain and consistent")
guard = Guard.from_pretrained("smollm2-135m", policy=policy, retriever=index)
questions = (
    "What is the capital of Japan?",
    "What is the capital of Burkina Faso?",
    "Who wrote the novel 'Things Fall Apart'?",
)
for question, verdict in zip(questions, guard.answer_batch(questions, max_new_tokens=30), strict=True):
    print(question, "→", verdict.text)
    for attempt in verdict.attempts:
        p, drawn, orders = attempt.confidence.p_correct, attempt.consistency, attempt.orders
        agree = f"{drawn.agreeing} of {drawn.samples} samples agree" if drawn else "no samples needed"
        moved = f", the order moves it by {orders.spread:.2f}" if orders else ""
        print(f"  {attempt.decision.rule}: confidence {p:.2f}, {agree}, {len(attempt.evidence)} passages{moved}")
