"""The routes in this process, on a tiny random model: what they answer, refuse, count and hold back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from guardrail.policy import Policy
from guardrail.server.app import Server, create_app
from guardrail.server.keys import Keys, add_key
from guardrail.server.service import Service
from guardrail.server.settings import ServerSettings

ASK = {"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 4}


def served(model, *policies, **settings):
    chosen = ServerSettings(**settings)
    server = Server(chosen, Service(model, chosen, policies or ["observe"]), "ready")
    transport = httpx.ASGITransport(create_app(server), raise_app_exceptions=False)
    return server, httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


def ask(model, **more):
    return {"model": model.name, **ASK, **more}


async def test_an_answer_is_openais_and_has_its_verdict(model):
    server, client = served(model)
    response = await client.post("/v1/chat/completions", json=ask(model), headers={"X-Request-Id": "mine-1"})
    body = response.json()
    choice = body["choices"][0]
    direct = server.service.guarded(None).guard.answer("Who?", max_new_tokens=4)
    assert choice["message"]["content"] == direct.text
    assert choice["guardrail"]["action"] == response.headers["x-guardrail-action"] == "answer"
    assert body["usage"]["completion_tokens"] == len(direct.attempts[-1].trace.response_ids)
    assert response.headers["x-request-id"] == "mine-1"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    metrics = (await client.get("/metrics")).text
    assert 'guardrail_decisions_total{action="answer",label="none",policy="observe"} 1.0' in metrics


@pytest.mark.parametrize("streams", ["answer", "passthrough"])
async def test_a_stream_is_the_same_answer_in_chunks(model, streams):
    _, client = served(model, stream_policies=("answer", "passthrough"))
    whole = (await client.post("/v1/chat/completions", json=ask(model))).json()
    more = {"stream": True, "stream_options": {"include_usage": True}, "guardrail": {"stream_policy": streams}}
    response = await client.post("/v1/chat/completions", json=ask(model, **more))
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-2]["choices"][0]["guardrail"]["enforced"] is (streams == "answer")
    assert chunks[-1]["usage"] == whole["usage"]


async def test_what_a_policy_holds_back_is_nowhere(model, closed, capfd, caplog):
    caplog.set_level("DEBUG")
    _, client = served(model, closed)
    said = (await served(model)[1].post("/v1/chat/completions", json=ask(model))).json()
    canary = said["choices"][0]["message"]["content"]
    assert canary.strip()
    told = [await client.post("/v1/chat/completions", json=ask(model, stream=stream)) for stream in (False, True)]
    given = {"messages": ASK["messages"], "answer": canary}
    told += [await client.post(f"/v1/guard/{what}", json=given) for what in ("score", "check")]
    told += [await client.get("/metrics"), await client.post("/v1/chat/completions", json={**given, "model": "x"})]
    told.append(await client.post("/v1/chat/completions", json=ask(model, guardrail={"include_original": True})))
    assert [r.status_code for r in told] == [200, 200, 200, 200, 200, 400, 400]
    assert all(canary not in r.text and canary not in str(r.headers) for r in told)
    assert "I do not know." in told[0].text
    assert "I do not know." in told[1].text
    assert canary not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"model": "other"}, 404, "model_not_found", "model"),
        ({"n": 2}, 400, "invalid_value", "n"),
        ({"top_p": 0.5}, 400, "invalid_value", "top_p"),
        ({"best_of": 2}, 400, "unknown_field", "best_of"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"guardrail": {"policy": "default"}}, 400, "not_allowed", "guardrail.policy"),
        ({"guardrail": {"policy": "/etc/passwd"}}, 400, "not_allowed", "guardrail.policy"),
        ({"guardrail": {"include_original": True}}, 400, "not_allowed", "guardrail.include_original"),
        ({"guardrail": {"stream_policy": "passthrough"}}, 400, "not_allowed", "guardrail.stream_policy"),
        ({"timeout": 1e-9}, 504, "deadline_exceeded", None),
    ],
)
async def test_what_cannot_be_kept_is_refused_by_name(model, change, status, code, param):
    response = await served(model)[1].post("/v1/chat/completions", json={**ask(model), **change})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["param"] == param


async def test_errors_have_one_shape(model):
    _, client = served(model)
    post = client.post
    told = [
        (await client.get("/nowhere"), 404),
        (await client.get("/v1/chat/completions"), 405),
        (await post("/v1/chat/completions", content="{", headers={"Content-Type": "application/json"}), 400),
        (await post("/v1/chat/completions", content="{}"), 415),
        (await post("/v1/chat/completions", json={"a": "x" * (2 << 20)}), 413),
        (await client.get("/healthz", headers={"Host": "evil.example"}), 403),
        (await client.get("/healthz", headers={"Origin": "http://evil.example"}), 403),
        (await client.get("/healthz", headers={"X-Long": "x" * 20_000}), 431),
    ]
    for response, status in told:
        assert response.status_code == status
        assert response.json()["error"].keys() == {"message", "type", "param", "code"}
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_unforeseen_errors_tell_nothing(model, monkeypatch):
    server, client = served(model)
    monkeypatch.setattr(type(server.service), "call", lambda *_: 1 / 0)
    response = await client.post("/v1/chat/completions", json=ask(model))
    assert response.status_code == 500
    assert "division" not in response.text
    assert response.headers["x-request-id"] in response.json()["error"]["message"]


async def test_decide_is_what_the_policy_decides(model):
    _, client = served(model)
    low, high = [
        (await client.post("/v1/guard/decide", json={"threshold": 0.5, "confidence": p})).json() for p in (0.49, 0.5)
    ]
    assert (low["action"], high["action"], high["label"]) == ("abstain", "answer", "medium")
    none = await client.post("/v1/guard/decide", json={"threshold": 0.0, "confidence": None})
    assert none.json()["action"] == "abstain"


async def test_keys_and_their_limits(model, tmp_path):
    path = tmp_path / "keys.json"
    key = add_key(path, "agent", requests_per_minute=2, tokens_per_minute=None)
    assert key not in path.read_text(encoding="utf-8")
    _, client = served(model, keys=Keys.load(path))
    assert (await client.get("/v1/models")).status_code == 401
    assert (await client.get("/v1/models", headers={"Authorization": "Bearer wrong"})).status_code == 401
    good = {"Authorization": f"Bearer {key}"}
    assert [(await client.get("/v1/models", headers=good)).status_code for _ in range(3)] == [200, 200, 429]
    assert (await client.get("/healthz")).status_code == 200


async def test_beyond_the_queue_there_is_429_and_slots_come_back(model):
    server, client = served(model, slots=1, queue=1)
    with model.lock:  # nothing ends meanwhile
        asked = [asyncio.create_task(client.post("/v1/chat/completions", json=ask(model))) for _ in range(2)]
        while server.slots.working + server.slots.waiting < 2:
            await asyncio.sleep(0.01)
        refused = await client.post("/v1/chat/completions", json=ask(model))
        late = await client.post("/v1/guard/decide", json={"threshold": 0.5, "confidence": 1})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert late.status_code == 200
    assert [r.status_code for r in await asyncio.gather(*asked)] == [200, 200]
    await server.slots.idle()


async def test_policies_are_read_again_all_or_nothing(model, closed):
    server, client = served(model, closed)
    before, abstaining = server.service.policies, Path(closed).read_text(encoding="utf-8")
    with open(closed, "w", encoding="utf-8") as file:
        file.write("version: 1\nname: closed\nrulez: []\n")
    with pytest.raises(Exception, match="rulez"):
        server.service.reload()
    assert server.service.policies is before
    with open(closed, "w", encoding="utf-8") as file:
        file.write(abstaining.replace("I do not know", "Not known"))
    server.service.reload()
    response = await client.post("/v1/chat/completions", json=ask(model))
    assert response.json()["choices"][0]["message"]["content"] == "Not known."
    assert isinstance(server.service.policy(None), Policy)


@pytest.mark.parametrize("status", ["loading", "draining", "failed"])
async def test_what_is_not_ready_says_so(model, status):
    server, client = served(model)
    server.status = status
    assert (await client.get("/readyz")).status_code == 503
    response = await client.post("/v1/chat/completions", json=ask(model))
    assert (response.status_code, response.json()["error"]["code"]) == (503, status)


async def test_the_page_and_its_files_are_served_under_their_policy(model):
    _, client = served(model)
    page = await client.get("/")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    kinds = [
        (await client.get(f"/{name}")).headers["content-type"].partition(";")[0] for name in ("page.js", "page.css")
    ]
    assert kinds == ["text/javascript", "text/css"]
    assert (await client.get("/../app.py")).status_code == 404
