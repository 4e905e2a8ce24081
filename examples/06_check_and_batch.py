"""Judge a text that exists already, and answer many questions at once."""

from guardrail import Guard

guard = Guard.from_pretrained("smollm2-135m")

print("Texts from elsewhere, judged by the local model:")
for answer in ("The capital of Japan is Tokyo.", "The capital of Japan is Kyoto."):
    verdict = guard.check("What is the capital of Japan?", answer)
    print(f"  {verdict.confidence.p_correct:.2f} {verdict.action:8} {answer}")

print("A batch:")
questions = [
    "To which country does Sicily belong?",
    "Lack of which vitamin causes rickets in children?",
    "What is 56 plus 78?",
]
for question, verdict in zip(questions, guard.answer_batch(questions), strict=True):
    print(f"  {verdict.action:8} {question} {verdict.answer}")
