"""An agent with a tool that says when it does not know: `create_agent` with `GuardrailMiddleware`.

A model of this size cannot decide to call a tool, so a rule does that here: sums go to the calculator. What the agent says
in the end is the model's own, and goes through the guard: also the nonsense that it makes of the calculator's result.
"""

import re

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from guardrail import Guard
from guardrail.langchain import GuardrailMiddleware, read_metadata
from guardrail.langchain.convert import to_chat_messages


@tool
def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


class Assistant(BaseChatModel):
    """Any chat model could stand here: the middleware guards it from outside."""

    guard: Guard

    @property
    def _llm_type(self):
        return "assistant"

    def bind_tools(self, tools, **options):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **options):
        numbers = re.fullmatch(r"What is (\d+) plus (\d+)\?", messages[-1].text)
        if numbers:
            call = {"name": "add", "args": {"a": int(numbers[1]), "b": int(numbers[2])}, "id": "1"}
            message = AIMessage("", tool_calls=[call])
        else:
            message = AIMessage(self.guard.model.generate(to_chat_messages(messages), max_new_tokens=32).text)
        return ChatResult(generations=[ChatGeneration(message=message)])


guard = Guard.from_pretrained("smollm2-135m", policy="default")
agent = create_agent(Assistant(guard=guard), tools=[add], middleware=[GuardrailMiddleware(guard)])

for question in ("What is the capital of Japan?", "Who composed The Bartered Bride?", "What is 56 plus 78?"):
    messages = agent.invoke({"messages": [("user", question)]})["messages"]
    verdict = read_metadata(messages[-1])
    print(question)
    print(f"  {' → '.join(message.type for message in messages)}; {verdict['action']}, {verdict['label']}")
    print(f"  {messages[-1].text}")
