"""A hostile or failing endpoint: an error or an unscored answer, never a confidence; and who is asked again."""

from __future__ import annotations

import time

import pytest

from guardrail import Guard
from guardrail.deadlines import Deadline, before
from guardrail.errors import DeadlineError, EndpointError, ModelNotFoundError
from guardrail.model.remote.address import Address
from guardrail.model.remote.breaker import Breaker
from guardrail.model.remote.client import Client, Patience
from guardrail.model.remote.model import RemoteModel
from tests.helpers.endpoints import completion, say, told_endpoint

TOKYO = completion("Tokyo", [("Tokyo", -0.5)])


def asked(client):
    return client.post("/chat/completions", {"model": "m"})


def client_of(url, **options):
    slept = []
    patience = options.pop("patience", Patience(seconds=5, tries=3))
    return Client(Address.of(f"openai:{url}#m"), patience=patience, sleep=slept.append, **options), slept


def cut_in_the_middle(handler, body):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def hangs(handler, body):
    time.sleep(1.5)


def drips(handler, body):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(15):
        handler.wfile.write(b" ")
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda h, b: say(h, {"error": {"message": "out of luck"}}, 500), "status 500: out of luck"),
        (cut_in_the_middle, "the connection .* failed or was lost"),
        (lambda h, b: h.connection.close(), "the connection .* failed or was lost"),
        (hangs, "did not answer within 0.5 s"),
        (drips, "came too slowly|did not answer"),
        (lambda h, b: say(h, b"<html>"), "not JSON that can be used"),
        (lambda h, b: say(h, b'{"choices": NaN}'), "not JSON that can be used"),
        (lambda h, b: say(h, b'{"a": "' + b"x" * 10 * 2**20 + b'"}'), "longer than 8 MiB"),
        (lambda h, b: say(h, {}, 302, Location="http://127.0.0.1:9/else"), "no redirect is followed"),
        (lambda h, b: say(h, {"error": "no"}, 401), "status 401: no; put its key into .* GUARDRAIL_API_KEY"),
    ],
    ids=["500", "cut", "closed", "hangs", "drips", "html", "nan", "10 MB", "redirect", "401"],
)
def test_what_fails_is_an_error_at_the_first_try(answer, says):
    with told_endpoint(answer) as (url, seen):
        client, slept = client_of(url, patience=Patience(seconds=0.5, tries=3))
        with pytest.raises(EndpointError, match=says):
            asked(client)
    assert len(seen) == 1
    assert slept == []


@pytest.mark.parametrize("status", [429, 503])
def test_only_a_busy_endpoint_is_asked_again_when_it_says(status):
    replies = [(status, {"Retry_After": "2"}), (status, {}), (200, {})]

    def answer(handler, body):
        code, headers = replies.pop(0)
        say(handler, TOKYO, code, **headers)

    with told_endpoint(answer) as (url, seen):
        client, slept = client_of(url)
        assert asked(client) == TOKYO
    assert len(seen) == 3
    assert slept[0] == 2.0
    assert 1.0 <= slept[1] <= 2.0  # doubled once, less a random part


def test_an_endpoint_that_stays_busy_or_asks_for_too_long_is_an_error():
    with told_endpoint(lambda h, b: say(h, {}, 503)) as (url, seen):
        client, _ = client_of(url)
        with pytest.raises(EndpointError, match="status 503"):
            asked(client)
        assert len(seen) == 3
    with told_endpoint(lambda h, b: say(h, {}, 429, Retry_After="3600")) as (url, seen):
        client, slept = client_of(url)
        with pytest.raises(EndpointError, match="asks to wait 3600 s"):
            asked(client)
        assert (len(seen), slept) == (1, [])


def test_after_failures_in_a_row_the_circuit_is_open_until_one_call_finds_it_well():
    now = [0.0]
    well = [False]
    breaker = Breaker(failures=3, rest=30, clock=lambda: now[0])
    with told_endpoint(lambda h, b: say(h, TOKYO, 200 if well[0] else 500)) as (url, seen):
        client, _ = client_of(url, breaker=breaker)
        for _ in range(3):
            with pytest.raises(EndpointError, match="status 500"):
                asked(client)
        with pytest.raises(EndpointError, match="left alone for 30 s"):
            asked(client)
        assert len(seen) == 3
        now[0], well[0] = 31.0, True
        assert asked(client) == TOKYO
        assert asked(client) == TOKYO
    assert len(seen) == 5


def test_a_deadline_ends_the_waiting():
    with told_endpoint(hangs) as (url, _):
        client, _ = client_of(url)
        start = time.monotonic()
        with pytest.raises(DeadlineError), before(Deadline.after(0.3)):
            asked(client)
        assert time.monotonic() - start < 1.4


@pytest.mark.parametrize("told", [None, [("Tokyo", None)], [("Tok", -1.0)], [("Kyoto", -0.1)]], ids=str)
def test_without_log_probabilities_of_the_text_an_answer_is_unscored(told):
    replies = [TOKYO]  # what it allows is asked first

    def answer(handler, body):
        say(handler, replies.pop() if replies else completion("Tokyo", told))

    with told_endpoint(answer) as (url, _):
        guard = Guard(model=RemoteModel(url, "m"), policy="observe")
        verdict = guard.answer("What is the capital of Japan?")
    assert verdict.score.unscored == "no_log_probs"
    assert verdict.confidence.p_correct is None


def test_keys_go_where_they_are_meant_to_and_stand_in_no_spec(monkeypatch):
    openai, own = Address.of("openai:https://api.openai.com/v1#gpt"), Address.of("openai:https://vllm.example/v1#m")
    plain, here = Address.of("openai:http://vllm.example/v1#m"), Address.of("openai:http://127.0.0.1:8000/v1#m")
    theirs = {"OPENAI_API_KEY": "sk-theirs"}
    assert [a.key(theirs) for a in (openai, own, plain, here)] == ["sk-theirs", None, None, None]
    ours = {**theirs, "GUARDRAIL_API_KEY": "ours"}
    assert [a.key(ours) for a in (openai, own, plain, here)] == ["ours", "ours", None, "ours"]
    with pytest.raises(ModelNotFoundError, match="must not") as caught:
        Address.of("openai:https://me:secret@vllm.example/v1#m")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("GUARDRAIL_API_KEY", "ours")
    with told_endpoint(lambda h, b: say(h, TOKYO)) as (url, seen):
        asked(client_of(url)[0])
    assert seen[0]["authorization"] == "Bearer ours"


@pytest.mark.parametrize(
    "spec", ["openai:", "openai:#m", "openai:ftp://h/v1#m", "openai:http://h/v1", "openai:http://h:x/#m"]
)
def test_a_spec_that_names_no_endpoint_says_how_one_is_written(spec):
    with pytest.raises(ModelNotFoundError, match=r"openai:http://127\.0\.0\.1:8000/v1#NAME"):
        Address.of(spec)


def test_a_name_that_the_endpoint_does_not_list_is_refused_with_those_that_it_does():
    with (
        told_endpoint(lambda h, b: say(h, TOKYO)) as (url, seen),
        pytest.raises(ModelNotFoundError, match="it lists: m"),
    ):
        _ = RemoteModel(url, "other-name").abilities
    assert seen == []
