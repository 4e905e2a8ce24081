"""A deadline for answers of a LangChain chat model: no verdict in time is an error, and a fallback answers in its place."""

from guardrail.langchain import ChatGuarded, read_metadata

QUESTION = "What is the capital of Japan?"
model = ChatGuarded(model="smollm2-135m", policy="default")
hurried = model.model_copy(update={"timeout": 0.001})  # seconds; as ChatGuarded(..., timeout=0.001)

try:
    hurried.invoke(QUESTION)
except TimeoutError as error:
    print(f"{type(error).__name__}: {error}")

print("With a fallback, here the same model with more time:")
message = hurried.with_fallbacks([model.bind(timeout=600)], exceptions_to_handle=(TimeoutError,)).invoke(QUESTION)
print(f"  {message.content} ({read_metadata(message)['action']})")

print("One call has a timeout of its own:")
print(f"  {hurried.invoke(QUESTION, timeout=600).content}")
