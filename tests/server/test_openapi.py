"""`/openapi.json` against the server: schemathesis asks what it allows and what it does not, and looks at each response."""

from __future__ import annotations

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import TypeAdapter
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from guardrail.server.app import Server, create_app
from guardrail.server.keys import Keys, add_key
from guardrail.server.late_verdicts import LateVerdicts
from guardrail.server.replies import ChatCompletion, ChatCompletionChunk, Error, LateVerdict, PendingVerdict
from guardrail.server.service import Service
from guardrail.server.settings import ServerSettings
from guardrail.testing import tiny_local_model
from tests.helpers.speaking_model import say, tokens, tool_model
from tests.server.test_server_app import ask, served

HOST = {"Host": "127.0.0.1"}
CHAT = "/v1/chat/completions"
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


def application():
    """The routes on a tiny model, where everything is allowed."""
    streams = ("answer", "claim", "passthrough")
    allowed = ServerSettings(allow_original=True, stream_policies=streams, late=LateVerdicts(), max_tokens=4)
    return create_app(Server(allowed, Service(tiny_local_model(), allowed, ["observe"]), "ready"))


SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", application(), headers=HOST)


@SCHEMA.parametrize()
@settings(max_examples=12, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_every_response_is_as_it_is_described(case):
    if case.meta.generation.mode.is_positive and isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = "tiny-llama"  # no schema says which models there are
    response = case.call(headers=HOST)
    case.validate_response(response, checks=CHECKS)
    assert response.status_code < 500 or response.status_code == 504  # a timeout that is too short is the request's own


def chunks(response):
    return [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n")[:-2]]


@pytest.mark.parametrize("options", [{}, {"guardrail": {"mode": "observe"}}, {"guardrail": {"claims": True}}])
async def test_answers_are_as_they_are_described(options):
    model = tool_model("<tool_call>", "</tool_call>")
    server, client = served(model, late=LateVerdicts())
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    for said in ("One. Two.", '<tool_call>{"name": "look_up", "arguments": {"x": "y"}}</tool_call>'):
        say(model, tokens(model, said))
        asked = ask(model, max_tokens=90, tools=[tool], **options)
        whole = ChatCompletion.model_validate((await client.post(CHAT, json=asked)).json())
        assert bool(whole.choices[0].message.tool_calls) is (whole.choices[0].finish_reason == "tool_calls")
        told = await client.post(CHAT, json={**asked, "stream": True, "stream_options": {"include_usage": True}})
        read = [ChatCompletionChunk.model_validate(chunk) for chunk in chunks(told)]
        assert read[-1].usage is not None
        assert read[-2].choices[0].finish_reason == whole.choices[0].finish_reason
        if isinstance(mark := whole.choices[0].guardrail, PendingVerdict):
            await server.slots.idle()
            late = TypeAdapter(LateVerdict).validate_python((await client.get(f"/v1/guard/verdicts/{mark.id}")).json())
            assert (late.id, late.guardrail["enforced"]) == (mark.id, False)


async def test_it_says_what_wants_a_key_and_that_does(tmp_path):
    add_key(tmp_path / "keys", "tests", requests_per_minute=None, tokens_per_minute=None)
    _, client = served(tiny_local_model(), keys=Keys.load(tmp_path / "keys"))
    described = (await client.get("/openapi.json")).json()
    assert described["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    open_to_all = set()
    for path, item in described["paths"].items():
        for method, operation in item.items():
            if "security" not in operation:
                open_to_all.add(path)
                continue
            response = await client.request(method, path.replace("{", "").replace("}", ""))
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
            Error.model_validate(response.json())
    assert open_to_all == {"/healthz", "/readyz"}
