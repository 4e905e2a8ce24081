"""Trace -> Score: HybridGrad (arXiv 2605.04638, eq. 4 to 6) by the closed forms and one short backward pass.

Knows nothing about calibration; what cannot be scored comes back as an unscored Score, never as a number.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from operator import index
from typing import Any

from torch import nn

from guardrail.errors import ScoringError
from guardrail.kernels.frozen import lock_of, weights_version
from guardrail.kernels.memory import halve_on_out_of_memory
from guardrail.model import chat
from guardrail.model.anatomy import Anatomy, read_anatomy
from guardrail.model.loaded import end_ids
from guardrail.model.local import LocalModel
from guardrail.model.recording import Keep
from guardrail.scoring.batching import by_token_budget, waste_on
from guardrail.scoring.gradients import Readout, Span, read_gradients, read_spans, require_gradients
from guardrail.scoring.profile import Band, Profile, Reduction, band_start
from guardrail.scoring.scorable import unscorable
from guardrail.scoring.suffix import Row
from guardrail.types import Score, Trace

Pair = tuple[Sequence[int], Sequence[int]]


class HybridGradScorer:
    """Scores answers of one model; higher = more uncertain.

    model: a transformers causal language model, or a `LocalModel`. It is left exactly as it was after each call.
    semantic_token: t* as a negative offset from the prompt's end (-1 = its last token); None derives it from the
    tokenizer's chat template. profile: all options at once, as a calibrator records them, in place of the keywords.
    tokens_per_pass: padded tokens of one batched pass, which bounds its memory.

    Raises `ScoringError` for options that make no sense and `UnsupportedModelError` for a model that cannot be scored.
    """

    name = "hybridgrad"

    def __init__(
        self,
        model: nn.Module | LocalModel,
        tokenizer: Any = None,
        *,
        semantic_token: int | None = None,
        reduction: Reduction = "mean",
        band: Band = "code",
        tau: float = 1.0,
        beta: float = 1.0,
        profile: Profile | None = None,
        tokens_per_pass: int = 4096,
    ) -> None:
        self.model, self.anatomy, tokenizer = _parts(model, tokenizer)
        self._lock = lock_of(self.model)
        with self._lock:
            require_gradients(self.model, self.anatomy)
        self._end_ids = frozenset(model.eos_ids if isinstance(model, LocalModel) else end_ids(model))
        if profile is None:
            token, source = _token(semantic_token, tokenizer)
            try:
                profile = Profile(token=token, token_source=source, band=band, reduction=reduction, tau=tau, beta=beta)
            except ValueError as error:
                raise ScoringError(_reasons(error)) from error
        self.profile = profile
        if tokens_per_pass < 1:
            raise ScoringError(f"tokens_per_pass is {tokens_per_pass}; it must be at least 1")
        self._budget = tokens_per_pass
        self._first_layer = band_start(profile.band, len(self.anatomy.layers))

    @property
    def options(self) -> dict[str, Any]:
        """The profile, JSON-ready."""
        return self.profile.model_dump(mode="json")

    @property
    def keep(self) -> Keep:
        """What generation should keep so that scoring need not compute it again."""
        return Keep(self._first_layer, self.profile.token)

    def score(self, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> Score:
        """The score of one response to one prompt, both as token ids; the end-of-turn token belongs to the response."""
        return self.score_batch([(prompt_ids, response_ids)])[0]

    def score_batch(self, pairs: Sequence[Pair]) -> list[Score]:
        """The scores of (prompt ids, response ids) pairs of any lengths, in order; each as `score` would give it."""
        return self._score([Row(_ids(p), _ids(r)) for p, r in pairs])

    def score_trace(self, trace: Trace) -> Score:
        """The score of what a model generated, using what generation kept."""
        return self.score_traces([trace])[0]

    def score_traces(self, traces: Sequence[Trace]) -> list[Score]:
        return self._score(self.rows_of(traces), traces)

    def rows_of(self, traces: Sequence[Trace]) -> list[Row]:
        """The rows of traces; a state of other ids (the trace was edited) or other weights (an adapter, say) is left out."""
        weights = weights_version(self.model)
        return [_row(trace, weights) for trace in traces]

    def _score(self, rows: Sequence[Row], traces: Sequence[Trace | None] | None = None) -> list[Score]:
        scores: list[Score | None] = [
            self.unscorable(row, trace, [self.profile.token])
            for row, trace in zip(rows, traces or [None] * len(rows), strict=True)
        ]
        todo = [i for i, score in enumerate(scores) if score is None]
        waste = waste_on(self.anatomy.head.weight.device)
        for chunk in by_token_budget([rows[i] for i in todo], self._budget, waste):
            readouts = self.read([rows[todo[j]] for j in chunk], [self.profile.token], self._first_layer)
            for j, readout in zip(chunk, readouts, strict=True):
                scores[todo[j]] = self._from_readout(readout, len(rows[todo[j]].response_ids))
        return [s for s in scores if s is not None]

    def unscorable(self, row: Row, trace: Trace | None, offsets: Sequence[int]) -> Score | None:
        """See `unscorable`; offsets: the prompt tokens that scoring will look at."""
        return unscorable(self.anatomy, self._end_ids, row, trace, offsets)

    def read(
        self, rows: Sequence[Row], offsets: Sequence[int], first_layer: int, *, exgrad: bool = False
    ) -> list[Readout]:
        """The raw readouts at several tokens, for choosing a profile. Rows must be scorable.

        Rows that do not fit into memory together are halved and tried again. Raises `ScoringError` where one alone does not.
        """

        def work(group: Sequence[Row]) -> list[Readout]:
            return read_gradients(
                self.model, self.anatomy, group, first_layer=first_layer, offsets=offsets, exgrad=exgrad
            )

        with self._lock:
            return halve_on_out_of_memory(work, rows, _too_big)

    def score_spans(self, traces: Sequence[Trace], spans: Sequence[Sequence[Span]]) -> list[list[Score]]:
        """The scores of parts of answers: for each trace those of its spans, each `response_ids[start:end]`.

        J is restricted to the span's tokens; everything before the span acts as it did. Where the answer as a whole cannot
        be scored, none of its spans is. Raises `ScoringError` for a span that is not within the response.
        """
        scores = []
        for row, trace, parts in zip(self.rows_of(traces), traces, spans, strict=True):
            refused = self.unscorable(row, trace, [self.profile.token])
            if refused is not None:
                scores.append([replace(refused, length=max(0, end - start)) for start, end in parts])
                continue
            readouts = self.read_spans(row, parts, [self.profile.token], self._first_layer)
            scores.append([self._from_readout(r, e - s) for r, (s, e) in zip(readouts, parts, strict=True)])
        return scores

    def read_spans(
        self,
        row: Row,
        spans: Sequence[Span],
        offsets: Sequence[int],
        first_layer: int,
        *,
        exgrad: bool = False,
        silent: Collection[Span] = (),
    ) -> list[Readout]:
        """The raw readouts of spans of one answer, in order, from one forward pass. The row must be scorable.

        silent: those of which only what the head tells is wanted; their semgrad is empty. Raises `ScoringError` for a span
        that is not within the response.
        """
        T = len(row.response_ids)
        for start, end in spans:
            if not 0 <= start < end <= T:
                raise ScoringError(f"the span [{start}, {end}) is empty or not within the response's {T} tokens")
        if not spans:
            return []

        def work(group: Sequence[Span]) -> list[Readout]:
            return read_spans(
                self.model,
                self.anatomy,
                row,
                group,
                first_layer=first_layer,
                offsets=offsets,
                exgrad=exgrad,
                silent=silent,
            )

        with self._lock:
            return halve_on_out_of_memory(work, spans, lambda _: _too_big(row))

    def _from_readout(self, readout: Readout, length: int) -> Score:
        return combine(readout.semgrad.mean().item(), readout, length, self.profile)


def _too_big(row: Row) -> ScoringError:
    return ScoringError(
        f"scoring one answer of {len(row.response_ids)} tokens after a prompt of {len(row.prompt_ids)} ran out of memory; "
        f"limit the answer (max_new_tokens), or use a device with more memory"
    )


def _row(trace: Trace, weights: int) -> Row:
    ids, state = (*trace.prompt_ids, *trace.response_ids), trace.state
    fits = state is not None and state.ids == ids and state.weights == weights
    return Row(trace.prompt_ids, trace.response_ids, state if fits else None)


def combine(semgrad: float, readout: Readout, length: int, profile: Profile) -> Score:
    """The Score of a readout under a profile. semgrad: of the profile's token and band, mean reduction."""
    factor = length if profile.reduction == "sum" else 1
    entropy = readout.entropies.double().mean().item()
    numbers = (
        semgrad * factor,
        readout.paragrad * factor,
        entropy,
        -readout.log_probs.double().sum().item(),
    )
    if not readout.finite() or not all(map(math.isfinite, numbers)):
        return Score.none("not_finite", "NaN or infinity in a logit or a gradient", length=length)
    return Score(profile.combine(*numbers[:3]), *numbers, length=length)


def _ids(ids: Sequence[int]) -> list[int]:
    """Token ids as Python integers. Raises `ScoringError` for anything that is not a flat row of integers."""
    try:
        if any(isinstance(i, bool) for i in ids):
            raise TypeError("True and False are no token ids")
        return [index(i) for i in ids]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ScoringError(f"token ids must be a flat row of integers: {' '.join(str(error).split())}") from error


def _parts(model: nn.Module | LocalModel, tokenizer: Any) -> tuple[nn.Module, Anatomy, Any]:
    if isinstance(model, LocalModel):
        return model.model, model.anatomy, tokenizer or model.tokenizer
    with lock_of(model):
        return model, read_anatomy(model), tokenizer


def _token(given: int | None, tokenizer: Any) -> tuple[int, str]:
    if given is not None:
        return given, "given"
    if tokenizer is None:
        raise ScoringError("give a tokenizer, whose chat template names the semantic token, or semantic_token=-N")
    found = chat.semantic_token(tokenizer)
    return found.offset, found.source


def _reasons(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in errors())
