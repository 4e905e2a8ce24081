"""An agent with a tool, calibrated as it is: what it says after it has read what the tool found.

A model of this size cannot decide to call a tool, so a rule does that here: each question is looked up first. What the agent
then says is the model's own, and whether it is right is what the calibration learns.
"""

from langchain.agents import create_agent
from langchain.agents.middleware import before_model
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

import guardrail
from guardrail.data import passages_path
from guardrail.langchain import ChatGuarded, read_metadata

# the model's own template takes no tools: this is the same with their names in front
TEMPLATE = """{% for t in tools or [] %}{% if loop.first %}<|im_start|>system
Tools:{% endif %} {{ t['function']['name'] }}{% if loop.last %}<|im_end|>
{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m['role'] }}
{{ m['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
model = guardrail.load_model("smollm2-135m", chat_template=TEMPLATE)
retriever = guardrail.load_retriever(passages_path(), 1)


@tool
def look_up(question: str) -> str:
    """What the notes say about a question."""
    return "\n".join(found.page_content for found in retriever.invoke(question))


@before_model(can_jump_to=["tools"])
def look_up_first(state, runtime):
    """Without this, a model that can call tools decides itself."""
    if state["messages"][-1].type != "human":
        return None
    call = {"name": "look_up", "args": {"question": state["messages"][-1].text}, "id": "1"}
    return {"messages": [AIMessage("", tool_calls=[call])], "jump_to": "tools"}


def agent(**options):
    chat = ChatGuarded(model=model, max_tokens=12, **options)
    return create_agent(chat, tools=[look_up], middleware=[look_up_first], system_prompt="Answer in a few words.")


# The command line does the same: guardrail calibrate DATA.jsonl --through app.py:agent -o c.json
fit = guardrail.calibrate_chain(agent(policy="observe"), "bundled", limit=40)  # few, to be quick: take 400 or more
for name, own in fit.calibrator.contexts.items():
    print(f"{name}: {own.n} answers, {own.n_correct} right, tools: {', '.join(own.source['tools'])}")

guarded = agent(calibrator=fit.calibrator)
messages = guarded.invoke({"messages": [("user", "What is the capital of Burkina Faso?")]})["messages"]
told = read_metadata(messages[-1])
print(" → ".join(message.type for message in messages))
print(f"{told['action']}, {told['confidence']:.2f}, {told['basis']}")

alone = ChatGuarded(model=model, calibrator=fit.calibrator, max_tokens=12)
told = read_metadata(alone.invoke("What is the capital of Burkina Faso?"))
print(f"{told['basis']}: {told['basis_reason']}")
