"""Messages -> Trace: greedy or sampled generation in left-padded batches, keeping what a `Keep` asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from transformers import Cache, GenerationConfig, GenerationMixin, LogitsProcessorList, StoppingCriteriaList

from guardrail.errors import ModelError
from guardrail.kernels.frozen import untouched
from guardrail.kernels.memory import halve_on_out_of_memory, is_out_of_memory, too_large
from guardrail.model.constraint import Grammars
from guardrail.model.decoder import cache_keyword
from guardrail.model.loaded import LoadedModel
from guardrail.model.prompts import shared_prefix
from guardrail.model.recording import Keep, Recording
from guardrail.model.run import Decoding, PromptBatch, Response, Run, config_of, counts_plainly, same_draws, trace_of
from guardrail.model.thinking import Split
from guardrail.types import Message, Trace

_Row = tuple[list[int], Grammars | None]
"""A prompt, and what its answer must be."""

Drive = Callable[[PromptBatch], list[Response]]
"""What answers a batch of prompts: one Response a prompt, in order. It draws by the decoding's seed."""


def generate(
    local: LoadedModel,
    conversations: Sequence[Sequence[Message]],
    prompts: Sequence[list[int]],
    decoding: Decoding,
    keep: Keep | None,
    truncated: Sequence[bool],
    drive: Drive | None = None,
) -> list[Trace]:
    """One Trace a conversation. A prompt that leaves no room in the context yields a Trace without a response.

    drive: what answers a batch; by default transformers' loop, with the model's lock held.
    """
    answer = drive or _run
    context = local.anatomy.context
    fits = [i for i, p in enumerate(prompts) if p and (context is None or len(p) < context)]
    traces: dict[int, Trace] = {}
    # by room: a long prompt must not cut the answers to the others; by length, too, where a recurrent state would read padding
    groups: dict[tuple[int, int], list[int]] = {}
    for i in fits:
        limit, length = decoding.max_new_tokens, len(prompts[i])
        room = limit if context is None else min(limit, context - length)
        groups.setdefault((room, 0 if local.anatomy.cached else length), []).append(i)

    compiled = {c: Grammars(local, c) for c in decoding.constraints if c is not None}
    grammars = [None if c is None else compiled[c] for c in decoding.constraints] or [None] * len(prompts)

    def too_big(row: _Row) -> Response:
        if len(conversations) == 1:  # nothing else would be lost
            raise _too_big(row[0])
        return Response([], Split(0, False, ""), None, None, 0.0, (), fault="out_of_memory")

    with nullcontext() if drive else _seeded(decoding.seed, local.device):
        for (room, _), group in groups.items():

            def work(rows: Sequence[_Row], room: int = room) -> list[Response]:
                own = [row for row, _ in rows], decoding, room, keep, [grammar for _, grammar in rows]
                return answer(PromptBatch(local, *own))

            rows = [(prompts[i], grammars[i]) for i in group]
            responses = (_once if decoding.on_step else halve_on_out_of_memory)(work, rows, too_big)
            for i, response in zip(group, responses, strict=True):
                trace = trace_of(local, prompts[i], response)
                traces[i] = replace(trace, messages=tuple(conversations[i]), prompt_truncated=truncated[i])
    for i, prompt in enumerate(prompts):
        if i not in traces:
            traces[i] = Trace(tuple(conversations[i]), tuple(prompt), (), "", "prompt_too_long", truncated[i])
    return [traces[i] for i in range(len(prompts))]


def _once(
    work: Callable[[Sequence[_Row]], list[Response]],
    rows: Sequence[_Row],
    too_big: Callable[[_Row], Response | ModelError],
) -> list[Response]:
    """As `halve_on_out_of_memory`, without another try: it would show its steps twice."""
    if len(rows) == 1:
        return halve_on_out_of_memory(work, rows, too_big)
    try:
        return work(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_large(f"answering {len(rows)} prompts together", "ask fewer of them at once") from error


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Once around all passes: each with the same seed would draw the same samples. The caller's generators stay as they are."""
    if seed is None:
        yield
        return
    with same_draws(device):
        torch.manual_seed(seed)
        yield


@torch.inference_mode(False)  # even inside the caller's: scoring builds a graph on what is kept
@torch.no_grad()
def _run(batch: PromptBatch) -> list[Response]:
    """A batch of its own, by transformers' loop."""
    local, rows, decoding = batch.local, batch.prompts, batch.decoding
    device = local.device
    with untouched(local.model, watched=decoding.on_step is not None) as stack:
        run = Run(batch)
        run.listen(stack)
        steps = run.steps()
        config = config_of(batch)  # its end tokens are the model's, which the next lines hide
        # transformers fills what a config leaves open from the model's own: a bare one keeps its penalties and processors out
        stack.callback(setattr, local.model, "generation_config", local.model.generation_config)
        local.model.generation_config = GenerationConfig()
        out = local.model.generate(  # type: ignore[operator]
            input_ids=run.ids.to(device),
            attention_mask=run.mask.to(device),
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([steps] if steps else []),
            logits_processor=LogitsProcessorList(run.processors),
            **{cache_keyword(GenerationMixin.prepare_inputs_for_generation): _prompt_cache(local, rows, run.recording)},
        )
    return run.responses(out)


def _prompt_cache(local: LoadedModel, rows: Sequence[list[int]], recording: Recording | None) -> Cache | None:
    """What the generation fills. One prompt that all rows share has run once, up to where something is kept of it."""
    cache = recording.cache if recording else None
    shared = len(rows[0]) + (recording.keep.offset if recording else -1)
    alike = len(rows) > 1 and all(row == rows[0] for row in rows)
    if not alike or shared < 1 or not local.anatomy.cached or not counts_plainly(local.model):
        return cache
    with recording.paused() if recording else nullcontext():
        return shared_prefix(local, rows[0][:shared], len(rows), cache)


def _too_big(prompt: list[int]) -> ModelError:
    return too_large(
        f"answering one prompt of {len(prompt)} tokens",
        "shorten it, lower max_new_tokens, or use a smaller model, a lower precision (dtype) or a device with more memory",
    )
