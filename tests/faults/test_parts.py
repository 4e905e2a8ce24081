"""Parts that raise, hang or lie: each ends as the policy says, and never as a confidence that was not computed."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import repeat

import pytest
from langchain_core.documents import Document

from guardrail import Guard, Policy
from guardrail.errors import GuardrailError, RetrievalError, ScoringError
from guardrail.langchain import ChatGuarded
from guardrail.retrieval import find_evidence
from guardrail.testing import tiny_local_model
from guardrail.types import Attempt, Claim, Claims, Confidence, Decision, JudgedClaim, Score, Verification
from tests.helpers.langchain_doubles import SURE, UNSURE, Fixed, calibrator

RULES = """
version: 1
name: parts
limits: {retriever: 0.2, verifier: 0.2}
on_error: %s
rules:
  - {name: claim look, for: claim, when: {unscored: false}, then: retrieve}
  - {name: claim rest, for: claim, then: keep}
  - {name: look, when: {confidence: {below: 0.5}}, then: retrieve}
  - {name: rest, then: answer}
"""
HANGING = threading.Event()


def policy(on_error):
    return Policy.from_text(RULES % on_error, "parts.yaml")


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(vocab_size=261)


def raises(*_, **__):
    raise ConnectionError("user:secret@host")


def hangs(*_, **__):
    HANGING.wait(3)


class Retriever:
    def __init__(self, act):
        self.invoke = act


FAILING_SEARCHES = {
    "raises": raises,
    "hangs": hangs,
    "none": lambda q: None,
    "string": lambda q: "a passage",
    "mapping": lambda q: {"page_content": "x"},
    "plain text": lambda q: ["a passage"],
    "text is None": lambda q: [type("D", (), {"page_content": None, "metadata": {}})()],
    "text is bytes": lambda q: [type("D", (), {"page_content": b"x", "metadata": {}})()],
    "out of memory": lambda q: (_ for _ in ()).throw(MemoryError()),
}


def sound(verdict):
    """Every probability has a finite score behind it."""
    for judged in [*verdict.attempts, *verdict.claims]:
        assert judged.confidence.p_correct is None or judged.score.number is not None
    return verdict


def guarded(local, on_error, score=UNSURE, **parts):
    scorer = parts.pop("scorer", None) or Fixed(score)
    return Guard(model=local, scorer=scorer, calibrator=calibrator(local), policy=policy(on_error), **parts)


def without_claims(text):
    return "\n".join(line for line in text.splitlines() if "for: claim" not in line and "verifier" not in line)


def plain(local, on_error, *, scorer=None, retriever=None, score=UNSURE):
    rules = Policy.from_text(without_claims(RULES % on_error) + "\nlimits: {retriever: 0.2}\n", "plain.yaml")
    return Guard(
        model=local, scorer=scorer or Fixed(score), calibrator=calibrator(local), policy=rules, retriever=retriever
    )


@pytest.mark.parametrize("fault", FAILING_SEARCHES)
def test_a_search_that_fails_abstains_by_default(local, fault, caplog):
    verdict = sound(
        plain(local, "abstain", retriever=Retriever(FAILING_SEARCHES[fault])).answer("Who?", max_new_tokens=4)
    )
    assert (verdict.action, verdict.rule) == ("abstain", "on error")
    assert verdict.confidence.p_correct is None
    assert "secret" not in verdict.text
    assert "the retriever Retriever" in caplog.text


@pytest.mark.parametrize("fault", FAILING_SEARCHES)
def test_a_search_that_fails_is_told_where_the_policy_goes_on(local, fault):
    verdict = sound(
        plain(local, "continue", retriever=Retriever(FAILING_SEARCHES[fault])).answer("Who?", max_new_tokens=4)
    )
    assert verdict.action == "answer"
    assert "the retriever Retriever" in verdict.explanation


@pytest.mark.parametrize("fault", FAILING_SEARCHES)
def test_a_search_that_fails_is_an_error_where_the_policy_says_so(local, fault):
    with pytest.raises(RetrievalError, match="the retriever Retriever"):
        plain(local, "raise", retriever=Retriever(FAILING_SEARCHES[fault])).answer("Who?", max_new_tokens=4)


def test_a_retriever_with_its_own_timeout_did_not_overrun_ours():
    def act(query):
        raise TimeoutError("the index is busy")

    with pytest.raises(RetrievalError, match="failed: TimeoutError: the index is busy"):
        find_evidence(Retriever(act), "Who?", 1, seconds=5)


def test_an_async_search_is_cancelled():
    seen = []

    async def act(query):
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with pytest.raises(RetrievalError, match=r"did not answer within 0\.1 s"):
        find_evidence(Retriever(act), "Who?", 1, seconds=0.1)
    until = time.monotonic() + 3
    while not seen and time.monotonic() < until:
        time.sleep(0.01)
    assert seen == ["cancelled"]


@pytest.mark.parametrize("documents", [[Document(page_content="A.")] * 10_000, repeat(Document(page_content="A."))])
def test_ten_thousand_passages_and_a_search_without_end(documents):
    assert len(find_evidence(Retriever(lambda q: documents), "Who?", 3, seconds=5)) == 3


def test_blank_passages_without_end_are_none():
    assert find_evidence(Retriever(lambda q: repeat(Document(page_content=" "))), "Who?", 3, seconds=5) == ()


class Scorer(Fixed):
    def __init__(self, act):
        super().__init__(SURE)
        self.act = act

    def score_traces(self, traces):
        return self.act(super().score_traces(traces))


FAILING_SCORERS = {
    "raises": raises,
    "none": lambda s: None,
    "too few": lambda s: s[:-1],
    "too many": lambda s: [*s, *s],
    "a float": lambda s: [0.1] * len(s),
    "recursion": lambda s: raises() if not s else (_ for _ in ()).throw(RecursionError()),
}


@pytest.mark.parametrize("fault", FAILING_SCORERS)
@pytest.mark.parametrize("on_error", ["abstain", "continue"])
def test_a_scorer_that_fails_leaves_the_answer_unscored(local, fault, on_error):
    verdict = sound(plain(local, on_error, scorer=Scorer(FAILING_SCORERS[fault])).answer("Who?", max_new_tokens=4))
    assert (verdict.score.unscored, verdict.confidence.p_correct) == ("error", None)
    assert verdict.action == ("abstain" if on_error == "abstain" else "answer")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_no_score(local, number):
    scorer = Scorer(lambda s: [Score(number, number, number, 1.0, 2.0, 3) for _ in s])
    verdict = sound(plain(local, "continue", scorer=scorer).answer("Who?", max_new_tokens=4))
    assert (verdict.score.unscored, verdict.confidence.p_correct) == ("not_finite", None)


class FailsOn(Fixed):
    """Cannot score an answer to the one question."""

    def score_traces(self, traces):
        if any("Why?" in str(t.messages) for t in traces):
            raise RuntimeError("one row")
        return super().score_traces(traces)


QUESTIONS = ["Who?", "Why?", "When?", "Where?"]


def told(verdict):
    return verdict.text, verdict.action, verdict.score, verdict.confidence


def test_one_failing_row_leaves_the_others_of_its_batch_as_alone(local):
    guard = plain(local, "abstain", scorer=FailsOn(SURE))
    together = guard.answer_batch(QUESTIONS, max_new_tokens=4)
    assert [v.rule for v in together] == ["rest", "on error", "rest", "rest"]
    assert list(map(told, together)) == [told(guard.answer(q, max_new_tokens=4)) for q in QUESTIONS]


def test_one_search_that_fails_leaves_the_others_of_its_batch_as_alone(local):
    guard = plain(local, "abstain", retriever=Retriever(lambda q: raises() if q == "Why?" else []))
    together = guard.answer_batch(QUESTIONS, max_new_tokens=4)
    assert [v.action for v in together] == ["answer", "abstain", "answer", "answer"]
    assert list(map(told, together)) == [told(guard.answer(q, max_new_tokens=4)) for q in QUESTIONS]


async def test_chat_models_sync_async_batch_and_stream(local):
    chat = ChatGuarded.from_guard(plain(local, "abstain", retriever=Retriever(raises)), max_tokens=4)
    said = [
        chat.invoke("Who?"), await chat.ainvoke("Who?"), *chat.batch(["Who?", "Why?"]), *await chat.abatch(["Who?", "Why?"])
    ]  # fmt: skip
    streamed = "".join(chunk.text for chunk in chat.stream("Who?"))
    astreamed = "".join([chunk.text async for chunk in chat.astream("Who?")])
    assert {m.response_metadata["guardrail"]["rule"] for m in said} == {"on error"}
    assert {streamed, astreamed, *(m.text for m in said)} == {said[0].text}


class Extractor:
    name, options = "mine", {}

    def __init__(self, act):
        self.act = act

    def extract(self, answer, *, question=""):
        return self.act(answer)


FAILING_EXTRACTORS = {
    "raises": raises,
    "none": lambda a: None,
    "list": lambda a: [Claim(a, 0, len(a))],
    "beyond the end": lambda a: Claims((Claim(a, 0, len(a) + 1),)),
    "before the start": lambda a: Claims((Claim(a, -1, len(a)),)),
    "strings": lambda a: Claims((a,)),
}


@pytest.mark.parametrize("fault", FAILING_EXTRACTORS)
def test_an_extractor_that_fails(local, fault):
    parts = {"claims": Extractor(FAILING_EXTRACTORS[fault]), "score": SURE}
    assert sound(guarded(local, "abstain", **parts).answer("Who?", max_new_tokens=4)).rule == "on error"
    verdict = sound(guarded(local, "continue", **parts).answer("Who?", max_new_tokens=4))
    assert [c.text for c in verdict.claims] == [verdict.answer]
    assert verdict.claims[0].confidence.p_correct is None
    with pytest.raises(GuardrailError):
        guarded(local, "raise", **parts).answer("Who?", max_new_tokens=4)


class Verifier:
    name = "mine"

    def __init__(self, act):
        self.act = act

    def verify(self, claims, evidence, *, question):
        return self.act(claims)


FAILING_VERIFIERS = {
    "raises": raises,
    "hangs": hangs,
    "none": lambda c: None,
    "too few": lambda c: [],
    "strings": lambda c: ["supported"] * len(c),
    "another word": lambda c: [Verification("yes", "m")] * len(c),
    "not a number": lambda c: [Verification("supported", "m", (), float("nan"))] * len(c),
}


@pytest.mark.parametrize("fault", FAILING_VERIFIERS)
def test_a_verifier_that_fails(local, fault):
    found = Retriever(lambda q: [Document(page_content="A.")])
    parts = {
        "claims": Extractor(lambda a: Claims((Claim(a, 0, len(a)),))),
        "verifier": Verifier(FAILING_VERIFIERS[fault]), "retriever": found, "score": SURE,
    }  # fmt: skip
    assert sound(guarded(local, "abstain", **parts).answer("Who?", max_new_tokens=4)).rule == "on error"
    verdict = sound(guarded(local, "continue", **parts).answer("Who?", max_new_tokens=4))
    assert [c.verification for c in verdict.claims] == [None]
    with pytest.raises(GuardrailError, match="the verifier mine"):
        guarded(local, "raise", **parts).answer("Who?", max_new_tokens=4)


def test_every_observer_is_told_of_every_verdict_before_one_of_them_is_heard(local):
    seen = []
    guard = plain(local, "abstain", score=SURE)
    guard.observers = (lambda _: 1 / 0, seen.append)
    with pytest.raises(ZeroDivisionError):
        guard.answer_batch(QUESTIONS, max_new_tokens=4)
    assert len(seen) == len(QUESTIONS)


@pytest.mark.parametrize("p", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_calibrator_that_gives_no_probability(local, p, monkeypatch):
    guard = plain(local, "continue", score=SURE)
    monkeypatch.setattr(type(guard.calibrator), "predict", lambda *_: Confidence(p, p, p, "very high"))
    confidence = guard.answer("Who?", max_new_tokens=4).confidence
    assert (confidence.p_correct, confidence.label, confidence.basis) == (None, None, "none")


KNOWN = Confidence(0.9, 0.8, 1.0, "very high")
BAD_SCORES = [Score.none("error", "x"), Score(float("nan")), Score(float("inf"))]


@pytest.mark.parametrize("score", BAD_SCORES)
def test_no_confidence_without_a_score(score):
    with pytest.raises(ScoringError, match="computed from a finite score"):
        Attempt("a", score, KNOWN, Decision("answer", "r", "e"), "stop")
    with pytest.raises(ScoringError, match="computed from a finite score"):
        JudgedClaim(Claim("a", 0, 1), 0, 1, score, KNOWN, None)


@pytest.mark.parametrize("p", [float("inf"), -0.1, 1.1])
def test_no_confidence_that_is_no_probability(p):
    with pytest.raises(ScoringError, match=r"lies in \[0, 1\]"):
        Attempt("a", Score(0.1), Confidence(p, None, None, None), Decision("answer", "r", "e"), "stop")
