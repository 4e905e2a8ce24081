"""One streamed call, as steps: what leaves, in which order, and when. Sync and async code drive the same generator.

held back:  verdict, text, event, last chunk
otherwise:  pieces while the model writes, the rest of the text, event, last chunk
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.outputs import ChatGenerationChunk

from guardrail.langchain.answering import Answering
from guardrail.langchain.call import Call
from guardrail.langchain.live import StreamingRun
from guardrail.langchain.reply import Reply, text_chunk
from guardrail.langchain.runs import asend_verdict_event, send_verdict_event
from guardrail.types import Verdict

Step = Call | StreamingRun | str | Reply
"""A call: send its verdict. A run: pass its pieces on. A text: it may leave. A reply: it ends the call."""


def exchange(answering: Answering, call: Call) -> Generator[Step, Verdict | None, None]:
    """The steps of one call; closing it ends the generation."""
    if answering.is_held(call):
        verdict = yield call
        assert verdict is not None  # noqa: S101  (a driver sends it)
        reply = answering.reply(call, verdict)
        rest = reply.text
    else:
        with answering.stream(call) as live:
            yield live
            reply = answering.reply(call, live.verdict, enforced=live.enforced, shown=live.shown)
            rest = live.rest
    if rest:
        yield rest
    yield reply


def stream(
    answering: Answering, call: Call, run_manager: CallbackManagerForLLMRun | None
) -> Iterator[ChatGenerationChunk]:
    """The chunks of one call."""
    with closing(exchange(answering, call)) as steps:
        step = _next(steps)
        while step is not None:
            verdict = None
            if isinstance(step, Call):
                verdict = answering.verdict(step)
            elif isinstance(step, StreamingRun):
                yield from map(text_chunk, step)
            elif isinstance(step, Reply):
                send_verdict_event(step.metadata, run_manager)
                yield step.last_chunk()
            else:
                yield text_chunk(step)
            step = _next(steps, verdict)


async def astream(
    answering: Answering, call: Call, run_manager: AsyncCallbackManagerForLLMRun | None
) -> AsyncIterator[ChatGenerationChunk]:
    """`stream` for async code."""
    with closing(exchange(answering, call)) as steps:
        step = _next(steps)
        while step is not None:
            verdict = None
            if isinstance(step, Call):
                verdict = await answering.averdict(step)
            elif isinstance(step, StreamingRun):
                async for piece in step:
                    yield text_chunk(piece)
            elif isinstance(step, Reply):
                await asend_verdict_event(step.metadata, run_manager)
                yield step.last_chunk()
            else:
                yield text_chunk(step)
            step = _next(steps, verdict)


def _next(steps: Generator[Step, Verdict | None, None], verdict: Verdict | None = None) -> Step | None:
    """The next step, or None behind the last one."""
    try:
        return steps.send(verdict)
    except StopIteration:
        return None
