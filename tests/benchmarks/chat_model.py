"""What ChatGuarded adds to a chain beyond generation and scoring: `python -m tests.benchmarks.chat_model`.

A tiny model that answers with one token; interleaved, medians in milliseconds. A chain has a chat model already, and
LangChain's own work for any chat model is not the guard's: it is measured with one that has its answer ready, and taken off.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult

from guardrail import Guard
from guardrail.langchain import ChatGuarded
from guardrail.testing import tiny_local_model

CALLS = 200
WARM_UP = 5


class Ready(BaseChatModel):
    """Has its answer ready: what remains is LangChain's own work."""

    @property
    def _llm_type(self) -> str:
        return "ready"

    def _generate(self, messages: list[BaseMessage], stop: list[str] | None = None, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("x"))])


def ways_of(chat: BaseChatModel, loop: asyncio.AbstractEventLoop) -> dict[str, Callable[[], object]]:
    messages, chain = [HumanMessage("Who?")], chat | StrOutputParser()
    return {
        "invoke": lambda: chat.invoke(messages),
        "stream": lambda: list(chat.stream(messages)),
        "ainvoke": lambda: loop.run_until_complete(chat.ainvoke(messages)),
        "chain": lambda: chain.invoke(messages),
        "chain, async": lambda: loop.run_until_complete(chain.ainvoke(messages)),
    }


def main() -> None:
    model_ms: list[float] = []
    guard = Guard(
        model=tiny_local_model(vocab_size=261),
        policy="observe",
        observers=[lambda seen: model_ms.append(seen.verdict.timing_ms["generate"] + seen.verdict.timing_ms["score"])],
    )
    loop = asyncio.new_event_loop()
    guarded = ways_of(ChatGuarded.from_guard(guard, max_tokens=1), loop)
    ready = ways_of(Ready(), loop)
    beyond: dict[str, list[float]] = {name: [] for name in guarded}
    own: dict[str, list[float]] = {name: [] for name in guarded}
    for call in range(CALLS + WARM_UP):
        for name in guarded:
            took, bare = milliseconds(guarded[name]), milliseconds(ready[name])
            if call >= WARM_UP:
                beyond[name].append(took - model_ms[-1])
                own[name].append(bare)
    print(f"Median ms of {CALLS} calls.\n")
    print("| way | beyond generation and scoring | LangChain's own | ChatGuarded adds |\n| --- | --- | --- | --- |")
    for name in guarded:
        added = statistics.median(a - b for a, b in zip(beyond[name], own[name], strict=True))
        print(f"| {name} | {statistics.median(beyond[name]):.2f} | {statistics.median(own[name]):.2f} | {added:.2f} |")


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main()
