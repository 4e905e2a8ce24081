"""A `retry` rule lets the model answer once more with the beginning of its reply given, and the other rules decide on that."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from langchain_core.documents import Document
from typer.testing import CliRunner

from guardrail import Guard, Policy
from guardrail.calibration.contexts import context_of
from guardrail.cli.main import app
from guardrail.errors import PolicyError, ScoringError
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.model.local import LocalModel
from guardrail.model.remote.model import RemoteModel
from guardrail.monitoring.entries import entries
from guardrail.monitoring.replay import replay
from guardrail.observers.verdict_log import VerdictLog
from guardrail.pipeline.hooks import Hooks
from guardrail.pipeline.streaming import ClaimStream
from guardrail.server.app import Server, create_app
from guardrail.server.service import Service
from guardrail.server.settings import ServerSettings
from guardrail.testing import tiny_model, tiny_tokenizer
from guardrail.types import Score
from tests.helpers.policy_answers import confidences, scores, situations
from tests.helpers.speaking_model import say, spelt
from tests.pipeline.test_guard import SURE, UNSURE, Fixed, Passages, calibrator

PREFIX = "Step by step:"
RULES = """version: 1
name: retrying
rules:
  - {name: unscored, when: {unscored: true}, then: abstain}
  - {name: sure, when: {confidence: {at_least: 0.5}}, then: answer}
  - {name: once more, when: {confidence: {below: 0.5}}, then: retry, retry: {prefix: "Step by step:"}}
"""
REST = "  - {name: rest, then: abstain}\n"
QUESTIONS = ["Who wrote Faust?", "What is the capital of Fiji?", "Name a river."]
ASK = {"max_new_tokens": 12}


def policy(rest=REST):
    return Policy.from_text(RULES + rest, "retrying.yaml")


@pytest.fixture
def model():
    return speaker("Bokassa", " Suva")


def speaker(*turns):
    local = LocalModel(tiny_model(vocab_size=261, max_position_embeddings=512), tiny_tokenizer(), name="tiny")
    return say(local, *[spelt(local, turn) for turn in turns])


def guard(model, *of_answers, rules=None, **options):
    made = calibrator(model)
    made.source = "made.json"
    return Guard(model=model, scorer=Fixed(*of_answers), calibrator=made, policy=rules or policy(), **options)


def test_the_second_answer_is_shown_where_it_is_trusted(model):
    seen = []
    verdict = guard(model, UNSURE, SURE, observers=[seen.append]).answer(QUESTIONS[0], **ASK)
    assert verdict.actions == ("retry", "answer")
    assert [a.answer for a in verdict.attempts] == ["Bokassa", f"{PREFIX} Suva"]
    assert [a.prefix for a in verdict.attempts] == ["", PREFIX]
    assert verdict.text == f"{PREFIX} Suva"
    assert verdict.original == "Bokassa"
    assert verdict.attempts[0].decision.prefix == PREFIX
    told = json.loads(json.dumps(verdict.to_dict()))
    assert [a.get("prefix") for a in told["attempts"]] == [None, PREFIX]
    assert [each.verdict for each in seen] == [verdict]


def test_a_second_answer_that_is_not_trusted_is_not_shown_nor_asked_for_again(model):
    verdict = guard(model, UNSURE, UNSURE).answer(QUESTIONS[0], **ASK)
    assert verdict.actions == ("retry", "abstain")
    assert "rule 'once more' was passed over: the model was asked once more already" in verdict.explanation
    assert not [said for said in ("Bokassa", "Suva") if said in verdict.text]


def test_two_rules_that_retry_are_one_retry(model):
    rest = '  - {name: another way, then: retry, retry: {prefix: "In one word:"}}\n'
    verdict = guard(model, *[UNSURE] * 2, rules=policy(rest + REST)).answer(QUESTIONS[0], **ASK)
    assert verdict.actions == ("retry", "abstain")


def test_in_a_batch_only_the_unsure_are_asked_again(model):
    answers = guard(model, SURE, UNSURE, SURE, SURE).answer_batch(QUESTIONS, **ASK)
    assert [v.actions for v in answers] == [("answer",), ("retry", "answer"), ("answer",)]


def test_the_second_answer_is_extrapolated_unless_its_beginning_was_calibrated(model):
    one = guard(model, UNSURE, SURE)
    verdict = one.answer(QUESTIONS[0], **ASK)
    assert [a.confidence.basis for a in verdict.attempts] == ["calibrated", "extrapolated"]
    assert "begun with words that were given" in verdict.confidence.reason
    of_retries = calibrator(model).with_context(
        "prefix",
        [-1 - i / 100 for i in range(50)] + [1 + i / 100 for i in range(50)],
        [i % 5 != 0 for i in range(50)] + [i % 5 == 0 for i in range(50)],
        scorer="g-nll",
        options={},
        metrics={},
        source={"prefix": PREFIX},
    )
    assert context_of([{"role": "user", "content": "?"}], plain=True, prefix=True) == "prefix"
    fixed = replace(one.calibrated, calibrator=of_retries, contexts={"prefix": Fixed(SURE)})
    for words, basis in ((PREFIX, "calibrated"), ("In one word:", "extrapolated")):
        rules = Policy.from_text(RULES.replace(PREFIX, words) + REST, "retrying.yaml")
        again = guard(model, UNSURE, rules=rules)
        again.calibrated = replace(fixed, scorer=Fixed(UNSURE), contexts={"prefix": Fixed(SURE)})
        found = again.answer(QUESTIONS[0], **ASK)
        assert found.actions == ("retry", "answer")
        assert found.confidence.basis == basis
        assert found.confidence.p_correct == pytest.approx(0.75, abs=0.02), "the curve of answers that were begun"
    assert verdict.confidence.p_correct == pytest.approx(0.86, abs=0.02)


def test_an_answer_that_cannot_be_scored_is_not_shown(model):
    verdict = guard(model, UNSURE, Score.none("not_finite", length=1)).answer(QUESTIONS[0], **ASK)
    assert (verdict.actions, verdict.rule) == (("retry", "abstain"), "unscored")


def test_a_reply_that_adds_nothing_to_its_beginning_is_no_answer():
    local = speaker("Bokassa", "")
    rules = Policy.from_text(
        'version: 1\nname: r\nrules:\n  - {name: again, when: {unscored: false}, then: retry, retry: {prefix: "It is"}}\n'
        "  - {name: empty, when: {unscored: [empty_answer]}, then: abstain}\n",
        "r.yaml",
    )
    made = Guard(model=local, policy=rules)
    verdict = made.answer(QUESTIONS[0], **ASK)
    assert (verdict.actions, verdict.rule, verdict.answer) == (("retry", "abstain"), "empty", "")


def test_passages_that_are_found_later_are_answered_from_freely(model):
    rest = "  - {name: look, when: {evidence: absent}, then: retrieve}\n" + REST
    found = Passages(found=[Document(page_content="Suva is the capital of Fiji.")], queries=[])
    verdict = guard(model, UNSURE, UNSURE, SURE, rules=policy(rest), retriever=found).answer(QUESTIONS[1], **ASK)
    assert verdict.actions == ("retry", "retrieve", "answer")
    assert [a.prefix for a in verdict.attempts] == ["", PREFIX, ""]
    assert [len(a.evidence) for a in verdict.attempts] == [0, 0, 1]


def test_where_nothing_may_replace_the_answer_the_rules_go_on(model):
    one = guard(model, *[UNSURE] * 4, claims="sentences")
    judging = one.judge(QUESTIONS[0])
    next(judging)
    with pytest.raises(StopIteration) as ended:
        judging.send("Goethe")
    found = [
        one.answer_batch(QUESTIONS[:1], retrieve=False, **ASK)[0],
        one.answer_batch(QUESTIONS[:1], hooks=Hooks(claim_stream=ClaimStream(lambda _: None)), **ASK)[0],
        one.check(QUESTIONS[0], "Goethe."),
        ended.value.value,
    ]
    assert [v.actions for v in found] == [("abstain",)] * 4
    assert all("rule 'once more' was passed over: " in v.explanation for v in found)


@given(confidences, scores, situations)
def test_a_policy_retries_only_where_it_may(confidence, score, situation):
    rules = policy()
    free = rules.decide(confidence, score, no_retry="", **situation)
    bound = rules.decide(confidence, score, **situation)
    assert bound.action != "retry"
    assert bound.prefix == ""
    if free.action == "retry":
        assert free.prefix == PREFIX
        assert "rule 'once more' was passed over: no model is asked here" in bound.explanation
    else:
        assert free == bound


def test_a_verdict_does_not_end_in_a_retry(model):
    verdict = guard(model, UNSURE, SURE).answer(QUESTIONS[0], **ASK)
    with pytest.raises(ScoringError, match="the last decision is retry"):
        replace(verdict, attempts=verdict.attempts[:1])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("then: retry", "says retry, and not how"),
        ("then: answer, retry: {prefix: x}", "has 'retry', but then: answer asks nobody again"),
        ('then: retry, retry: {prefix: " "}', "is empty"),
        ("then: retry, retry: {prefx: x}", "unknown key 'prefx'"),
        ("then: retry, retry: {}", "prefix"),
        (f"then: retry, retry: {{prefix: {'x' * 501}}}", "500"),
        ("then: retry, say: x, retry: {prefix: x}", "has 'say'"),
        ("for: claim, then: retry", "retry"),
    ],
)
def test_what_a_file_says_wrong_is_refused_with_its_line(line, says):
    with pytest.raises(PolicyError, match=r"r\.yaml:4") as found:
        Policy.from_text(f"version: 1\nname: r\nrules:\n  - {{name: again, {line}}}\n", "r.yaml")
    assert says in str(found.value)


def test_a_model_behind_an_endpoint_is_refused_when_the_guard_is_made():
    with pytest.raises(PolicyError, match="behind an endpoint.* use a local model"):
        Guard(model=RemoteModel("http://127.0.0.1:1/v1", "some"), policy=policy())


async def test_through_a_chat_model_what_was_first_said_is_nowhere():
    model = speaker(*["Bokassa", " Suva"] * 3)
    chat = ChatGuarded.from_guard(guard(model, *[UNSURE, SURE] * 2, UNSURE, UNSURE), max_tokens=12)
    spoke = chat.invoke(QUESTIONS[0])
    told = read_metadata(spoke)
    assert (told["actions"], told["enforced"]) == (["retry", "answer"], True)
    assert spoke.content == f"{PREFIX} Suva"
    assert "Bokassa" not in spoke.model_dump_json()
    again = await chat.ainvoke(QUESTIONS[0])
    assert again.content == spoke.content
    pieces = [piece async for piece in chat.astream(QUESTIONS[0])]
    assert not [said for said in ("Bokassa", "Suva") for piece in pieces if said in piece.model_dump_json()]
    assert read_metadata(pieces[-1] if read_metadata(pieces[-1]) else pieces[-2])["actions"] == ["retry", "abstain"]


def test_a_log_of_it_is_monitored_and_replayed(model, tmp_path):
    log = VerdictLog(tmp_path / "log.jsonl")
    made = guard(model, UNSURE, SURE, SURE, observers=[log])
    for question in QUESTIONS[:2]:
        made.answer(question, **ASK)
    first, plain = entries(str(tmp_path / "log.jsonl"), "answer")
    assert first.rows[0].score == UNSURE
    assert [e.rows[0].with_evidence for e in (first, plain)] == [True, False], "its label is about another answer"
    found = replay(tmp_path / "log.jsonl", policy=policy())
    assert (found.verdicts, found.decided, found.differences) == (2, 3, ())


async def test_the_server_decides_with_and_without_a_model_to_ask(model, tmp_path):
    file, settings = tmp_path / "retrying.yaml", ServerSettings()
    file.write_text(policy().text, encoding="utf-8")
    made = {"scorer": Fixed(UNSURE, SURE), "calibrator": calibrator(model)}
    server = Server(settings, Service(model, settings, [str(file)], made, None), "ready")
    transport = httpx.ASGITransport(create_app(server), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Who?"}], "max_tokens": 12, "logprobs": True}
        choice = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
        assert choice["guardrail"]["actions"] == ["retry", "answer"]
        assert choice["message"]["content"] == f"{PREFIX} Suva"
        assert choice["logprobs"] is None, "the beginning has no tokens that the model chose"
        asked = {"policy": "retrying", "confidence": 0.2}
        bound, free = [
            (await client.post("/v1/guard/decide", json={**asked, **more})).json() for more in ({}, {"retry": True})
        ]
    assert (bound["action"], "prefix" in bound) == ("abstain", False)
    assert (free["action"], free["prefix"]) == ("retry", PREFIX)


def test_on_the_command_line(tmp_path):
    file = tmp_path / "retrying.yaml"
    file.write_text(policy().text, encoding="utf-8")
    run = CliRunner()
    said = run.invoke(app, ["policy", "explain", str(file), "--confidence", "0.2"]).output
    assert said.startswith("retry: confidence 0.20")
    assert f"the next reply begins: {PREFIX}" in said
    bound = run.invoke(app, ["policy", "explain", str(file), "--confidence", "0.2", "--no-retry"]).output
    assert bound.startswith("abstain: rule 'rest'")
    assert run.invoke(app, ["policy", "check", str(file)]).output.strip().endswith("with 4 rules")
