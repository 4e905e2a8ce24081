"""What scoring costs: `make bench`. Ratios within one run on the embedded model; prints the table of docs/benchmarks.md.

Interleaved repetitions, medians and quartiles: the machine may be busy, but it is as busy for all of them. `released way` is
the paper's code from its description: every hidden state of every position in the graph, the whole V x D head gradient.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import torch

from guardrail import HybridGradScorer, load_model

LENGTHS = (8, 32, 48, 128)
REPETITIONS = 5
PROMPT = "Please directly answer the following question with one or few words:\nWhat is the capital of Burkina Faso?"


def released_way(model: torch.nn.Module, prompt: list[int], response: list[int]) -> float:
    """SemGrad and ParaGrad by autograd over everything."""
    ids = torch.tensor([[*prompt, *response]])
    out = model(input_ids=ids, output_hidden_states=True, use_cache=False)
    z = out.logits[0, len(prompt) - 1 : -1].float()
    log_p = z.log_softmax(-1)
    w = -(log_p.exp() * log_p).sum(-1).detach()
    J = (w * log_p[torch.arange(len(response)), torch.tensor(response)]).mean()
    head = model.get_output_embeddings().weight
    grads = torch.autograd.grad(J, [*out.hidden_states[:-1], head])
    half = len(grads) // 2
    return float(
        torch.stack([g[0, len(prompt) - 4].abs().mean() for g in grads[half:-1]]).mean() + grads[-1].abs().mean()
    )


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    local = load_model("smollm2-135m", device="cpu")
    scorer = HybridGradScorer(local)
    local.eos_ids = [local.anatomy.head.out_features - 1]  # never said: every answer has exactly the length asked for
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {version('transformers')}; SmolLM2-135M, float32, prompt "
        f"{len(local.encode_prompt(PROMPT))} tokens; median ms (quartiles) of {REPETITIONS}\n"
    )
    print("| response tokens | generation | scoring | added | scoring from ids alone | released way | times faster |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for length in LENGTHS:
        columns: dict[str, list[float]] = {"generation": [], "scoring": [], "ids": [], "released": []}
        for repetition in range(REPETITIONS + 1):
            trace = local.generate(PROMPT, max_new_tokens=length, keep=scorer.keep)
            prompt, response = list(trace.prompt_ids), list(trace.response_ids)
            took = {
                "generation": trace.generate_ms,
                "scoring": milliseconds(lambda t=trace: scorer.score_trace(t)),
                "ids": milliseconds(lambda p=prompt, r=response: scorer.score(p, r)),
                "released": milliseconds(lambda p=prompt, r=response: released_way(local.model, p, r)),
            }
            if repetition:  # the first warms up
                for name, ms in took.items():
                    columns[name].append(ms)
        middle = {name: statistics.median(values) for name, values in columns.items()}
        cells = [_cell(columns[name]) for name in ("generation", "scoring", "ids", "released")]
        added, faster = middle["scoring"] / middle["generation"], middle["released"] / middle["scoring"]
        print(f"| {length} | {cells[0]} | {cells[1]} | {added:.0%} | {cells[2]} | {cells[3]} | {faster:.1f} |")
        sys.stdout.flush()


def _cell(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    main()
