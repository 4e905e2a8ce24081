"""Messages -> Trace: what the model read and wrote, and what generation left for scoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from guardrail.types.judgement import Evidence
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
    (positions, out), from position `first` on; empty where keeping them would. lower_keys, lower_values: as the cache's, of the
    layers before `band_layer`; empty where nobody asked for them.
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
    lower_keys: tuple[torch.Tensor, ...] = ()
    lower_values: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What the model read and wrote, in exact token ids.

    Attributes:
        messages: The conversation that was answered.
        prompt_ids: Token ids that the model read before it answered: the prompt, and its own thinking.
        response_ids: Token ids of its answer, with the end-of-turn token where it produced one.
        text: The response, without the end-of-turn token.
        finish_reason: Why the response ends where it does.
        prompt_truncated: Whether the model did not see the whole prompt.
        generate_ms: Wall time in milliseconds; for a batch, its time divided by its rows.
        state: What generation left for scoring; None: scoring computes what it needs from the ids.
        stop_string: Whether the response ends before a stop string, not with an end-of-turn token.
        log_probs: Of the response tokens under the model itself (temperature 1, no top-p or top-k), in nats; None unless
            generation was asked for them.
        thinking: What the model thought before it answered, without marks. It is no part of the answer.
        thinking_tokens: How many of the last `prompt_ids` are thinking, marks included, or the given beginning of the reply.
        thinking_entropies: Of the model's own distribution at each of the `thinking_tokens`, nats; None where generation
            did not measure it.
        unfinished_thinking: Whether the thought was not ended; then there is no answer.
        evidence: The passages in `messages`, where whoever put them there says so; a scorer may compare them with the answer.
        asked: The conversation without them; empty where there are none.
        stated: Which confidence label the model ended its answer with, from 0; None where it stated none. It is no part of the
            answer.
        fault: Why the answer can have no score: `not_finite` (NaN or infinity in its logits), `out_of_memory`, or
            `other_tokens` (an endpoint wrote it, in tokens that are not known here); None where nothing is against it.
        fault_detail: More of that, in words; empty where there is no more to say.
        prefix: How the reply was made to begin; empty where nothing was given. `text` begins with it, `response_ids` go on
            behind it: what the model did not choose is no part of the score.
        prefix_tokens: How many of the `thinking_tokens` are that beginning's.
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
    thinking: str = ""
    thinking_tokens: int = 0
    unfinished_thinking: bool = False
    fault: Literal["not_finite", "out_of_memory", "other_tokens"] | None = None
    evidence: tuple[Evidence, ...] = ()
    asked: tuple[Message, ...] = ()
    stated: int | None = None
    thinking_entropies: tuple[float, ...] | None = None
    fault_detail: str = ""
    prefix: str = ""
    prefix_tokens: int = 0

    @property
    def thought(self) -> bool:
        """Whether the model thought anything before it answered: marks around nothing are no thought."""
        return bool(self.thinking.strip())

    @property
    def tokens_read(self) -> int:
        """Tokens of the prompt, with the given beginning of the reply."""
        return len(self.prompt_ids) - self.thinking_tokens + self.prefix_tokens

    @property
    def tokens_written(self) -> int:
        """Tokens that the model generated, those of its thinking included."""
        return len(self.response_ids) + self.thinking_tokens - self.prefix_tokens


class GivenAnswer(NamedTuple):
    """An answer that exists already. finish_reason: `length` where something cut it before its end."""

    text: str
    finish_reason: FinishReason = "given"
