"""The calls of a guarded chat model: what its Guard is asked, the verdicts on it, and the replies that they allow.

LangChain's surfaces are in `chat`, which composes this with the fields of the chat model.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from langchain_core.callbacks import BaseRunManager
from langchain_core.messages import BaseMessage

from guardrail.deadlines import Deadline, before
from guardrail.errors import DeadlineError, LowConfidenceError
from guardrail.guard import Guard
from guardrail.langchain.batching import join_batch
from guardrail.langchain.call import Call, Options, conversation_of
from guardrail.langchain.call_forms import CallForms
from guardrail.langchain.live import StreamingRun
from guardrail.langchain.reply import Reply, reply_to, unjudged_reply, withholds
from guardrail.langchain.runs import internal_source, within_run
from guardrail.langchain.settings import GuardedSettings
from guardrail.langchain.streaming import AbandonedError, Watch
from guardrail.langchain.tool_calls import ParsedCalls, parse_tool_calls
from guardrail.langchain.turns import ModelQueue, SideBySide
from guardrail.model.constraint import Constraint, Form, can_keep
from guardrail.pipeline.form import AnswerForm
from guardrail.pipeline.hooks import Hooks
from guardrail.types import WITHHELD, Trace, Verdict

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answering:
    """How one chat model answers. chat: its fields, as they are now. guard, turns: what it shares with its copies."""

    chat: GuardedSettings
    guard: Guard
    turns: ModelQueue | SideBySide

    def call(
        self,
        messages: Sequence[BaseMessage],
        stop: Sequence[str] | None,
        given: dict[str, Any],
        run_manager: BaseRunManager | None = None,
    ) -> Call:
        """What the Guard is asked, and how; `given` are the options of one call. Raises what `invoke` raises for them."""
        chat = self.chat
        own = Options(
            chat.max_tokens,
            chat.temperature,
            chat.seed,
            chat.stop,
            score_tool_calls=chat.score_tool_calls,
            timeout=chat.timeout,
        )
        options = own.changed(stop, given)
        deadline = Deadline.after(options.timeout)
        conversation = conversation_of(messages, chat.as_question, options)
        search_context = partial(self._search_context, run_manager)
        return Call(conversation, options, search_context, internal_source(run_manager), deadline)

    @contextmanager
    def _search_context(self, run_manager: BaseRunManager | None) -> Iterator[None]:
        """A retriever is traced, and may ask this very model: others take their turns meanwhile."""
        with self.turns.yield_turn(), within_run(run_manager):
            yield

    def is_held(self, call: Call) -> bool:
        """Whether no text of it may leave before its verdict."""
        by_claim = self.chat.stream_policy == "claim"
        whole = bool(call.options.tools) or (by_claim and call.options.schema is not None)  # fields are judged together
        return self.chat.stream_policy == "answer" or whole

    def stream(self, call: Call) -> StreamingRun:
        """The call, to be iterated while it runs."""
        by_claim = self.chat.stream_policy == "claim"
        return StreamingRun(self.guard.model, call, self.verdicts, by_claim=by_claim)

    def verdict(self, call: Call) -> Verdict:
        """The verdict on one call, from the batch that it belongs to, if any."""
        if (shared := join_batch(self.chat, call)) is not None:
            return _in_time(shared, call.deadline)
        return self.verdicts([call])[0]

    async def averdict(self, call: Call) -> Verdict:
        """`verdict` beside the event loop; a cancelled one ends the generation."""
        if (shared := join_batch(self.chat, call)) is not None:
            return await _ain_time(shared, call.deadline)
        watch = Watch()
        try:
            return (await _ain_time(self.beside(lambda: self.verdicts([call], watch)), call.deadline))[0]
        except (asyncio.CancelledError, DeadlineError):
            watch.abandon()
            raise

    def beside(self, work: Callable[[], T]) -> Future[T]:
        """Run work beside the event loop, in its turn on the model, in the context of the caller."""
        return self.turns.submit(partial(copy_context().run, work))

    def verdicts(self, calls: Sequence[Call], watch: Watch | None = None) -> list[Verdict]:
        """The verdicts on calls with equal options, by the first of their deadlines."""
        deadlines = [call.deadline for call in calls if call.deadline is not None]
        with before(min(deadlines, key=lambda deadline: deadline.at, default=None)):
            return self._verdicts(calls, watch)

    def _verdicts(self, calls: Sequence[Call], watch: Watch | None) -> list[Verdict]:
        """The verdicts on calls with equal options, in one batch on the model. A watch with a text stream asks for the
        model's own text, and so does one that is told it at once: then nothing is retrieved, for it would replace what is out
        already."""
        seen = watch or Watch()
        options = calls[0].options
        sampled = options.temperature > 0 and options.seed is not None  # repeatable: no row's draws hang on the others'
        return self.guard.answer_batch(
            [call.conversation for call in calls],
            max_new_tokens=options.max_tokens,
            batch_size=1 if sampled else self.chat.batch_size,
            temperature=options.temperature,
            seed=options.seed,
            stop=options.stop,
            tools=options.tools,
            retrieve=seen.stream is None and seen.on_text is None,
            hooks=Hooks(
                is_tool_call=partial(self._is_tool_call, options),
                on_step=watch,
                search_contexts=[call.search_context for call in calls],
                claim_stream=seen.claims,
                on_generated=seen.note_generated,
                on_judged=seen.note_judged,
                form=self.form(options),
                ends=(AbandonedError,),
            ),
        )

    def form(self, options: Options) -> AnswerForm | None:
        """What the answer is to be: JSON of a schema, or a call. None where any text will do.

        A choice of tool is kept where it can be: without the extra, or for a schema that no grammar is made of, the model is
        only shown the tools.
        """
        model, tools = self.guard.model, {t["function"]["name"]: t["function"] for t in options.tools}
        calls = CallForms.of(model.tokenizer).constraint(options.tools) if tools else None
        if options.schema is not None:
            forms = (Form(options.schema), *(calls.forms if calls else ()))
            return AnswerForm(json.loads(options.schema), constraint=Constraint(forms) if options.kept else None)
        judged = tools if options.score_tool_calls is True else {n: tools[n] for n in options.forms if n in tools}
        arguments = {name: dict(function.get("parameters") or {}) for name, function in judged.items()}
        kept = calls if options.forced and calls is not None and can_keep(model, calls) else None
        return AnswerForm(tools=arguments, constraint=kept) if arguments or kept else None

    def _is_tool_call(self, options: Options, trace: Trace) -> bool:
        """Whether a response goes out unscored: it calls tools, and none whose call is to be judged."""
        if not options.tools or options.score_tool_calls is True:
            return False
        calls = self._parsed(trace, options).calls
        return bool(calls) and not any(call["name"] in options.forms for call in calls)

    def _parsed(self, trace: Trace, options: Options) -> ParsedCalls:
        """The tool calls of a response."""
        model = self.guard.model
        ids = [i for i in trace.response_ids if i not in model.eos_ids]
        return parse_tool_calls(CallForms.of(model.tokenizer).mark(model.tokenizer, ids), options.tool_names)

    def reply(self, call: Call, verdict: Verdict, *, enforced: bool = True, shown: str | None = None) -> Reply:
        """The reply that a verdict allows; see `reply_to`. Raises `LowConfidenceError` where there must be none."""
        if enforced:
            self._raise_if_asked(call, verdict)
        trace = verdict.attempts[-1].trace
        parsed = self._parsed(trace, call.options) if trace is not None and call.options.tools else None
        return reply_to(verdict, parsed, enforced=enforced, include_original=self.chat.include_original, shown=shown)

    def unjudged(self, call: Call, trace: Trace) -> Reply:
        """What the model said, as it is: for whoever does not wait for the verdict. It has no metadata."""
        parsed = self._parsed(trace, call.options) if call.options.tools else None
        return unjudged_reply(trace, parsed, self.guard.model.name)

    def _raise_if_asked(self, call: Call, verdict: Verdict) -> None:
        """Raises `LowConfidenceError` where there must be no message: an abstention that is to be an error, or the policy's
        wording in what LangChain asked for itself, which would go on as a summary or a query."""
        if call.internal and (verdict.action in WITHHELD or verdict.text != verdict.answer):
            raise LowConfidenceError(
                f"policy {verdict.policy!r} decided {verdict.action!r} on a text that LangChain asked for itself "
                f"({call.internal}), and its wording must not stand in for that text; give that part chat.unguarded() as its "
                "model",
                verdict,
            )
        if self.chat.raise_on_abstain and verdict.action in WITHHELD:
            raise LowConfidenceError(withholds(verdict), verdict)


def _in_time(future: Future[T], deadline: Deadline | None) -> T:
    """What a future gives; raises `DeadlineError` where it gives nothing by then."""
    if deadline is not None and not wait([future], min(deadline.left, threading.TIMEOUT_MAX)).done:
        raise deadline.missed()
    return future.result()


async def _ain_time(future: Future[T], deadline: Deadline | None) -> T:
    """`_in_time` for async code. The future is cancelled then, too: work that waits for its turn never begins."""
    try:
        async with asyncio.timeout(None if deadline is None else deadline.left) as limit:
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        if deadline is None or isinstance(error, DeadlineError) or not limit.expired():  # the work's own error
            raise
        raise deadline.missed() from error
