"""`GuardrailMiddleware`: the guard in `langchain.agents.create_agent`; extra `[agents]`.

Every final answer of the agent goes through the policy. Where `ChatGuarded` is the agent's model this is not needed.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables.config import var_child_runnable_config

from guardrail.errors import DataError, MissingExtraError
from guardrail.langchain.events import adispatch_verdict, dispatch_verdict
from guardrail.langchain.metadata import METADATA_KEY, read_metadata, verdict_metadata
from guardrail.langchain.review import Outcome, Review, Said, is_judged, passed, review, said_by, step, unstreamed
from guardrail.types import Action

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
    from langgraph.types import interrupt
except ImportError as error:
    raise MissingExtraError(
        "GuardrailMiddleware needs langchain's agents; run: pip install 'hybridgrad-guardrail[agents]'"
    ) from error

if TYPE_CHECKING:
    from langchain_core.messages import AnyMessage
    from langgraph.runtime import Runtime

    from guardrail.guard import Guard

_UNGUARDED = (
    "no policy was applied to the model's answer; give GuardrailMiddleware a guard, or make the model a ChatGuarded"
)
_UNGUARDED_FORM = (
    "no policy was applied to the structured answer, which came as a tool call; make the model a "
    "ChatGuarded(..., score_tool_calls=True), or give GuardrailMiddleware a guard"
)

_MOST_HELD = 1_000
"""Held-back answers that wait for a person; older ones are forgotten, and the person then sees the question alone."""


class GuardrailMiddleware(AgentMiddleware[Any, Any, Any]):
    """Final answers of an agent go through the guard.

        >>> agent = create_agent(model, tools, middleware=[GuardrailMiddleware(guard)])
        >>> state = agent.invoke({"messages": [("user", "What is the capital of France?")]})
        >>> state["messages"][-1].response_metadata["guardrail"]["action"]
        'answer'

    guard: on the agent's model or on its local twin. None where the model is a `ChatGuarded`, whose answers are judged
    already: then only abstention and escalation are left to do. escalate: the actions on which a person decides, for example
    `{"abstain"}`; the run stops with an interrupt (the agent needs a checkpointer) whose value is

        {"type": "guardrail_review", "question": ..., "answer": what the model said, "shown": what would be shown,
         "verdict": the metadata}

    and goes on with `Command(resume=TEXT)`: the text is shown instead (the value's `answer`, to release it), or with
    `Command(resume=False)`: what would be shown is. `answer` is the text that the policy held back: show it to no one else.

    retrieve: the model is called again with passages, as often as the policy allows; needs a guard with a retriever. hedge:
    the wording replaces the text, under the same message id. abstain: so does the message that says why, and the run ends.
    Turns of tool calls pass unjudged, without the text beside the calls, and no person is asked about them. A structured
    response (`response_format`) is judged by its JSON text; it is dropped where the policy abstains, and where it hedges,
    it stays and the metadata says so. A `ChatGuarded` judges one that comes as a tool call with `score_tool_calls=True`;
    without it this middleware does, with a guard of its own, and raises `DataError` without one.

    With a guard, tokens of the model reach no stream: its run is hidden from `stream_mode="messages"` and `astream_events`,
    which get the message that may be shown. Other callbacks, tracers say, still see what the model said.
    """

    def __init__(self, guard: Guard | None = None, *, escalate: Collection[Action] = ()) -> None:
        super().__init__()
        self.tools = []
        self.guard = guard
        self.escalate = frozenset([escalate] if isinstance(escalate, str) else escalate)
        if unknown := self.escalate - {"answer", "hedge", "abstain"}:
            raise DataError(f"escalate holds {sorted(unknown)}; it takes answer, hedge and abstain")
        self._held: OrderedDict[str, str] = OrderedDict()  # message id -> what the model said
        self._lock = threading.Lock()

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """One turn of the model, judged if it is an answer."""
        turn = _Turn(self, request)
        while turn.request is not None:
            with turn.hidden():
                response = handler(turn.request)
            turn.take(response)
        if turn.metadata:
            dispatch_verdict(turn.metadata)
        return turn.response

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """`wrap_model_call`, async; scoring runs in a worker thread."""
        turn = _Turn(self, request)
        while turn.request is not None:
            with turn.hidden():
                response = await handler(turn.request)
            await asyncio.to_thread(turn.take, response)
        if turn.metadata:
            await adispatch_verdict(turn.metadata)
        return turn.response

    @hook_config(can_jump_to=["end"])
    def after_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """End the run on an abstention; ask a person before, where one is to decide."""
        message = state["messages"][-1]
        verdict = read_metadata(message)
        if verdict is None or getattr(message, "tool_calls", None):  # a turn of calls is no answer to decide on
            return None
        if verdict["action"] in self.escalate:
            return self._ask_a_person(state["messages"], message)
        return {"jump_to": "end"} if verdict["action"] == "abstain" else None

    @hook_config(can_jump_to=["end"])
    async def aafter_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        return self.after_model(state, runtime)

    def hold(self, message: AIMessage, answer: str) -> None:
        """Keep what the model said for the person who will decide: the state, which anyone may read, must not have it."""
        with self._lock:
            self._held[str(message.id)] = answer
            while len(self._held) > _MOST_HELD:
                self._held.popitem(last=False)

    def _ask_a_person(self, messages: Sequence[BaseMessage], message: BaseMessage) -> dict[str, Any]:
        verdict = message.response_metadata[METADATA_KEY]
        answer = interrupt(
            {
                "type": "guardrail_review",
                "question": next((str(m.text) for m in reversed(messages) if m.type == "human"), ""),
                "answer": self._held.get(str(message.id), verdict.get("original")),
                "shown": str(message.text),
                "verdict": verdict,
            }
        )
        with self._lock:
            self._held.pop(str(message.id), None)
        if answer is False:
            return {"jump_to": "end"}
        if not isinstance(answer, str):
            raise DataError(
                f"resume a review with the text to show, or with False to keep what is shown, not {answer!r:.80}"
            )
        reviewed = {**message.response_metadata, METADATA_KEY: {**verdict, "reviewed": True}}
        return {
            "messages": [message.model_copy(update={"content": answer, "response_metadata": reviewed})],
            "jump_to": "end",
        }


class _Turn:
    """The pure part of one model call: which request to make next, what to make of the response."""

    def __init__(self, middleware: GuardrailMiddleware, request: ModelRequest[Any]) -> None:
        self.middleware = middleware
        self.request: ModelRequest[Any] | None = request
        self.response: ModelResponse[Any] = ModelResponse(result=[])
        self.metadata: dict[str, Any] | None = None
        self._system = [request.system_message] if request.system_message else []
        self._original = request
        self._review: Review | None = None

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """While a model is asked that is not guarded itself, nobody streams."""
        if self.middleware.guard is None:
            yield
            return
        token = var_child_runnable_config.set(unstreamed())
        try:
            yield
        finally:
            var_child_runnable_config.reset(token)

    def take(self, response: ModelResponse[Any]) -> None:
        """Judge a response: sets `request` for one more call, or to None when `response` is final."""
        self.response, previous, self.request = response, self.request, None
        message = next((m for m in response.result if isinstance(m, AIMessage)), None)
        if message is None or previous is None:
            return
        said = _said(response, message)
        if said.text is None:
            result = [passed(message) if m is message else m for m in response.result]
            self.response = ModelResponse(result=result, structured_response=response.structured_response)
            return
        if self.middleware.guard is None:
            raise DataError(_UNGUARDED_FORM if message.tool_calls else _UNGUARDED)
        if self._review is None:
            self._review = review(self.middleware.guard, [*self._system, *self._original.messages])
            step(self._review)
        now = step(self._review, said)
        if isinstance(now, Outcome):
            self._finish(response, said.message, now)
        else:
            asking = cast("list[AnyMessage]", now[len(self._system) :])
            self.request = self._original.override(messages=asking)

    def _finish(self, response: ModelResponse[Any], said: AIMessage, outcome: Outcome) -> None:
        verdict = outcome.verdict
        if verdict is None:
            return
        self.metadata = outcome.message.response_metadata[METADATA_KEY]
        message, structured = outcome.message, None
        result: list[BaseMessage] = []
        if response.structured_response is not None and verdict.action != "abstain":
            # A form has no room for wording: it stays as it is, and its message says what was decided.
            self.metadata = verdict_metadata(verdict, enforced=verdict.action == "answer")
            message = passed(said)  # the text beside a form that came as a tool call was not judged with it
            noted = {**message.response_metadata, METADATA_KEY: self.metadata}
            message = message.model_copy(update={"response_metadata": noted})
            result = [m for m in response.result if m is not said]
            structured = response.structured_response
        if verdict.action in self.middleware.escalate:
            message = message.model_copy(update={"id": message.id or str(uuid4())})
            self.middleware.hold(message, verdict.answer)
        self.response = ModelResponse(result=[message, *result], structured_response=structured)


def _said(response: ModelResponse[Any], message: AIMessage) -> Said:
    if response.structured_response is not None and message.tool_calls and not is_judged(message):
        return Said(message, json.dumps([call["args"] for call in message.tool_calls], ensure_ascii=False))
    return said_by(message)
