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
from guardrail.langchain.metadata import METADATA_KEY, is_judged, read_metadata, shown_hash, verdict_metadata
from guardrail.langchain.review import Outcome, Review, Said, described, passed, review, said_by, step, unstreamed
from guardrail.types import WITHHELD, Action

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
    "no policy was applied to the structured answer, which came as a tool call; make the model a ChatGuarded, or give "
    "GuardrailMiddleware a guard"
)

_MOST_HELD = 1_000
"""Held-back answers that wait for a person; older ones are forgotten, and the person then sees the question alone."""


class GuardrailMiddleware(AgentMiddleware[Any, Any, Any]):
    """Final answers of an agent go through the guard.

        >>> agent = create_agent(model, tools, middleware=[GuardrailMiddleware(guard)])
        >>> state = agent.invoke({"messages": [("user", "What is the capital of France?")]})
        >>> state["messages"][-1].response_metadata["guardrail"]["action"]
        'answer'

    Where a person is to decide (`escalate`), the run stops with an interrupt (the agent needs a checkpointer) whose value is

        {"type": "guardrail_review", "question": ..., "answer": what the model said, "shown": what would be shown,
         "verdict": the metadata}

    and goes on with `Command(resume=TEXT)`: the text is shown instead (the value's `answer`, to release it), or with
    `Command(resume=False)`: what would be shown is. `answer` is the text that the policy held back: show it to no one else.

    retrieve: the model is called again with passages, as often as the policy allows; needs a guard with a retriever. hedge:
    the wording replaces the text, under the same message id. abstain: so does the message that says why, and the run ends.
    ask_back: so does the question to the user, and the run ends, for the user to answer it.
    Turns of tool calls pass unjudged, without the text beside the calls, and no person is asked about them. A structured
    response (`response_format`) is judged by its JSON text; it is dropped where the policy abstains, and where it hedges,
    it stays and the metadata says so. A `ChatGuarded` judges one itself; there a hedge drops the form, too, and ends the run.
    Where another middleware gives several messages for one turn, the last answer among them is judged, and other texts that
    nobody has judged are left out.

    With a guard, tokens of the model reach no stream: its run is hidden from `stream_mode="messages"` and `astream_events`,
    which get the message that may be shown. Other callbacks, tracers say, still see what the model said.

    Args:
        guard: On the agent's model or on its local twin. None where the model is a `ChatGuarded`, whose answers are judged
            already: then only abstention and escalation are left to do.
        escalate: The actions on which a person decides, for example `{"abstain"}`.

    Raises:
        DataError: For an unknown action; and in a run, where no policy was applied to an answer: there is no guard, and the
            model is no `ChatGuarded`.
    """

    def __init__(self, guard: Guard | None = None, *, escalate: Collection[Action] = ()) -> None:
        super().__init__()
        self.tools = []
        self.guard = guard
        self.escalate: frozenset[Action] = frozenset(
            [cast("Action", escalate)] if isinstance(escalate, str) else escalate
        )
        if unknown := self.escalate - {"answer", "hedge", *WITHHELD}:
            raise DataError(f"escalate holds {sorted(unknown)}; it takes answer, hedge, abstain and ask_back")
        self._held: OrderedDict[str, str] = OrderedDict()  # message id -> what the model said
        self._no_forms: OrderedDict[str, bool] = OrderedDict()  # ids of hedges that stand where a form was asked for
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
        with self._lock:
            no_form = self._no_forms.pop(str(message.id), False)
        if verdict["action"] in self.escalate:
            return self._ask_a_person(state["messages"], message)
        # Wording in the place of a form: the agent would ask for the form again, and again.
        return {"jump_to": "end"} if verdict["action"] in WITHHELD or no_form else None

    @hook_config(can_jump_to=["end"])
    async def aafter_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """`after_model`, async."""
        return self.after_model(state, runtime)

    def hold(self, message: AIMessage, answer: str) -> None:
        """Keep what the model said for the person who will decide: the state, which anyone may read, must not have it."""
        with self._lock:
            self._held[str(message.id)] = answer
            while len(self._held) > _MOST_HELD:
                self._held.popitem(last=False)

    def note_missing_form(self, message: AIMessage) -> None:
        """Keep in mind that a message is wording in the place of a structured response, so that the run ends with it."""
        with self._lock:
            self._no_forms[str(message.id)] = True
            while len(self._no_forms) > _MOST_HELD:
                self._no_forms.popitem(last=False)

    def __repr__(self) -> str:
        return f"GuardrailMiddleware({described(self.guard)}, escalate={sorted(self.escalate)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> GuardrailMiddleware:
        """A middleware of its own on the same guard: weights and locks are not copied."""
        return GuardrailMiddleware(self.guard, escalate=self.escalate)

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
        noted = {**verdict, "reviewed": True, "text_hash": shown_hash(answer)}
        reviewed = {**message.response_metadata, METADATA_KEY: noted}
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
        message = _last_answer(response)
        if message is None or previous is None:
            return
        said = _said(response, message)
        if said.text is None:
            self._pass(response, message, previous)
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

    def _pass(self, response: ModelResponse[Any], message: AIMessage, request: ModelRequest[Any]) -> None:
        """A turn that is judged already, or no answer."""
        result = [passed(m) if isinstance(m, AIMessage) else m for m in response.result]
        self.response = ModelResponse(result=result, structured_response=response.structured_response)
        verdict = read_metadata(message) if is_judged(message) and not message.tool_calls else None
        awaited = request.response_format is not None and response.structured_response is None
        if awaited and verdict is not None and verdict["action"] != "answer":
            self.middleware.note_missing_form(message)

    def _finish(self, response: ModelResponse[Any], said: AIMessage, outcome: Outcome) -> None:
        verdict = outcome.verdict
        if verdict is None:
            return
        self.metadata = outcome.message.response_metadata[METADATA_KEY]
        message, structured = outcome.message, None
        result = _beside(response, said) if response.structured_response is None else []
        if response.structured_response is not None and verdict.action not in WITHHELD:
            # A form has no room for wording: it stays as it is, and its message says what was decided.
            self.metadata = verdict_metadata(verdict, enforced=verdict.action == "answer")
            message = passed(said)  # the text beside a form that came as a tool call was not judged with it
            self.metadata["text_hash"] = shown_hash(str(message.text), message.tool_calls)
            noted = {**message.response_metadata, METADATA_KEY: self.metadata}
            message = message.model_copy(
                update={"response_metadata": noted, "usage_metadata": outcome.message.usage_metadata}
            )
            result = [m for m in response.result if m is not said]
            structured = response.structured_response
        if verdict.action in self.middleware.escalate:
            message = message.model_copy(update={"id": message.id or str(uuid4())})
            self.middleware.hold(message, verdict.answer)
        # An answer comes last, where agents look for it; a form stands before the tool message that it has.
        whole = [message, *result] if structured is not None else [*result, message]
        self.response = ModelResponse(result=whole, structured_response=structured)


def _last_answer(response: ModelResponse[Any]) -> AIMessage | None:
    """The message to judge: the last answer that nobody has judged, or the last turn of the model if there is none."""
    turns = [m for m in response.result if isinstance(m, AIMessage)]
    answers = [m for m in turns if _said(response, m).text is not None]
    return next(reversed(answers or turns), None)


def _beside(response: ModelResponse[Any], judged: AIMessage) -> list[BaseMessage]:
    """What else a turn may show beside its judged answer: nothing that holds an answer that nobody has judged."""
    others = [m for m in response.result if isinstance(m, AIMessage) and m is not judged]
    return [passed(m) for m in others if said_by(m).text is None]


def _said(response: ModelResponse[Any], message: AIMessage) -> Said:
    if response.structured_response is not None and message.tool_calls and not is_judged(message):
        return Said(message, json.dumps([call["args"] for call in message.tool_calls], ensure_ascii=False))
    return said_by(message)
