"""Messages -> Trace: what the model read and wrote, and what generation left for scoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guardrail.types.names import FinishReason, Message

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class GenerationState:
    """What generation computed and scoring can use again; every tensor belongs to one answer, without padding.

    ids, weights: prompt and response ids, and the version of the weights, that it belongs to; it is not used for others.
    cache_keys, cache_values: (1, heads, positions, head_dim), every position but the last; of the layers from `band_layer` on.
    band_states: hidden states that enter layer `band_layer`, (positions, D), from position `first` on.
    head_outputs: what the LM head gave for the response positions, before any scaling or capping, (T, V); None where
    keeping it would cost too much memory. linear_outputs: what linear layers from layer `band_layer` on gave, by name,
    (positions, out), from position `first` on; empty where keeping them would.
    """

    ids: tuple[int, ...]
    weights: int
    cache_keys: tuple[torch.Tensor, ...]
    cache_values: tuple[torch.Tensor, ...]
    band_layer: int
    first: int
    band_states: torch.Tensor
    head_outputs: torch.Tensor | None
    linear_outputs: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What the model read and wrote, in exact token ids.

    response_ids holds the end-of-turn token when the model produced it; `text` does not. `state` may be None: scoring
    then computes what it needs from the ids. `generate_ms` is wall time (for a batch: its time divided by its rows).
    stop_string: the response ends before a stop string, not with an end-of-turn token. log_probs: of the response tokens under
    the model itself (temperature 1, no top-p or top-k), nats; None unless generation was asked for them.
    """

    messages: tuple[Message, ...]
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    prompt_truncated: bool = False
    generate_ms: float = 0.0
    state: GenerationState | None = field(default=None, repr=False)
    stop_string: bool = False
    log_probs: tuple[float, ...] | None = None
