"""JSON that keeps to a schema, each field with its own confidence; a field that is too unsure is null."""

import json

from guardrail import Guard, Policy, load_model
from guardrail.langchain import ChatGuarded

SCHEMA = {
    "title": "Country",
    "type": "object",
    "properties": {
        "capital": {"type": ["string", "null"]},
        "continent": {"enum": ["Africa", "Asia", "Europe", "America", "Oceania", None]},
        "island": {"type": ["boolean", "null"]},
    },
    "required": ["capital", "continent", "island"],
}
POLICY = Policy.from_text(
    """
version: 1
name: fields
rules:
  - {name: unsure, for: claim, when: {kind: field, confidence: {below: 0.30}}, then: drop, because: it is likely wrong}
  - {name: rest, for: claim, then: keep}
  - {name: by its fields, when: {claims: {count: {at_least: 1}}}, then: answer}
""",
    "fields.yaml",
)
QUESTION = "Describe France as JSON with the keys capital, continent and island."
model = load_model("smollm2-135m")


def show(claims):
    for claim in claims:
        print(f"  {claim['path']:10} {claim['confidence']:.2f} {claim['label']}, {claim['basis']}: {claim['action']}")


# The extra `structured` keeps decoding to the schema: pip install 'hybridgrad-guardrail[structured]'
verdict = Guard(model=model, policy=POLICY).answer(QUESTION, schema=SCHEMA, max_new_tokens=60)
print("said: ", verdict.answer)
print("shown:", verdict.text)
show([claim.to_dict() for claim in verdict.claims])

# The same through LangChain: `parsed` is the object, and the raw message holds the fields.
chat = ChatGuarded(model=model, policy=POLICY, max_tokens=60)
both = chat.with_structured_output(SCHEMA, method="json_schema", strict=True, include_raw=True).invoke(QUESTION)
print("parsed:", json.dumps(both["parsed"]))
show(both["raw"].response_metadata["guardrail"]["claims"])
