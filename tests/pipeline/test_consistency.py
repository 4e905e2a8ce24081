"""Certainty and consistency together: samples are drawn where they can change the decision, and failures count as none."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from guardrail import Guard, Policy, VerdictLog
from guardrail.errors import PartError, PolicyError
from guardrail.kernels.memory import TooLargeError
from guardrail.langchain import ChatGuarded, as_retriever_gate, read_metadata
from guardrail.monitoring.replay import replay
from guardrail.plain_text import normalise
from guardrail.policy.sampling import Sampling
from guardrail.scoring.baselines.equivalence_spec import equivalence_named
from guardrail.scoring.baselines.samples import SampleSource
from guardrail.scoring.baselines.samples import Sampling as Drawing
from guardrail.testing import tiny_local_model
from guardrail.types import Confidence, Consistency, Score
from tests.pipeline.test_guard import SURE, UNSURE, Fixed, Passages, calibrator

RULES = """
version: 1
name: both
on_error: {on_error}
sampling: {{samples: 4, temperature: {temperature}, equivalence: normalised}}
rules:
  - {{name: sure, when: {{confidence: {{at_least: 0.5}}}}, then: answer}}
  - {{name: says it again, when: {{consistency: {{at_least: 0.75}}}}, then: hedge}}
  - {{name: says something else, then: abstain}}
"""
COLD, HOT = 0.0001, 1.0  # all samples are the greedy answer; of this random model, hardly any is


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(max_position_embeddings=1024)


def guard(local, *scores, temperature=HOT, on_error="abstain", rules=RULES, **more):
    policy = Policy.from_text(rules.format(temperature=temperature, on_error=on_error), "both.yaml")
    return Guard(model=local, scorer=Fixed(*scores), calibrator=calibrator(local), policy=policy, **more)


@pytest.fixture
def drawn(monkeypatch):
    """How many samples each draw had; the drawing itself is the real one."""
    counts, draw = [], SampleSource.draw
    monkeypatch.setattr(SampleSource, "draw", lambda self, t, s: counts.append(s.n) or draw(self, t, s))
    return counts


def test_nothing_is_drawn_where_the_confidence_decides(local, drawn):
    verdict = guard(local, SURE).answer("Who?", max_new_tokens=6)
    assert (verdict.rule, drawn, verdict.attempts[0].consistency) == ("sure", [], None)
    assert "samples" not in verdict.timing_ms
    assert "consistency" not in json.dumps(verdict.to_dict())


@pytest.mark.parametrize(("temperature", "rule"), [(COLD, "says it again"), (HOT, "says something else")])
def test_below_it_the_samples_decide_and_are_those_that_a_plain_loop_counts(local, drawn, temperature, rule):
    verdict = guard(local, UNSURE, temperature=temperature).answer("Who?", max_new_tokens=6)
    trace = verdict.attempts[0].trace
    texts = SampleSource(local, max_new_tokens=6).samples(trace, Drawing(4, temperature)).texts
    agreeing = sum(normalise(text) == normalise(verdict.answer) for text in texts)
    assert (verdict.rule, drawn[0]) == (rule, 4)
    assert verdict.attempts[0].consistency == Consistency(4, agreeing)
    assert verdict.to_dict()["consistency"] == {"samples": 4, "share": agreeing / 4}
    assert verdict.timing_ms["samples"] > 0
    if temperature == COLD:
        assert agreeing == 4
        assert "the share of samples that agree with the answer, 1.00, is at least 0.75" in verdict.explanation


def test_each_of_a_batch_has_its_own_and_so_has_a_text_from_elsewhere(local, drawn):
    both = guard(local, SURE, UNSURE, temperature=COLD).answer_batch(["Who?", "What?"], max_new_tokens=6)
    assert [v.rule for v in both] == ["sure", "says it again"]
    assert drawn == [4]
    checked = guard(local, UNSURE, temperature=COLD).check("What?", "Something that nobody said.")
    assert (checked.rule, checked.attempts[0].consistency.share) == ("says something else", 0.0)
    judging = guard(local, UNSURE, temperature=COLD).judge("What?")
    next(judging)
    with pytest.raises(StopIteration) as ended:
        judging.send("Something that nobody said.")
    assert ended.value.value.rule == "says something else"


def fails(monkeypatch, error):
    def draw(self, trace, sampling):
        raise error

    monkeypatch.setattr(SampleSource, "draw", draw)


OPEN = RULES.replace("at_least: 0.75}}}}, then: hedge", "below: 0.75}}}}, then: hedge").replace("abstain}}", "answer}}")


def test_what_could_not_be_measured_counts_as_no_sample_that_agrees(local, monkeypatch):
    fails(monkeypatch, TooLargeError("too large"))
    verdict = guard(local, UNSURE, rules=OPEN).answer("Who?", max_new_tokens=6)
    assert (verdict.action, verdict.rule) == ("hedge", "says it again")  # not the open end below it
    assert "agree with the answer, not known and taken as 0, is below 0.75" in verdict.explanation
    told = verdict.to_dict()["consistency"]
    assert (told["share"], told["reason"]) == (None, "out_of_memory: too large")


def test_a_failure_is_what_the_policy_says(local, monkeypatch):
    fails(monkeypatch, OSError("no such file"))
    verdict = guard(local, UNSURE).answer("Who?", max_new_tokens=6)
    assert (verdict.action, verdict.rule) == ("abstain", "on error")
    went_on = guard(local, UNSURE, on_error="continue").answer("Who?", max_new_tokens=6)
    assert (went_on.action, went_on.rule) == ("abstain", "says something else")
    with pytest.raises(PartError, match="no such file"):
        guard(local, UNSURE, on_error="raise").answer("Who?", max_new_tokens=6)


@given(st.integers(1, 50), st.data())
def test_a_share_is_the_number_that_a_policy_file_writes(n, data):
    k = data.draw(st.integers(0, n))
    number = 1.0 - k / n  # as self-consistency gives it, with the rounding of a subtraction
    assert Consistency(n, round((1.0 - number) * n)).share == k / n
    assert k / n in Sampling(samples=n).shares()
    assert len(Sampling(samples=n).shares()) == n + 2


WHENS = st.sampled_from(
    [
        "{confidence: {at_least: 0.5}}",
        "{consistency: {at_least: 0.5}}",
        "{consistency: {below: 0.25}, confidence: {below: 0.9}}",
        "{not: {consistency: {above: 0.75}}}",
        "{any: [{confidence: {at_least: 0.8}}, {consistency: {at_least: 0.75}}]}",
        "{unscored: true}",
    ]
)


@given(st.lists(WHENS, min_size=1, max_size=4, unique=True), st.sampled_from([None, 0.1, 0.5, 0.85, 1.0]))
def test_samples_are_needed_exactly_where_two_outcomes_of_them_decide_otherwise(whens, p):
    rules = "".join(f"  - {{name: r{i}, when: {when}, then: answer}}\n" for i, when in enumerate(whens))
    policy = Policy.from_text(f"version: 1\nname: p\nsampling: {{samples: 4}}\nrules:\n{rules}", "p.yaml")
    confidence = Confidence.none("none") if p is None else Confidence(p, p, p, "medium")
    score = Score.none("error", length=1) if p is None else Score.of("g-nll", 1.0, length=1)
    outcomes = {policy.decide(confidence, score, consistency=k / 4).rule for k in range(5)}
    needed = policy.sampling.undecided(lambda consistency: policy.decide(confidence, score, consistency=consistency))
    assert needed == (len(outcomes) > 1)
    # not measured is never more than none that agree
    assert policy.decide(confidence, score).rule == policy.decide(confidence, score, consistency=0.0).rule


SEARCHES = """
version: 1
name: searches
retrieval: {{passages: 2, max_passes: 2}}
on_error: {on_error}
rules:
  - {{name: targeted, when: {{evidence: absent}}, then: retrieve, retrieve: {{passages: 1}}}}
  - {{name: deep, when: {{confidence: {{below: 0.5}}}}, then: retrieve, retrieve: {{passages: 3, orders: 6}}}}
  - {{name: moved, when: {{spread: {{at_most: 1}}}}, then: hedge}}
  - {{name: rest, then: answer}}
"""


def test_a_rule_searches_for_as_much_and_in_as_many_orders_as_it_says(local):
    found = [Document(page_content=text) for text in ("alpha", "beta", "gamma", "delta")]
    made = guard(local, *[UNSURE] * 8, rules=SEARCHES, retriever=Passages(found=found, queries=[]))
    assert made.policy.warnings == ()
    verdict = made.answer("Who?", max_new_tokens=6)
    assert (verdict.actions, verdict.rule) == (("retrieve", "retrieve", "hedge"), "moved")
    assert [len(a.evidence) for a in verdict.attempts] == [0, 1, 3]
    assert [a.orders and len(a.orders.confidences) for a in verdict.attempts] == [None, None, 6]
    assert made.policy.search_of("deep").passages == 3
    assert made.policy.search_of("targeted").orders == 1
    assert made.policy.search_of(None) == made.policy.retrieval


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sampling: {samples: 0}", "samples is 0; it must be at least 1"),
        ("sampling: {sample: 3}", "did you mean 'samples'"),
        ("sampling: {equivalence: alike}", "is 'alike'; the names are normalised, embedding and nli:MODEL"),
        ("sampling: {temperature: 0}", "temperature"),
        (
            "rules: [{name: a, then: answer, retrieve: {passages: 2}}]",
            "has 'retrieve', but then: answer searches for nothing",
        ),
        ("rules: [{name: a, then: retrieve, retrieve: {}}]", "is empty; it wants one of: passages, orders"),
        ("rules: [{name: a, then: retrieve, retrieve: {passage: 2}}]", "did you mean 'passages'"),
        ("rules: [{name: a, then: retrieve, retrieve: {orders: 9}}]", "orders is 9; it must be at most 8"),
        ("rules: [{name: a, for: claim, when: {consistency: {below: 1}}, then: drop}]", "it is for whole answers"),
        (
            "rules: [{name: a, when: {consistency: {below: 0.5}}, then: hedge}, "
            "{name: b, when: {consistency: {at_most: 0.4}}, then: abstain}]",
            "rule 'b' can never fire",
        ),
    ],
)
def test_mistakes_in_the_file(text, says):
    rest = "" if text.startswith("rules") else "\nrules: []"
    with pytest.raises(PolicyError) as error:
        Policy.from_text(f"version: 1\nname: p\n{text}{rest}\n", "p.yaml")
    assert says in str(error.value)


def test_sampling_without_a_rule_is_a_warning_and_every_name_is_one_of_the_scorers():
    assert "nothing is sampled" in Policy.from_text("version: 1\nname: p\nsampling: {}\nrules: []\n", "p").warnings[0]
    assert equivalence_named("normalised").options["kind"] == "normalised"
    assert not Policy.load("default").looks_at_consistency


async def test_through_the_chat_model_whole_and_in_pieces_at_once_and_later(local, drawn):
    chat = ChatGuarded.from_guard(guard(local, *[UNSURE] * 4, temperature=HOT), max_tokens=6)
    whole = chat.invoke("Who?")
    pieces = list(chat.stream("Who?"))
    later = await chat.ainvoke("Who?")
    streamed = [chunk async for chunk in chat.astream("Who?")]
    await asyncio.sleep(0)
    assert len(drawn) == 4
    told = read_metadata(whole)
    assert (told["action"], told["rule"]) == ("abstain", "says something else")
    assert told["consistency"]["samples"] == 4
    assert whole.text == later.text == "".join(p.text for p in pieces) == "".join(p.text for p in streamed)
    assert read_metadata(later)["consistency"] == told["consistency"]


def test_a_log_without_texts_keeps_the_number_and_is_decided_again_by_it(local, tmp_path):
    log = VerdictLog(tmp_path / "log.jsonl")
    guard(local, UNSURE, SURE, temperature=COLD, observers=[log]).answer_batch(["Who?", "What?"], max_new_tokens=6)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line.get("consistency") for line in lines] == [{"samples": 4, "share": 1.0}, None]
    policy = tmp_path / "both.yaml"
    policy.write_text(RULES.format(temperature=COLD, on_error="abstain"), encoding="utf-8")
    again = replay(tmp_path / "log.jsonl", policy=Policy.load(policy))
    assert (again.decided, again.differences) == (2, ())
    policy.write_text(policy.read_text(encoding="utf-8").replace("0.5", "0.99"), encoding="utf-8")
    stricter = replay(tmp_path / "log.jsonl", policy=Policy.load(policy))
    assert stricter.not_decided == {"how many samples agreed is not in the log": 1}


GATED = """
version: 1
name: gated
on_error: {on_error}
sampling: {{samples: 4, temperature: {temperature}, equivalence: normalised}}
rules:
  - {{name: look, when: {{consistency: {{below: 0.5}}, evidence: absent}}, then: retrieve}}
  - {{name: rest, then: answer}}
"""


@pytest.mark.parametrize(("temperature", "searches"), [(COLD, False), (HOT, True)])
def test_a_retriever_gate_draws_the_samples_that_its_rule_asks_for(local, temperature, searches):
    made = guard(local, UNSURE, temperature=temperature, rules=GATED)
    made = Guard(model=local, policy=made.policy, scorer=Fixed(UNSURE), calibrator=calibrator(local))
    found = as_retriever_gate(made, Passages(found=[Document(page_content="alpha")], queries=[])).invoke("Who?")
    assert bool(found) == searches
