"""Clients that hang up, deadlines, limits and pages of other origins: in this process, on a tiny random model."""

from __future__ import annotations

import asyncio
import json

import pytest

from guardrail.langchain.streaming import Watch
from guardrail.server.app import create_app
from guardrail.server.keys import Keys, add_key
from guardrail.server.late_verdicts import LateVerdicts
from tests.server.test_server_app import ask, served

CHAT = "/v1/chat/completions"


class Caller:
    """A client of the ASGI application that can hang up, and reads on only while `reads` is set."""

    def __init__(self, server, body, key=None, path=CHAT):
        self._left, self._sent, self.messages = asyncio.Event(), False, []
        self.reads = asyncio.Event()
        self.reads.set()
        self._body = json.dumps(body).encode()
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        headers += [(b"authorization", f"Bearer {key}".encode())] if key else []
        asgi = {"version": "3.0", "spec_version": "2.3"}  # as uvicorn has it
        scope = {"type": "http", "asgi": asgi, "method": "POST", "path": path, "headers": headers, "query_string": b""}
        self.task = asyncio.create_task(create_app(server)(scope, self._receive, self._send))

    async def _receive(self):
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.messages.append(message)
        await self.reads.wait()

    async def hang_up(self):
        self._left.set()
        await self.task


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("options", [{}, {"stream": True, "guardrail": {"stream_policy": "passthrough"}}])
async def test_who_hangs_up_has_the_slot_until_the_model_is_free(model, monkeypatch, options):
    real, steps = Watch.__call__, []
    monkeypatch.setattr(Watch, "__call__", lambda self, *given: [steps.append(1), real(self, *given)][1])
    server, client = served(model, slots=1, queue=0, stream_policies=("answer", "passthrough"))
    with model.lock:  # the model is at work
        caller = Caller(server, ask(model, max_tokens=200, **options))
        await until(lambda: server.slots.working)
        await caller.hang_up()
        assert server.slots.working == 1
        assert (await client.post(CHAT, json=ask(model))).status_code == 429
    await server.slots.idle()
    await until(lambda: not server.tasks)
    assert len(steps) == 1  # of 200: at the first it was found that nobody waits
    metrics = (await client.get("/metrics")).text
    assert "guardrail_decisions_total{" not in metrics  # it was not answered to the end for nobody
    assert 'code="client_closed_request"' in metrics
    assert (await client.post(CHAT, json=ask(model))).status_code == 200


async def test_who_hangs_up_while_waiting_gives_the_place_up(model):
    server, client = served(model, slots=1, queue=1)
    with model.lock:
        first = Caller(server, ask(model))
        await until(lambda: server.slots.working)
        second = Caller(server, ask(model))
        await until(lambda: server.slots.waiting)
        waits = Caller(server, ask(model))
        await waits.task
        assert waits.messages[0]["status"] == 429
        await second.hang_up()
        await until(lambda: not server.slots.waiting)
        assert "guardrail_queue_length 0.0" in (await client.get("/metrics")).text
    await first.task
    assert first.messages[0]["status"] == 200


async def test_who_reads_slowly_holds_no_slot(model):
    server, _ = served(model, slots=1, stream_policies=("answer", "passthrough"))
    caller = Caller(server, ask(model, stream=True, guardrail={"stream_policy": "passthrough"}))
    caller.reads.clear()
    await until(lambda: caller.messages)
    await server.slots.idle()
    assert not caller.task.done()
    caller.reads.set()
    await caller.task
    assert caller.messages[-1]["more_body"] is False


@pytest.mark.parametrize("streams", ["answer", "passthrough"])
async def test_a_deadline_holds_while_waiting_and_at_work(model, streams):
    server, client = served(model, slots=1, stream_policies=("answer", "passthrough"))
    late = ask(model, stream=True, guardrail={"stream_policy": streams})
    with model.lock:
        at_work, waiting = await asyncio.gather(
            client.post(CHAT, json=late, headers={"X-Request-Timeout": "0.2"}),
            client.post(CHAT, json={**late, "timeout": 0.1}),
        )
    for response in (at_work, waiting):
        assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert response.headers["x-should-retry"] == "false"
    for wrong in ("nan", "-1", "soon", "0", "inf"):
        response = await client.post(CHAT, json=ask(model), headers={"X-Request-Timeout": wrong})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "X-Request-Timeout")
    await server.slots.idle()


async def test_a_burst_is_answered_or_refused(model):
    server, client = served(model, slots=2, queue=3)
    with model.lock:
        asked = [asyncio.create_task(client.post(CHAT, json=ask(model))) for _ in range(40)]
        await until(lambda: sum(task.done() for task in asked) == 35)
        assert (server.slots.working, server.slots.waiting) == (2, 3)
    told = [r.status_code for r in await asyncio.gather(*asked)]
    assert (told.count(200), told.count(429)) == (5, 35)
    assert all(r.result().headers["retry-after"] == "1" for r in asked if r.result().status_code == 429)


@pytest.mark.parametrize("what", ["chat", "stream", "score", "check"])
async def test_tokens_are_charged_to_the_key_wherever_the_model_works(model, tmp_path, what):
    key = add_key(tmp_path / "keys", "agent", requests_per_minute=None, tokens_per_minute=1)
    keys = Keys.load(tmp_path / "keys")
    _, client = served(model, keys=keys, stream_policies=("answer", "passthrough"))
    client.headers["Authorization"] = f"Bearer {key}"
    given = {"messages": [{"role": "user", "content": "Who?"}], "answer": "Nobody."}
    live = ask(model, stream=True, guardrail={"stream_policy": "passthrough"})
    path = CHAT if what in ("chat", "stream") else f"/v1/guard/{what}"
    body = {"chat": ask(model), "stream": live}.get(what, given)
    assert (await client.post(path, json=body)).status_code == 200
    refused = await client.post(path, json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(refused.headers["retry-after"]) > 60  # more than one minute's were used


async def test_reading_the_metrics_spends_no_request_and_waits_for_none(model, tmp_path):
    key = add_key(tmp_path / "keys", "agent", requests_per_minute=1, tokens_per_minute=1)
    _, client = served(model, keys=Keys.load(tmp_path / "keys"))
    assert (await client.get("/metrics")).status_code == 401
    client.headers["Authorization"] = f"Bearer {key}"
    assert [(await client.get("/metrics")).status_code for _ in range(3)] == [200] * 3
    assert [(await client.post(CHAT, json=ask(model))).status_code for _ in range(2)] == [200, 429]
    assert (await client.get("/metrics")).status_code == 200


@pytest.mark.parametrize("what", ["chat", "stream", "observe", "check"])
async def test_who_hangs_up_pays_for_the_tokens_so_far(model, tmp_path, what):
    key = add_key(tmp_path / "keys", "agent", requests_per_minute=None, tokens_per_minute=1)
    server, client = served(
        model, keys=Keys.load(tmp_path / "keys"), stream_policies=("answer", "passthrough"), late=LateVerdicts()
    )
    client.headers["Authorization"] = f"Bearer {key}"
    more = {"stream": {"stream": True, "guardrail": {"stream_policy": "passthrough"}}}
    more["observe"] = {"guardrail": {"mode": "observe"}}
    given = {"messages": ask(model)["messages"], "answer": "Nobody."}
    path, body = (
        ("/v1/guard/check", given) if what == "check" else (CHAT, ask(model, max_tokens=200, **more.get(what, {})))
    )
    with model.lock:
        caller = Caller(server, body, key, path)
        await until(lambda: server.slots.working)
        await caller.hang_up()
    await server.slots.idle()
    metrics = server.metrics.text().decode()
    prompt = len(model.encode_prompt("Who?"))
    written = len(model.trace("Who?", "Nobody.").response_ids) if what == "check" else 1
    assert f'guardrail_tokens_total{{kind="prompt"}} {prompt}.0' in metrics
    assert f'guardrail_tokens_total{{kind="completion"}} {written}.0' in metrics
    refused = await client.post(CHAT, json=ask(model))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")


async def test_pages_of_listed_origins_read_answers_and_errors(model, tmp_path):
    add_key(tmp_path / "keys", "page", requests_per_minute=None, tokens_per_minute=None)
    _, client = served(model, keys=Keys.load(tmp_path / "keys"), cors_origins=("http://page.example",))
    page = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}
    preflight = await client.options(CHAT, headers=page)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "http://page.example"
    refused = await client.post(CHAT, json=ask(model), headers={"Origin": "http://page.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "http://page.example"
    other = await client.options(CHAT, headers={**page, "Origin": "http://evil.example"})
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers
    for response in (preflight, refused, other):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_dead_loop_makes_the_server_unready(model, monkeypatch):
    server, client = served(model)
    with model.shared(2) as sharing:
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.post(CHAT, json=ask(model))).status_code == 200
        monkeypatch.setattr(sharing, "_next", lambda: 1 / 0)
        with sharing._news:
            sharing._news.notify_all()
        # it waits in the real `_next` once more: a request wakes it
        await client.post(CHAT, json=ask(model))
        await until(lambda: not sharing.alive)
        assert (await client.get("/readyz")).json() == {"status": "failed"}
        response = await client.post(CHAT, json=ask(model))
        assert (response.status_code, response.json()["error"]["code"]) == (503, "failed")
    assert server.state == "ready"
