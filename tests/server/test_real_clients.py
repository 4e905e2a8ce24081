"""What people ask a server with, against a real process on the embedded model: openai, LangChain, curl, npm's openai."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import httpx
import openai
import pytest
import uvicorn
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from guardrail.model.local import LocalModel
from guardrail.server.app import Server, create_app
from guardrail.server.keys import add_key
from guardrail.server.run import listen
from guardrail.server.service import Service
from guardrail.server.settings import ServerSettings
from guardrail.testing import tiny_model, tiny_tokenizer
from tests.helpers.calling_model import TEMPLATE

pytestmark = pytest.mark.real_model
MODEL = "smollm2-135m"
JAPAN = [{"role": "user", "content": "What is the capital of Japan?"}]
FASO = [{"role": "user", "content": "What is the capital of Burkina Faso?"}]
OBSERVE = {"guardrail": {"policy": "observe"}}
TOKYO = "The capital of Japan is Tokyo."
NPM = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "guardrail-tests" / "openai-6"
COLOURS = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
TOOL = {"type": "function", "function": {"name": "pick", "parameters": {**COLOURS, "additionalProperties": False}}}


class Capital(BaseModel):
    capital: str


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address and a key of a process that serves the embedded model; it drains in the end."""
    folder = tmp_path_factory.mktemp("served")
    key = add_key(folder / "keys.json", "tests", requests_per_minute=None, tokens_per_minute=None)
    command = [
        sys.executable,
        "-m",
        "guardrail.cli",
        "serve",
        "--port",
        "0",
        "--api-key-file",
        str(folder / "keys.json"),
    ]
    command += ["--allow-stream-policy", "passthrough", "--allow-policy", "observe"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        address = process.stdout.readline().strip()
        assert address, (folder / "log").read_text(encoding="utf-8")
        until = time.monotonic() + 120
        while httpx.get(f"{address}readyz").json() != {"status": "ready"}:
            assert time.monotonic() < until, "it never became ready"
            time.sleep(0.1)
        yield f"{address}v1", key
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.stdout.close()
    log = (folder / "log").read_text(encoding="utf-8")
    assert "Traceback" not in log
    assert "Tokyo" not in log
    assert key not in log


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server[0], api_key=server[1], max_retries=0) as made:
        yield made


def test_openai(client):
    assert [m.id for m in client.models.list()] == [client.models.retrieve(MODEL).id] == [MODEL]
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=JAPAN, seed=1, user="me")
    answer = raw.parse()
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason, choice.message.refusal) == (TOKYO, "stop", None)
    assert choice.guardrail["label"] == "very high"
    assert float(raw.headers["x-guardrail-confidence"]) == pytest.approx(choice.guardrail["confidence"], rel=1e-5)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    abstained = client.chat.completions.create(model=MODEL, messages=FASO).choices[0]
    assert abstained.guardrail["action"] == "abstain"
    said = client.chat.completions.create(model=MODEL, messages=FASO, extra_body=OBSERVE).choices[0]
    assert said.message.content not in abstained.message.content


def test_openai_goes_on_with_the_turns_it_was_given(client):
    first = client.chat.completions.create(model=MODEL, messages=JAPAN).choices[0].message
    turns = [*JAPAN, first, {"role": "user", "content": [{"type": "text", "text": "Which country is it in?"}]}]
    answer = client.chat.completions.create(model=MODEL, messages=turns, max_tokens=8, stop=["\n"])
    assert answer.choices[0].guardrail["basis"] in ("calibrated", "extrapolated")


@pytest.mark.parametrize("streams", ["answer", "passthrough"])
def test_openai_streams(client, streams):
    stream = client.chat.completions.create(
        model=MODEL,
        messages=JAPAN,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"guardrail": {"stream_policy": streams}},
    )
    assert (stream.response.headers.get("x-guardrail-action") == "answer") is (streams == "answer")
    *text, last, usage = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in text]
    assert "".join(pieces) == TOKYO
    assert (sum(map(bool, pieces)) > 1) is (streams == "passthrough")
    assert last.choices[0].finish_reason == "stop"
    assert last.choices[0].guardrail["enforced"] is (streams == "answer")
    assert usage.usage.completion_tokens > 0


async def test_openai_async_together(server):
    async with openai.AsyncOpenAI(base_url=server[0], api_key=server[1], max_retries=0) as client:
        async with client.chat.completions.stream(model=MODEL, messages=JAPAN) as stream:
            kinds = [event.type async for event in stream]
        assert {"content.delta", "content.done"} <= set(kinds)
        assert (await stream.get_final_completion()).choices[0].message.content == TOKYO
        both = await asyncio.gather(*(client.chat.completions.create(model=MODEL, messages=m) for m in (JAPAN, FASO)))
    assert [r.choices[0].guardrail["action"] for r in both] == ["answer", "abstain"]


def test_openai_keeps_to_a_schema(client):
    asked = [{"role": "user", "content": 'What is the capital of France? Answer as JSON: {"capital": "..."}'}]
    reply = client.chat.completions.parse(
        model=MODEL, messages=asked, response_format=Capital, max_completion_tokens=24, extra_body=OBSERVE
    )
    assert isinstance(reply.choices[0].message.parsed, Capital)
    anything = client.chat.completions.create(
        model=MODEL, messages=asked, response_format={"type": "json_object"}, max_tokens=24, extra_body=OBSERVE
    )
    assert isinstance(json.loads(anything.choices[0].message.content), dict)


@pytest.fixture(scope="module")
def with_tools():
    """The address of a tiny model whose template shows tools, as the embedded one's does not; on a socket of this process."""
    tokenizer, settings = tiny_tokenizer(TEMPLATE), ServerSettings()
    model = LocalModel(
        tiny_model(vocab_size=len(tokenizer), max_position_embeddings=1024).eval(), tokenizer, name="tiny"
    )
    taken = listen("127.0.0.1", 0)
    app = create_app(Server(settings, Service(model, settings, ["observe"]), "ready"))
    served = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = Thread(target=served.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    served.should_exit = True
    thread.join(30)


def test_openai_calls_tools(with_tools):
    """A random model calls what it must: `tool_choice` keeps it to the tool's own schema."""
    asked = {"model": "tiny", "tools": [TOOL], "max_tokens": 120, "messages": [{"role": "user", "content": "Which?"}]}
    with openai.OpenAI(base_url=with_tools, api_key="none", max_retries=0) as client:
        choice = client.chat.completions.create(**asked, tool_choice="required").choices[0]
        (call,) = choice.message.tool_calls
        assert (choice.finish_reason, call.function.name) == ("tool_calls", "pick")
        assert json.loads(call.function.arguments)["colour"] in ("red", "blue")
        named = {"type": "function", "function": {"name": "pick"}}
        with client.chat.completions.stream(**asked, tool_choice=named) as stream:
            (streamed,) = stream.get_final_completion().choices[0].message.tool_calls
        assert streamed.function.arguments == call.function.arguments
        told = [*asked["messages"], choice.message, {"role": "tool", "tool_call_id": call.id, "content": "5"}]
        after = client.chat.completions.create(**{**asked, "messages": told, "max_tokens": 4}, tool_choice="none")
        assert after.choices[0].finish_reason in ("stop", "length")
        assert after.choices[0].message.tool_calls is None
    chat = ChatOpenAI(model="tiny", base_url=with_tools, api_key="none", max_retries=0, max_tokens=120)
    (bound,) = chat.bind_tools([TOOL], tool_choice="required").invoke("Which?").tool_calls
    assert (bound["name"], bound["args"]) == ("pick", json.loads(call.function.arguments))


def test_openai_is_told_what_is_wrong(server, client):
    ask = client.chat.completions.create
    with pytest.raises(openai.AuthenticationError) as refused:
        openai.OpenAI(base_url=server[0], api_key="gr-wrong", max_retries=0).models.list()
    assert refused.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError) as unknown:
        ask(model=MODEL, messages=JAPAN, extra_body={"best_of": 2})
    assert (unknown.value.code, unknown.value.param) == ("unknown_field", "best_of")
    with pytest.raises(openai.BadRequestError) as unkept:
        ask(model=MODEL, messages=JAPAN, top_p=0.5)
    assert unkept.value.param == "top_p"
    with pytest.raises(openai.BadRequestError) as tools:
        ask(model=MODEL, messages=JAPAN, tools=[TOOL])
    assert tools.value.param == "tools"  # SmolLM2's template shows none
    with pytest.raises(openai.NotFoundError) as other:
        ask(model="gpt-4", messages=JAPAN)
    assert other.value.code == "model_not_found"
    with pytest.raises(openai.APIStatusError) as late:
        ask(model=MODEL, messages=JAPAN, extra_headers={"X-Request-Timeout": "0.000001"})
    assert (late.value.status_code, late.value.code) == (504, "deadline_exceeded")


def test_langchain(server):
    chat = ChatOpenAI(model=MODEL, base_url=server[0], api_key=server[1], max_retries=0, stream_usage=True)
    chat.include_response_headers = True
    answer = chat.invoke(JAPAN)
    assert answer.content == TOKYO
    assert answer.response_metadata["headers"]["x-guardrail-action"] == "answer"
    streamed = None
    for chunk in chat.stream(JAPAN):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.content == TOKYO
    assert streamed.usage_metadata == answer.usage_metadata
    watched = ChatOpenAI(model=MODEL, base_url=server[0], api_key=server[1], max_tokens=24, extra_body=OBSERVE)
    kept = watched.with_structured_output(Capital, method="json_schema", include_raw=True)
    assert isinstance(kept.invoke("The capital of France, as JSON.")["parsed"], Capital)


def test_curl(server):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    address, key = server
    body = json.dumps({"model": MODEL, "messages": JAPAN, "stream": True})
    command = ["curl", "-sSN", "--fail-with-body", f"{address}/chat/completions", "-H", f"Authorization: Bearer {key}"]
    out = subprocess.run([*command, "--json", body], capture_output=True, text=True, timeout=60, check=True).stdout
    events = [line.removeprefix("data: ") for line in out.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert TOKYO in [json.loads(event)["choices"][0]["delta"].get("content") for event in events[:-1]]


NODE = """
import OpenAI from 'openai';
const client = new OpenAI({baseURL: process.env.ADDRESS, apiKey: process.env.KEY, maxRetries: 0});
const ask = {model: 'smollm2-135m', messages: [{role: 'user', content: 'What is the capital of Japan?'}]};
const plain = await client.chat.completions.create(ask);
let text = '', last;
for await (const chunk of await client.chat.completions.create({...ask, stream: true})) {
  text += chunk.choices[0].delta.content ?? '';
  last = chunk.choices[0];
}
const refused = await client.chat.completions.create({...ask, best_of: 2}).catch((error) => error);
console.log(JSON.stringify({
  plain: plain.choices[0].message.content, label: plain.choices[0].guardrail.label, text, last: last.guardrail.label,
  refused: [refused instanceof OpenAI.BadRequestError, refused.code, refused.param],
}));
"""


def test_node(server):
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node")
    NPM.mkdir(parents=True, exist_ok=True)
    if not (NPM / "node_modules" / "openai").is_dir():
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(NPM), "openai@6"]
        try:
            subprocess.run(install, capture_output=True, timeout=60, check=True)
        except subprocess.SubprocessError:
            pytest.skip("npm's openai cannot be had here")
    out = subprocess.run(
        ["node", "--input-type=module", "-e", NODE],
        cwd=NPM,
        env={**os.environ, "ADDRESS": server[0], "KEY": server[1]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout) == {
        "plain": TOKYO,
        "label": "very high",
        "text": TOKYO,
        "last": "very high",
        "refused": [True, "unknown_field", "best_of"],
    }
