"""Messages -> Trace: greedy or sampled generation in left-padded batches, keeping what scoring can use again.

Knows nothing about scores; it keeps the states that a `Keep` asks for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from guardrail.errors import ModelError
from guardrail.model.memory import halve_on_out_of_memory
from guardrail.model.replay import MAX_KEPT_BYTES, LinearOutputs, kept_bytes
from guardrail.model.stopping import OnStep, Steps, cut, until_end
from guardrail.model.token_log_probs import DrawnLogProbs
from guardrail.model.untouched import on_input, untouched, weights_version
from guardrail.types import FinishReason, GenerationState, Message, Trace

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel


_MAX_KEPT_LOGITS = 64 * 2**20  # 256 MiB in float32


@dataclass(frozen=True, slots=True)
class Keep:
    """Which states to keep: those entering layer `band_layer`, from `offset` (negative, from the prompt's end) on."""

    band_layer: int
    offset: int

    @staticmethod
    def joined(keeps: Sequence[Keep]) -> Keep | None:
        """What serves all of them; None where there is none."""
        return Keep(min(k.band_layer for k in keeps), min(k.offset for k in keeps)) if keeps else None


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to generate. temperature 0 is greedy: no repetition penalty or other processor of the model's own defaults,
    so that the answer's likelihood is the model's. `seed` makes sampling repeatable. stop: strings that end a response, and
    are not in it. on_step: sees every step, and ends the generation by raising. top_p, top_k: what is drawn from; 1 and 0 are
    the whole vocabulary. log_probs: whether each Trace has them."""

    max_new_tokens: int = 150
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    on_step: OnStep | None = None
    top_p: float = 1.0
    top_k: int = 0
    log_probs: bool = False


@dataclass(frozen=True, slots=True)
class _Response:
    """ids: the response's. text: None if no stop string ended it. state: what was kept. ms: its share of the time. log_probs:
    of the ids."""

    ids: list[int]
    text: str | None
    state: GenerationState | None
    ms: float
    log_probs: tuple[float, ...] | None = None


def generate(
    local: LocalModel,
    conversations: Sequence[Sequence[Message]],
    prompts: Sequence[list[int]],
    decoding: Decoding,
    keep: Keep | None,
    truncated: Sequence[bool],
) -> list[Trace]:
    """One Trace a conversation. A prompt that leaves no room in the context yields a Trace without a response."""
    context = local.anatomy.context
    fits = [i for i, p in enumerate(prompts) if p and (context is None or len(p) < context)]
    traces: dict[int, Trace] = {}
    groups: dict[int, list[int]] = {}  # by room: a long prompt must not cut the answers to the others
    for i in fits:
        limit = decoding.max_new_tokens
        groups.setdefault(limit if context is None else min(limit, context - len(prompts[i])), []).append(i)
    with _seeded(decoding.seed, local.device):
        for room, group in groups.items():

            def work(rows: Sequence[list[int]], room: int = room) -> list[_Response]:
                return _run(local, rows, decoding, room, keep)

            rows = [prompts[i] for i in group]
            # a second try would show its steps twice
            responses = work(rows) if decoding.on_step else halve_on_out_of_memory(work, rows, _too_big)
            for i, response in zip(group, responses, strict=True):
                at_stop, text = response.text is not None, response.text
                ended = at_stop or (bool(response.ids) and response.ids[-1] in local.eos_ids)
                finish: FinishReason = "stop" if ended else "length"
                if text is None:
                    text = local.tokenizer.decode(response.ids, skip_special_tokens=True)
                traces[i] = Trace(
                    tuple(conversations[i]),
                    tuple(prompts[i]),
                    tuple(response.ids),
                    text.strip(),
                    finish,
                    truncated[i],
                    response.ms,
                    response.state,
                    at_stop,
                    response.log_probs,
                )
    for i, prompt in enumerate(prompts):
        if i not in traces:
            traces[i] = Trace(tuple(conversations[i]), tuple(prompt), (), "", "prompt_too_long", truncated[i])
    return [traces[i] for i in range(len(prompts))]


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Once around all passes: each with the same seed would draw the same samples. The caller's generators stay as they are."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@torch.inference_mode(False)  # even inside the caller's: scoring builds a graph on what is kept
@torch.no_grad()
def _run(
    local: LocalModel, rows: Sequence[list[int]], decoding: Decoding, room: int, keep: Keep | None
) -> list[_Response]:
    anatomy, device = local.anatomy, local.device
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), local.pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for r, row in enumerate(rows):
        ids[r, width - len(row) :] = torch.tensor(row)
        mask[r, width - len(row) :] = 1
    keeping = keep is not None and anatomy.cached
    # A cache without a config keeps every position, also in sliding-window layers: only then can scoring go back to t*.
    cache = DynamicCache() if keeping else None
    band: list[Tensor] = []
    outputs: list[Tensor] = []
    # (B, T, V) in the head's dtype: cheap for one answer, not for a large batch of long ones
    keep_outputs = len(rows) * room * anatomy.head.out_features <= _MAX_KEPT_LOGITS
    start = time.perf_counter()
    linear: LinearOutputs | None = None
    with untouched(local.model) as stack:
        if keep is not None and keeping:
            positions = len(rows) * (room - keep.offset)
            if kept_bytes(anatomy.layers, keep.band_layer, positions) <= MAX_KEPT_BYTES:
                linear = LinearOutputs(stack, anatomy.layers, keep.band_layer, -keep.offset)
            on_input(stack, anatomy.layers[keep.band_layer], _Recorder(band, first=-keep.offset))
            if keep_outputs:
                hook = anatomy.head.register_forward_hook(lambda _, __, output: outputs.append(output[:, -1:]))
                stack.callback(hook.remove)
        # transformers fills what a config leaves open from the model's own: a bare one keeps its penalties and processors out
        stack.callback(setattr, local.model, "generation_config", local.model.generation_config)
        local.model.generation_config = GenerationConfig()
        drawn = DrawnLogProbs() if decoding.log_probs else None
        out = local.model.generate(  # type: ignore[operator]
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            past_key_values=cache,
            generation_config=_config(local, decoding, room),
            stopping_criteria=_criteria(local, decoding, width),
            logits_processor=LogitsProcessorList([] if drawn is None else [drawn]),
        )
    tokens: list[list[int]] = out[:, width:].tolist()
    ms = (time.perf_counter() - start) * 1000 / len(rows)
    ends = [cut(local.tokenizer, until_end(row, local.eos_ids), decoding.stop) for row in tokens]
    found = [None] * len(rows) if drawn is None else drawn.of(out, [len(response) for response, _ in ends])
    if keep is None or cache is None:
        return [_Response(response, text, None, ms, p) for (response, text), p in zip(ends, found, strict=True)]
    band_states = torch.cat(band, dim=1)  # (B, kept, D)
    head_outputs = torch.cat(outputs, dim=1) if outputs else None  # (B, T, V)
    linear_outputs = linear.joined(len(rows), band_states.shape[1]) if linear else {}
    upper, weights = cache.layers[keep.band_layer :], weights_version(local.model)
    states: list[GenerationState | None] = []
    own = torch.clone if len(rows) > 1 else _same  # a view would keep the whole batch alive
    for r, (row, (response, _)) in enumerate(zip(rows, ends, strict=True)):
        pad, end = width - len(row), width + len(response) - 1
        if len(row) < -keep.offset:
            states.append(None)
            continue
        kept = slice(-keep.offset + len(response) - 1)
        states.append(
            GenerationState(
                ids=(*row, *response),
                weights=weights,
                cache_keys=tuple(own(layer.keys[r : r + 1, :, pad:end]) for layer in upper),
                cache_values=tuple(own(layer.values[r : r + 1, :, pad:end]) for layer in upper),
                band_layer=keep.band_layer,
                first=len(row) + keep.offset,
                band_states=own(band_states[r, kept]),
                head_outputs=None if head_outputs is None else own(head_outputs[r, : len(response)]),
                linear_outputs={name: own(x[r, kept]) for name, x in linear_outputs.items()},
            )
        )
    return [
        _Response(response, text, state, ms, p) for (response, text), state, p in zip(ends, states, found, strict=True)
    ]


class _Recorder:
    """Keeps the last `first` positions of the prompt's pass, then every position that follows."""

    def __init__(self, into: list[Tensor], first: int) -> None:
        self.into, self.first = into, first

    def __call__(self, hidden: Tensor) -> None:
        self.into.append(hidden[:, -self.first :] if not self.into else hidden)


def _same(x: Tensor) -> Tensor:
    return x


def _config(local: LocalModel, decoding: Decoding, room: int) -> GenerationConfig:
    options: dict[str, Any] = {"max_new_tokens": room, "eos_token_id": local.eos_ids, "pad_token_id": local.pad_id}
    if decoding.temperature > 0:
        return GenerationConfig(
            do_sample=True, temperature=decoding.temperature, top_k=decoding.top_k, top_p=decoding.top_p, **options
        )
    return GenerationConfig(do_sample=False, **options)


def _too_big(prompt: list[int]) -> ModelError:
    return ModelError(
        f"answering one prompt of {len(prompt)} tokens ran out of memory; shorten it, lower max_new_tokens, or use a smaller "
        "model, a lower precision (dtype) or a device with more memory"
    )


def _criteria(local: LocalModel, decoding: Decoding, width: int) -> StoppingCriteriaList:
    if not decoding.stop and decoding.on_step is None:
        return StoppingCriteriaList()
    return StoppingCriteriaList([Steps(local.tokenizer, width, local.eos_ids, decoding.stop, decoding.on_step)])
