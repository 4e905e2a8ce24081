"""Servers that others wrote, started on this machine: llama.cpp's on the embedded model, and `transformers serve`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest

from guardrail import Guard
from guardrail.model.remote.model import RemoteModel
from guardrail.model.spec import ALIASES, packaged_file
from guardrail.scoring.baselines.g_nll import GNll, answer_log_probs
from guardrail.scoring.registry import able_for, default_of, scorer

ASKED = "What is the capital of Japan?"


@pytest.mark.real_model
def test_llama_cpp_tells_of_every_token_and_its_likelihoods_are_those_of_the_weights(embedded_model):
    xllamacpp = pytest.importorskip("xllamacpp", reason="llama.cpp's server comes with it")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(packaged_file(ALIASES["smollm2-135m"]))
    parameters.hostnames, parameters.port, parameters.warmup = ["127.0.0.1"], 0, False
    parameters.n_ctx, parameters.n_parallel = 1024, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)
    url = f"{server.listening_address.rstrip('/')}/v1"
    name = httpx.get(f"{url}/models").json()["data"][0]["id"]
    remote = RemoteModel(url, name)
    assert remote.engine.startswith("llamacpp")
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


@pytest.mark.slow
def test_transformers_serve_tells_of_no_token_so_texts_are_compared(tiny_folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(tiny_folder), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            except httpx.HTTPError:
                assert process.poll() is None
            time.sleep(0.2)
        remote = RemoteModel(f"http://127.0.0.1:{port}/v1", str(tiny_folder))
        assert not remote.abilities.log_probs
        assert default_of(remote) == "self-consistency"
        verdict = Guard(model=remote, policy="observe").answer(ASKED, max_new_tokens=6)
        assert verdict.score.name == "self-consistency"
        trace = remote.generate(ASKED, max_new_tokens=6)
        (streamed,) = remote.generate_batch([ASKED], max_new_tokens=6, on_step=lambda rows, snapshot: False)
        assert streamed.text == trace.text
        assert GNll(remote).score_traces([trace])[0].unscored == "no_log_probs"
    finally:
        process.kill()
        process.wait()
