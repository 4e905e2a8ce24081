"""A long answer streams claim by claim: each sentence leaves once its own claim has passed the policy."""

import time

from guardrail.langchain import ChatGuarded, read_metadata

chat = ChatGuarded(model="smollm2-135m", policy="per_claim", stream_policy="claim")
question = (
    "1. What is the capital of Japan?\n2. What is the currency of Japan?\n3. What is the official language of Japan?"
)

chat.invoke(question, max_tokens=8)  # the first call of a process is slower; what is timed is the second
began = time.perf_counter()
released, answer = [], None
for chunk in chat.stream(question):
    if chunk.text:
        released.append(time.perf_counter() - began)
        print(f"{released[-1]:5.1f} s  {chunk.text!r}")
    answer = chunk if answer is None else answer + chunk
whole = time.perf_counter() - began

verdict = read_metadata(answer)
print("claims:", ", ".join(f"{claim['action']} {claim['confidence']:.2f}" for claim in verdict["claims"]))
print(f"the whole answer: {verdict['action']}, enforced: {verdict['enforced']}")
print(f"first sentence after {released[0]:.1f} s of {whole:.1f} s, {100 * released[0] / whole:.0f} % of the time")
