"""Look up what a corpus hardly knows, however sure the model is: names of the question, counted in passages in milliseconds."""

from guardrail import Guard, Policy, load_retriever
from guardrail.data import passages_path

POLICY = """
version: 1
name: rare names
retrieval: {passages: 1}
rules:
  - {name: rare, when: {rare: {below: 3}, evidence: absent}, then: retrieve, because: the corpus hardly knows it}
  - {name: never together, when: {never_together: true}, then: abstain}
  - {name: sure, when: {confidence: {at_least: 0.5}}, then: answer}
  - {name: rest, then: hedge}
"""

index = load_retriever(passages_path())  # counts in its own passages; corpus="texts/" counts in others
guard = Guard.from_pretrained("smollm2-135m", policy=Policy.from_text(POLICY, "rare names"), retriever=index)
questions = (
    "What is the capital of Japan?",
    "What is the capital of Burkina Faso?",
    "How far is Japan from France?",
)
for question, verdict in zip(questions, guard.answer_batch(questions), strict=True):
    print(question, index.corpus.counts(question).counts)
    print("  actions:", " → ".join(verdict.actions))
    print("  why:    ", verdict.attempts[0].decision.explanation)
    print("  shown:  ", verdict.text)
