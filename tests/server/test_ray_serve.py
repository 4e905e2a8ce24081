"""`guardrail serve --replicas 2` as real processes on Ray Serve, with a tiny model."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from types import SimpleNamespace

import httpx
import psutil
import pytest

from guardrail.errors import ClusterError
from guardrail.runs.cluster import Cluster
from guardrail.server import ray_serve
from guardrail.server.settings import ServerSettings
from tests.benchmarks.serve_soak import save_model
from tests.helpers.serving_process import ServingProcess

pytestmark = pytest.mark.xdist_group("ray")
POLICY = "version: 1\nname: mine\nrules: [{name: all, then: answer}]\n"
TOLD = ("score", "action", "rule", "confidence", "basis")
ASKED = {
    "messages": [{"role": "user", "content": "What is 2 + 2?"}],
    "max_tokens": 5,
    "temperature": 0,
    "guardrail": {"policy": "mine"},
}


def replicas(server):
    """The processes of the replicas, by id."""
    found = []
    for child in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if child.cmdline()[:1] and child.cmdline()[0].startswith(("ray::ServeReplica", "ray::SERVE_REPLICA")):
                found.append(child.pid)
    return set(found)


def until(wanted, seconds=120.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if wanted():
            return
        time.sleep(0.3)
    raise AssertionError("it did not come to that in time")


def answer(url, client, model):
    reply = client.post(f"{url}/v1/chat/completions", json={**ASKED, "model": str(model)})
    assert reply.status_code == 200, reply.text
    choice = reply.json()["choices"][0]
    told = choice["guardrail"]
    return {"text": choice["message"]["content"], **{key: told[key] for key in TOLD}}


def same(found, expected):
    """Whether two answers are: their scores to the digits that the number of threads leaves."""
    rest = {**found, "score": None} == {**expected, "score": None}
    return rest and found["score"] == pytest.approx(expected["score"], rel=1e-4)


def rules(server, client, times=12):
    """Which rule decides, asked often enough to reach each replica."""
    asked = {"policy": "mine", "confidence": 0.1}
    return {client.post(f"{server.url}/v1/guard/decide", json=asked).json()["rule"] for _ in range(times)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_replicas_answer_as_one_process_come_back_and_take_policies_whole_or_not_at_all(tmp_path):
    model, policy = save_model(tmp_path / "tiny"), tmp_path / "mine.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    options = ("--policy", "observe", "--allow-policy", str(policy), "--device", "cpu")
    with httpx.Client(timeout=60) as client, ServingProcess(model, tmp_path / "one", *options) as one:
        expected = answer(one.ready().url, client, model)
    with (
        httpx.Client(timeout=60) as client,
        ServingProcess(model, tmp_path / "log", *options, "--replicas", "2") as server,
    ):
        assert server.url, server.log.read_text(encoding="utf-8")[-3000:]
        before = replicas(server)
        assert len(before) == 2
        for _ in range(6):  # either replica
            assert same(answer(server.url, client, model), expected)
        streamed = {**ASKED, "model": str(model), "stream": True}
        with client.stream("POST", f"{server.url}/v1/chat/completions", json=streamed) as stream:
            assert [line for line in stream.iter_lines() if line][-1] == "data: [DONE]"

        policy.write_text("version: 1\nname: mine\nrulez: []\n", encoding="utf-8")
        server.signal(signal.SIGHUP)
        assert server.until_logged(policies="stay as they were")["error"] == "PolicyError"
        assert rules(server, client) == {"all"}
        policy.write_text(POLICY.replace("{name", "{when: {confidence: {at_least: 0.5}}, name"), encoding="utf-8")
        server.signal(signal.SIGHUP)  # it reads well, but there is no calibrator here
        until(lambda: "no calibrator" in str([line.get("message") for line in server.lines]))
        assert rules(server, client) == {"all"}
        policy.write_text(POLICY.replace("all", "every"), encoding="utf-8")
        server.signal(signal.SIGHUP)
        server.until_logged(policies="read again")
        assert rules(server, client) == {"every"}
        assert replicas(server) == before  # they took them where they are

        gone = min(before)
        psutil.Process(gone).kill()
        until(lambda: len(replicas(server) - {gone}) == 2)
        (new,) = replicas(server) - before
        until(lambda: rules(server, client) == {"every"})  # it has the newest policies, too
        assert all(same(answer(server.url, client, model), {**expected, "rule": "every"}) for _ in range(6))
        server.signal(signal.SIGTERM)
        assert server.ended(120) == 0
    assert replicas_left(before | {new}) == set()


def replicas_left(pids):
    return {pid for pid in pids if psutil.pid_exists(pid)}


def test_a_cluster_that_serves_already_is_refused_and_left_as_it_is(monkeypatch):
    calls: list[str] = []

    class Serve:
        @staticmethod
        def status():
            return SimpleNamespace(proxies={"node": "HEALTHY"}, applications={"theirs": None})

        def __getattr__(self, name):
            return lambda *_, **__: calls.append(name)

    monkeypatch.setattr(ray_serve, "_ray_serve", Serve)
    monkeypatch.setattr(ray_serve, "connect", lambda *_: None)
    before = signal.getsignal(signal.SIGHUP)
    try:
        with pytest.raises(ClusterError, match="runs at auto already"):
            ray_serve.serve_replicas(
                Cluster("auto"), print, ServerSettings(), None, ["observe"], 0, say=calls.append, up=calls.append
            )
    finally:
        signal.signal(signal.SIGHUP, before)
    assert calls == []


def test_what_does_not_go_with_replicas_is_a_mistake(cli):
    assert "say how many: --replicas N" in cli("serve", "--ray", "local").stderr
    spec = "openai:http://127.0.0.1:9/v1#m"
    assert "no_such" in cli("serve", "--replicas", "2", "--model", spec, "--score-with", "no_such").stderr
    assert "--allow-observe does not go with --replicas" in cli("serve", "--replicas", "2", "--allow-observe").stderr
