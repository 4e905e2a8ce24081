"""The pass that scores by gradients read: a model's answers -> readouts, in batches that fit into memory. No formula."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import index

from torch import nn

from guardrail.errors import ScoringError
from guardrail.kernels.frozen import lock_of, weights_version
from guardrail.kernels.memory import halve_on_out_of_memory
from guardrail.model.anatomy import Anatomy, read_anatomy
from guardrail.model.loaded import end_ids
from guardrail.model.local import LocalModel
from guardrail.scoring.batching import by_token_budget, waste_on
from guardrail.scoring.gradients import Readout, Span, read_gradients, read_spans, require_gradients
from guardrail.scoring.scorable import unscorable
from guardrail.scoring.suffix import Row
from guardrail.types import Score, Trace

Pair = tuple[Sequence[int], Sequence[int]]


class GradientPass:
    """One forward pass over answers of a model, and one backward pass, for scores that are made from what they tell.

    model: a transformers causal language model, or a `LocalModel`. It is left exactly as it was after each call.
    tokens_per_pass: padded tokens of one batched pass, which bounds its memory.

    Raises `ScoringError` for options that make no sense and `UnsupportedModelError` for a model that cannot be scored.
    """

    def __init__(self, model: nn.Module | LocalModel, *, tokens_per_pass: int = 4096) -> None:
        self.module, self.anatomy = _parts(model)
        self._lock = lock_of(self.module)
        with self._lock:
            require_gradients(self.module, self.anatomy)
        self._end_ids = frozenset(model.eos_ids if isinstance(model, LocalModel) else end_ids(model))
        if tokens_per_pass < 1:
            raise ScoringError(f"tokens_per_pass is {tokens_per_pass}; it must be at least 1")
        self._budget = tokens_per_pass

    def rows_of(self, traces: Sequence[Trace]) -> list[Row]:
        """The rows of traces; a state of other ids (the trace was edited) or other weights (an adapter, say) is left out."""
        weights = weights_version(self.module)
        return [_row(trace, weights) for trace in traces]

    def groups(self, rows: Sequence[Row]) -> list[list[int]]:
        """Indices of the rows that go through one pass together."""
        return by_token_budget(rows, self._budget, waste_on(self.anatomy.head.weight.device))

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
                self.module, self.anatomy, group, first_layer=first_layer, offsets=offsets, exgrad=exgrad
            )

        with self._lock:
            return halve_on_out_of_memory(work, rows, _too_big)

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
                self.module,
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


def row_of_ids(pair: Pair) -> Row:
    """A row of token ids alone. Raises `ScoringError` for anything that is not two flat rows of integers."""
    return Row(_ids(pair[0]), _ids(pair[1]))


def _too_big(row: Row) -> ScoringError:
    return ScoringError(
        f"scoring one answer of {len(row.response_ids)} tokens after a prompt of {len(row.prompt_ids)} ran out of memory; "
        f"limit the answer (max_new_tokens), or use a device with more memory"
    )


def _row(trace: Trace, weights: int) -> Row:
    ids, state = (*trace.prompt_ids, *trace.response_ids), trace.state
    fits = state is not None and state.ids == ids and state.weights == weights
    return Row(trace.prompt_ids, trace.response_ids, state if fits else None, trace.thinking_tokens)


def _ids(ids: Sequence[int]) -> list[int]:
    """Token ids as Python integers. Raises `ScoringError` for anything that is not a flat row of integers."""
    try:
        if any(isinstance(i, bool) for i in ids):
            raise TypeError("True and False are no token ids")
        return [index(i) for i in ids]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ScoringError(f"token ids must be a flat row of integers: {' '.join(str(error).split())}") from error


def _parts(model: nn.Module | LocalModel) -> tuple[nn.Module, Anatomy]:
    if isinstance(model, LocalModel):
        return model.model, model.anatomy
    with lock_of(model):
        return model, read_anatomy(model)
