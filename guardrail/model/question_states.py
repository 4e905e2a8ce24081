"""Hidden states of a middle layer: at the end of a prompt, by which questions are told to be alike, and in the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from guardrail.errors import ModelError
from guardrail.kernels.frozen import on_input, untouched, weights_version
from guardrail.model.decoder import run_decoder
from guardrail.model.loaded import LoadedModel
from guardrail.model.prompts import pad
from guardrail.types import Trace

_BATCH = 16


class _SeenError(Exception):
    """Ends a forward pass: what stands above is not needed."""


def middle_layer(local: LoadedModel) -> int:
    """The layer whose input is compared, from 0: where the band of HybridGrad begins, so that generation keeps it anyway."""
    layers = len(local.anatomy.layers)
    return layers - layers // 2 if layers > 1 else 0


def states_entering(local: LoadedModel, prompts: Sequence[Sequence[int]], layer: int) -> np.ndarray:
    """What enters `layer` at each prompt's last token: (prompts, D), float32. Layers from there on do not run.

    A prompt that is longer than the model's context gets NaN.
    """
    context, width = local.anatomy.context, local.anatomy.head.in_features
    out = np.full((len(prompts), width), np.nan, dtype=np.float32)
    fit = [i for i, prompt in enumerate(prompts) if context is None or len(prompt) <= context]
    fit.sort(key=lambda i: len(prompts[i]))
    for at in range(0, len(fit), _BATCH):
        batch = fit[at : at + _BATCH]
        some = [prompts[i] for i in batch]
        out[batch] = _entering(local, some, layer, [[len(prompt) - 1] for prompt in some])
    return out


def states_of(local: LoadedModel, traces: Sequence[Trace], layer: int) -> list[np.ndarray]:
    """What entered `layer` at the end of each answer's prompt, (D,), from generation where it kept that."""
    kept = [kept_state(trace, layer) for trace in _of_these_weights(local, traces)]
    missing = [i for i, state in enumerate(kept) if state is None]
    found = dict(zip(missing, states_entering(local, [asked(traces[i]) for i in missing], layer), strict=True))
    return [found[i] if state is None else state for i, state in enumerate(kept)]


def answer_states(
    local: LoadedModel, traces: Sequence[Trace], layer: int, chosen: Sequence[Sequence[int]]
) -> list[np.ndarray]:
    """What entered `layer` at the chosen tokens of each answer, the mean, (D,), from generation where it kept that.

    chosen: places in `response_ids`. The last token is left out where there are others: generation ends without reading it. NaN
    where nothing is chosen, and for what is longer than the model's context.
    """
    places = answer_places(traces, chosen)
    kept = _of_these_weights(local, traces)
    out = [_kept_mean(trace, layer, where) for trace, where in zip(kept, places, strict=True)]
    context, nothing = local.anatomy.context, np.full(local.anatomy.head.in_features, np.nan, dtype=np.float32)
    for i, (trace, where) in enumerate(zip(traces, places, strict=True)):
        ids = (*trace.prompt_ids, *trace.response_ids)
        if out[i] is None and where and (context is None or len(ids) <= context):
            out[i] = _entering(local, [ids], layer, [where])[0]
    return [nothing if state is None else state for state in out]


def answer_places(traces: Sequence[Trace], chosen: Sequence[Sequence[int]]) -> list[list[int]]:
    """Where in prompt and response the chosen tokens of each answer stand; the last one only where it is alone."""
    return [
        [len(t.prompt_ids) + i for i in some if i < len(t.response_ids) - 1 or len(some) == 1]
        for t, some in zip(traces, chosen, strict=True)
    ]


def _of_these_weights(local: LoadedModel, traces: Sequence[Trace]) -> list[Trace]:
    """The traces without what was kept of other ids (the trace was edited) or by other weights (an adapter, say)."""
    weights = weights_version(local.model)
    return [
        trace
        if trace.state is None
        or (trace.state.ids == (*trace.prompt_ids, *trace.response_ids) and trace.state.weights == weights)
        else replace(trace, state=None)
        for trace in traces
    ]


def _kept_mean(trace: Trace, layer: int, places: Sequence[int]) -> np.ndarray | None:
    state = trace.state
    if state is None or state.band_layer != layer or not places:
        return None
    rows = [place - state.first for place in places]
    if min(rows) < 0 or max(rows) >= len(state.band_states):
        return None
    return _as_array(state.band_states[rows].float().mean(0))


def asked(trace: Trace) -> tuple[int, ...]:
    """The prompt without the thinking behind it."""
    return trace.prompt_ids[: len(trace.prompt_ids) - trace.thinking_tokens]


def kept_state(trace: Trace, layer: int) -> np.ndarray | None:
    """The same, (D,), from what generation kept of an answer; None where it did not keep this layer and token."""
    state, end = trace.state, len(asked(trace)) - 1
    if state is None or state.band_layer != layer or end < state.first:
        return None
    return _as_array(state.band_states[end - state.first])


def _entering(
    local: LoadedModel, texts: Sequence[Sequence[int]], layer: int, places: Sequence[Sequence[int]]
) -> np.ndarray:
    """The mean of what enters `layer` at these places of each text, (texts, D)."""
    ids, _ = pad(texts, local.pad_id)  # on the right, where a causal model does not see it
    seen: list[Tensor] = []

    def see(hidden: Tensor) -> None:
        seen.append(torch.stack([row[list(where)].float().mean(0) for row, where in zip(hidden, places, strict=True)]))
        raise _SeenError

    with local.lock, torch.inference_mode(), untouched(local.model) as stack:
        on_input(stack, local.anatomy.layers[layer], see)
        try:
            run_decoder(local.anatomy.decoder, ids.to(local.device))
        except _SeenError:
            return _as_array(seen[0])
    raise ModelError(f"{local.name} did not run its layer {layer}")


def _as_array(x: Tensor) -> np.ndarray:
    out: np.ndarray = x.detach().float().cpu().numpy()
    return out
