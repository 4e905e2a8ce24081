"""Rows shared among workers on Ray: each holds the model, and the numbers are those of one process.

Needs the extra `ray`. On the command line: guardrail evaluate questions.jsonl -c calibrator.json --ray --workers 2
"""

import ray

import guardrail

rows = [
    {"prompt": "What is the capital of Japan?", "response": "The capital of Japan is Tokyo."},
    {"prompt": "What is the capital of Burkina Faso?", "response": "The capital of Burkina Faso is Bokassa."},
]
here = guardrail.score("smollm2-135m", rows, paper=True, batch_size=1)
there = guardrail.score("smollm2-135m", rows, paper=True, batch_size=1, cluster=guardrail.Cluster("local", workers=2))
for one, other in zip(here.rows, there.rows, strict=True):
    same = (
        abs(one["score"]["hybridgrad"] / other["score"]["hybridgrad"] - 1) < 1e-3
    )  # threads differ, so last digits do
    print(f"{other['response']} {other['score']['hybridgrad']:.6f}, the same here: {same}")
ray.shutdown()  # as the end of the process would
