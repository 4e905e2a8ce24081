"""What `POST /v1/guard/decide` and `guardrail policy explain` can be told of a question: each input reaches its condition."""

import httpx
import pytest
from typer.testing import CliRunner

from guardrail.cli.main import app
from guardrail.server.app import Server, create_app
from guardrail.server.service import Service
from guardrail.server.settings import ServerSettings
from tests.pipeline.test_guard import SURE, Fixed, calibrator

POLICY = """
version: 1
name: asks
ambiguity: {above: -1.4}
rules:
  - {name: unclear, when: {ambiguous: true}, then: ask_back}
  - {name: moved, when: {spread: {above: 0.3}}, then: hedge}
  - {name: rare, when: {rare: {below: 3}}, then: retrieve}
  - {name: apart, when: {never_together: true}, then: abstain}
  - {name: says something else, when: {consistency: {below: 0.6}, length: {above: 20}}, then: hedge}
  - {name: sure, when: {confidence: {at_least: 0.5}}, then: answer}
"""
CLEAR = {"ambiguity": -3.0}
KNOWN = {"counts": {"Burkina Faso": 7, "Japan": 40}}
CASES = [
    ({}, "unclear", []),
    ({"ambiguity": -1.3}, "unclear", ["--ambiguity=-1.3"]),
    (CLEAR, "sure", ["--ambiguity=-3"]),
    ({**CLEAR, "length": 21}, "says something else", ["--ambiguity=-3", "--length=21"]),
    ({**CLEAR, "length": 21, "consistency": 0.6}, "sure", ["--ambiguity=-3", "--length=21", "--consistency=0.6"]),
    ({**CLEAR, "spread": 0.31}, "moved", ["--ambiguity=-3", "--spread=0.31"]),
    ({**CLEAR, "spread": 0.3}, "sure", ["--ambiguity=-3", "--spread=0.3"]),
    ({**CLEAR, "names": {"counts": {"Burkina Faso": 2}}}, "rare", ["--ambiguity=-3", "--name", "Burkina Faso=2"]),
    (
        {**CLEAR, "names": KNOWN},
        "sure",
        ["--ambiguity=-3", "--name", "Burkina Faso=7", "--name", "Japan=40"],
    ),
    (
        {**CLEAR, "names": {**KNOWN, "apart": [["Burkina Faso", "Japan"]]}},
        "apart",
        ["--ambiguity=-3", "--name", "Burkina Faso=7", "--name", "Japan=40", "--never-together"],
    ),
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "asks.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return str(path)


def client_of(model, file):
    settings = ServerSettings()
    made = {"scorer": Fixed(SURE), "calibrator": calibrator(model)}
    server = Server(settings, Service(model, settings, [file], made), "ready")
    transport = httpx.ASGITransport(create_app(server), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def test_the_endpoint(model, file):
    async with client_of(model, file) as client:
        asked = [{"policy": "asks", "confidence": 0.9, "retriever": True, **told} for told, _, _ in CASES]
        rules = [(await client.post("/v1/guard/decide", json=one)).json()["rule"] for one in asked]
    assert rules == [rule for _, rule, _ in CASES]


@pytest.mark.parametrize(("told", "rule", "options"), CASES)
def test_the_command(file, told, rule, options):
    shown = CliRunner().invoke(app, ["policy", "explain", file, "--confidence", "0.9", *options])
    assert shown.exit_code == 0
    assert f"rule '{rule}'" in shown.output


@pytest.mark.parametrize(
    ("told", "where"),
    [
        ({"spread": 1.5}, "spread"),
        ({"names": {"counts": {}}}, "names.counts"),
        ({"names": {"counts": {"Japan": -1}}}, "names.counts.Japan"),
        ({"names": {"counts": {"Japan": 1}, "apart": [["Japan", "France"]]}}, "not in counts"),
        ({"names": {"counts": {"Japan": 1}, "apart": [["Japan", "Japan"]]}}, "apart from itself"),
        ({"ambiguous": True}, "ambiguous"),
    ],
)
async def test_the_endpoint_refuses(model, file, told, where):
    async with client_of(model, file) as client:
        response = await client.post("/v1/guard/decide", json={"policy": "asks", "confidence": 0.9, **told})
    assert response.status_code == 400
    assert where in response.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--name", "Japan"], "--name wants NAME=COUNT"),
        (["--name", "Japan=-1"], "--name wants NAME=COUNT"),
        (["--name", "Japan=1", "--never-together"], "--never-together is about two names"),
        (["--claim", "--name", "Japan=1"], "--name is for whole answers"),
    ],
)
def test_the_command_refuses(file, options, says):
    shown = CliRunner().invoke(app, ["policy", "explain", file, "--confidence", "0.9", *options])
    assert shown.exit_code != 0
    assert says in str(shown.exception) + shown.output
