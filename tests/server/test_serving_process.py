"""`guardrail serve` as a real process, on a tiny model: signals, hang-ups, and many clients at once."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter

import httpx
import pytest

from guardrail.errors import DataError, ModelNotFoundError
from guardrail.server import run
from guardrail.server.app import create_app
from guardrail.server.settings import ServerSettings
from guardrail.server.state import Server
from guardrail.server.webhooks import SIGNATURE, sign
from tests.benchmarks.serve_soak import options, save_model, soak, text_of
from tests.helpers.receiver import receiver
from tests.helpers.serving_process import ServingProcess

POLICY = "version: 1\nname: mine\nrules: [{name: all, then: answer}]\n"
CLIENTS = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("serving") / "tiny")


def long(model, tokens=1500, **more):
    said = [{"role": "user", "content": "Go on."}]
    return {"model": str(model), "messages": said, "max_tokens": tokens, "temperature": 1, "seed": 5, **more}


async def test_a_server_under_load_loses_nothing_and_drains(model, tmp_path):
    policy = tmp_path / "mine.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n", encoding="utf-8")
    with (
        receiver([503, 204]) as (origin, got),
        ServingProcess(
            model,
            tmp_path / "log",
            *(*options(CLIENTS), "--allow-policy", str(policy), "--allow-observe"),
            *("--webhook-origin", origin, "--webhook-secret-file", str(secret)),
        ) as server,
    ):
        await asyncio.to_thread(server.ready)
        found = await soak(server, str(model), 15, CLIENTS)
        assert found.wrong == []
        assert len(found.seconds) > 20
        assert found.hung_up
        assert found.refused
        assert found.growth(6) < 0.08
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'guardrail_passes_seconds_count{what="generate"}' in metrics

        def decided() -> int:
            with httpx.Client() as client:
                asked = {"policy": "mine", "confidence": 0.1}
                return client.post(f"{server.url}/v1/guard/decide", json=asked).json()["rule"]

        policy.write_text("version: 1\nname: mine\nrulez: []\n", encoding="utf-8")
        server.signal(signal.SIGHUP)
        refused = await asyncio.to_thread(server.until_logged, policies="stay as they were")
        assert refused["error"] == "PolicyError"
        assert decided() == "all"
        policy.write_text(POLICY.replace("all", "every"), encoding="utf-8")
        server.signal(signal.SIGHUP)
        await asyncio.to_thread(server.until_logged, policies="read again")
        assert decided() == "every"

        async with httpx.AsyncClient(timeout=60) as client:
            path = f"{server.url}/v1/chat/completions"
            streamed = long(model, 1200, stream=True, guardrail={"stream_policy": "passthrough"})
            async with client.stream("POST", path, json=streamed) as response:
                parts = response.aiter_lines()
                await anext(parts)
                observed = {"guardrail": {"mode": "observe", "webhook": f"{origin}/told"}}
                answer = await client.post(path, json=long(model, 4, **observed))
                late = answer.json()["choices"][0]["guardrail"]
                server.signal(signal.SIGTERM)  # in the midst of it
                drained = await asyncio.to_thread(server.until_logged, status="draining")
                assert drained["working"] >= 1
                assert (await client.get(f"{server.url}/readyz")).json() == {"status": "draining"}
                assert (await client.post(path, json=streamed)).json()["error"]["code"] == "draining"
                rest = [line async for line in parts if line]
        assert rest[-1] == "data: [DONE]"
        last = json.loads(rest[-2].removeprefix("data: "))["choices"][0]
        assert last["finish_reason"] in ("stop", "length")
        assert await asyncio.to_thread(server.ended) == 0
        _, (_, headers, told) = got  # the second try, which the drain has waited for
        assert late["status"] == "pending"
        assert (json.loads(told)["id"], json.loads(told)["status"]) == (late["id"], "done")
        at = int(headers[SIGNATURE].partition(",")[0].removeprefix("t="))
        assert headers[SIGNATURE] == sign(b"0123456789abcdef", told, at)
        text = server.log.read_text(encoding="utf-8")
        assert "Traceback" not in text
        said = [line for line in text.splitlines() if not line.startswith(("{", "…"))]
        assert said == []
        logged = Counter(line["request_id"] for line in server.lines if "request_id" in line)
        assert all(logged[name] <= 1 for name in found.asked)  # one that hung up while it connected is none


async def test_transformers_own_loop_serves_streams_and_drains(model, tmp_path):
    bodies = [{**long(model, 24 + i), "temperature": 0} for i in range(6)]
    bodies += [{**body, "stream": True, "guardrail": {"stream_policy": "passthrough"}} for body in bodies]
    found = {}
    for driver in ("guardrail", "transformers"):
        log, chosen = tmp_path / driver, ("--policy", "observe", "--allow-stream-policy", "passthrough")
        with ServingProcess(model, log, *chosen, "--driver", driver) as server:
            await asyncio.to_thread(server.ready)
            path = f"{server.url}/v1/chat/completions"
            async with httpx.AsyncClient(timeout=120) as client:
                asked = [client.post(path, json=body) for body in bodies]
                found[driver] = [text_of(response) for response in await asyncio.gather(*asked)]
                left = asyncio.create_task(client.post(path, json={**bodies[0], "max_tokens": 1500}))
                await asyncio.sleep(0.3)
                left.cancel()  # its place is free at the next token
                assert text_of(await client.post(path, json=bodies[1])) == found[driver][1]
                assert "guardrail_passes_seconds_count" in (await client.get(f"{server.url}/metrics")).text
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.ended) == 0
        lines = log.read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if not line.startswith(("{", "…"))] == []
    assert found["transformers"] == found["guardrail"]
    assert found["guardrail"][: len(bodies) // 2] == found["guardrail"][len(bodies) // 2 :]


async def test_a_second_signal_stops_what_is_at_work(model, tmp_path):
    with ServingProcess(model, tmp_path / "log-1", "--policy", "observe") as loading:
        loading.signal(signal.SIGINT)  # nobody can have been answered yet
        assert await asyncio.to_thread(loading.ended) == 130
    with ServingProcess(model, tmp_path / "log", "--policy", "observe") as server:
        await asyncio.to_thread(server.ready)
        async with httpx.AsyncClient(timeout=60) as client:
            asked = asyncio.create_task(client.post(f"{server.url}/v1/chat/completions", json=long(model)))
            metrics = ""
            while "guardrail_queue_wait_seconds_count 1.0" not in metrics:
                metrics = (await client.get(f"{server.url}/metrics")).text
            server.signal(signal.SIGTERM)
            await asyncio.to_thread(server.until_logged, status="draining")
            assert not asked.done()
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.ended) == 128 + signal.SIGTERM
            with pytest.raises(httpx.TransportError):
                await asked


def test_a_model_that_does_not_load_ends_it(monkeypatch):
    monkeypatch.setattr(run, "log_to_stderr", lambda: None)  # the loggers of this process stay

    def load():
        raise ModelNotFoundError("there is none")

    with pytest.raises(ModelNotFoundError, match="there is none"):
        run.serve(Server(ServerSettings()), run.listen("127.0.0.1", 0), load)


def test_two_servers_do_not_share_an_address():
    taken = run.listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with taken, pytest.raises(DataError, match=f"{port}.*take another --port"):
        run.listen("127.0.0.1", port)


def test_a_body_that_never_comes_is_not_waited_for():
    app = create_app(Server(ServerSettings(body_timeout=0.05)))
    sent = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/guard/decide", "headers": headers, "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
