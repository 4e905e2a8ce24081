"""A LangChain chat model with a guard: in a chain, streaming, in a batch. What the policy holds back leaves nowhere."""

from langchain_core.prompts import ChatPromptTemplate

from guardrail.langchain import ChatGuarded, read_metadata

model = ChatGuarded(model="smollm2-135m", policy="default")

print("A string is a question: it goes into the prompt that the calibrator was fitted with.")
message = model.invoke("What is the capital of Japan?")
verdict = read_metadata(message)
print(f"  {message.content}")
print(f"  {verdict['action']}, {verdict['label']}, {verdict['confidence']:.2f}, {verdict['basis']}")
print(f"  {message.usage_metadata['input_tokens']} tokens read, {message.usage_metadata['output_tokens']} written")

print("In a chain, with a prompt of your own; the confidence says that it is extrapolated:")
prompt = ChatPromptTemplate.from_messages(
    [("system", "Answer in one sentence."), ("human", "What is the capital of {c}?")]
)
message = (prompt | model).invoke({"c": "France"})
print(f"  {message.content}")
print(f"  {read_metadata(message)['basis']}: {read_metadata(message)['basis_reason']}")

print("Streaming: nothing leaves before the verdict, which is in the last chunk.")
*pieces, last = model.stream("Who was the 14th president of the United States?")
print(f"  {''.join(piece.content for piece in pieces)}")
print(f"  {read_metadata(last)['action']} by rule {read_metadata(last)['rule']!r}")

print("A batch shares passes on the model:")
questions = ["To which country does Sicily belong?", "What is 56 plus 78?", "Lack of which vitamin causes rickets?"]
for question, message in zip(questions, model.batch(questions), strict=True):
    print(f"  {read_metadata(message)['action']:8} {question} {message.content}")
