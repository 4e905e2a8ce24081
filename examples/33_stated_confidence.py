"""A chat model without weights, any of LangChain's, guarded by the confidence that it states. Here the embedded one stands in.

ChatOpenAI(model=...), ChatAnthropic(...) and so on go in its place: nothing below looks at weights. How to calibrate it and
what a stated confidence is worth: docs/how-to/stated.md.
"""

from guardrail import load_model
from guardrail.langchain import ChatGuarded, StatedModel
from guardrail.langchain.unguarded import UnguardedChat

chat = UnguardedChat(local=load_model("smollm2-135m"), max_tokens=20)
model = StatedModel(chat)  # asks for the confidence in a turn of its own; turn="same" asks with the question

# guardrail.calibrate(model, "questions.jsonl", "stated.json") makes the calibrator; without one a policy may only observe.
guarded = ChatGuarded(model=model, policy="observe")
for question in ("What is the capital of France?", "What is the capital of Burkina Faso?"):
    message = guarded.invoke(question)
    told = message.response_metadata["guardrail"]
    stated = "nothing that can be read" if told["unscored"] else f"{1 - told['score']['number']:.1f}"
    print(f"{message.text}\n  states {stated}; basis: {told['basis']}")

# What it says behind its answer is taken out of what is shown; two labels that contradict each other are no confidence.
ending = StatedModel(chat, turn="same")
for answer in ("Paris (with high confidence)", "Paris", "Paris (with low confidence) (with high confidence)"):
    trace = ending.trace("What is the capital of France?", answer)
    print(f"{trace.text!r}: {'unstated' if trace.stated is None else ending.wording.labels[trace.stated]}")
