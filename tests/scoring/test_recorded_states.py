"""Files of the form in which vLLM records hidden states, made from tiny models: the numbers are those of the model itself."""

from __future__ import annotations

import base64
import fcntl
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from guardrail import load_model
from guardrail.errors import DataError, ModelNotFoundError, ScoringError, UnsupportedModelError
from guardrail.kernels.frozen import on_input, on_output, untouched
from guardrail.model.decoder import run_decoder
from guardrail.model.last_layer import LastLayer
from guardrail.model.remote.vllm_states import read_states
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.baselines.paragrad import ParaGrad
from guardrail.scoring.recorded import recorded_paragrad, recorded_pik, recorded_probe
from guardrail.scoring.states.model import StateProbe
from guardrail.scoring.states.scorer import PikScorer, ProbeScorer
from guardrail.testing import ARCHITECTURES, MORE_ARCHITECTURES, tiny_model, tiny_tokenizer
from tests.benchmarks.vllm_states import scores, table

ANSWERED = ("What is two and two?", "It is five and six")


def saved(folder, architecture, **config):
    tiny_model(architecture, vocab_size=261, **config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return load_model(str(folder), device="cpu")


def record(local, ids, layers, path):
    """What vLLM writes: what enters each of `layers`, and what leaves the last, as one request of these ids."""
    seen, count = {}, len(local.anatomy.layers)
    with torch.no_grad(), untouched(local.model) as stack:
        for layer in layers:
            if layer == count:
                on_output(stack, local.anatomy.layers[-1], lambda x: seen.update({count: x}))
            else:
                on_input(stack, local.anatomy.layers[layer], lambda x, layer=layer: seen.update({layer: x}))
        run_decoder(local.anatomy.decoder, torch.tensor([ids]))
    states = torch.stack([seen[layer][0] for layer in layers], dim=1)
    save_file({"token_ids": torch.tensor(ids), "hidden_states": states.contiguous()}, path)
    return path


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("recorded") / "tiny", "llama")


@pytest.fixture(scope="module")
def trace(local):
    return local.trace(ANSWERED[0], ANSWERED[1])


@pytest.fixture
def file(local, trace, tmp_path):
    layers = (1, len(local.anatomy.layers))
    return record(local, [*trace.prompt_ids, *trace.response_ids], layers, tmp_path / "request.safetensors"), layers


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_architecture_gives_the_same_number_or_is_refused_by_name(tmp_path):
    same, refused = [], {}
    for architecture in (*ARCHITECTURES, *MORE_ARCHITECTURES):
        folder = tmp_path / architecture
        local = saved(folder, architecture)
        try:
            last = LastLayer.load(folder)
        except UnsupportedModelError as error:
            refused[architecture] = str(error)
            continue
        trace, count = local.trace(*ANSWERED), len(local.anatomy.layers)
        path = record(local, [*trace.prompt_ids, *trace.response_ids], (count,), folder / "request.safetensors")
        (expected,) = ParaGrad(local).score_traces([trace])
        found = recorded_paragrad(last, read_states(path, (count,)), trace)
        assert found.value == pytest.approx(expected.value, rel=1e-4), architecture
        same.append(architecture)
    assert len(same) == 43
    assert len(refused) == 13
    assert all("ForCausalLM: " in reason for reason in refused.values())


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "qwen2", "gpt2", "cohere"])
def test_paragrad_is_that_of_the_whole_model(architecture, tmp_path):
    local = saved(tmp_path / "tiny", architecture)
    trace, count = local.trace(*ANSWERED), len(local.anatomy.layers)
    path = record(local, [*trace.prompt_ids, *trace.response_ids], (count,), tmp_path / "request.safetensors")
    last = LastLayer.load(tmp_path / "tiny")
    assert (last.anatomy.scale, last.anatomy.softcap) == (local.anatomy.scale, local.anatomy.softcap)
    found = recorded_paragrad(last, read_states(path, (count,)), trace)
    (expected,) = ParaGrad(local).score_traces([trace])
    assert found.name == expected.name == "paragrad"
    assert found.value == pytest.approx(expected.value, rel=1e-4)
    assert dict(found.parts) == pytest.approx(dict(expected.parts), rel=1e-4)
    (summed,) = ParaGrad(local, reduction="sum").score_traces([trace])
    again = recorded_paragrad(last, read_states(path, (count,)), trace, reduction="sum")
    assert again.value == pytest.approx(summed.value, rel=1e-4)


def test_the_script_for_a_gpu_compares_what_it_has_to(local, tmp_path):
    traces, count = [local.trace(f"What is {i}?", "It is " + "so " * i) for i in range(1, 5)], len(local.anatomy.layers)
    (log_probs,) = zip(*[token_log_probs(local, [(t.prompt_ids, t.response_ids)]) for t in traces], strict=True)
    engines = [replace(t, log_probs=tuple(p.tolist())) for t, p in zip(traces, log_probs, strict=True)]
    files = [record(local, [*t.prompt_ids, *t.response_ids], (count,), tmp_path / f"{i}") for i, t in enumerate(traces)]
    found = scores(local.name, [read_states(file, (count,)) for file in files], engines)
    said = table(ParaGrad(local).score_traces(traces), found).splitlines()[-1].split(" | ")
    assert (said[0], said[1], said[4]) == ("| 4", "4", "1.0000 |")
    assert float(said[3]) < 1e-4


def test_probes_are_those_of_the_whole_model(local, trace, file):
    recorded, width = read_states(*file), local.anatomy.head.in_features
    broken = replace(recorded, states=torch.full_like(recorded.states, torch.nan))
    rng = np.random.default_rng(0)
    text = lambda x, kind: base64.b64encode(np.ascontiguousarray(x, kind).tobytes()).decode()  # noqa: E731
    mean, axes = text(np.zeros(width), "<f4"), text(rng.normal(size=(width, 2)), "<f2")
    probe = StateProbe(layer=1, mean=mean, axes=axes, weights=(1.0, -2.0), base=0, intercept=0.5, near=1e3, far=2e3)
    (pik,) = PikScorer(local, probe).score_traces([trace])
    (answer,) = ProbeScorer(local, probe).score_traces([trace])
    assert pik.value != pytest.approx(answer.value, rel=0.01)
    assert recorded_pik(probe, recorded, trace).value == pytest.approx(pik.value, rel=1e-4)
    assert recorded_probe(probe, recorded, trace, local.tokenizer).value == pytest.approx(answer.value, rel=1e-4)
    assert recorded_pik(probe, broken, trace).unscored == "not_finite"
    deeper = probe.model_copy(update={"layer": 0})
    with pytest.raises(DataError, match="layer 0 was not recorded; these were"):
        recorded_pik(deeper, recorded, trace)


def test_what_does_not_belong_together_is_refused(local, trace, file):
    last, recorded = LastLayer.load(local.name), read_states(*file)
    expected = recorded_paragrad(last, recorded, trace)
    with pytest.raises(ScoringError, match="of another text"):
        recorded_paragrad(last, recorded, local.trace("Another question?", ANSWERED[1]))
    with pytest.raises(ScoringError, match="of another text"):
        recorded_paragrad(last, replace(recorded, ids=recorded.ids[:-2]), trace)
    unread = replace(
        recorded, ids=recorded.ids[:-1], states=recorded.states[:-1]
    )  # generation does not read its last token
    assert recorded_paragrad(last, unread, trace) == expected
    (log_probs,) = token_log_probs(local, [(trace.prompt_ids, trace.response_ids)])
    engines = tuple(log_probs.tolist())
    assert recorded_paragrad(last, recorded, replace(trace, log_probs=engines)) == expected
    with pytest.raises(ScoringError, match=r"1\.00 nats apart"):
        recorded_paragrad(last, recorded, replace(trace, log_probs=tuple(x - 1 for x in engines)))
    with pytest.raises(ScoringError, match="log-probabilities of"):
        recorded_paragrad(last, recorded, replace(trace, log_probs=engines[1:]))


def test_what_has_no_number_is_unscored(local, trace, file):
    last, recorded = LastLayer.load(local.name), read_states(*file)
    broken = replace(recorded, states=torch.full_like(recorded.states, torch.nan))
    assert recorded_paragrad(last, broken, trace).unscored == "not_finite"
    assert recorded_paragrad(last, recorded, replace(trace, prompt_truncated=True)).unscored == "prompt_truncated"
    assert recorded_paragrad(last, recorded, trace, end_ids=trace.response_ids).unscored == "empty_answer"


def test_files_that_are_none_of_these_are_refused(file, tmp_path):
    path, layers = file
    with pytest.raises(DataError, match="3 layers were to be in it"):
        read_states(path, (*layers, 9))
    with pytest.raises(DataError, match="cannot read the states"):
        read_states(tmp_path / "none", layers)
    save_file({"token_ids": torch.arange(3)}, tmp_path / "half")
    with pytest.raises(DataError, match="holds no hidden_states; it has: token_ids"):
        read_states(tmp_path / "half", layers)
    save_file({"token_ids": torch.ones(3), "hidden_states": torch.ones(3, 2, 4)}, tmp_path / "float")
    with pytest.raises(DataError, match="they are whole numbers"):
        read_states(tmp_path / "float", layers)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="cannot read the states"):
        read_states(path, layers)


def test_a_lock_that_cannot_be_opened_is_an_error_in_words(file, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    path, layers = file
    monkeypatch.setattr(type(path), "open", refused)
    with pytest.raises(DataError, match="cannot wait for the engine's lock .*Permission denied"):
        read_states(path, layers)


def test_a_file_is_read_once_the_engine_has_let_go_of_it(file):
    path, layers = file
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="the engine still writes"):
            read_states(path, layers, within=0.1)
        waiting = threading.Timer(0.3, fcntl.flock, (lock, fcntl.LOCK_UN))
        waiting.start()
        begun = time.monotonic()
        assert read_states(path, layers).layers == layers
        assert time.monotonic() - begun >= 0.2
        waiting.join()


def test_what_more_stands_above_the_layers_is_refused(local, tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        LastLayer.load(tmp_path)
    saved(tmp_path / "granite", "granite")
    with pytest.raises(UnsupportedModelError, match="how its logits are scaled"):
        LastLayer.load(tmp_path / "granite")
