"""The whole pipeline on a tiny model: what each part hands to the next, bounded retrieval, and failing closed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from guardrail import CalibrationError, CalibratorMismatchError, Guard, HybridGradScorer, IsotonicCalibrator, Policy
from guardrail.calibration.provenance import Provenance
from guardrail.errors import DataError, RetrievalError
from guardrail.testing import tiny_local_model
from guardrail.types import Score

CONFIDENT, DOUBTFUL = 0.9, 0.1


class Fixed:
    """A scorer double whose score is what the test says, by what the prompt holds; everything else is real."""

    name, keep = "fixed", None
    options: dict = {}

    def __init__(self, *values):
        self.values = list(values)

    def score_traces(self, traces):
        return [
            v if isinstance(v, Score) else Score(v, v, v, 1.0, 2.0, len(t.response_ids), name=self.name, number=v)
            for t, v in ((t, self.values.pop(0)) for t in traces)
        ]


class Passages(BaseRetriever):
    found: list = []
    queries: list = []

    def _get_relevant_documents(self, query, *, run_manager):
        self.queries.append(query)
        return self.found


@pytest.fixture(scope="module")
def local():
    """Says one token and stops, so that no answer is cut off."""
    model = tiny_local_model(vocab_size=261)
    model.eos_ids = list(range(261))
    return model


@pytest.fixture(scope="module")
def talking():
    """Says several tokens."""
    return tiny_local_model(vocab_size=261)


def calibrator(local, scorer="fixed", profile=None):
    """Scores below 0 are mostly right, above 0 mostly wrong."""
    scores = [-1 - i / 100 for i in range(50)] + [1 + i / 100 for i in range(50)]
    correct = [i % 10 != 0 for i in range(50)] + [i % 10 == 0 for i in range(50)]
    provenance = Provenance(
        model=local.identity, scorer=scorer, profile=profile or {}, prompt="Q: {question}", system="Be short.", data="x",
        n=100, accuracy=0.5, created="2026-01-01", command="test", versions={}, grader="exact", generation={},
    )  # fmt: skip
    return IsotonicCalibrator().fit(scores, correct, provenance=provenance)


def guard(local, *scores, policy="default", passages=None):
    retriever = None if passages is None else Passages(found=[Document(page_content=p) for p in passages], queries=[])
    return Guard(model=local, scorer=Fixed(*scores), calibrator=calibrator(local), policy=policy, retriever=retriever)


SURE, UNSURE = -1.2, 1.2


def test_answer_as_is(local):
    verdict = guard(local, SURE).answer("Who?", max_new_tokens=5)
    assert (verdict.action, verdict.rule, verdict.actions) == ("answer", "confident", ("answer",))
    assert verdict.text == verdict.answer == verdict.original
    assert verdict.confidence.p_correct == pytest.approx(CONFIDENT, abs=0.05)
    assert verdict.label == "very high"


def test_abstain_hides_the_answer_and_keeps_it(local):
    verdict = guard(local, UNSURE).answer("Who?", max_new_tokens=5)
    assert verdict.action == "abstain"
    assert verdict.text != verdict.answer
    assert "is below 0.30: rule 'too unsure'" in verdict.explanation
    assert "there is no retriever" in verdict.explanation


def test_retrieve_answers_again_with_the_passage(local):
    g = guard(local, UNSURE, SURE, passages=["A passage."])
    verdict = g.answer("Who was it?", max_new_tokens=5)
    assert verdict.actions == ("retrieve", "answer")
    assert g.retriever.queries == ["Who was it?"]  # the question, not the prompt around it
    assert [e.text for e in verdict.evidence] == ["A passage."]
    assert verdict.attempts[0].evidence == ()
    assert verdict.timing_ms["retrieve"] > 0


def test_retrieval_is_bounded(local):
    verdict = guard(local, UNSURE, UNSURE, passages=["A passage."]).answer("Who?", max_new_tokens=5)
    assert verdict.actions == ("retrieve", "abstain")


def test_nothing_found_decides_again_without_a_second_pass(local):
    verdict = guard(local, UNSURE, passages=[]).answer("Who?", max_new_tokens=5)
    assert verdict.actions == ("retrieve", "abstain")
    assert verdict.evidence == ()


def test_two_retrievals_when_the_policy_allows_them(local):
    policy = Policy.from_text(
        "version: 1\nname: twice\nretrieval: {max_passes: 2}\nrules:\n"
        "- {name: sure, when: {confidence: {at_least: 0.8}}, then: answer}\n"
        "- {name: first, when: {evidence: absent}, then: retrieve}\n"
        "- {name: second, then: retrieve}\n",
        "twice.yaml",
    )
    verdict = guard(local, UNSURE, UNSURE, policy=policy, passages=["A passage."]).answer("Who?", max_new_tokens=5)
    # the second search finds the same passage: no third generation, and no rule is left
    assert verdict.actions == ("retrieve", "retrieve", "abstain")


@pytest.mark.parametrize("policy", ["default", "strict", "retrieve_first"])
@pytest.mark.parametrize("reason", ["not_finite", "empty_answer", "prompt_too_long"])
def test_unscored_is_never_confident(local, policy, reason):
    verdict = guard(local, Score.none(reason), policy=policy).answer("Who?", max_new_tokens=5)
    assert verdict.action == "abstain"
    assert verdict.confidence.p_correct is None
    assert verdict.confidence.label is None
    assert json.loads(json.dumps(verdict.to_dict()))["score"]["unscored"] == reason


def test_a_prompt_beyond_the_context_abstains(local):
    verdict = Guard(model=local, policy=Policy.load("observe")).answer("x" * 400)
    assert (verdict.score.unscored, verdict.attempts[0].finish_reason) == ("prompt_too_long", "prompt_too_long")
    assert guard(local, Score.none("prompt_too_long")).answer("x" * 400).action == "abstain"


def test_a_failing_retriever_is_loud(local, caplog):
    class Broken(BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            raise ConnectionError("the index is down")

    g = Guard(model=local, scorer=Fixed(UNSURE), calibrator=calibrator(local), retriever=Broken())
    verdict = g.answer("Who?", max_new_tokens=5)
    assert (verdict.action, verdict.rule) == ("abstain", "on error")
    assert verdict.explanation == "the retriever Broken failed (ConnectionError)"
    assert "the index is down" in caplog.text
    loud = Policy.from_text(Policy.load("default").text.replace("rules:", "on_error: raise\nrules:", 1), "loud.yaml")
    g = Guard(model=local, scorer=Fixed(UNSURE), calibrator=calibrator(local), retriever=Broken(), policy=loud)
    with pytest.raises(RetrievalError, match="the index is down"):
        g.answer("Who?", max_new_tokens=5)


def test_a_question_goes_into_the_calibrated_prompt_and_messages_as_they_are(local):
    seen = []
    g = guard(local, SURE, SURE)
    g.model = type("Spy", (), {})()
    g.model.name = "spy"
    g.model.generate_batch = lambda conversations, **_: (
        seen.extend(conversations) or local.generate_batch(conversations, max_new_tokens=3)
    )
    g.answer("Who?")
    g.answer([{"role": "user", "content": "Who?"}])
    assert list(seen[0]) == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Q: Who?"}]
    assert list(seen[1]) == [{"role": "user", "content": "Who?"}]


def test_check_judges_a_given_text(local):
    verdict = guard(local, SURE).check("Who?", "It was Bell.")
    assert (verdict.text, verdict.answer, verdict.action) == ("It was Bell.", "It was Bell.", "answer")
    assert verdict.attempts[0].finish_reason == "given"
    doubted = guard(local, UNSURE, passages=["A passage."]).check("Who?", "It was Bell.")
    assert doubted.action == "abstain"  # a given text cannot be answered again with evidence


def test_batch_equals_single(talking):
    questions = ["Who?", "What was the name of it, again?", "Why?"]
    g = Guard(model=talking, policy="observe")
    single = [g.answer(q, max_new_tokens=6) for q in questions]
    batch = g.answer_batch(questions, max_new_tokens=6, batch_size=2)
    for one, many in zip(single, batch, strict=True):
        assert (many.answer, many.action) == (one.answer, one.action)
        assert many.score.unscored == one.score.unscored
        if one.score.unscored is None:
            assert many.score.hybridgrad == pytest.approx(one.score.hybridgrad, rel=1e-4)


def test_a_batch_where_only_some_retrieve(local):
    g = guard(local, SURE, UNSURE, SURE, SURE, passages=["A passage."])
    verdicts = g.answer_batch(["a", "b", "c"], max_new_tokens=4)
    assert [v.actions for v in verdicts] == [("answer",), ("retrieve", "answer"), ("answer",)]


def test_threads_share_a_guard(talking):
    g = Guard(model=talking, policy="observe")
    questions = [f"Question {i}?" for i in range(12)]
    serial = [g.answer(q, max_new_tokens=5) for q in questions]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda q: g.answer(q, max_new_tokens=5), questions))
    assert [v.answer for v in parallel] == [v.answer for v in serial]
    assert [v.score for v in parallel] == [v.score for v in serial]


@pytest.mark.parametrize(
    "conversation",
    [[], None, 3, ["hi"], [{"role": "user"}], [{"role": "user", "content": None}], [{"content": "hi"}], "\udcff",
     [{"role": "user", "content": [{"type": "image", "url": "x"}]}]],
)  # fmt: skip
def test_what_is_no_conversation(local, conversation):
    with pytest.raises(DataError):
        guard(local, SURE).answer(conversation)


def test_text_parts_are_joined(local):
    parts = [{"role": "user", "content": [{"type": "text", "text": "Wh"}, {"type": "text", "text": "o?"}]}]
    assert (
        guard(local, SURE).answer(parts).answer
        == guard(local, SURE).answer([{"role": "user", "content": "Who?"}]).answer
    )


def test_a_conversation_without_a_question_retrieves_nothing(local):
    g = guard(local, UNSURE, passages=["A passage."])
    assert g.answer([{"role": "system", "content": "Be short."}]).actions == ("abstain",)
    assert g.retriever.queries == []


def test_basis_says_where_the_calibration_does_not_reach(local):
    assert guard(local, SURE).answer("Who?").confidence.basis == "calibrated"
    asked = guard(local, SURE).answer("Who?").attempts[-1].trace.messages
    assert guard(local, SURE).answer(asked).confidence.basis == "calibrated"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    own = guard(local, SURE).answer([*turns, {"role": "user", "content": "Who?"}]).confidence
    reason = "messages of your own, not the prompt of the calibration (with several turns)"
    assert (own.basis, own.reason) == ("extrapolated", reason)
    retrieved = guard(local, UNSURE, SURE, passages=["A passage."]).answer("Who?")
    assert [a.confidence.basis for a in retrieved.attempts] == ["calibrated", "extrapolated"]


def test_strict_does_not_pass_off_a_passage_as_knowledge(local):
    verdict = guard(local, UNSURE, SURE, policy="strict", passages=["A passage."]).answer("Who?")
    assert verdict.actions == ("retrieve", "hedge")
    assert "According to a passage" in verdict.text


def test_the_usual_length_is_the_calibrations(local):
    fitted = calibrator(local)
    longer = fitted.provenance.model_copy(update={"generation": {"max_new_tokens": 7}})
    content = {**fitted.to_dict(), "provenance": longer.model_dump(mode="json")}
    seven = IsotonicCalibrator.from_dict({key: value for key, value in content.items() if key != "digest"})
    assert Guard(model=local, scorer=Fixed(SURE), calibrator=seven).usual_length == 7
    assert Guard(model=local, policy="observe").usual_length == 150


def test_no_calibrator_is_said_at_once(local):
    with pytest.raises(CalibrationError, match="policy 'strict' looks at confidence, and there is no calibrator"):
        Guard(model=local, policy="strict")
    assert Guard(model=local, policy="observe").calibrator is None


def test_another_set_up_is_refused(local):
    fitted = calibrator(local, scorer="hybridgrad", profile=HybridGradScorer(local).options)
    assert Guard(model=local, calibrator=fitted).scorer.options == HybridGradScorer(local).options
    with pytest.raises(CalibratorMismatchError, match=r"model weights .* guardrail calibrate"):
        Guard(model=tiny_local_model(vocab_size=261, seed=1), calibrator=fitted)
    with pytest.raises(CalibratorMismatchError, match="profile tau 1.0 \\(in use: 2.0\\)"):
        Guard(model=local, calibrator=fitted, scorer=HybridGradScorer(local, tau=2.0))
    with pytest.raises(CalibratorMismatchError, match="scorer hybridgrad"):
        Guard(model=local, calibrator=fitted, scorer=Fixed(SURE))
    unknown = IsotonicCalibrator().fit([i / 100 for i in range(100)], [i < 50 for i in range(100)])
    with pytest.raises(CalibratorMismatchError, match="does not say what it was fitted on"):
        Guard(model=local, calibrator=unknown)


def test_the_flow_carries_frozen_values(local):
    verdict = guard(local, SURE).answer("Who?", max_new_tokens=5)
    for value in (verdict, verdict.score, verdict.confidence, verdict.decision, verdict.attempts[0]):
        with pytest.raises(FrozenInstanceError):
            setattr(value, fields(value)[0].name, "changed")


def test_judge_drives_the_same_loop_with_texts_from_elsewhere(local):
    judging = guard(local, UNSURE, SURE, passages=["A passage."]).judge("Who?")
    first = next(judging)
    again = judging.send("Nobody.")
    assert "<reference>\nA passage.\n</reference>" in again[-1]["content"]
    assert again[-1]["content"].endswith(first[-1]["content"])
    with pytest.raises(StopIteration) as end:
        judging.send("It was Bell.")
    verdict = end.value.value
    assert verdict.actions == ("retrieve", "answer")
    assert (verdict.original, verdict.text) == ("Nobody.", "It was Bell.")


def test_observers_get_frozen_values_and_what_they_raise_is_not_swallowed(local):
    seen = []
    g = guard(local, SURE, SURE)
    g.observers = (seen.append,)
    verdict = g.answer("Who?", max_new_tokens=3)
    (observation,) = seen
    assert (observation.verdict, observation.messages[-1]["content"]) == (verdict, "Q: Who?")
    assert [s.name for s in observation.stages] == ["generate", "score", "calibrate", "decide", "render"]
    g.observers = (lambda _: 1 / 0,)
    with pytest.raises(ZeroDivisionError):
        g.answer("Who?", max_new_tokens=3)


@pytest.mark.parametrize(
    ("tokens", "finish", "stop", "expected"),
    [
        (6, "length", False, ""),
        (4, "stop", False, ""),
        (4, "length", False, "cut at 4 tokens, the calibration's limit was 6"),
        (9, "length", False, "cut at 9 tokens, the calibration's limit was 6"),
        (9, "given", False, "9 tokens, the calibration's limit was 6"),
        (4, "stop", True, "ended by a stop string"),
    ],
)
def test_answers_of_another_length_than_calibrated(tokens, finish, stop, expected):
    from guardrail.pipeline.conversation import length_differs
    from guardrail.types import Trace

    trace = Trace((), (1,), (5,) * tokens, "x", finish, stop_string=stop)
    assert length_differs(trace, 6) == expected
    assert length_differs(trace, None) in ("", "ended by a stop string")


def test_calibrators_by_file_and_claims_by_name(local, tmp_path):
    file = tmp_path / "mine.json"
    calibrator(local).save(file)
    guard = Guard(model=local, scorer=Fixed(SURE), calibrator=file, policy="observe", claims="sentences")
    assert (guard.calibrator_name, guard.answer("Who?", max_new_tokens=4).calibrator) == (str(file), str(file))
    assert guard.claim_pipeline.extractor.name == "sentences"
    given = Guard(model=local, scorer=Fixed(SURE), calibrator=calibrator(local), policy="observe")
    assert given.calibrator_name == "given"
    with pytest.raises(CalibrationError, match=r"gone\.json"):
        Guard(model=local, policy="observe", claim_calibrator=tmp_path / "gone.json")
