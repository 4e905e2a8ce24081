"""An agent with a tool, calibrated as it is: turns that call tools are passed over, its last answer is graded.

A model of this size cannot decide to call a tool, so the first turn of every conversation is written by hand here.
"""

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

import guardrail
from guardrail.data import passages_path
from guardrail.langchain import ChatGuarded, read_metadata

retriever = guardrail.load_retriever(passages_path(), 1)


@tool
def search(query: str) -> str:
    """A passage about something."""
    return "\n".join(found.page_content for found in retriever.invoke(query)) or "nothing found"


class Searching(ChatGuarded):
    """Looks the question up, then answers."""

    def invoke(self, messages, config=None, **options):
        asked = messages[-1]
        if isinstance(asked, HumanMessage):
            return AIMessage("", tool_calls=[{"name": "search", "args": {"query": asked.text}, "id": "1"}])
        return super().invoke(messages, config, **options)


model = guardrail.load_model("smollm2-135m")
agent = create_agent(Searching(model=model, policy="observe", max_tokens=16), tools=[search])
fit = guardrail.calibrate_chain(agent, "bundled", limit=60)  # few, to be quick: take 400 or more
for name, own in fit.calibrator.contexts.items():
    print(f"{name}: {own.n} answers, {own.n_correct} right, with {own.source['tools']}")

guarded = create_agent(Searching(model=model, calibrator=fit.calibrator, max_tokens=16), tools=[search])
state = guarded.invoke({"messages": [("user", "What is the capital of Burkina Faso?")]})
told = read_metadata(state["messages"][-1])
print(f"{' → '.join(message.type for message in state['messages'])}; {told['action']}, {told['basis']}")
