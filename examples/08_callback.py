"""One line for a chain that exists: a callback judges every answer and leaves the chain as it is. It cannot hold text back."""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_huggingface import ChatHuggingFace, HuggingFacePipeline
from transformers import pipeline

from guardrail import LowConfidenceError, load_model
from guardrail.langchain import GuardrailCallbackHandler

# The chain as it was.
local = load_model("smollm2-135m")
options = {"max_new_tokens": 24, "do_sample": False, "return_full_text": False}
generate = pipeline("text-generation", model=local.model, tokenizer=local.tokenizer, **options)
chat = ChatHuggingFace(llm=HuggingFacePipeline(pipeline=generate, model_id="smollm2-135m"), tokenizer=local.tokenizer)
prompt = ChatPromptTemplate.from_template(
    "Please directly answer the following question with one or few words:\n{question}"
)
chain = prompt | chat

# It observes: the verdict is in the message.
handler = GuardrailCallbackHandler.from_chat_huggingface(chat)
for question in ("What is the capital of Japan?", "What is the capital of Burkina Faso?"):
    message = chain.invoke({"question": question}, config={"callbacks": [handler]})
    verdict = message.response_metadata["guardrail"]
    print(f"{message.text}  ({verdict['confidence']:.2f}, {verdict['label']}; the policy would {verdict['action']})")

# Or it raises, and the chain ends there.
strict = GuardrailCallbackHandler(handler.guard, raise_below=0.5)
try:
    (chain | StrOutputParser()).invoke(
        {"question": "What is the capital of Burkina Faso?"}, config={"callbacks": [strict]}
    )
except LowConfidenceError as error:
    print(f"LowConfidenceError: {error}")
