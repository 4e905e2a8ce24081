"""What a policy holds back, and what errors quote: on no endpoint, in no header, in no line of the log, in no metric."""

from __future__ import annotations

import io
import json
import logging

import pytest
from langchain_core.documents import Document

from guardrail import Guard
from guardrail.errors import ChatTemplateError, DataError, ModelError, PartError, RetrievalError
from guardrail.model.local import LocalModel
from guardrail.server.run import log_to_stderr
from guardrail.testing import tiny_local_model
from tests.helpers.speaking_model import say, tokens, tool_model
from tests.server.test_server_app import ASK, ask, served

CHAT = "/v1/chat/completions"
CLOSED = "version: 1\nname: closed\nrules: []\nwording: {abstain: I do not know.}\n"
SEEKS = CLOSED.replace("rules: []", "rules: [{name: look, then: retrieve}]")
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
SAID, FOUND, WRONG = "the canary said", "the canary was found", "the canary went wrong"
CALL = f"<tool_call>{json.dumps({'name': 'look_up', 'arguments': {'x': SAID}})}</tool_call>"


class Retriever:
    """Finds a passage, or fails with a text."""

    def __init__(self, error=None):
        self.error, self.asked = error, 0

    def invoke(self, query):
        self.asked += 1
        if self.error is not None:
            raise self.error
        return [Document(FOUND, metadata={"source": "p1"})]


def requests(model):
    """Every way to make the model work."""
    given = {"messages": ASK["messages"], "answer": SAID}
    live = {"stream": True, "guardrail": {"stream_policy": "claim", "claims": True}}
    kept = {"response_format": {"type": "json_object"}}
    changes = [{}, {"stream": True}, live, {"guardrail": {"claims": True}}, {"tools": [TOOL]}, kept]
    changes.append({"tools": [TOOL], "tool_choice": "required", "stream": True})
    out = [(CHAT, ask(model, **{"max_tokens": 40, **change})) for change in changes]
    return [*out, ("/v1/guard/score", given), ("/v1/guard/check", {**given, "guardrail": {"claims": True}})]


async def told(model, client, capfd, caplog):
    """All that leaves the server on them, and the statuses."""
    caplog.set_level("INFO", "guardrail.server")
    statuses, texts = [], []
    for path, body in requests(model):
        response = await client.post(path, json=body)
        statuses.append(response.status_code)
        texts += [response.text, str(response.headers)]
    texts.append((await client.get("/metrics")).text)
    lines = [r.getMessage() for r in caplog.records if r.name == "guardrail.server"]
    return statuses, "\n".join([*texts, *lines, *capfd.readouterr()])


@pytest.mark.parametrize(
    ("turn", "rules", "fault"),
    [
        (SAID, CLOSED, None),
        (CALL, CLOSED, None),
        (SAID, SEEKS, None),
        (SAID, SEEKS, RetrievalError),
        (CALL, SEEKS, OSError),
    ],
)
async def test_nothing_that_is_held_back_leaves(tmp_path, capfd, caplog, turn, rules, fault):
    model = tool_model("<tool_call>", "</tool_call>")
    say(model, tokens(model, turn))
    (tmp_path / "policy.yaml").write_text(rules, encoding="utf-8")
    retriever = Retriever(fault and fault(FOUND))
    server, client = served(model, str(tmp_path / "policy.yaml"), stream_policies=("answer", "claim"))
    server.service.options["retriever"] = retriever
    server.service.reload()
    statuses, text = await told(model, client, capfd, caplog)
    assert set(statuses) == {200}, text
    assert "I do not know." in text
    assert bool(retriever.asked) is (rules is SEEKS)
    assert SAID not in text
    assert (FOUND in text) is (
        rules is SEEKS and fault is None
    )  # evidence is part of a verdict; errors about it are not


@pytest.mark.parametrize("kind", [ModelError, DataError, ChatTemplateError, RetrievalError, PartError, ValueError])
async def test_errors_of_the_work_are_told_to_nobody(monkeypatch, capfd, caplog, kind):
    model = tool_model("<tool_call>", "</tool_call>")
    _, client = served(model, stream_policies=("answer", "claim"))

    def fails(*_, **__):
        raise kind(WRONG)

    for name in ("answer_batch", "check"):
        monkeypatch.setattr(Guard, name, fails)
    statuses, text = await told(model, client, capfd, caplog)
    assert set(statuses) == {500}
    assert kind.__name__ in text  # in the log
    assert WRONG not in text


@pytest.mark.parametrize("at", ["generate_batch", "trace"])
async def test_errors_of_the_model_are_told_to_nobody(monkeypatch, capfd, caplog, at):
    model = tiny_local_model()
    _, client = served(model)
    real, calls = getattr(LocalModel, at), []

    def fails(self, *given, **options):
        calls.append(at)
        if at == "trace" and len(calls) < 2:  # the first is made before any work, of the request alone
            return real(self, *given, **options)
        raise ModelError(WRONG)

    monkeypatch.setattr(LocalModel, at, fails)
    given = {"messages": ASK["messages"], "answer": "x"}
    path, body = (CHAT, ask(model)) if at == "generate_batch" else ("/v1/guard/check", given)
    response = await client.post(path, json=body)
    assert response.status_code == 500
    assert WRONG not in response.text + caplog.text + "".join(capfd.readouterr())


async def test_mistakes_of_a_request_are_told_in_their_own_words():
    model = tiny_local_model()
    _, client = served(model)
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    for change, said in (
        ({"messages": [{"role": "user", "content": " "}]}, "blank"),
        ({"response_format": schema}, "nonsense"),
        ({"tools": [TOOL]}, "takes no tools"),
    ):
        response = await client.post(CHAT, json=ask(model, **change))
        assert response.status_code == 400
        assert said in response.json()["error"]["message"]
    blank = {"messages": [{"role": "user", "content": " "}], "answer": "x"}
    response = await client.post("/v1/guard/check", json=blank)
    assert response.status_code == 400
    assert "blank" in response.json()["error"]["message"]


def test_a_log_that_cannot_be_written_prints_no_texts(monkeypatch, capfd):
    gone = io.StringIO()
    monkeypatch.setattr("sys.stderr", gone)
    log_to_stderr()
    monkeypatch.undo()
    gone.close()
    logging.getLogger("guardrail").warning("failed on %s", SAID, exc_info=ValueError(WRONG))
    assert capfd.readouterr() == ("", "")
