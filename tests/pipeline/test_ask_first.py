"""Searching before anything is generated, by P(IK): what decides, what is said of it, and what happens where it fails."""

from __future__ import annotations

import json
from threading import Event

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

import guardrail
from guardrail import Guard, IsotonicCalibrator, Policy
from guardrail.errors import CalibrationError, DataError, PartError, PolicyError, RetrievalError
from guardrail.langchain import ChatGuarded, as_retriever_gate
from guardrail.model.question_states import middle_layer, states_of
from guardrail.pipeline.collecting import Collector, collecting_in
from guardrail.pipeline.hooks import Hooks
from guardrail.pipeline.streaming import ClaimStream
from guardrail.runs.collect import kept_for
from guardrail.scoring.states.model import StateProbe
from guardrail.scoring.states.scorer import PikScorer
from guardrail.testing import tiny_local_model
from tests.helpers.policy_answers import UNKNOWN, sure
from tests.helpers.policy_proofs import claims_proof
from tests.helpers.scripted_claims import provenance
from tests.scoring.test_state_probe import text

QUESTIONS = ["What is number 3?", "Who wrote Faust and when?", "Where is Suva?", "Name a river."]
HEAD = "version: 1\nname: first\n"
RULES = "rules: [{name: any, then: answer}]\n"


class Finds(BaseRetriever):
    asked: list = []
    fails: bool = False

    def _get_relevant_documents(self, query, *, run_manager):
        self.asked.append(query)
        if self.fails:
            raise OSError("the index is down")
        return [Document(page_content="Suva lies on an island.", metadata={"source": "notes"})]


@pytest.fixture(scope="module")
def local():
    return tiny_local_model(max_position_embeddings=512)


@pytest.fixture(scope="module")
def pik(local):
    """Reads one direction of the state, with the first two questions on one side of 0 and the others on the other."""
    layer, width = middle_layer(local), local.anatomy.head.in_features
    traces = [local.trace(question, "x") for question in QUESTIONS]
    states = states_of(local, traces, layer)
    mean = sum(states) / len(states)
    toward = states[0] + states[1] - states[2] - states[3]
    probe = StateProbe(layer=layer, mean=text(mean, "<f4"), axes=text(toward.reshape(width, 1), "<f2"), weights=(-1.0,),
                       base=0.0, intercept=0.0, near=1e6, far=2e6)  # fmt: skip
    numbers = probe.numbers(states)
    assert max(numbers[:2]) < min(numbers[2:]), "higher = more uncertain: the first two are known"
    cut = (max(numbers[:2]) + min(numbers[2:])) / 2
    spread = max(abs(numbers - cut)) + 1
    scores = [cut + spread * (i + 0.5 - 50) / 50 for i in range(100)]
    origin = provenance(local, scorer="pik", profile=probe.model_dump(mode="json"))
    return IsotonicCalibrator().fit(scores, [i < 50 for i in range(100)], provenance=origin)


def guard(local, pik, retriever, extra="", **options):
    policy = Policy.from_text(f"{HEAD}ask_first: {{below: 0.5, because: it will not know}}\n{extra}{RULES}", "p.yaml")
    return Guard(model=local, policy=policy, retriever=retriever, question_calibrator=pik, **options)


def test_what_is_not_known_is_searched_for_before_anything_is_generated(local, pik):
    index = Finds()
    verdicts = guard(local, pik, index).answer_batch(QUESTIONS, max_new_tokens=4)
    assert index.asked == QUESTIONS[2:]
    assert [v.asked_first.searched for v in verdicts] == [False, False, True, True]
    assert [len(v.attempts) for v in verdicts] == [1] * 4, "one answer each: none was made to be thrown away"
    assert [bool(v.evidence) for v in verdicts] == [False, False, True, True]
    assert "ask first" in verdicts[0].timing_ms
    known, unknown = verdicts[0].asked_first, verdicts[2].asked_first
    assert known.explanation.endswith("is not below 0.5: nothing was searched before an answer")
    assert unknown.explanation.endswith("is below 0.5: searched before an answer (it will not know)")
    told = json.loads(json.dumps(verdicts[2].to_dict()))["asked_first"]
    assert (told["searched"], told["confidence"]) == (True, unknown.confidence.p_correct)
    alone = guard(local, pik, index).questions.p_ik(QUESTIONS[2:3])[0]
    assert alone.p_correct == pytest.approx(unknown.confidence.p_correct)


def test_others_are_answered_as_ever(local, pik):
    """Without a retriever, without a rule, where passages are there already, and for texts that exist."""
    assert guard(local, pik, None).answer(QUESTIONS[2], max_new_tokens=4).asked_first is None
    plain = Guard(model=local, policy="observe", retriever=Finds(), question_calibrator=pik)
    told = plain.answer(QUESTIONS[2], max_new_tokens=4)
    assert told.asked_first is None
    assert "asked_first" not in told.to_dict()
    index = Finds()
    assert guard(local, pik, index).check(QUESTIONS[2], "In Fiji.").asked_first is None
    assert index.asked == []


def test_a_stream_of_claims_has_the_passages_that_were_found_before_it(local, pik):
    index, again = (
        Finds(),
        "rules: [{name: again, when: {unscored: false}, then: retrieve}, {name: any, then: answer}]\n",
    )
    policy = Policy.from_text(f"{HEAD}ask_first: {{below: 0.5}}\n{again}", "p.yaml")
    first = Guard(model=local, policy=policy, retriever=index, question_calibrator=pik, claims="sentences")
    index.asked.clear()
    hooks = Hooks(claim_stream=ClaimStream(lambda _: None))
    streamed = first.answer_batch(QUESTIONS[2:3], hooks=hooks, max_new_tokens=4)[0]
    assert (streamed.asked_first.searched, index.asked) == (True, QUESTIONS[2:3])
    assert [passage.text for passage in streamed.evidence] == ["Suva lies on an island."]
    assert streamed.actions == ("answer",), "a rule on the whole answer would replace what is out"
    closed = Hooks(claim_stream=ClaimStream(lambda _: None))
    assert first.answer_batch(QUESTIONS[2:3], hooks=closed, retrieve=False, max_new_tokens=4)[0].asked_first is None
    assert index.asked == QUESTIONS[2:3]


def test_a_text_from_elsewhere_is_asked_for_with_passages(local, pik):
    judging = guard(local, pik, Finds()).judge(QUESTIONS[3])
    assert "Suva lies on an island." in next(judging)[-1]["content"]
    with pytest.raises(StopIteration) as ended:
        judging.send("The Rewa.")
    assert ended.value.value.asked_first.searched


@pytest.mark.parametrize(("on_error", "action"), [("abstain", "abstain"), ("continue", "answer")])
def test_a_search_that_fails(local, pik, on_error, action):
    found = guard(local, pik, Finds(fails=True), f"on_error: {on_error}\n").answer(QUESTIONS[2], max_new_tokens=4)
    assert (found.action, found.evidence) == (action, ())
    if action == "abstain":
        assert "the retriever Finds failed" in found.explanation
    with pytest.raises(RetrievalError, match="the index is down"):
        guard(local, pik, Finds(fails=True), "on_error: raise\n").answer(QUESTIONS[2], max_new_tokens=4)


def test_passages_that_do_not_fit_into_memory_are_left_out(local, pik):
    """While it is generated, of one question and in a batch, and where a given answer is scored."""
    most, begun = max(len(local.encode_prompt(question)) for question in QUESTIONS) + 10, Event()

    def limited(_, args):
        if begun.is_set() and args[0].shape[1] > most:
            raise MemoryError

    handle = local.model.get_input_embeddings().register_forward_pre_hook(limited)
    try:
        first = guard(local, pik, Finds())
        whole = first.answer(QUESTIONS[2], max_new_tokens=4)
        begun.set()
        verdicts = [first.answer(QUESTIONS[2], max_new_tokens=4), *first.answer_batch(QUESTIONS, max_new_tokens=4)]
        judging = first.judge(QUESTIONS[2])
        asked = [next(judging), judging.send("In Fiji")]
        with pytest.raises(StopIteration) as ended:
            judging.send("In Fiji")
    finally:
        handle.remove()
    assert [bool(verdict.asked_first.searched) for verdict in verdicts] == [True, False, False, True, True]
    for verdict in (*verdicts, ended.value.value):
        assert (verdict.action, verdict.score.unscored, verdict.evidence, len(verdict.attempts)) == (
            "answer",
            None,
            (),
            1,
        )
        left_out = "there is no room for the passages (out_of_memory)" in verdict.explanation
        assert left_out == verdict.asked_first.searched
    assert "no room" not in whole.explanation
    assert ["Suva lies on an island." in messages[-1]["content"] for messages in asked] == [True, False]


@pytest.mark.parametrize("on_error", ["abstain", "continue", "raise"])
def test_asking_that_fails_for_one_question_of_a_batch(local, pik, monkeypatch, on_error):
    index, sound = Finds(), PikScorer.score_questions

    def breaks(self, traces):
        if any(QUESTIONS[0] in trace.messages[-1]["content"] for trace in traces):
            raise RuntimeError("the probe broke: secret")
        return sound(self, traces)

    monkeypatch.setattr(PikScorer, "score_questions", breaks)
    first = guard(local, pik, index, f"on_error: {on_error}\n")
    gate = as_retriever_gate(first, index, ask_first=True)
    index.asked.clear()
    if on_error != "continue":
        with pytest.raises(PartError, match="the scorer pik failed: RuntimeError: the probe broke"):
            gate.invoke(QUESTIONS[0])
        assert (gate.asked, index.asked) == (0, [])
    if on_error == "raise":
        with pytest.raises(PartError, match="the probe broke"):
            first.answer_batch(QUESTIONS, max_new_tokens=4)
        return
    failed, *others = first.answer_batch(QUESTIONS, max_new_tokens=4)
    assert [verdict.asked_first.searched for verdict in others] == [False, True, True]
    assert {verdict.action for verdict in others} == {"answer"}
    if on_error == "abstain":
        assert (failed.action, failed.rule, failed.confidence.p_correct) == ("abstain", "on error", None)
        assert failed.explanation == "the scorer pik failed (RuntimeError)"
        assert index.asked == QUESTIONS[2:]
    else:
        assert (failed.action, failed.asked_first.searched, len(failed.evidence)) == ("answer", True, 1)
        assert failed.asked_first.confidence.p_correct is None
        assert "P(IK) is not known (the scorer pik failed (RuntimeError)): searched" in failed.asked_first.explanation
        assert len(gate.invoke(QUESTIONS[0])) == 1


def test_what_cannot_be_measured_is_searched_for():
    rule = Policy.from_text(f"{HEAD}ask_first: {{below: 0.5}}\n{RULES}", "p.yaml").ask_first
    assert rule.decide(UNKNOWN) == (True, "P(IK) is not known (no calibrator): searched before an answer")
    assert rule.decide(sure(0.9, in_range=False))[0]
    assert (rule.decide(sure(0.49))[0], rule.decide(sure(0.5))[0]) == (True, False)


def test_a_gate_that_answers_nothing(local, pik, monkeypatch):
    index = Finds()
    first = guard(local, pik, None)
    monkeypatch.setattr(Guard, "answer", lambda *_, **__: pytest.fail("nothing is to be generated"))
    gate = as_retriever_gate(first, index, ask_first=True)
    assert [len(gate.invoke(question)) for question in QUESTIONS] == [0, 0, 1, 1]
    assert (gate.asked, gate.retrieved, gate.saved) == (4, 2, 2)
    everything = as_retriever_gate(first, index, below=1.0, ask_first=True)
    assert len(everything.invoke(QUESTIONS[0])) == 1
    with pytest.raises(CalibrationError, match="no question_calibrator"):
        as_retriever_gate(Guard(model=local, policy="observe"), index, below=0.5, ask_first=True)
    with pytest.raises(PolicyError, match="has no ask_first"):
        as_retriever_gate(Guard(model=local, policy="observe", question_calibrator=pik), index, ask_first=True)
    with pytest.raises(DataError, match="below is 0"):
        as_retriever_gate(first, index, below=0.0, ask_first=True)


def test_while_a_chain_is_calibrated_the_same_is_searched_for(local, pik, tmp_path):
    """P(IK) decides which passages an answer has, so that the answers that are collected are those of use."""
    pik.save(tmp_path / "pik.json")
    index, collector = Finds(), Collector(kept_for)
    with collecting_in(collector):
        first = guard(local, tmp_path / "pik.json", index)
        gate = as_retriever_gate(first, index, ask_first=True)
        assert [len(gate.invoke(question)) for question in QUESTIONS] == [0, 0, 1, 1]
        verdicts = first.answer_batch(QUESTIONS, max_new_tokens=4)
        with pytest.raises(CalibrationError, match="needs a calibrator of questions"):
            guard(local, None, index)
    in_use = first.answer_batch(QUESTIONS, max_new_tokens=4)
    seen = collector.taken()
    assert [one.evidence for one in seen] == [verdict.evidence for verdict in in_use]
    assert [len(one.evidence) for one in seen] == [0, 0, 1, 1]
    assert [one.trace.text for one in seen] == [v.text for v in verdicts] == [v.text for v in in_use]


def test_a_chat_model_asks_first(local, pik):
    index = Finds()
    policy = Policy.from_text(f"{HEAD}ask_first: {{below: 0.5}}\n{RULES}", "p.yaml")
    chat = ChatGuarded(model=local, policy=policy, retriever=index, question_calibrator=pik, max_tokens=4)
    told = chat.invoke(QUESTIONS[2]).response_metadata["guardrail"]
    assert (told["asked_first"]["searched"], index.asked) == (True, [QUESTIONS[2]])
    again = ChatGuarded.from_guard(chat.guard, max_tokens=4)
    assert again.invoke(QUESTIONS[0]).response_metadata["guardrail"]["asked_first"]["searched"] is False


def test_what_does_not_go_together_is_refused(local, pik):
    policy = Policy.from_text(f"{HEAD}ask_first: {{below: 0.5}}\n{RULES}", "p.yaml")
    with pytest.raises(CalibrationError, match="asks first, which needs a calibrator of questions .*--scorer pik"):
        Guard(model=local, policy=policy)
    scores, right = [i / 100 for i in range(100)], [i < 50 for i in range(100)]
    of_answers = IsotonicCalibrator().fit(scores, right, provenance=provenance(local))
    with pytest.raises(CalibrationError, match="fitted on the scorer 'hybridgrad', which reads an answer"):
        Guard(model=local, policy=policy, question_calibrator=of_answers)
    with pytest.raises(PolicyError, match=r"p.yaml:3: ask_first\.below is 0; it must be above 0|ask_first"):
        Policy.from_text(f"{HEAD}ask_first: {{below: 0}}\n{RULES}", "p.yaml")
    with pytest.raises(PolicyError, match="unknown key 'bellow' in ask_first; did you mean 'below'"):
        Policy.from_text(f"{HEAD}ask_first: {{bellow: 0.5}}\n{RULES}", "p.yaml")
    tuned = guardrail.policy.tuned.policy_text(claims_proof())
    with pytest.raises(
        PolicyError, match="ask_first gives answers passages, which those that the proof has counted did not"
    ):
        Policy.from_text(tuned.replace("rules:", "ask_first: {below: 0.5}\nrules:", 1), "p.yaml")
