"""Ask back where a question can be read in several ways: with a Guard, and as a LangChain chat model."""

from guardrail import Guard
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.policy import Policy

# the bound is for the embedded model's ways to reword a question; see docs/results/papers.md
POLICY = Policy.from_text(
    """
version: 1
name: mine
ambiguity: {above: -1.4, samples: 5}
rules:
  - {name: unclear, when: {ambiguous: true}, then: ask_back, say: "Whom or what do you mean?"}
  - {name: clear, then: answer}
""",
    "mine.yaml",
)

guard = Guard.from_pretrained("smollm2-135m", policy=POLICY)
for question in ("What is the capital of Japan?", "Who won the cup?"):
    verdict = guard.answer(question, max_new_tokens=24)
    print(f"{question}\n  {verdict.action}: {verdict.text}\n  {verdict.explanation}")

model = ChatGuarded.from_guard(guard)
message = model.invoke("Who won the cup?")
print(f"ChatGuarded: {read_metadata(message)['action']}: {message.content}")
