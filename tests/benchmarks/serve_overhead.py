"""What the server adds to a request beyond the work that it asks for: HTTP over loopback against the same call in-process.

Two requests: a decision without a model, and an answer of a tiny random model. Each is asked over one connection that stays
open, and made by `Service` in this process, in turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from guardrail import load_model
from guardrail.langchain.streaming import Watch
from guardrail.server import bodies
from guardrail.server.requests import ChatRequest, DecideRequest
from guardrail.server.service import Service, decide
from guardrail.server.settings import ServerSettings
from tests.benchmarks.bars import SERVER_MS, Bar
from tests.benchmarks.serve_soak import body, save_model
from tests.helpers.serving_process import ServingProcess

DECISION = {"policy": "observe", "confidence": 0.8, "length": 8}
WARM_UP = 20


def serve_overhead(requests: int = 300) -> list[Bar]:
    """Print milliseconds of both ways and return the bars."""
    with tempfile.TemporaryDirectory() as place:
        folder = save_model(Path(place) / "tiny")
        model = load_model(str(folder), device="cpu")
        service = Service(model, ServerSettings(), ["observe"])
        with ServingProcess(folder, Path(place) / "log", "--policy", "observe") as server, httpx.Client() as client:
            server.ready()

            def post(path: str, sent: dict[str, Any]) -> dict[str, Any]:
                reply = client.post(f"{server.url}{path}", json=sent)
                assert reply.status_code == 200, reply.text
                told: dict[str, Any] = reply.json()
                return told

            def answered(i: int) -> dict[str, Any]:
                asked = ChatRequest.model_validate(body(model.name, i))
                answering, call = service.call(asked, None)
                (verdict,) = answering.verdicts([call], Watch())
                return bodies.completion("id", model.name, answering.reply(call, verdict))

            def decided(_: int) -> dict[str, Any]:
                return decide(service.policy("observe"), DecideRequest.model_validate(DECISION))

            ways: dict[str, tuple[Callable[[int], Any], Callable[[int], Any]]] = {
                "decision": (lambda _: post("/v1/guard/decide", DECISION), decided),
                "answer": (lambda i: post("/v1/chat/completions", body(str(folder), i)), answered),
            }
            print(f"{requests} requests of each kind, one at a time; milliseconds, median and p99.\n")
            print(f"| request | over HTTP | in-process | added | of it the server's CPU |\n|{' --- |' * 5}")
            bars = []
            with model.shared():  # as the server does
                for name, (over_http, in_process) in ways.items():
                    bars += _measured(name, over_http, in_process, requests, server.process.pid)
    return bars


def _measured(
    name: str, over_http: Callable[[int], Any], in_process: Callable[[int], Any], requests: int, server: int
) -> list[Bar]:
    http, own, cpu, own_cpu = [], [], 0.0, 0.0
    for i in range(requests + WARM_UP):
        if i == WARM_UP:
            cpu, own_cpu = _cpu(server), 0.0
        start = time.perf_counter()
        over_http(i)
        http.append(time.perf_counter() - start)
        start, began = time.perf_counter(), time.process_time()
        in_process(i)
        own.append(time.perf_counter() - start)
        own_cpu += time.process_time() - began
    cpu = (_cpu(server) - cpu - own_cpu) / requests * 1000
    http, own = ([1000 * x for x in found[WARM_UP:]] for found in (http, own))
    usual = statistics.median(own)
    added, late = statistics.median(http) - usual, _p99(http) - _p99(own)
    columns = (f"{statistics.median(http):.1f}, {_p99(http):.1f}", f"{usual:.1f}, {_p99(own):.1f}")
    print(f"| {name} | {' | '.join(columns)} | {added:.1f}, {late:.1f} | {cpu:.1f} |", flush=True)
    return [
        Bar(f"Added to a request by the server, {name}, median", added, "at most", SERVER_MS["median"], " ms"),
        Bar(f"Added to a request by the server, {name}, p99", late, "at most", SERVER_MS["p99"], " ms"),
    ]


def _p99(found: list[float]) -> float:
    return sorted(found)[int(0.99 * (len(found) - 1))]


def _cpu(process: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
