"""Other scores of the same answer: G-NLL, which generation has all but computed, and Semantic Entropy, which samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from langchain_core.embeddings import Embeddings
from torch import Tensor

from guardrail.model.local import LocalModel

SAMPLES = 10
SAME = 0.8  # cosine from which on two answers count as equivalent


@contextmanager
def logits_of_generation(local: LocalModel) -> Iterator[list[Tensor]]:
    """Inside, the head's outputs of one greedy generation are collected: one (1, V) for each response token."""
    outputs: list[Tensor] = []
    hook = local.anatomy.head.register_forward_hook(lambda _, __, output: outputs.append(output[0, -1:].clone()))
    try:
        yield outputs
    finally:
        hook.remove()


@torch.no_grad()
def g_nll(local: LocalModel, outputs: Tensor, response: Sequence[int]) -> float:
    """Minus the log-likelihood of the greedy answer, nats; outputs: (T, V), what the head gave."""
    z = outputs.float() * local.anatomy.scale
    if (cap := local.anatomy.softcap) is not None:
        z = cap * torch.tanh(z / cap)
    chosen = z.gather(1, torch.tensor(response, device=z.device).unsqueeze(1)).squeeze(1)
    return float((z.logsumexp(-1) - chosen).sum())


def semantic_entropy(local: LocalModel, embedder: Embeddings, prompt: str, length: int, batch: int) -> float:
    """Discrete semantic entropy, nats: -sum_c f_c log f_c over the clusters c of equivalent answers among 10 samples at
    temperature 1, f_c a cluster's share of the samples; equivalent: the cosine of the answers' embeddings is 0.8 or more.

    batch: samples that are generated together. For them the prompt runs once, as `LocalModel.generate_batch` has it.
    """
    texts: list[str] = []
    for start in range(0, SAMPLES, batch):
        rows = [prompt] * min(batch, SAMPLES - start)
        traces = local.generate_batch(rows, max_new_tokens=length, temperature=1.0, seed=start)
        texts += [trace.text for trace in traces]
    return entropy(clusters(np.array(embedder.embed_documents(texts)), SAME))


def clusters(vectors: np.ndarray[Any, Any], same: float) -> list[int]:
    """The cluster of each unit vector, (N, D): the first one whose first member is close enough, else a new one."""
    firsts: list[int] = []
    found: list[int] = []
    for i, vector in enumerate(vectors):
        near = next((c for c, first in enumerate(firsts) if vector @ vectors[first] >= same), len(firsts))
        if near == len(firsts):
            firsts.append(i)
        found.append(near)
    return found


def entropy(labels: Sequence[int]) -> float:
    """Of the shares of the labels, nats."""
    return math.fsum(-n / len(labels) * math.log(n / len(labels)) for n in Counter(labels).values())


def sampling_bytes(config: Any, prompt: int, response: int, batch: int, size: int) -> int:
    """About what generating `batch` samples together takes: their KV cache, and one layer's states while prompts are read."""
    c = config.get_text_config()
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    cache = (prompt + response) * c.num_hidden_layers * 2 * c.num_key_value_heads * head
    return int(1.3 * batch * size * (cache + prompt * (4 * c.intermediate_size + 8 * c.hidden_size)))
