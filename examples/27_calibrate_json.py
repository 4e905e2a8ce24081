"""A chain whose answers are JSON that keeps to a schema, calibrated as it is."""

from langchain_core.prompts import ChatPromptTemplate

import guardrail
from guardrail.langchain import ChatGuarded, read_metadata

SCHEMA = {
    "title": "Answer",
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": 40}},
    "required": ["answer"],
}
prompt = ChatPromptTemplate(
    [
        ("human", "Who wrote Hamlet?"),
        ("ai", '{{"answer": "William Shakespeare"}}'),
        ("human", "What is the capital of France?"),
        ("ai", '{{"answer": "Paris"}}'),
        ("human", "{question}"),
    ]
)
model = guardrail.load_model("smollm2-135m")


def chain(**options):
    """The extra `structured` keeps decoding to the schema: pip install 'hybridgrad-guardrail[structured]'"""
    chat = ChatGuarded(model=model, max_tokens=16, **options)
    return prompt | chat.with_structured_output(SCHEMA, method="json_schema", strict=True, include_raw=True)


# What is graded is `parsed`, the object that the schema asks for: the text in it.
fit = guardrail.calibrate_chain(chain(policy="observe"), "bundled", limit=40)  # few, to be quick: take 400 or more
for name, own in fit.calibrator.contexts.items():
    print(f"{name}: {own.n} answers, {own.n_correct} right, kept to a schema: {own.source['constrained']}")

both = chain(policy="observe", calibrator=fit.calibrator).invoke("What is the capital of Japan?")
told = read_metadata(both["raw"])
print(f"{both['parsed']}: {told['confidence']:.2f}, {told['basis']}")

free = prompt | ChatGuarded(model=model, policy="observe", calibrator=fit.calibrator, max_tokens=16)
told = read_metadata(free.invoke("What is the capital of Japan?"))
print(f"{told['basis']}: {told['basis_reason']}")
