"""A second model answers what a rule escalates: who speaks, what it cost, and that its failure never shows the first answer."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from typer.testing import CliRunner

from guardrail import Guard, IsotonicCalibrator, Policy
from guardrail.cli.main import app
from guardrail.errors import CalibrationError, EndpointError, PolicyError, ScoringError
from guardrail.langchain import ChatGuarded, read_metadata
from guardrail.langchain.metadata import is_judged
from guardrail.model.local import LocalModel
from guardrail.monitoring.entries import entries
from guardrail.monitoring.replay import replay
from guardrail.observers.verdict_log import VerdictLog
from guardrail.pipeline.hooks import Hooks
from guardrail.pipeline.streaming import ClaimStream
from guardrail.policy.tuned import policy_text
from guardrail.server.app import Server, create_app
from guardrail.server.service import Service
from guardrail.server.settings import ServerSettings
from guardrail.testing import tiny_model, tiny_tokenizer
from guardrail.types import Score
from tests.helpers.policy_answers import confidences, scores, situations
from tests.helpers.policy_proofs import claims_proof
from tests.helpers.speaking_model import say, spelt, tool_model
from tests.pipeline.test_guard import SURE, UNSURE, Fixed, calibrator

RULES = """
  - {name: unscored, when: {unscored: true}, then: abstain}
  - {name: sure, when: {confidence: {at_least: 0.5}}, then: answer}
  - {name: ask another, when: {confidence: {below: 0.5}}, then: escalate}
"""
REST = "  - {name: rest, then: abstain}\n"
QUESTIONS = ["Who wrote Faust?", "What is the capital of Fiji?", "Name a river.", "What is number 3?"]
ASK = {"max_new_tokens": 12}


def policy(rest=REST, head=""):
    return Policy.from_text(f"version: 1\nname: routed\n{head}rules:{RULES}{rest}", "routed.yaml")


def speaker(name, answer):
    """Says the same whatever it is asked."""
    model = LocalModel(tiny_model(vocab_size=261), tiny_tokenizer(), name=name)
    return say(model, spelt(model, answer))


@pytest.fixture(scope="module")
def small():
    return speaker("small", "Bokassa")


@pytest.fixture(scope="module")
def big():
    return speaker("big", "Suva")


def fitted(model, name):
    made = calibrator(model)
    made.source = name
    return made


def pair(small, big, of_first, of_second, rules=None, **options):
    """A guard with a second one, whose scores are these in the order in which they are asked."""
    rules = rules or policy()
    second = Guard(model=big, scorer=Fixed(*of_second), calibrator=fitted(big, "big.json"), policy=rules)
    first = {"scorer": Fixed(*of_first), "calibrator": fitted(small, "small.json"), **options}
    return Guard(model=small, policy=rules, escalate_to=second, **first)


def down(monkeypatch, model, fails=lambda conversations: True):
    sound = LocalModel.generate_batch

    def broken(self, conversations, **options):
        if self is model and fails(conversations):
            raise EndpointError("no answer from http://10.0.0.1/v1: connection refused")
        return sound(self, conversations, **options)

    monkeypatch.setattr(LocalModel, "generate_batch", broken)


def test_the_second_model_answers_what_the_first_is_unsure_of(small, big):
    seen = []
    scored = [SURE, UNSURE, UNSURE, SURE]
    guard = pair(small, big, scored, [SURE, UNSURE], observers=[seen.append])
    verdicts = guard.answer_batch(QUESTIONS, **ASK)
    assert [v.actions for v in verdicts] == [("answer",), ("escalate", "answer"), ("escalate", "abstain"), ("answer",)]
    assert [v.model for v in verdicts] == ["small", "big", "big", "small"]
    assert [v.calibrator for v in verdicts] == ["small.json", "big.json", "big.json", "small.json"]
    for verdict in verdicts[1:3]:
        assert [a.answer for a in verdict.attempts] == ["Bokassa", "Suva"]
        told = verdict.escalation
        assert [told.first.model, told.second.model] == ["small", "big"]
        for spent, attempt in zip((told.first, told.second), verdict.attempts, strict=True):
            assert (spent.passes, spent.score, spent.confidence) == (
                1,
                attempt.score.number,
                attempt.confidence.p_correct,
            )
            assert (spent.read, spent.written) == (len(attempt.trace.prompt_ids), len(attempt.trace.response_ids))
        for stage in ("generate", "decide"):
            both = told.first.timing_ms[stage] + told.second.timing_ms[stage]
            assert verdict.timing_ms[stage] == pytest.approx(both)
    assert [v.text for v in verdicts[:2]] == ["Bokassa", "Suva"]
    assert verdicts[1].original == "Bokassa"
    assert "Bokassa" not in verdicts[2].text
    assert "Suva" not in verdicts[2].text
    assert "passed over: the second model has answered" in verdicts[2].explanation
    assert [v.escalation for v in (verdicts[0], verdicts[3])] == [None, None]
    assert [each.verdict for each in seen] == verdicts
    decided = [stage for stage in seen[1].stages if stage.name == "decide"]
    assert len(decided) == len(verdicts[1].attempts)
    assert json.loads(json.dumps(verdicts[1].to_dict()))["escalation"]["second"]["model"] == "big"


@pytest.mark.parametrize(
    ("on_error", "rest", "action", "rule"),
    [
        ("abstain", REST, "abstain", "on error"),
        ("continue", "  - {name: rest, then: hedge}\n", "hedge", "rest"),
        ("continue", "  - {name: rest, then: answer}\n", "abstain", "on error"),
        ("raise", REST, None, None),
    ],
)
def test_a_second_model_that_is_down(small, big, monkeypatch, caplog, on_error, rest, action, rule):
    down(monkeypatch, big)
    guard = pair(small, big, [UNSURE], [], policy(rest, f"on_error: {on_error}\n"))
    if action is None:
        with pytest.raises(EndpointError, match="connection refused"):
            guard.answer(QUESTIONS[0], **ASK)
        return
    verdict = guard.answer(QUESTIONS[0], **ASK)
    assert (verdict.actions, verdict.rule, verdict.model) == (("escalate", action), rule, "small")
    assert verdict.text != verdict.answer, "what was to be escalated is not shown as it is"
    assert verdict.escalation is None
    assert "the second model failed" in verdict.explanation
    assert "10.0.0.1" not in json.dumps(verdict.to_dict())
    assert "10.0.0.1" in caplog.text
    assert (verdict.confidence.p_correct is None) == (action == "abstain")


def test_one_question_that_fails_leaves_the_others(small, big, monkeypatch):
    down(monkeypatch, big, lambda conversations: any("Fiji" in str(c) for c in conversations))
    verdicts = pair(small, big, [UNSURE] * 3, [SURE] * 3).answer_batch(QUESTIONS[:3], **ASK)
    assert [v.actions[-1] for v in verdicts] == ["answer", "abstain", "answer"]
    assert [v.model for v in verdicts] == ["big", "small", "big"]


def test_the_second_answer_without_a_score_is_not_shown(small, big):
    verdict = pair(small, big, [UNSURE], [Score.none("not_finite", length=1)]).answer(QUESTIONS[0], **ASK)
    assert (verdict.actions, verdict.rule, verdict.escalation.second.confidence) == (
        ("escalate", "abstain"),
        "unscored",
        None,
    )


def test_where_nothing_may_replace_the_first_answer_the_rules_go_on(small, big, monkeypatch):
    down(monkeypatch, big)  # whoever asks it fails
    guard = pair(small, big, [UNSURE] * 4, [], claims="sentences")
    found = [
        guard.answer_batch(QUESTIONS[:1], retrieve=False, **ASK)[0],
        guard.answer_batch(QUESTIONS[:1], hooks=Hooks(claim_stream=ClaimStream(lambda _: None)), **ASK)[0],
        guard.check(QUESTIONS[0], "Goethe."),
    ]
    assert [v.actions for v in found] == [("abstain",)] * 3
    why = "rule 'ask another' was passed over: the first answer has to stand"
    assert all(why in v.explanation for v in found)
    tool = {"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}
    told = pair(tool_model(), big, [UNSURE], []).answer_batch(QUESTIONS[:1], tools=[tool], **ASK)[0]
    assert "the turn's tools are for the first model" in told.explanation


def test_what_does_not_go_together_is_refused(small, big):
    of_big = {"scorer": Fixed(), "calibrator": fitted(big, "b")}
    of_small = {"model": small, "scorer": Fixed(), "calibrator": fitted(small, "s")}
    other = Guard(model=big, policy="default", **of_big)
    with pytest.raises(PolicyError, match="the second guard has the policy 'default', and the first 'routed'"):
        Guard(policy=policy(), escalate_to=other, **of_small)
    with pytest.raises(PolicyError, match="policy 'default' never escalates"):
        Guard(policy="default", escalate_to=other, **of_small)
    second = Guard(model=big, policy=policy(), **of_big)
    with pytest.raises(PolicyError, match="escalated once"):
        Guard(policy=policy(), escalate_to=Guard(policy=policy(), escalate_to=second, **of_small), **of_small)
    with pytest.raises(CalibrationError, match="there is no calibrator for big"):
        Guard(model=big, policy=policy())
    text = policy_text(claims_proof()).replace("then: answer", "then: escalate")
    with pytest.raises(PolicyError, match="no rule that escalates"):
        Policy.from_text(text, "tuned.yaml")


def test_a_verdict_does_not_end_in_an_escalation(small, big):
    verdict = pair(small, big, [UNSURE], [SURE]).answer(QUESTIONS[0], **ASK)
    with pytest.raises(ScoringError, match="the last decision is escalate"):
        replace(verdict, attempts=verdict.attempts[:1])


@given(confidences, scores, situations)
def test_a_policy_escalates_only_where_it_may(confidence, score, situation):
    rules = policy()
    free = rules.decide(confidence, score, no_escalation="", **situation)
    bound = rules.decide(confidence, score, **situation)
    assert bound.action != "escalate"
    if free.action == "escalate":
        assert "rule 'ask another' was passed over: there is no second model" in bound.explanation
        assert bound.action == "abstain"
    else:
        assert free == bound


def test_through_a_chat_model_what_the_first_said_is_nowhere(small, big):
    guard = pair(small, big, [UNSURE] * 4, [SURE, UNSURE] * 2)
    chat = ChatGuarded.from_guard(guard, max_tokens=12)
    spoke, withheld = chat.batch(QUESTIONS[:2])
    told = read_metadata(spoke)
    assert (told["actions"], told["model"], told["enforced"]) == (["escalate", "answer"], "big", True)
    assert is_judged(spoke)
    spent = told["escalation"]
    assert spoke.usage_metadata["input_tokens"] == spent["first"]["read"] + spent["second"]["read"]
    assert spoke.usage_metadata["output_tokens"] == spent["first"]["written"] + spent["second"]["written"]
    assert read_metadata(withheld)["action"] == "abstain"
    assert spoke.content == "Suva"
    assert "Bokassa" not in spoke.model_dump_json()
    assert not [said for said in ("Bokassa", "Suva") if said in withheld.model_dump_json()]
    pieces = list(chat.stream(QUESTIONS[0]))
    assert "".join(str(piece.content) for piece in pieces) == spoke.content


def test_a_log_of_it_is_monitored_by_the_first_curve_and_replayed(small, big, tmp_path):
    log = VerdictLog(tmp_path / "log.jsonl")
    rules = policy()
    pair(small, big, [UNSURE, SURE], [SURE], rules, observers=[log]).answer_batch(QUESTIONS[:2], **ASK)
    first, plain = entries(str(tmp_path / "log.jsonl"), "answer")
    assert (first.model, first.calibrator, first.rows[0].score) == ("small", "small.json", UNSURE)
    assert [e.rows[0].with_evidence for e in (first, plain)] == [True, False], "its label is about another answer"
    found = replay(tmp_path / "log.jsonl", policy=rules, calibrator=fitted(small, "small.json"))
    assert (found.verdicts, found.decided, found.differences) == (2, 3, ())
    assert found.not_scored["it follows an escalation"] == 1
    other = policy("  - {name: rest, then: hedge}\n".replace("rest", "others"))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    lines[0]["attempts"][1].update(confidence=0.1, label="very low")
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    changed = replay(tmp_path / "other.jsonl", policy=other)
    assert [(d.attempt, d.field, d.replayed) for d in changed.differences] == [
        (1, "action", "hedge"),
        (1, "rule", "others"),
    ]


async def test_the_server_asks_the_second_and_counts_it(small, big, tmp_path):
    made = {"scorer": Fixed(UNSURE), "calibrator": fitted(small, "small.json")}
    second = {"model": big, "scorer": Fixed(SURE), "calibrator": fitted(big, "big.json")}
    file, settings = tmp_path / "routed.yaml", ServerSettings()
    file.write_text(policy().text, encoding="utf-8")
    service = Service(small, settings, [str(file)], made, second)
    server = Server(settings, service, "ready")
    transport = httpx.ASGITransport(create_app(server), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        body = {"model": "small", "messages": [{"role": "user", "content": "Who?"}], "max_tokens": 12}
        choice = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
        assert choice["guardrail"]["escalation"]["second"]["model"] == "big"
        assert choice["guardrail"]["actions"] == ["escalate", "answer"]
        counted = 'guardrail_escalations_total{action="answer",first="small",policy="routed",second="big"} 1.0'
        assert counted in (await client.get("/metrics")).text
        asked = {"policy": "routed", "confidence": 0.2}
        decided = [
            (await client.post("/v1/guard/decide", json={**asked, **more})).json()["action"]
            for more in ({}, {"second_model": True})
        ]
    assert decided == ["abstain", "escalate"]


def test_on_the_command_line(tmp_path):
    file = tmp_path / "routed.yaml"
    file.write_text(policy().text, encoding="utf-8")
    run = CliRunner()

    def said(*arguments):
        out = run.invoke(app, [*arguments])
        return out.exit_code, out.output + (str(out.exception) if out.exception else "")

    assert said("policy", "explain", str(file), "--confidence", "0.2")[1].startswith("escalate: confidence 0.20")
    alone = said("policy", "explain", str(file), "--confidence", "0.2", "--no-second-model")[1]
    assert alone.startswith("abstain: rule 'rest'")
    assert "there is no second model" in alone
    assert "never escalates" in said("ask", "Who?", "--escalate-to", "smollm2-135m")[1]
    assert "add --escalate-to" in said("ask", "Who?", "-p", str(file), "--escalate-calibrator", "x.json")[1]


def test_a_fitted_calibrator_is_what_the_tests_take_it_for(small):
    made: IsotonicCalibrator = calibrator(small)
    assert [made.predict(Score.of("fixed", s, length=1)).p_correct > 0.5 for s in (SURE, UNSURE)] == [True, False]
