"""Traces with passages in their prompts -> what the passages tell: two more forward passes, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.model.token_log_probs import token_log_probs
from guardrail.scoring.stacked.evidence import EvidenceReading, evidence_reading
from guardrail.types import Trace


def read_evidence(model: LocalModel, traces: Sequence[Trace]) -> list[EvidenceReading]:
    """Of every trace, which has `evidence` and `asked`, in order. Raises `ModelError` as `token_log_probs`."""
    found = []
    for trace, (log_probs, perplexity) in zip(traces, evidence_numbers(model, traces), strict=True):
        passages = [passage.text for passage in trace.evidence]
        found.append(evidence_reading(question_of(trace.asked), passages, log_probs, perplexity))
    return found


def evidence_numbers(model: LocalModel, traces: Sequence[Trace]) -> list[tuple[list[float], float]]:
    """log p of each answer's tokens in the prompt without the passages, nats, (T,), and the question's perplexity behind the
    passages, divided by that without them.

    The question is what both prompts end in; its tokens are those that they share from the end on.
    """
    plain = [model.encode_prompt(trace.asked) for trace in traces]
    full = [trace.prompt_ids[: len(trace.prompt_ids) - trace.thinking_tokens] for trace in traces]
    shared = [min(_shared_end(a, b), len(a) - 1, len(b) - 1) for a, b in zip(plain, full, strict=True)]
    thought = [trace.prompt_ids[len(prompt) :] for trace, prompt in zip(traces, full, strict=True)]
    behind = [(ids[: len(ids) - k], ids[len(ids) - k :]) for ids, k in zip(full, shared, strict=True)]
    alone = [
        (ids[: len(ids) - k], [*ids[len(ids) - k :], *thinking, *trace.response_ids])
        for ids, k, thinking, trace in zip(plain, shared, thought, traces, strict=True)
    ]
    told = [row.numpy() for row in token_log_probs(model, [*alone, *behind])]
    found = []
    for trace, k, without, with_passages in zip(traces, shared, told[: len(traces)], told[len(traces) :], strict=True):
        answer = without[len(without) - len(trace.response_ids) :]
        gain = float(with_passages.mean() - without[:k].mean()) if k else 0.0
        found.append((answer.tolist(), float(np.exp(-gain))))
    return found


def _shared_end(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids both end in."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(a), reversed(b), strict=False)))
