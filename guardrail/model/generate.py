"""Messages -> Trace: greedy or sampled generation in left-padded batches, keeping what a `Keep` asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn
from transformers import Cache, GenerationConfig, GenerationMixin, LogitsProcessorList, StoppingCriteriaList

from guardrail.errors import ModelError
from guardrail.kernels.frozen import untouched
from guardrail.kernels.memory import halve_on_out_of_memory, is_out_of_memory, too_large
from guardrail.model.constraint import Constrained, Constraint, Grammars
from guardrail.model.decoder import cache_keyword
from guardrail.model.loaded import LoadedModel
from guardrail.model.prompts import pad, shared_prefix
from guardrail.model.recording import Keep, Recording
from guardrail.model.stopping import OnStep, Steps, cut, prefix_spelling, special_ids, until_end
from guardrail.model.thinking import Split
from guardrail.model.token_log_probs import DrawnLogProbs, FiniteRows, StepEntropies
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, FinishReason, GenerationState, Message, Trace
from guardrail.waiting import seconds_since


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to generate. The model's own penalties and processors stay out, so that the answer's likelihood is the model's.

    Attributes:
        max_new_tokens: The longest response, in tokens.
        temperature: 0 is greedy.
        seed: Makes sampling repeatable.
        stop: Strings that end a response, and are not in it.
        on_step: Sees every step, and ends the generation by raising.
        top_p: Draw from the most likely tokens of this mass; 1 is the whole vocabulary.
        top_k: Draw from this many tokens at most; 0 is the whole vocabulary.
        log_probs: Whether each Trace has them.
        constraints: What the answer to each conversation must be, None for one that is free; empty where all are.
    """

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    on_step: OnStep | None = None
    top_p: float = 1.0
    top_k: int = 0
    log_probs: bool = False
    constraints: tuple[Constraint | None, ...] = ()


@dataclass(frozen=True, slots=True)
class _Response:
    """What one row of a batch gave.

    Attributes:
        ids: Of the response.
        split: Where its thinking ends.
        text: Of the answer, up to the stop string; None if none ended the response.
        state: What generation kept for scoring.
        ms: Its share of the batch's time.
        log_probs: Of `ids`, in nats.
        thinking_entropies: Of the thought's tokens, in nats.
        fault: As a Trace has it.
    """

    ids: list[int]
    split: Split
    text: str | None
    state: GenerationState | None
    ms: float
    log_probs: tuple[float, ...] | None = None
    thinking_entropies: tuple[float, ...] | None = None
    fault: Literal["not_finite", "out_of_memory"] | None = None


_Row = tuple[list[int], Grammars | None]
"""A prompt, and what its answer must be."""


def generate(
    local: LoadedModel,
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

    compiled = {c: Grammars(local, c) for c in decoding.constraints if c is not None}
    grammars = [None if c is None else compiled[c] for c in decoding.constraints] or [None] * len(prompts)

    def too_big(row: _Row) -> _Response:
        if len(conversations) == 1:  # nothing else would be lost
            raise _too_big(row[0])
        return _Response([], Split(0, False, ""), None, None, 0.0, (), fault="out_of_memory")

    with _seeded(decoding.seed, local.device):
        for room, group in groups.items():

            def work(rows: Sequence[_Row], room: int = room) -> list[_Response]:
                return _run(local, [row for row, _ in rows], decoding, room, keep, [grammar for _, grammar in rows])

            rows = [(prompts[i], grammars[i]) for i in group]
            responses = (_once if decoding.on_step else halve_on_out_of_memory)(work, rows, too_big)
            for i, response in zip(group, responses, strict=True):
                trace = _trace(local, prompts[i], response)
                traces[i] = replace(trace, messages=tuple(conversations[i]), prompt_truncated=truncated[i])
    for i, prompt in enumerate(prompts):
        if i not in traces:
            traces[i] = Trace(tuple(conversations[i]), tuple(prompt), (), "", "prompt_too_long", truncated[i])
    return [traces[i] for i in range(len(prompts))]


def _once(
    work: Callable[[Sequence[_Row]], list[_Response]],
    rows: Sequence[_Row],
    too_big: Callable[[_Row], _Response | ModelError],
) -> list[_Response]:
    """As `halve_on_out_of_memory`, without another try: it would show its steps twice."""
    if len(rows) == 1:
        return halve_on_out_of_memory(work, rows, too_big)
    try:
        return work(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_large(f"answering {len(rows)} prompts together", "ask fewer of them at once") from error


def _trace(local: LoadedModel, prompt: list[int], response: _Response) -> Trace:
    """The Trace of a row. Its thinking is moved in front of the response, so that the answer is scored given it."""
    at_stop, text = response.text is not None, response.text
    split = response.split
    answer, state, log_probs = response.ids[split.start :], response.state, response.log_probs
    ended = at_stop or (bool(response.ids) and response.ids[-1] in local.eos_ids)
    if text is None:
        text = local.tokenizer.decode(answer, skip_special_tokens=True)
    text, stated = local.without_confidence(text.strip())
    if stated is not None:  # what generation kept belongs to the longer reply
        answer, at_stop, state = prefix_spelling(local.tokenizer, answer, text), True, None
        log_probs = None if log_probs is None else log_probs[: split.start + len(answer)]
    if state is not None and state.head_outputs is not None:
        state = replace(state, head_outputs=state.head_outputs[split.start :])
    log_probs = None if log_probs is None else log_probs[split.start :]
    finish: FinishReason = "stop" if ended else "length"
    return Trace(
        (),
        (*prompt, *response.ids[: split.start]),
        tuple(answer),
        text,
        finish,
        False,
        response.ms,
        state,
        at_stop,
        log_probs,
        split.text,
        split.start,
        split.unfinished,
        response.fault,
        stated=stated,
        thinking_entropies=response.thinking_entropies,
    )


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Once around all passes: each with the same seed would draw the same samples. The caller's generators stay as they are."""
    if seed is None:
        yield
        return
    with _same_draws(device):
        torch.manual_seed(seed)
        yield


def _same_draws(device: torch.device) -> AbstractContextManager[None]:
    """What is drawn inside changes nothing of what is drawn after it."""
    forked: AbstractContextManager[None] = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    return forked


@torch.inference_mode(False)  # even inside the caller's: scoring builds a graph on what is kept
@torch.no_grad()
def _run(
    local: LoadedModel,
    rows: Sequence[list[int]],
    decoding: Decoding,
    room: int,
    keep: Keep | None,
    grammars: Sequence[Grammars | None],
) -> list[_Response]:
    device = local.device
    ids, mask = pad(rows, local.pad_id, left=True)
    width = ids.shape[1]
    opened = [local.thinking.opened_by(row) for row in rows]
    ends_anyway = special_ids(local.tokenizer, decoding.stop) & set(local.eos_ids)
    stops = tuple(s for s in decoding.stop if ends_anyway.isdisjoint(special_ids(local.tokenizer, [s])))
    start = time.perf_counter()
    with untouched(local.model, watched=decoding.on_step is not None) as stack:
        recording = Recording(stack, local, rows, room, keep) if keep is not None and local.anatomy.cached else None

        def so_far(tokens: Sequence[list[int]]) -> list[_Response]:
            ms = seconds_since(start) * 1000 / len(rows)
            ends = [_ended(local, row, stops, opened[r]) for r, row in enumerate(tokens)]
            states = recording.states([ids for ids, _, _ in ends]) if recording else [None] * len(rows)
            return [_Response(*end, state, ms) for end, state in zip(ends, states, strict=True)]

        def snapshot(tokens: Sequence[list[int]]) -> list[Trace]:
            return [_trace(local, row, response) for row, response in zip(rows, so_far(tokens), strict=True)]

        @contextmanager
        def without_side_effects() -> Iterator[None]:
            with _same_draws(device), recording.paused() if recording else nullcontext():
                yield

        config = _config(local, decoding, room)  # its end tokens are the model's, which the next lines hide
        watched = stops or decoding.on_step

        def spoken(tokens: Sequence[list[int]]) -> list[list[int]]:
            return [local.thinking.spoken(row, opened=was) for row, was in zip(tokens, opened, strict=True)]

        steps = Steps(
            local.tokenizer,
            width,
            local.eos_ids,
            stops,
            decoding.on_step,
            snapshot,
            without_side_effects,
            spoken,
        )
        # transformers fills what a config leaves open from the model's own: a bare one keeps its penalties and processors out
        stack.callback(setattr, local.model, "generation_config", local.model.generation_config)
        local.model.generation_config = GenerationConfig()
        drawn = DrawnLogProbs() if decoding.log_probs else None
        finite = FiniteRows(local.eos_ids[0])
        entropies = StepEntropies() if keep is not None and local.thinking.opens else None  # scorers read them
        processors = [processor for processor in (finite, entropies, drawn) if processor is not None]
        if any(grammars):  # last: what is measured is the model's own
            processors.append(Constrained(grammars, width, opened, finite.broken))
        out = local.model.generate(  # type: ignore[operator]
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([steps] if watched else []),
            logits_processor=LogitsProcessorList(processors),
            **{cache_keyword(GenerationMixin.prepare_inputs_for_generation): _prompt_cache(local, rows, recording)},
        )
    responses = [
        replace(response, fault="not_finite") if broken else response
        for response, broken in zip(so_far(out[:, width:].tolist()), finite.broken(len(rows)), strict=True)
    ]
    if entropies is not None:
        told = entropies.of([response.split.start for response in responses])
        responses = [replace(r, thinking_entropies=row or None) for r, row in zip(responses, told, strict=True)]
    if drawn is None:
        return responses
    found = drawn.of(out, [len(response.ids) for response in responses])
    return [replace(response, log_probs=row) for response, row in zip(responses, found, strict=True)]


def _ended(
    local: LoadedModel, row: list[int], stops: Sequence[str], opened: bool
) -> tuple[list[int], Split, str | None]:
    """A reply up to its end, where its answer begins, and the answer's text if a stop string ended it. A stop string ends
    answers: a thought may hold it."""
    ids = until_end(row, local.eos_ids)
    split = local.thinking.split(ids, opened=opened)
    answer, text = cut(local.tokenizer, ids[split.start :], stops)
    return [*ids[: split.start], *answer], split, text


def _prompt_cache(local: LoadedModel, rows: Sequence[list[int]], recording: Recording | None) -> Cache | None:
    """What the generation fills. One prompt that all rows share has run once, up to where something is kept of it."""
    cache = recording.cache if recording else None
    shared = len(rows[0]) + (recording.keep.offset if recording else -1)
    alike = len(rows) > 1 and all(row == rows[0] for row in rows)
    if not alike or shared < 1 or not local.anatomy.cached or not _counts_plainly(local.model):
        return cache
    with recording.paused() if recording else nullcontext():
        return shared_prefix(local, rows[0][:shared], len(rows), cache)


def _counts_plainly(model: nn.Module) -> bool:
    """Whether positions are counted as usual: some models remember an offset between calls, for images, and would add it."""
    model = getattr(model, "get_base_model", lambda: model)()  # inside PEFT's wrapper
    own = "_prepare_position_ids_for_generation"
    return getattr(type(model), own, None) is getattr(GenerationMixin, own, None)


def _config(local: LoadedModel, decoding: Decoding, room: int) -> GenerationConfig:
    options: dict[str, Any] = {"max_new_tokens": room, "eos_token_id": local.eos_ids, "pad_token_id": local.pad_id}
    if decoding.temperature > 0:
        return GenerationConfig(
            do_sample=True, temperature=decoding.temperature, top_k=decoding.top_k, top_p=decoding.top_p, **options
        )
    return GenerationConfig(do_sample=False, **options)


def _too_big(prompt: list[int]) -> ModelError:
    return too_large(
        f"answering one prompt of {len(prompt)} tokens",
        "shorten it, lower max_new_tokens, or use a smaller model, a lower precision (dtype) or a device with more memory",
    )
