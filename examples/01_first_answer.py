"""The first answer: what the model says, how sure it is, and what the policy does about it."""

from guardrail import Guard

guard = Guard.from_pretrained("smollm2-135m", policy="default")
for question in ("What is the capital of Japan?", "Who composed The Bartered Bride?"):
    verdict = guard.answer(question)
    print(question)
    print(f"  shown:      {verdict.text}")
    print(f"  model said: {verdict.answer}")
    print(f"  confidence: {verdict.confidence.p_correct:.2f}, {verdict.label}; action: {verdict.action}")
