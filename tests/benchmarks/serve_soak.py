"""Many clients of one server at twice its capacity, of whom some hang up: is an answer lost, doubled or crossed, and does the
memory stay flat?

The answers of a tiny random model, drawn with a seed of their own, can be told apart: each must be the one that the same
request got alone.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from guardrail.testing import tiny_model, tiny_tokenizer
from tests.benchmarks.bars import SERVER_MS, SOAK_MEMORY, Bar
from tests.helpers.serving_process import ServingProcess

REQUESTS, TOKENS = 48, 24
HANG_UPS = 0.2  # of the requests


@dataclass(slots=True)
class Outcome:
    """What the clients saw. seconds: of each answer. wrong: what was not as it should be. memory: MiB, once a second."""

    seconds: list[float] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    refused: int = 0
    hung_up: int = 0
    took: float = 0.0

    def growth(self, warm_up: float) -> float:
        """Largest memory after the warm-up, against that at its end: 0.05 is 5 % more. warm_up: seconds."""
        settled = self.memory[int(warm_up) :]
        return max(settled) / settled[0] - 1

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the answers was there."""
        found = sorted(self.seconds)
        return found[min(len(found) - 1, int(share * len(found)))]


def body(model: str, i: int, **more: Any) -> dict[str, Any]:
    """One of the requests."""
    said = [{"role": "user", "content": f"Number {i * 7919}, please."}]
    return {"model": model, "messages": said, "max_tokens": TOKENS, "temperature": 1, "seed": i, **more}


def text_of(response: httpx.Response) -> str:
    """The text of an answer, whole or in chunks that end as they should."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return str(response.json()["choices"][0]["message"]["content"])
    *events, last = [e.removeprefix("data: ") for e in response.text.split("\n\n") if e]
    if last != "[DONE]":
        return f"broken off: {last}"
    chunks = [json.loads(event) for event in events]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


async def soak(server: ServingProcess, model: str, seconds: float, clients: int) -> Outcome:
    """Ask for so many seconds."""
    outcome, draw = Outcome(), random.Random(0)
    path = f"{server.url}/v1/chat/completions"
    limits = httpx.Limits(max_connections=2 * clients)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:
        alone = [text_of(await client.post(path, json=body(model, i))) for i in range(REQUESTS)]
        if len(set(alone)) < REQUESTS:
            outcome.wrong.append(f"{REQUESTS} requests have {len(set(alone))} answers, so they cannot be told apart")
        begun = time.monotonic()
        end = begun + seconds

        async def one(name: str) -> None:
            i, stream = draw.randrange(REQUESTS), draw.random() < 0.5
            streamed = {"stream": True, "guardrail": {"stream_policy": draw.choice(["answer", "passthrough"])}}
            outcome.asked.append(name)
            asked = client.post(
                path, json=body(model, i, **(streamed if stream else {})), headers={"X-Request-Id": name}
            )
            patience = draw.uniform(0, 1) if draw.random() < HANG_UPS else 110
            start = time.monotonic()
            try:
                response = await asyncio.wait_for(asked, patience)
            except httpx.TransportError as error:
                outcome.wrong.append(f"{name}: {type(error).__name__}")
                return
            except TimeoutError:
                outcome.hung_up += 1
                if patience > 1:
                    outcome.wrong.append(f"{name} was lost")
                return
            if response.status_code == 429:
                outcome.refused += 1
                await asyncio.sleep(draw.uniform(0.05, 0.2))
            elif response.status_code != 200:
                outcome.wrong.append(f"{name}: {response.status_code} {response.text[:200]}")
            elif response.headers["x-request-id"] != name or text_of(response) != alone[i]:
                outcome.wrong.append(f"{name} got {text_of(response)!r}, and alone {alone[i]!r}")
            else:
                outcome.seconds.append(time.monotonic() - start)

        async def ask(number: int) -> None:
            count = 0
            while time.monotonic() < end:
                await one(f"soak-{number}-{count}")
                count += 1

        async def weigh() -> None:
            while time.monotonic() < end:
                outcome.memory.append(server.memory)
                await asyncio.sleep(1)

        await asyncio.gather(weigh(), *(ask(number) for number in range(clients)))
        outcome.took = time.monotonic() - begun
    return outcome


def overhead(server: ServingProcess, model: str, requests: int = 200) -> list[float]:
    """Milliseconds of each request of one client beyond the stages of its verdict, sorted: the client's own are in it."""
    added = []
    with httpx.Client(timeout=120) as client:
        for i in range(requests + 20):
            start = time.perf_counter()
            response = client.post(f"{server.url}/v1/chat/completions", json=body(model, i))
            taken = (time.perf_counter() - start) * 1000
            added.append(taken - sum(response.json()["choices"][0]["guardrail"]["latency_ms"].values()))
    return sorted(added[20:])


def save_model(folder: Path) -> Path:
    """The tiny model, as a user would have one."""
    tiny_model(vocab_size=261, max_position_embeddings=2048).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def options(clients: int) -> tuple[str, ...]:
    """Of a server that has room for half of them: a quarter works, a quarter waits."""
    room = str(clients // 4)
    return ("--policy", "observe", "--slots", room, "--queue", room, "--allow-stream-policy", "passthrough")


def serve_soak(seconds: float = 600, clients: int = 64) -> list[Bar]:
    """Print what the clients saw and return the bars; always on a tiny random model, for it is the server that is asked."""
    with tempfile.TemporaryDirectory() as place:
        folder = save_model(Path(place) / "tiny")
        with ServingProcess(folder, Path(place) / "log", *options(clients)) as server:
            added = overhead(server.ready(), str(folder))
            found = asyncio.run(soak(server, str(folder), seconds, clients))
    answers, asked = len(found.seconds), len(found.asked)
    print(f"{clients} clients, {clients // 4} slots, as many waiting, {found.took:.0f} s; {HANG_UPS:.0%} hang up.\n")
    print("| asked | answered | a second | hung up | 429 | p50 s | p95 s | p99 s |\n|" + " --- |" * 8)
    p50, p95, p99 = (found.percentile(share) for share in (0.5, 0.95, 0.99))
    shares = f"{found.hung_up} | {found.refused / asked:.1%} | {p50:.2f} | {p95:.2f} | {p99:.2f}"
    print(f"| {asked} | {answers} | {answers / found.took:.1f} | {shares} |\n")
    tenths = [found.memory[int(k * (len(found.memory) - 1) / 10)] for k in range(11)]
    print(f"Memory of the server at each tenth of the time, MiB: {', '.join(f'{m:.0f}' for m in tenths)}\n")
    for line in found.wrong[:10]:
        print(f"- {line}")
    median, late = added[len(added) // 2], added[int(0.99 * len(added))]
    return [
        Bar("Added to a request of one client, median", median, "at most", SERVER_MS["median"], " ms"),
        Bar("Added to a request of one client, p99", late, "at most", SERVER_MS["p99"], " ms"),
        Bar("Answers lost, doubled or crossed", float(len(found.wrong)), "at most", 0.0, ""),
        Bar("Memory gained after the first minute", found.growth(min(60, seconds / 2)), "at most", SOAK_MEMORY, "%"),
    ]
