"""The chains that `python -m tests.benchmarks.chains` calibrates, those of examples/23 to 27; each is `--through FILE:NAME`."""

from __future__ import annotations

from langchain.agents import create_agent
from langchain.agents.middleware import before_model
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tools import tool

import guardrail
from guardrail.data import passages_path
from guardrail.langchain import ChatGuarded
from guardrail.model.spec import DEFAULT_MODEL
from tests.benchmarks.together import Together

LENGTH = 16
SCHEMA = {
    "title": "Answer",
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": 40}},
    "required": ["answer"],
}
# the model's own template takes no tools: this is the same with their names in front
TEMPLATE = """{% for t in tools or [] %}{% if loop.first %}<|im_start|>system
Tools:{% endif %} {{ t['function']['name'] }}{% if loop.last %}<|im_end|>
{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m['role'] }}
{{ m['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
retriever = guardrail.load_retriever(passages_path(), 1)


def passages(question):
    return "\n".join(found.page_content for found in retriever.invoke(question))


@tool
def look_up(question: str) -> str:
    """What the notes say about a question."""
    return passages(question)


@before_model(can_jump_to=["tools"])
def look_up_first(state, runtime):
    """A model of this size cannot decide to call a tool, so each question is looked up."""
    if state["messages"][-1].type != "human":
        return None
    call = {"name": "look_up", "args": {"question": state["messages"][-1].text}, "id": "1"}
    return {"messages": [AIMessage("", tool_calls=[call])], "jump_to": "tools"}


def guarded(**options):
    return ChatGuarded(model=guardrail.load_model(DEFAULT_MODEL, **options), policy="observe", max_tokens=LENGTH)


chat = guarded()
system = Together(
    ChatPromptTemplate([("system", "You answer in a few words."), ("human", "{question}")]) | chat | StrOutputParser()
)
rag = Together(
    {"context": passages, "question": RunnablePassthrough()}
    | ChatPromptTemplate([("human", "Context:\n{context}\n\nAnswer in a few words: {question}")])
    | chat
    | StrOutputParser()
)
follow_up = Together(
    ChatPromptTemplate(
        [("human", "Answer all that I ask in a few words."), ("ai", "All right."), ("human", "{question}")]
    )
    | chat
    | StrOutputParser()
)
agent = create_agent(
    guarded(chat_template=TEMPLATE),
    tools=[look_up],
    middleware=[look_up_first],
    system_prompt="Answer in a few words.",
)
json = Together(
    ChatPromptTemplate(
        [
            ("human", "Who wrote Hamlet?"),
            ("ai", '{{"answer": "William Shakespeare"}}'),
            ("human", "What is the capital of France?"),
            ("ai", '{{"answer": "Paris"}}'),
            ("human", "{question}"),
        ]
    )
    | chat.with_structured_output(SCHEMA, method="json_schema", strict=True)
)
