"""`"mode": "observe"`: the text at once, the verdict later, to whoever asked and nobody else; only where it is allowed."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from guardrail.errors import DeadlineError, ModelError
from guardrail.langchain.metadata import shown_hash
from guardrail.langchain.streaming import Watch
from guardrail.pipeline.answer_pass import AnswerPass
from guardrail.server.destinations import Destinations
from guardrail.server.keys import Keys, add_key
from guardrail.server.late_verdicts import LateVerdicts, pending
from guardrail.server.webhooks import SIGNATURE, Webhooks, sign
from tests.helpers.receiver import receiver
from tests.helpers.speaking_model import say, tokens, tool_model
from tests.server.test_server_app import ask, served
from tests.server.test_server_limits import Caller, until

CHAT = "/v1/chat/completions"
OBSERVE = {"guardrail": {"mode": "observe"}}
SECRET = b"0123456789abcdef"
WRONG = "the canary went wrong"


@pytest.fixture
def judging(monkeypatch):
    """Nothing is scored before it is set; `fails` is raised then."""
    real, free = AnswerPass.score, threading.Event()
    free.fails = None

    def score(self, *given):
        assert free.wait(30)
        if free.fails is not None:
            raise free.fails
        return real(self, *given)

    monkeypatch.setattr(AnswerPass, "score", score)
    return free


def events(response):
    *chunks, done = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert done == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_text_comes_at_once_and_the_verdict_is_asked_for(model, closed, judging, stream):
    server, client = served(model, closed, late=LateVerdicts())
    response = await client.post(CHAT, json=ask(model, stream=stream, **OBSERVE))
    if stream:
        chunks = events(response)
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        mark = chunks[-1]["choices"][0]["guardrail"]
    else:
        choice = response.json()["choices"][0]
        text, mark = choice["message"]["content"], choice["guardrail"]
        assert response.headers["x-guardrail-verdict"] == mark["id"]
    assert mark == pending(mark["id"])  # no action, no confidence: nothing was judged
    assert "x-guardrail-action" not in response.headers
    assert text == model.generate("Who?", max_new_tokens=4).text
    path = f"/v1/guard/verdicts/{mark['id']}"
    waiting = await client.get(path)
    assert (waiting.status_code, waiting.json(), waiting.headers["retry-after"]) == (202, mark, "1")
    judging.set()
    await server.slots.idle()
    done = await client.get(path)
    verdict = done.json()["guardrail"]
    assert (done.status_code, done.json()["status"]) == (200, "done")
    assert (verdict["action"], verdict["enforced"], verdict["policy"]) == ("abstain", False, "closed")
    assert verdict["text_hash"] == shown_hash(text)
    enforced = (await client.post(CHAT, json=ask(model))).json()["choices"][0]["guardrail"]
    assert verdict["score"] == enforced["score"]  # of the same answer, the same number
    metrics = (await client.get("/metrics")).text
    assert 'guardrail_decisions_total{action="abstain",label="none",policy="closed"} 2.0' in metrics


@pytest.mark.parametrize("stream", [False, True])
async def test_without_permission_nothing_unjudged_leaves(model, closed, stream):
    _, client = served(model, closed)
    said = model.generate("Who?", max_new_tokens=4).text
    for options in (OBSERVE["guardrail"], {"mode": "observe", "webhook": "https://hooks.example.com/"}):
        response = await client.post(CHAT, json=ask(model, stream=stream, guardrail=options))
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "not_allowed", "guardrail.mode")
        assert said not in response.text
    assert (await client.get("/v1/guard/verdicts/verdict-0")).status_code == 404
    assert (await client.get("/v1/guard/policies")).json()["allowed"]["observe"] is False


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "observe", "stream_policy": "claim"},
        {"mode": "observe", "stream_policy": "answer"},
        {"webhook": "https://hooks.example.com/"},
        {"mode": "observe", "webhook": "https://hooks.example.com/"},
        {"mode": "observe", "webhook": "https://listed.example.com@evil.example/"},
        {"mode": "observe", "include_original": True},
        {"mode": "watch"},
    ],
)
async def test_what_does_not_go_together_is_refused_before_the_model_works(model, options):
    late = LateVerdicts(webhooks=Webhooks(Destinations(["https://listed.example.com"]), SECRET))
    _, client = served(model, late=late)
    response = await client.post(CHAT, json=ask(model, guardrail=options))
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert 'guardrail_tokens_total{kind="completion"}' not in (await client.get("/metrics")).text
    assert len(late) == 0


async def test_a_call_of_a_tool_leaves_whole():
    model = tool_model("<tool_call>", "</tool_call>")
    say(model, tokens(model, '<tool_call>{"name": "look_up", "arguments": {"x": "y"}}</tool_call>'))
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    server, client = served(model, late=LateVerdicts())
    for stream in (False, True):
        response = await client.post(CHAT, json=ask(model, max_tokens=90, tools=[tool], stream=stream, **OBSERVE))
        end = events(response)[-1]["choices"][0] if stream else response.json()["choices"][0]
        message = end["delta" if stream else "message"]
        assert end["finish_reason"] == "tool_calls", response.text
        assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"x": "y"}
        assert "<tool_call>" not in response.text
        await server.slots.idle()
        done = await client.get(f"/v1/guard/verdicts/{end['guardrail']['id']}")
        assert done.json()["guardrail"]["unscored"] == "tool_call"


@pytest.mark.parametrize(
    ("fails", "code"), [(ModelError(WRONG), "internal_error"), (DeadlineError("late"), "deadline_exceeded")]
)
async def test_a_verdict_that_cannot_be_made_has_failed_and_says_nothing(model, judging, caplog, fails, code):
    caplog.set_level("INFO", "guardrail.server")
    judging.fails = fails
    server, client = served(model, late=LateVerdicts())
    response = await client.post(CHAT, json=ask(model, **OBSERVE))
    assert response.status_code == 200
    judging.set()
    await server.slots.idle()
    failed = await client.get(f"/v1/guard/verdicts/{response.headers['x-guardrail-verdict']}")
    body = failed.json()
    assert (failed.status_code, body["status"], body["error"]["code"]) == (200, "failed", code)
    assert body.keys() == {"id", "object", "status", "enforced", "error"}
    assert WRONG not in failed.text + caplog.text
    assert type(fails).__name__ in caplog.text


async def test_a_verdict_is_told_to_its_webhook_and_to_its_own_key(model, tmp_path):
    ann, bob = (add_key(tmp_path / "keys", n, requests_per_minute=None, tokens_per_minute=None) for n in ("ann", "bob"))
    with receiver([503, 204]) as (origin, got):
        late = LateVerdicts(webhooks=Webhooks(Destinations([origin]), SECRET, pauses=(0.0,)))
        server, client = served(model, late=late, keys=Keys.load(tmp_path / "keys"))
        client.headers["Authorization"] = f"Bearer {ann}"
        options = {"mode": "observe", "webhook": f"{origin}/told?of=ann"}
        response = await client.post(CHAT, json=ask(model, guardrail=options))
        await server.slots.idle()
        await asyncio.to_thread(late.close)
        path = f"/v1/guard/verdicts/{response.headers['x-guardrail-verdict']}"
        told = await client.get(path)
        others = await client.get(path, headers={"Authorization": f"Bearer {bob}"})
        nobody = await client.get(path, headers={"Authorization": ""})
        metrics = (await client.get("/metrics")).text
    assert [body for _, _, body in got] == [told.content] * 2
    where, headers, body = got[1]
    at = int(headers[SIGNATURE].partition(",")[0].removeprefix("t="))
    assert (where, headers[SIGNATURE]) == ("/told?of=ann", sign(SECRET, body, at))
    assert (others.status_code, others.json()["error"]["code"], nobody.status_code) == (404, "verdict_not_found", 401)
    assert 'guardrail_webhooks_total{outcome="delivered"} 1.0' in metrics
    assert 'guardrail_webhooks_total{outcome="tried again"} 1.0' in metrics


async def test_who_hangs_up_before_the_text_gets_no_verdict_and_after_it_does(model, monkeypatch, judging):
    late = LateVerdicts()
    server, _ = served(model, slots=1, late=late)
    real, steps = Watch.__call__, []
    monkeypatch.setattr(Watch, "__call__", lambda self, *given: [steps.append(1), real(self, *given)][1])
    with model.lock:
        caller = Caller(server, ask(model, max_tokens=200, **OBSERVE))
        await until(lambda: server.slots.working)
        await caller.hang_up()
    await server.slots.idle()
    assert (len(steps), len(late)) == (1, 0)
    caller = Caller(server, ask(model, **OBSERVE))
    await caller.task  # answered
    await caller.hang_up()
    assert server.slots.working == 1  # it is judged all the same
    judging.set()
    await server.slots.idle()
    verdict_id = json.loads(caller.messages[1]["body"])["choices"][0]["guardrail"]["id"]
    assert late.read(verdict_id, owner=None).state == "done"
