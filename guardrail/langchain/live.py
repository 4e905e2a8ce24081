"""A generation that streams while it runs, in its own thread: pieces of text, or claims that have passed, then the verdict.

Leaving the context ends the generation at its next token, and gives the model back. Knows nothing about LangChain's chunks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import Self

from guardrail.langchain.call import Call
from guardrail.langchain.streaming import AbandonedError, TextStream, Watch
from guardrail.model.local import LocalModel
from guardrail.pipeline.streaming import ClaimStream
from guardrail.types import Verdict

Run = Callable[[Sequence[Call], Watch], Sequence[Verdict]]


class StreamingRun:
    """Iterate it, sync or async, for the pieces; then `verdict`, and `rest`, the text that no piece held. by_claim: a piece is
    what the policy made of the next claim, in place of tokens as they come.

    Attributes:
        watch: What sees its steps.

    Raises in the consumer what the generation raised.
    """

    def __init__(self, model: LocalModel, call: Call, run: Run, *, by_claim: bool) -> None:
        self._stream = TextStream(model.tokenizer, model.eos_ids, call.options.stop)
        self._claims = ClaimStream(self._emit) if by_claim else None
        self._call, self._run = call, run
        # Its own thread: work that waits for this stream may fill any other
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guardrail-stream")
        self.watch = Watch(claims=self._claims) if by_claim else Watch(self._stream, self._emit)
        self._pieces: SimpleQueue[str | None] = SimpleQueue()
        self._apieces: asyncio.Queue[str | None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._future: Future[Verdict] | None = None

    def __enter__(self) -> Self:
        return self

    def abandon(self) -> None:
        """End the generation at its next token."""
        self.watch.abandon()

    def __exit__(self, *_: object) -> None:
        self.abandon()
        self._thread.shutdown(wait=self._loop is None)  # in an event loop nobody may wait; it ends at its next token

    def __iter__(self) -> Iterator[str]:
        self._start()
        while (piece := self._pieces.get()) is not None:
            yield piece

    async def __aiter__(self) -> AsyncIterator[str]:
        self._loop, self._apieces = asyncio.get_running_loop(), asyncio.Queue()
        self._start()
        while (piece := await self._apieces.get()) is not None:
            yield piece

    @property
    def verdict(self) -> Verdict:
        """What the policy says about the text that was streamed; after the last piece."""
        assert self._future is not None  # noqa: S101  (iterated first)
        return self._future.result()

    @property
    def rest(self) -> str:
        if self._claims is not None:
            return self._claims.remaining(self.verdict)
        return self._stream.remaining(self.verdict.answer)

    @property
    def enforced(self) -> bool:
        """Whether what was shown, `rest` included, is what the policy made of the answer; never so for unjudged tokens."""
        return self._claims is not None and self._claims.matches(self.verdict)

    @property
    def shown(self) -> str:
        """All of it, `rest` included."""
        return self.verdict.answer if self._claims is None else self._claims.emitted + self.rest

    def _start(self) -> None:
        self._future = self._thread.submit(copy_context().run, self._work)

    def _work(self) -> Verdict:
        try:
            return self._run([self._call], self.watch)[0]
        finally:
            self._emit(None)

    def _emit(self, piece: str | None) -> None:
        if self._loop is None or self._apieces is None:
            self._pieces.put(piece)
            return
        try:
            self._loop.call_soon_threadsafe(self._apieces.put_nowait, piece)
        except RuntimeError as error:  # the loop is closed
            raise AbandonedError("the event loop has gone") from error
