"""Streaming and batches of a guarded chat model: nothing leaves before the verdict, and a batch runs as one on the model."""

import asyncio

from guardrail.langchain import ChatGuarded, read_metadata

model = ChatGuarded(model="smollm2-135m", policy="default")

print("Streamed after the verdict (stream_policy='answer', the default):")
for question in ("What is the capital of Japan?", "Who composed The Bartered Bride?"):
    print("  " + "".join(chunk.text for chunk in model.stream(question)))

print("Streamed as it comes (stream_policy='passthrough'): the verdict is in the last chunk, and nothing is held back:")
free = ChatGuarded(model=model.guard.model, policy="default", stream_policy="passthrough")
whole = None
for chunk in free.stream("Who composed The Bartered Bride?"):
    print(f"  {chunk.text!r}") if chunk.text else None
    whole = chunk if whole is None else whole + chunk
print(f"  the policy would have said: {read_metadata(whole)['action']}")

print("A batch, and the same from async code:")
questions = ["To which country does Sicily belong?", "What is 56 plus 78?", "What is the capital of Japan?"]
answers = model.batch(questions)
for question, message in zip(questions, answers, strict=True):
    print(f"  {read_metadata(message)['action']:8} {question} {message.text}")
again = asyncio.run(model.abatch(questions))
print("  the same answers:", [m.text for m in again] == [m.text for m in answers])
