"""Servers that others wrote, started on this machine: llama.cpp's on the embedded model, and `transformers serve`."""

from __future__ import annotations

import numpy as np
import pytest

from guardrail import Guard, load_model
from guardrail.model.remote.reread import RereadModel
from guardrail.scoring.baselines.g_nll import GNll, answer_log_probs
from guardrail.scoring.registry import able_for, default_of, scorer
from tests.helpers.engines import ENGINES, commands, engine, transformers_serve
from tests.helpers.half_right import half_right
from tests.helpers.llama_server import llama_server

ASKED = "What is the capital of Japan?"


@pytest.mark.real_model
def test_llama_cpp_tells_of_every_token_and_its_likelihoods_are_those_of_the_weights(embedded_model):
    pytest.importorskip("xllamacpp", reason="llama.cpp's server comes with it")
    with llama_server() as spec:
        _likelihoods_are_those_of_the_weights(load_model(spec), embedded_model)
        _answers_are_read_by_a_copy(RereadModel(load_model(spec), embedded_model), embedded_model)


def _likelihoods_are_those_of_the_weights(remote, embedded_model):
    assert remote.engine.startswith("llamacpp Q4_1")  # it says how the weights are quantised
    assert (remote.abilities.log_probs, remote.abilities.top_log_probs) == (True, 20)
    assert {"g-nll", "p-true", "sar", "self-consistency"} <= set(able_for(remote))

    trace = remote.generate(ASKED, max_new_tokens=20)
    assert trace.text == "The capital of Japan is Tokyo."
    shown: list[str] = []
    (streamed,) = remote.generate_batch(
        [ASKED], max_new_tokens=20, on_step=lambda rows, _: shown.append(remote.tokenizer.decode(rows[0]))
    )
    assert (streamed.text, streamed.log_probs) == (trace.text, pytest.approx(trace.log_probs, abs=1e-3))
    assert len(shown) > 3

    # the same 4-bit weights, multiplied as they are there and as float32 here
    here = embedded_model.trace(ASKED, trace.text)
    exact = answer_log_probs(embedded_model, here)[: len(trace.log_probs or ())]
    np.testing.assert_allclose(trace.log_probs, exact, atol=0.25)
    for each in ("g-nll", "p-true"):
        assert Guard(model=remote, policy="observe", scorer=scorer(each, remote)).answer(ASKED).score.unscored is None


def _answers_are_read_by_a_copy(model, embedded_model):
    here, there = (m.generate(ASKED, max_new_tokens=20) for m in (embedded_model, model))
    assert (there.prompt_ids, there.response_ids, there.fault) == (here.prompt_ids, here.response_ids, None)
    assert len(there.log_probs) == len(there.response_ids)  # the end of the turn included
    verdict = Guard(model=model, policy="default").answer(ASKED)
    assert (verdict.score.name, verdict.confidence.basis) == ("stacked", "extrapolated")


@pytest.mark.slow
def test_transformers_serve_tells_of_no_token_so_texts_are_compared_or_read_by_a_copy(tiny_folder):
    with transformers_serve(tiny_folder) as spec:
        remote = load_model(spec)
        assert not remote.abilities.log_probs
        assert default_of(remote) == "self-consistency"
        verdict = Guard(model=remote, policy="observe").answer(ASKED, max_new_tokens=6)
        assert verdict.score.name == "self-consistency"
        trace = remote.generate(ASKED, max_new_tokens=6)
        (streamed,) = remote.generate_batch([ASKED], max_new_tokens=6, on_step=lambda rows, snapshot: False)
        assert streamed.text == trace.text
        assert GNll(remote).score_traces([trace])[0].unscored == "no_log_probs"
        _read_exactly_or_not_at_all(RereadModel(remote, load_model(str(tiny_folder), device="cpu")))


def _read_exactly_or_not_at_all(model):
    """A random model writes halves of characters, whose bytes a text does not hold: then its count gives it away."""
    read = 0
    for question in (f"What is number {i}?" for i in range(8)):
        there, here = (m.generate(question, max_new_tokens=6) for m in (model, model.copy))
        assert there.text == here.text
        assert there.response_ids == here.response_ids or "the endpoint wrote 6 tokens" in there.fault_detail
        read += there.fault is None
    assert 0 < read < 8


ALLOWED = {"guardrail serve": (True, 20), "transformers serve": (False, 0), "llama.cpp": (True, 20)}


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.timeout(1800)  # alone a minute or two
@pytest.mark.parametrize("name", ENGINES)
def test_ask_calibrate_evaluate_and_score_against_a_real_endpoint(name, command_line, tiny_folder, tmp_path):
    if name == "llama.cpp":
        pytest.importorskip("xllamacpp", reason="llama.cpp's server comes with it")
    with engine(name, tiny_folder, tmp_path) as spec:
        model = load_model(spec)
        data, heldout = (half_right(model, n, tmp_path / f"{n[0]}.jsonl") for n in (range(40), range(40, 55)))
        said = commands(command_line, spec, data, heldout, tmp_path / "said")
    told, top = ALLOWED[name]
    assert (said.inspected["log_probs"], said.inspected["top_log_probs"]) == (told, top)
    assert said.inspected["default_scorer"] == ("g-nll" if told else "self-consistency")
    by = "g-nll" if told else "deg"
    assert said.calibrated["provenance"]["scorer"] == said.asked["score"]["name"] == by
    # where nobody told the tokens of an answer that was cut, it may seem cut elsewhere than the calibration's were
    assert said.asked["basis"] == "calibrated" or not told
    assert 0 < said.asked["confidence"] < 1
    # nobody tells the likelihoods of a text that is given; comparing it with samples needs none
    assert said.scored["score"].get("unscored") == ("no_log_probs" if told else None)
    assert said.evaluated["n"] == 15
