"""A model behind an endpoint through the whole pipeline: what needs no weights works, with the numbers of the model itself."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
from langchain_core.messages import HumanMessage

import guardrail
from guardrail import Guard, load_model
from guardrail.errors import DataError, ModelError, ScoringError, UnsupportedModelError
from guardrail.langchain import ChatGuarded
from guardrail.model.remote.model import RemoteModel
from guardrail.model.token_log_probs import next_token_log_probs
from guardrail.pipeline.hooks import Hooks
from guardrail.pipeline.streaming import ClaimStream
from guardrail.scoring.baselines.g_nll import answer_log_probs
from guardrail.scoring.registry import able_for, default_of, scorer
from tests.helpers.endpoints import completion, own_endpoint, say, told_endpoint

QUESTIONS = ["Who wrote Faust?", "What is the capital of Japan?", "How many legs has an ant?"]


@pytest.fixture(scope="module")
def local(tiny_folder):
    return load_model(str(tiny_folder), device="cpu")


@pytest.fixture(scope="module")
def url(local):
    with own_endpoint(local) as address:
        yield address


@pytest.fixture
def remote(url, local):
    return load_model(f"openai:{url}#{local.name}")


@pytest.mark.parametrize("name", ["g-nll", "mean-nll", "max-nll", "quantile-nll"])
def test_the_likelihoods_are_those_of_the_model_itself(remote, local, name):
    there = Guard(model=remote, policy="observe", scorer=scorer(name, remote)).answer_batch(QUESTIONS, max_new_tokens=8)
    here = local.generate_batch(QUESTIONS, max_new_tokens=8)
    exact = [answer_log_probs(local, t)[: len(t.response_ids) - (t.finish_reason == "stop")] for t in here]
    assert [v.text for v in there] == [t.text for t in here]
    of = {"g-nll": np.sum, "mean-nll": np.mean, "max-nll": np.min, "quantile-nll": lambda p: np.quantile(p, 0.2)}[name]
    np.testing.assert_allclose([v.score.value for v in there], [-of(row) for row in exact], rtol=1e-4)
    assert [v.score.length for v in there] == [len(row) for row in exact]


def test_p_true_is_that_of_the_model_itself_where_both_letters_are_among_the_likeliest(remote, local):
    tokens = remote.first_tokens([{"role": "user", "content": "A or B?"}])
    exact = next_token_log_probs(local, local.encode_prompt("A or B?"))
    best = exact.sort(descending=True).values[: len(tokens)].tolist()
    np.testing.assert_allclose(sorted((t.log_prob for t in tokens), reverse=True), best, rtol=1e-4)
    assert len(tokens) == remote.abilities.top_log_probs == 20


def test_samples_are_drawn_there_each_with_a_seed_of_its_own(remote):
    asks = scorer("self-consistency", remote, samples=4)
    trace = remote.generate("Who wrote Faust?", max_new_tokens=6)
    drawn = asks.samples(trace)
    assert len(set(drawn.texts)) > 1
    assert drawn.texts == asks.samples(trace).texts
    assert 0 <= asks.score_traces([trace])[0].value <= 1


def test_what_needs_weights_is_refused_up_front_with_what_works(remote):
    assert default_of(remote) == "g-nll"
    assert "hybridgrad" not in able_for(remote)
    with pytest.raises(ScoringError, match="needs weights, .* those that work there: .*g-nll"):
        scorer("hybridgrad", remote)
    with pytest.raises(UnsupportedModelError, match="needs its weights"):
        _ = remote.anatomy
    with pytest.raises(ModelError, match="no tools"):
        remote.encode_prompt("Who?", [{"type": "function"}])
    with pytest.raises(ModelError, match="dtype is for a model that is loaded here"):
        load_model(f"openai:{remote.address.url}#x", dtype="float32")


@pytest.fixture(scope="module")
def fitted(url, local, tiny_data, tmp_path_factory):
    """The file of a calibrator that was fitted on the endpoint."""
    path = tmp_path_factory.mktemp("fitted") / "remote.json"
    guardrail.calibrate(load_model(f"openai:{url}#{local.name}"), tiny_data, path, max_new_tokens=6)
    return path


def test_calibrated_evaluated_scored_and_judged(remote, url, local, fitted, tiny_heldout):
    origin = guardrail.IsotonicCalibrator.load(fitted).provenance
    assert (origin.scorer, origin.model.engine, origin.model.name) == ("g-nll", "guardrail float32", local.name)
    assert url not in fitted.read_text(encoding="utf-8")
    verdict = Guard(model=remote, calibrator=fitted, policy="default").answer("What is number 1?")
    assert verdict.confidence.basis == "calibrated"
    assert 0 < verdict.confidence.p_correct < 1
    found = guardrail.evaluate(remote, tiny_heldout, fitted, ["observe"])
    assert found.metrics["auroc"].n == 60
    rows = [{"prompt": "What is number 1?", "response": "One."}]
    (row,) = guardrail.score(remote, rows, calibrator=fitted).rows
    assert row["score"]["unscored"] == "no_log_probs"  # an endpoint tells nothing of a text that it did not write
    with pytest.raises(DataError, match="shows none"):
        guardrail.evaluate(remote, tiny_heldout, fitted, retriever=lambda question: [])


def test_tuned_and_served_in_front_of_the_endpoint(remote, fitted, tiny_heldout, tmp_path):
    tuned = guardrail.tune(remote, tiny_heldout, calibrator=fitted, max_error=0.98, output=tmp_path / "tuned.yaml")
    assert tuned.policy is not None
    with own_endpoint(remote, str(tmp_path / "tuned.yaml"), calibrator=fitted) as address:
        body = {"model": remote.name, "messages": [{"role": "user", "content": "What is number 1?"}], "max_tokens": 6}
        (choice,) = httpx.post(f"{address}/chat/completions", json=body, timeout=60).json()["choices"]
    alone = Guard(model=remote, calibrator=fitted, policy=tmp_path / "tuned.yaml")
    verdict = alone.answer("What is number 1?", max_new_tokens=6)
    assert choice["message"]["content"] == verdict.text
    assert choice["guardrail"]["action"] == verdict.action
    assert choice["guardrail"]["confidence"] == pytest.approx(verdict.confidence.p_correct)


def test_nobody_here_counts_the_tokens_of_a_prompt(remote):
    with pytest.raises(UnsupportedModelError, match="token_counter"):
        ChatGuarded(model=remote, policy="observe").get_num_tokens_from_messages([HumanMessage("Who wrote Faust?")])


def test_another_engine_is_extrapolated_and_another_model_refused(remote, fitted):
    body = completion("One", [("One", -2.0)], system_fingerprint="other-1")
    with told_endpoint(lambda h, b: say(h, body)) as (there, _):
        other = RemoteModel(there, "m")
        other.name = remote.name
        verdict = Guard(model=other, calibrator=fitted, policy="observe").answer("What is number 1?")
        assert verdict.confidence.basis == "extrapolated"
        assert (
            "answered by 'told other-1', and the calibration's answers by 'guardrail float32'"
            in verdict.confidence.reason
        )
        with pytest.raises(guardrail.CalibratorMismatchError):
            Guard(model=RemoteModel(there, "m"), calibrator=fitted, policy="observe")


def test_scorers_are_compared_with_the_one_that_an_endpoint_has_by_default(remote, tiny_heldout):
    found = guardrail.bench(remote, tiny_heldout, ["max-nll"], max_new_tokens=6)
    assert (found.reference, {row.name for row in found.rows}) == ("g-nll", {"g-nll", "max-nll"})


def test_claims_are_judged_while_they_stream(tmp_path):
    said = "Goethe wrote it. It is a play. It has two parts."
    pieces = [
        ("Goethe", -0.1),
        (" wrote", -0.2),
        (" it", -0.1),
        (".", -0.1),
        (" It is a play.", -3.0),
        (" It has two parts.", -0.5),
    ]

    def answer(handler, body):
        if not body.get("stream"):
            say(handler, completion(said, pieces))
            return
        handler.send_response(200)
        handler.end_headers()
        for text, log_prob in pieces:
            told = {"content": [{"token": text, "logprob": log_prob}]}
            chunk = {"choices": [{"delta": {"content": text}, "logprobs": told, "finish_reason": None}]}
            handler.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
        handler.wfile.write(f"data: {json.dumps(end)}\n\ndata: [DONE]\n\n".encode())

    with told_endpoint(answer) as (there, seen):
        guard = Guard(model=RemoteModel(there, "m"), policy="observe", claims="sentences")
        shown: list[str] = []
        stream = ClaimStream(shown.append)
        (verdict,) = guard.answer_batch(["Who wrote Faust?"], hooks=Hooks(claim_stream=stream))
    assert seen[-1]["stream"] is True
    assert [c.claim.text for c in verdict.claims] == ["Goethe wrote it.", "It is a play.", "It has two parts."]
    assert [round(c.score.value, 6) for c in verdict.claims] == [0.5, 3.0, 0.5]
    assert len(shown) > 1
    assert "".join(shown) + stream.remaining(verdict) == verdict.text == said


def test_claims_are_calibrated_by_what_the_endpoint_tells_of_their_tokens(tmp_path):
    def answer(handler, body):
        i = int("".join(filter(str.isdigit, body["messages"][-1]["content"])) or 0)
        size = "big" if i % 2 else "small"  # "small" is wrong, and told with less confidence
        pieces = [(f"Number {i} is", -0.1), (f" {size}", -0.2 - i / 100 if i % 2 else -2.0 - i / 100), (".", -0.1)]
        say(handler, completion("".join(text for text, _ in pieces), pieces))

    facts = [{"about": ["number"], "values": ["big"]}]
    rows = [{"question": f"How big is number {i}?", "facts": facts} for i in range(60)]
    data, path = tmp_path / "facts.jsonl", tmp_path / "claims.json"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with told_endpoint(answer) as (there, _):
        model = RemoteModel(there, "m")
        found = guardrail.calibrate(model, data, path, unit="claim")
        guard = Guard(model=model, policy="observe", claims="sentences", claim_calibrator=path)
        (sure,), (unsure,) = (guard.answer(f"How big is number {i}?").claims for i in (61, 62))
    origin = found.calibrator.provenance
    assert (origin.scorer, origin.n, found.calibrator.unit) == ("g-nll", 60, "claim")
    assert sure.confidence.p_correct > 0.8 > 0.2 > unsure.confidence.p_correct


@pytest.mark.parametrize("streams", ["answer", "passthrough"])
def test_a_guarded_chat_over_an_endpoint_says_what_its_guard_does(remote, streams):
    chat = ChatGuarded(model=remote, policy="observe", max_tokens=8, stream_policy=streams)
    whole = chat.invoke("Who wrote Faust?")
    chunks = list(chat.stream("Who wrote Faust?"))
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content
    assert whole.response_metadata["guardrail"]["score"] is not None


def test_without_log_probabilities_the_answers_are_compared_instead():
    with told_endpoint(lambda h, b: say(h, completion("Tokyo"))) as (there, _):
        model = RemoteModel(there, "m")
        assert default_of(model) == "self-consistency"
        assert "p-true" not in able_for(model)
        assert "hedging" in able_for(model)
        with pytest.raises(ScoringError, match="'g-nll' needs log-probabilities of tokens"):
            scorer("g-nll", model)


def test_the_command_line_says_what_an_endpoint_allows_and_asks_it(url, local, command_line):
    spec = f"openai:{url}#{local.name}"
    told = json.loads(command_line("model", "inspect", spec, "--json").stdout)
    assert (told["engine"], told["log_probs"], told["default_scorer"]) == ("guardrail float32", True, "g-nll")
    assert "hybridgrad" in told["scorers_that_need_more"]
    asked = command_line(
        "ask", "Who wrote Faust?", "--model", spec, "--policy", "observe", "--json", "--max-new-tokens", "6"
    )
    assert json.loads(asked.stdout)["score"]["name"] == "g-nll"
    failed = command_line("ask", "Who?", "--model", "openai:http://127.0.0.1:9/v1#m", "--policy", "observe")
    assert failed.returncode == 1
    assert "the connection to http://127.0.0.1:9 failed" in failed.stderr
