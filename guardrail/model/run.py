"""One batch of prompts while it is answered: what every step does for its rows, whoever computes the logits.

`generate.py` hands a batch to transformers' own loop; `continuous/` shares passes among batches of one row. Both use these
processors, stops and records, so an answer means the same either way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin

from guardrail.model.constraint import Constrained, Constraint, Grammars
from guardrail.model.loaded import LoadedModel
from guardrail.model.prompts import pad
from guardrail.model.recording import Keep, Recording
from guardrail.model.stopping import OnStep, Steps, cut, prefix_spelling, special_ids, until_end
from guardrail.model.thinking import Split
from guardrail.model.token_log_probs import DrawnLogProbs, FiniteRows, StepEntropies
from guardrail.types import DEFAULT_MAX_NEW_TOKENS, FinishReason, GenerationState, Trace
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


@dataclass(frozen=True, slots=True, eq=False)
class PromptBatch:
    """Prompts to answer together, and how.

    Attributes:
        local: The model that answers.
        prompts: Their ids, one list a row.
        decoding: How to generate.
        room: The longest response, in tokens.
        keep: The states that scoring can use again; None for none.
        grammars: What each answer must be; None for one that is free.
    """

    local: LoadedModel
    prompts: Sequence[list[int]]
    decoding: Decoding
    room: int
    keep: Keep | None
    grammars: Sequence[Grammars | None]


@dataclass(frozen=True, slots=True)
class Response:
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


class Run:
    """Prompts that are answered together, from the first pass on.

    Attributes:
        ids: The left-padded prompts, (B, S); mask: 1 for their tokens.
        recording: What is kept for scoring; None where nothing is.
        processors: What every step's logits go through, in order, before temperature, top-k and top-p.
    """

    def __init__(self, batch: PromptBatch) -> None:
        local, decoding, keep = batch.local, batch.decoding, batch.keep
        self.local, self.rows = local, batch.prompts
        self.ids, self.mask = pad(self.rows, local.pad_id, left=True)
        self.width = self.ids.shape[1]
        self._opened = [local.thinking.opened_by(row) for row in self.rows]
        ends_anyway = special_ids(local.tokenizer, decoding.stop) & set(local.eos_ids)
        self._stops = tuple(s for s in decoding.stop if ends_anyway.isdisjoint(special_ids(local.tokenizer, [s])))
        self._start = time.perf_counter()
        self.recording = (
            Recording(local, self.rows, batch.room, keep) if keep is not None and local.anatomy.cached else None
        )
        self._on_step = decoding.on_step
        self._drawn = DrawnLogProbs() if decoding.log_probs else None
        self._finite = FiniteRows(local.eos_ids[0])
        self._entropies = StepEntropies() if keep is not None and local.thinking.opens else None  # scorers read them
        measuring = (self._finite, self._entropies, self._drawn)
        self.processors = [processor for processor in measuring if processor is not None]
        if any(batch.grammars):  # last: what is measured is the model's own
            self.processors.append(Constrained(batch.grammars, self.width, self._opened, self._finite.broken))

    def steps(self) -> Steps | None:
        """What may end a row beside its end token; None where nothing else does.

        The caller keeps it: it knows the run, and in a circle all that was recorded would outlive the answer.
        """
        if not self._stops and not self._on_step:
            return None
        return Steps(
            self.local.tokenizer,
            self.width,
            self.local.eos_ids,
            self._stops,
            self._on_step,
            self._snapshot,
            self._without_side_effects,
            self._spoken,
        )

    def listen(self, stack: ExitStack) -> None:
        """While `stack` is open, keep what scoring can use again."""
        if self.recording is not None:
            self.recording.listen(stack)

    def responses(self, out: Tensor) -> list[Response]:
        """What each row gave. out: prompts and replies, (B, S + T)."""
        broken = self._finite.broken(len(self.rows))
        responses = [
            replace(response, fault="not_finite") if fault else response
            for response, fault in zip(self._so_far(out[:, self.width :].tolist()), broken, strict=True)
        ]
        if self._entropies is not None:
            told = self._entropies.of([response.split.start for response in responses])
            responses = [replace(r, thinking_entropies=row or None) for r, row in zip(responses, told, strict=True)]
        if self._drawn is None:
            return responses
        found = self._drawn.of(out, [len(response.ids) for response in responses])
        return [replace(response, log_probs=row) for response, row in zip(responses, found, strict=True)]

    def _so_far(self, tokens: Sequence[list[int]]) -> list[Response]:
        ms = seconds_since(self._start) * 1000 / len(self.rows)
        ends = [ended_reply(self.local, row, self._stops, was) for row, was in zip(tokens, self._opened, strict=True)]
        states = self.recording.states([ids for ids, _, _ in ends]) if self.recording else [None] * len(self.rows)
        return [Response(*end, state, ms) for end, state in zip(ends, states, strict=True)]

    def _snapshot(self, tokens: Sequence[list[int]]) -> list[Trace]:
        return [trace_of(self.local, row, each) for row, each in zip(self.rows, self._so_far(tokens), strict=True)]

    def _spoken(self, tokens: Sequence[list[int]]) -> list[list[int]]:
        spoken = self.local.thinking.spoken
        return [spoken(row, opened=was) for row, was in zip(tokens, self._opened, strict=True)]

    @contextmanager
    def _without_side_effects(self) -> Iterator[None]:
        with same_draws(self.local.device), self.recording.paused() if self.recording else nullcontext():
            yield


def trace_of(local: LoadedModel, prompt: list[int], response: Response) -> Trace:
    """The Trace of a row. Its thinking is moved in front of the response, so that the answer is scored given it."""
    at_stop, text = response.text is not None, response.text
    split = response.split
    answer, state, log_probs = response.ids[split.start :], response.state, response.log_probs
    ended = at_stop or (bool(response.ids) and response.ids[-1] in local.eos_ids)
    if text is None:
        text = local.tokenizer.decode(answer, skip_special_tokens=True)
    text, stated = local.without_confidence(text.strip())
    if stated is not None:  # what generation kept belongs to the longer reply; its end token ends the shown answer, too
        end = [] if at_stop or not ended else answer[-1:]
        begun, state = prefix_spelling(local.tokenizer, answer, text), None
        if log_probs is not None:
            log_probs = (*log_probs[: split.start + len(begun)], *(log_probs[-1:] if end else ()))
        answer = [*begun, *end]
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


def same_draws(device: torch.device) -> AbstractContextManager[None]:
    """What is drawn inside changes nothing of what is drawn after it."""
    forked: AbstractContextManager[None] = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    return forked


def ended_reply(
    local: LoadedModel, row: list[int], stops: Sequence[str], opened: bool
) -> tuple[list[int], Split, str | None]:
    """A reply up to its end, where its answer begins, and the answer's text if a stop string ended it. A stop string ends
    answers: a thought may hold it."""
    ids = until_end(row, local.eos_ids)
    split = local.thinking.split(ids, opened=opened)
    answer, text = cut(local.tokenizer, ids[split.start :], stops)
    return [*ids[: split.start], *answer], split, text


def counts_plainly(model: nn.Module) -> bool:
    """Whether positions are counted as usual: some models remember an offset between calls, for images, and would add it."""
    model = getattr(model, "get_base_model", lambda: model)()  # inside PEFT's wrapper
    own = "_prepare_position_ids_for_generation"
    return getattr(type(model), own, None) is getattr(GenerationMixin, own, None)


def config_of(batch: PromptBatch) -> GenerationConfig:
    local, decoding = batch.local, batch.decoding
    options: dict[str, Any] = {
        "max_new_tokens": batch.room,
        "eos_token_id": local.eos_ids,
        "pad_token_id": local.pad_id,
    }
    if decoding.temperature > 0:
        return GenerationConfig(
            do_sample=True, temperature=decoding.temperature, top_k=decoding.top_k, top_p=decoding.top_p, **options
        )
    return GenerationConfig(do_sample=False, **options)
