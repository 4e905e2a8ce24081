"""Scores from states that another engine recorded: ParaGrad and probes, without the model's layers. Experimental.

The numbers are those of `paragrad`, `pik` and `probe` on the model itself, as far as the engine's states are the model's. Its
kernels and its dtype are others, so a calibrator is to be fitted on numbers that were made like this.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guardrail.errors import ScoringError
from guardrail.model.anatomy import Anatomy
from guardrail.model.last_layer import LastLayer
from guardrail.model.question_states import answer_places, asked
from guardrail.model.remote.vllm_states import RecordedStates
from guardrail.scoring.baselines.head_gradient import score_of
from guardrail.scoring.gradients import Readout
from guardrail.scoring.head import read_heads
from guardrail.scoring.profile import Reduction
from guardrail.scoring.scorable import unscorable
from guardrail.scoring.states.model import StateProbe
from guardrail.scoring.states.scorer import telling_in
from guardrail.scoring.suffix import Row
from guardrail.types import Score, Trace

APART = 0.25
"""Nats, the mean over an answer's tokens: what the engine's log-probabilities may differ from those of the states. bfloat16
differs by hundredths; another model, or states behind the norm, by whole nats."""


def recorded_paragrad(
    last: LastLayer,
    recorded: RecordedStates,
    trace: Trace,
    *,
    end_ids: Collection[int] = (),
    reduction: Reduction = "mean",
) -> Score:
    """ParaGrad (eq. 5 of arXiv 2605.04638) of an answer that an engine read; higher = more uncertain.

    Args:
        last: The model's final norm and head.
        recorded: The engine's states, with what leaves the last layer among them.
        trace: What was asked and answered, in the engine's token ids. With `log_probs`, the engine's own, they are compared.
        end_ids: End-of-turn ids; an answer of these alone is empty.
        reduction: Whether J is the mean or the sum over the tokens.

    Raises:
        ScoringError: The file is of another text, or the log-probabilities say that it is of another model.
        DataError: The last layer was not recorded.
    """
    name, length = "paragrad", len(trace.response_ids)
    if refused := _refused(name, trace, end_ids, last.anatomy):
        return refused
    _require_same_text(recorded, trace)
    first = len(trace.prompt_ids) - 1  # the state that predicts the first token of the answer
    hidden = last.final(recorded.entering(last.layers)[first : first + length])
    (head,) = read_heads(last.anatomy, [hidden], [list(trace.response_ids)])
    readout = Readout(torch.empty(0, 0), head.paragrad, None, head.entropies.cpu(), head.log_probs.cpu())
    if trace.log_probs is not None and readout.fault() is None:
        _require_same_model(readout.log_probs, trace.log_probs)
    number = readout.paragrad * (length if reduction == "sum" else 1)
    return score_of(name, number, readout)


def recorded_pik(probe: StateProbe, recorded: RecordedStates, trace: Trace, *, end_ids: Collection[int] = ()) -> Score:
    """P(IK) by a probe of calibrator `pik`: log-odds of a wrong answer, nats, from the question alone. Raises as
    `recorded_paragrad`."""
    if refused := _refused("pik", trace, end_ids):
        return refused
    _require_same_text(recorded, trace)
    state = recorded.entering(probe.layer)[len(asked(trace)) - 1]
    return _probed("pik", probe, state, length=len(trace.response_ids))


def recorded_probe(
    probe: StateProbe, recorded: RecordedStates, trace: Trace, tokenizer: Any, *, end_ids: Collection[int] = ()
) -> Score:
    """The same of this answer, by a probe of calibrator `probe`. tokenizer: the model's, which tells where words are."""
    if refused := _refused("probe", trace, end_ids):
        return refused
    _require_same_text(recorded, trace)
    (places,) = answer_places([trace], [telling_in(tokenizer, trace)])
    # an answer of one token is read at that token, which the engine may not have recorded
    if places[-1] >= len(recorded.ids):
        raise ScoringError("the engine did not record the answer's last token; send prompt and answer as one prompt")
    state = recorded.entering(probe.layer)[places].float().mean(0)
    return _probed("probe", probe, state, length=len(trace.response_ids))


def _refused(name: str, trace: Trace, end_ids: Collection[int], anatomy: Anatomy | None = None) -> Score | None:
    """The Score of an answer that can have no number, with the reason."""
    row = Row(trace.prompt_ids, trace.response_ids, thinking=trace.thinking_tokens)
    refused = unscorable(anatomy, frozenset(end_ids), row, trace)
    return None if refused is None else replace(refused, length=len(trace.response_ids), name=name)


def _probed(name: str, probe: StateProbe, state: Tensor, *, length: int) -> Score:
    number = float(probe.numbers(np.asarray(state.float().numpy())[None])[0])
    return Score.of(name, number, length=length)


def _require_same_text(recorded: RecordedStates, trace: Trace) -> None:
    """Raise `ScoringError` where the engine read something else; the answer's last token need not have been read."""
    whole = (*trace.prompt_ids, *trace.response_ids)
    if len(recorded.ids) < len(whole) - 1 or recorded.ids[: len(whole)] != whole[: len(recorded.ids)]:
        raise ScoringError(
            f"the states are of another text: {len(recorded.ids)} tokens were recorded, and the trace's "
            f"{len(trace.prompt_ids)} + {len(trace.response_ids)} are not these. Send prompt and answer in token ids"
        )


def _require_same_model(ours: Tensor, engines: tuple[float, ...]) -> None:
    theirs = torch.tensor(engines, dtype=ours.dtype)
    if theirs.shape != ours.shape:
        raise ScoringError(f"{len(theirs)} log-probabilities of {len(ours)} tokens")
    apart = float((ours - theirs).abs().mean())
    if not apart <= APART:
        raise ScoringError(
            f"by these states the answer's tokens have other log-probabilities than by the engine, {apart:.2f} nats apart on "
            "average: are norm and head of the same model, and is the last recorded layer what leaves its last one?"
        )
