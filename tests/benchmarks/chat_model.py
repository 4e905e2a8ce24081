"""What ChatGuarded adds to a call of its Guard: `python -m tests.benchmarks.chat_model`.

A tiny model that answers with one token; interleaved, medians in milliseconds.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser

from guardrail import Guard
from guardrail.langchain import ChatGuarded
from guardrail.testing import tiny_local_model

CALLS = 200


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    local = tiny_local_model(vocab_size=261)
    guard = Guard(model=local, policy="observe")
    chat = ChatGuarded.from_guard(guard, max_tokens=1)
    chain = chat | StrOutputParser()
    messages = [HumanMessage("Who?")]
    plain = [{"role": "user", "content": "Who?"}]
    loop = asyncio.new_event_loop()
    ways: dict[str, Callable[[], object]] = {
        "Guard.answer": lambda: guard.answer(plain, max_new_tokens=1),
        "invoke": lambda: chat.invoke(messages),
        "stream": lambda: list(chat.stream(messages)),
        "ainvoke": lambda: loop.run_until_complete(chat.ainvoke(messages)),
        "chain": lambda: chain.invoke(messages),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for call in range(CALLS + 5):
        for name, work in ways.items():
            took = milliseconds(work)
            if call >= 5:  # the first ones warm up
                times[name].append(took)
    base = statistics.median(times["Guard.answer"])
    print("| way | median ms | added ms |\n| --- | --- | --- |")
    for name, took in times.items():
        print(f"| {name} | {statistics.median(took):.2f} | {statistics.median(took) - base:.2f} |")


if __name__ == "__main__":
    main()
