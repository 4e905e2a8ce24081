"""An endpoint answers, a copy of its weights reads: the numbers of the model itself, or none and the reason."""

from __future__ import annotations

import json
import re

import pytest

import guardrail
from guardrail import Guard, load_model
from guardrail.errors import ModelError
from guardrail.model.remote.model import RemoteModel
from guardrail.model.remote.reread import RereadModel
from guardrail.runs.asking import RunOptions
from guardrail.scoring.registry import able_for, default_of, ready, scorer
from guardrail.types import Trace
from tests.helpers.endpoints import completion, own_endpoint, say, told_endpoint

QUESTIONS = ["Who wrote Faust?", "What is the capital of Japan?", "How many legs has an ant?"]
TEXT = "It is Tokyo."
END = 2
"""The end of the turn in the tiny tokenizer, whose other tokens are bytes."""


@pytest.fixture(scope="module")
def local(tiny_folder):
    return load_model(str(tiny_folder), device="cpu")


@pytest.fixture(scope="module")
def url(local):
    with own_endpoint(local, scorer=scorer("g-nll", local)) as address:  # its own gradients are nobody's business here
        yield address


@pytest.fixture
def model(url, local) -> RereadModel:
    return RereadModel(RemoteModel(url, local.name), local)


def told(local, answer, **more) -> Trace:
    """The Trace of an endpoint that says exactly this to the first question, more: of the generation."""
    with told_endpoint(lambda handler, body: say(handler, answer)) as (there, _):
        return RereadModel(RemoteModel(there, "m"), local).generate_batch([QUESTIONS[0]], **more)[0]


def test_the_tokens_and_scores_are_those_of_the_model_itself(model, local):
    here = local.generate_batch(QUESTIONS, max_new_tokens=8)
    there = model.generate_batch(QUESTIONS, max_new_tokens=8)
    assert [(t.prompt_ids, t.response_ids, t.text) for t in there] == [
        (t.prompt_ids, t.response_ids, t.text) for t in here
    ]
    ours, theirs = (Guard(model=m, policy="observe").answer_batch(QUESTIONS, max_new_tokens=8) for m in (local, model))
    assert [v.score.name for v in theirs] == ["hybridgrad"] * 3
    assert [v.score.value for v in theirs] == pytest.approx([v.score.value for v in ours], rel=1e-4)
    assert (default_of(model), set(able_for(model))) == ("hybridgrad", set(ready()))


def test_the_end_of_the_turn_is_read_whether_it_is_told_or_not(local):
    given = local.trace(QUESTIONS[0], TEXT)
    assert given.response_ids[-1] == END
    ids = list(given.response_ids)
    for known in (ids, ids[:-1], None):
        answer = completion(TEXT)
        answer["usage"] = {"prompt_tokens": len(given.prompt_ids), "completion_tokens": len(ids)}
        answer["choices"][0] |= {} if known is None else {"token_ids": known}
        trace = told(local, answer)
        assert (trace.response_ids, trace.finish_reason, trace.fault) == (given.response_ids, "stop", None)
    answer["choices"][0]["finish_reason"] = "length"
    assert told(local, answer).response_ids == given.response_ids[:-1]
    answer["choices"][0]["finish_reason"] = "stop"
    stopped = told(local, answer, stop="Osaka")  # nobody says what ended it
    assert (stopped.response_ids, stopped.stop_string) == (given.response_ids[:-1], True)


def test_ids_that_stand_beside_log_probabilities_are_read_of_all_tokens(local):
    ids = local.trace(QUESTIONS[0], TEXT).response_ids
    entries = [
        {"id": i, "token": local.tokenizer.decode([i], skip_special_tokens=True), "logprob": -0.5, "top_logprobs": []}
        for i in ids
    ]
    answer = completion(TEXT)
    answer["choices"][0]["logprobs"] = {"content": entries}
    answer["usage"] = {}
    trace = told(local, answer)
    assert (trace.response_ids, trace.log_probs, trace.fault) == (ids, (-0.5,) * len(ids), None)


def _choice(**more):
    return lambda answer: answer["choices"][0].update(more)


WRONG = {
    "the endpoint read 3 prompt tokens": lambda answer: answer["usage"].update(prompt_tokens=3),
    "has other tokens than the copy's": lambda answer: answer.update(prompt_token_ids=[5, 6, 7]),
    "spell another text than its answer": _choice(token_ids=[100, 101, END]),
    "another vocabulary": _choice(token_ids=[10**6, END]),
    "the endpoint wrote 40 tokens": lambda answer: answer["usage"].update(completion_tokens=40),
    "the endpoint wrote 2 tokens": _choice(
        logprobs={"content": [{"token": "It is", "logprob": -1.0}, {"token": " Tokyo.", "logprob": -1.0}]}
    ),
    "thinks before it answers": _choice(message={"content": TEXT, "reasoning_content": "Tokyo or Kyoto?"}),
}


@pytest.mark.parametrize("why", WRONG)
def test_what_cannot_be_read_as_it_was_written_has_no_score_and_says_why(local, why):
    answer = completion(TEXT)
    answer["usage"] = {}
    WRONG[why](answer)
    with told_endpoint(lambda handler, body: say(handler, answer)) as (there, _):
        verdict = Guard(model=RereadModel(RemoteModel(there, "m"), local), policy="observe").answer(QUESTIONS[0])
    assert (verdict.text, verdict.score.unscored, verdict.confidence.p_correct) == (TEXT, "other_tokens", None)
    assert re.search(why, verdict.score.detail)


@pytest.mark.parametrize(("usage", "fault"), [({}, None), ({"prompt_tokens": 3}, "other_tokens")])
def test_a_streams_last_chunk_says_whether_the_prompt_was_the_copys(local, usage, fault):
    def answer(handler, body):
        if not body.get("stream"):
            return say(handler, completion("Yes."))
        choice = {"index": 0, "delta": {"content": TEXT}, "finish_reason": "stop"}
        chunks = [{"choices": [choice]}, {"choices": [], "usage": {"completion_tokens": len(TEXT), **usage}}]
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        return say(handler, "".join([*lines, "data: [DONE]\n\n"]).encode(), Content_Type="text/event-stream")

    with told_endpoint(answer) as (there, seen):
        model = RereadModel(RemoteModel(there, "m"), local)
        (trace,) = model.generate_batch([QUESTIONS[0]], on_step=lambda *_: False)
    assert seen[-1]["stream_options"] == {"include_usage": True}
    assert (trace.text, trace.fault) == (TEXT, fault)


def test_at_the_token_limit_one_token_more_is_another_text(local):
    body = local.encode_response(TEXT, ended=False)
    answer = completion(TEXT, finish="length")
    for written, fault in ((len(body), None), (len(body) + 1, "other_tokens")):
        answer["usage"] = {"completion_tokens": written}
        assert told(local, answer).fault == fault


def test_ids_are_asked_for_also_where_the_endpoint_was_asked_before(url, local):
    remote = RemoteModel(url, local.name)
    assert not remote.abilities.token_ids
    RereadModel(remote, local)
    assert remote.abilities.token_ids


def test_what_is_said_about_an_answer_is_the_copys(local):
    with told_endpoint(lambda handler, body: say(handler, completion("90%"))) as (there, seen):
        model = RereadModel(RemoteModel(there, "m"), local)
        assert (
            model.reply("How sure are you?", max_new_tokens=6).text
            == local.reply("How sure are you?", max_new_tokens=6).text
        )
    assert seen == []


def test_streams_are_read_in_the_copys_tokens(model, local):
    shown: list[list[int]] = []
    (streamed,) = model.generate_batch(
        [QUESTIONS[0]], max_new_tokens=8, on_step=lambda rows, snapshot: shown.append(rows[0])
    )
    assert streamed.response_ids == local.generate(QUESTIONS[0], max_new_tokens=8).response_ids == tuple(shown[-1])


def test_calibrated_on_the_engine_and_extrapolated_from_another(model, local, url, tiny_data, tiny_heldout, tmp_path):
    path = tmp_path / "reread.json"
    fitted = guardrail.calibrate(model, tiny_data, path, scorer="hybridgrad", max_new_tokens=6, limit=40)
    origin = fitted.calibrator.provenance
    assert origin.model.engine == f"guardrail float32: {local.name}"
    assert (origin.model.weights, origin.model.dtype) == (local.identity.weights, "float32")
    verdicts = [Guard(model=m, calibrator=path, policy="observe").answer("What is number 1?") for m in (model, local)]
    assert [v.confidence.basis for v in verdicts] == ["calibrated", "extrapolated"]
    fitted_here = path.with_name("here.json")  # what a model in memory answered is not what an engine answers
    guardrail.calibrate(local, tiny_data, fitted_here, scorer="hybridgrad", max_new_tokens=6, limit=40)
    verdicts = [
        Guard(model=m, calibrator=fitted_here, policy="observe").answer("What is number 1?") for m in (model, local)
    ]
    assert [v.confidence.basis for v in verdicts] == ["extrapolated", "calibrated"]
    assert all(v.confidence.familiarity is not None for v in verdicts)  # the copy reads the question's states
    found = guardrail.evaluate(model, tiny_heldout, path, ["observe"], limit=20)
    assert found.metrics["auroc"].n == 20
    rows = [{"prompt": "What is number 1?", "response": "One."}]
    (given,), (alone,) = (guardrail.score(m, rows, calibrator=path).rows for m in (model, local))
    assert given["score"]["hybridgrad"] == pytest.approx(alone["score"]["hybridgrad"])
    assert not RunOptions(cache=True).on(model).cache  # another model may stand behind the name tomorrow


def test_the_command_line_takes_the_copy_and_says_what_it_adds(url, local, command_line, tiny_folder):
    spec, copy = f"openai:{url}#{local.name}", ("--score-with", tiny_folder)
    seen = json.loads(command_line("model", "inspect", spec, *copy, "--json").stdout)
    assert (seen["default_scorer"], seen["reads_answers"], seen["copy_dtype"]) == ("hybridgrad", True, "float32")
    options = ("--policy", "observe", "--json", "--max-new-tokens", "6")
    asked = json.loads(command_line("ask", QUESTIONS[0], "--model", spec, *copy, *options).stdout)
    alone = json.loads(command_line("ask", QUESTIONS[0], "--model", tiny_folder, *options).stdout)
    assert asked["score"]["hybridgrad"] == pytest.approx(alone["score"]["hybridgrad"], rel=1e-4)


def test_a_copy_has_weights_and_goes_with_an_endpoint_alone(model, local, tiny_folder):
    with pytest.raises(ModelError, match="goes with a model behind an endpoint"):
        load_model(str(tiny_folder), score_with=str(tiny_folder))
    with pytest.raises(ModelError, match="has no weights here"):
        load_model("openai:http://127.0.0.1:9/v1#m", score_with="openai:http://127.0.0.1:9/v1#m")
    with pytest.raises(ModelError, match="has no weights here"):
        RereadModel(model.remote, model)
    with pytest.raises(ModelError, match="no tools"):
        model.encode_prompt("Who?", [{"type": "function"}])
