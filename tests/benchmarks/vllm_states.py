"""Proof on a GPU that what vLLM records gives the numbers of the model itself: `python -m tests.benchmarks.vllm_states FOLDER`.

Needs CUDA, `pip install 'vllm>=0.18'`, and the folder of a chat model; both copies of the model must fit into the GPU's memory.
Not part of any suite: it has not been run where guardrail is developed, which has no GPU. What is tested there are files of the
same form, made from tiny models (tests/scoring/test_recorded_states.py).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr

from guardrail import load_model
from guardrail.data import load_questions
from guardrail.model.last_layer import LastLayer
from guardrail.model.remote.vllm_states import RecordedStates, read_states
from guardrail.scoring.baselines.paragrad import ParaGrad
from guardrail.scoring.recorded import recorded_paragrad
from guardrail.types import Score, Trace


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.vllm_states", description=__doc__)
    parser.add_argument("folder", type=Path, help="a model's folder: config.json and safetensors")
    parser.add_argument("--questions", type=int, default=50, help="of the bundled ones; default 50")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--memory", type=float, default=0.4, help="share of the GPU's memory for vLLM; default 0.4")
    given = parser.parse_args()
    local = load_model(str(given.folder), device="cuda")
    asked = [q.question for q in load_questions("heldout")[: given.questions]]
    traces = [local.generate(question, max_new_tokens=given.max_new_tokens) for question in asked]
    dtype = str(local.anatomy.head.weight.dtype).removeprefix("torch.")
    with tempfile.TemporaryDirectory() as storage:
        recorded, engines = engine_states(given.folder, traces, len(local.anatomy.layers), storage, dtype, given.memory)
    found = scores(given.folder, recorded, engines)
    print(table(ParaGrad(local).score_traces(traces), found))


def engine_states(
    folder: Path, traces: Sequence[Trace], layers: int, storage: str, dtype: str, memory: float
) -> tuple[list[RecordedStates], list[Trace]]:
    """What vLLM records of each text as a request of one token, and the traces with vLLM's log-probabilities."""
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=str(folder),
        dtype=dtype,
        gpu_memory_utilization=memory,
        enable_chunked_prefill=False,  # versions before 0.23 cannot have both
        speculative_config={
            "method": "extract_hidden_states",
            "num_speculative_tokens": 1,
            "draft_model_config": {"hf_config": {"eagle_aux_hidden_state_layer_ids": [layers]}},
        },
        kv_transfer_config={
            "kv_connector": "ExampleHiddenStatesConnector",
            "kv_role": "kv_producer",
            "kv_connector_extra_config": {"shared_storage_path": storage},
        },
    )
    texts: list[Any] = [{"prompt_token_ids": [*trace.prompt_ids, *trace.response_ids]} for trace in traces]
    outputs = engine.generate(texts, SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0))
    recorded, engines = [], []
    for trace, output in zip(traces, outputs, strict=True):
        recorded.append(read_states(output.kv_transfer_params["hidden_states_path"], (layers,)))
        told = output.prompt_logprobs[len(trace.prompt_ids) :]
        log_probs = tuple(one[token].logprob for one, token in zip(told, trace.response_ids, strict=True))
        engines.append(replace(trace, log_probs=log_probs))
    return recorded, engines


def scores(folder: Path, recorded: Sequence[RecordedStates], traces: Sequence[Trace]) -> list[Score]:
    """ParaGrad from states and the last layer alone. Raises where log-probabilities say that they are another model's."""
    last = LastLayer.load(folder, device="cuda" if torch.cuda.is_available() else "cpu")
    return [recorded_paragrad(last, states, trace) for states, trace in zip(recorded, traces, strict=True)]


def table(ours: Sequence[Score], engines: Sequence[Score]) -> str:
    """How far the engine's numbers are from the model's own, where both have one."""
    pairs = [
        (a.value, b.value) for a, b in zip(ours, engines, strict=True) if a.unscored is None and b.unscored is None
    ]
    apart = sorted(abs(b / a - 1) for a, b in pairs)
    rank = float(spearmanr(*zip(*pairs, strict=True)).statistic)
    return (
        "| answers | with both numbers | relative difference, median | largest | rank correlation |\n"
        "| --- | --- | --- | --- | --- |\n"
        f"| {len(ours)} | {len(pairs)} | {apart[len(apart) // 2]:.2g} | {apart[-1]:.2g} | {rank:.4f} |"
    )


if __name__ == "__main__":
    main()
