"""A LangGraph graph that routes on the confidence label: what is too unsure waits for a person."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from guardrail.langchain import ChatGuarded, read_metadata

# The policy `observe` changes nothing: here the graph decides. The draft is in the state, so show users `messages` only.
model = ChatGuarded(model="smollm2-135m", policy="observe", as_question="single")


class State(MessagesState):
    """The conversation, and the draft that nobody has released yet."""

    draft: object


def answer(state):
    return {"draft": model.invoke(state["messages"])}


def route(state):
    return "release" if read_metadata(state["draft"])["label"] in ("medium", "high", "very high") else "review"


def review(state):
    verdict = read_metadata(state["draft"])
    corrected = interrupt(
        {"draft": state["draft"].text, "label": verdict["label"], "confidence": verdict["confidence"]}
    )
    return {"draft": state["draft"].model_copy(update={"content": corrected})}


def release(state):
    return {"messages": [state["draft"]]}


graph = StateGraph(State)
for node in (answer, review, release):
    graph.add_node(node.__name__, node)
graph.add_edge(START, "answer")
graph.add_conditional_edges("answer", route, ["release", "review"])
graph.add_edge("review", "release")
graph.add_edge("release", END)
app = graph.compile(checkpointer=InMemorySaver())

people = iter(["Ouagadougou."])  # stands for a person at a desk
for thread, question in enumerate(("What is the capital of Japan?", "What is the capital of Burkina Faso?")):
    config = {"configurable": {"thread_id": str(thread)}}
    state = app.invoke({"messages": [("user", question)]}, config)
    while stops := state.get("__interrupt__"):
        print(f"for review: {stops[0].value}")
        state = app.invoke(Command(resume=next(people)), config)
    print(f"{question} {state['messages'][-1].text}")
