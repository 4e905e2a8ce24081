"""What one pass tells, as JSON: a run file's records, and the arrays that profiles are chosen from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from guardrail.calibration.folds import Groups
from guardrail.calibration.metrics import Bools, Floats
from guardrail.calibration.profiles import Signals
from guardrail.calibration.provenance import Unit
from guardrail.errors import CalibrationError
from guardrail.scoring.profile import Band, band_start

if TYPE_CHECKING:  # torch comes with them, and records are read without it
    from guardrail.model.local import LocalModel
    from guardrail.scoring.gradients import Readout
    from guardrail.types import Trace

OFFSETS = tuple(range(-10, 0))
"""The prompt tokens whose SemGrad is read: t = 10..1, as in the paper's SPS maps, and the chat template's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Graded and scored answers or claims, n of them: what a profile is chosen on and a calibrator fitted.

    correct: (n,). log_prob: mean log-probability of the tokens, nats, (n,). groups: which answer each claim comes from, (n,);
    None for answers.
    """

    unit: Unit
    signals: Signals
    correct: Bools
    log_prob: Floats
    groups: Groups | None = None

    def at(self, token: int) -> Sample:
        """The same answers or claims with one token to choose. Raises `CalibrationError` where it was not read."""
        if token not in self.signals.offsets:
            raise CalibrationError(f"the token {token} was not read; these were: {list(self.signals.offsets)}")
        return replace(self, signals=self.signals.at(token))

    @property
    def own_probability(self) -> Floats | None:
        """exp(-nll / length), (n,): how probable the model itself found its words, uncalibrated; None where that is not known
        of each."""
        if np.isnan(self.log_prob).any():
            return None
        out: Floats = np.clip(np.exp(self.log_prob), 0.0, 1.0)
        return out


def offsets_of(local: LocalModel) -> tuple[int, ...]:
    """Where SemGrad is read; of a model behind an endpoint nowhere, for which the last token stands."""
    return tuple(sorted({*OFFSETS, local.semantic_token.offset})) if local.has_weights else (-1,)


def layers_of(local: LocalModel) -> int:
    """How many layers the model has; 1 for one behind an endpoint, of which nothing is read."""
    return len(local.anatomy.layers) if local.has_weights else 1


def record_of(trace: Trace) -> dict[str, Any]:
    """An answer's record, without numbers yet."""
    return {
        "answer": trace.text,
        "finish_reason": trace.finish_reason,
        "prompt_tokens": len(trace.prompt_ids) - trace.thinking_tokens,
        "unscored": None,
        **({"thinking": True} if trace.thought else {}),
        **(
            {"thinking_entropies": list(trace.thinking_entropies)} if trace.thought and trace.thinking_entropies else {}
        ),
    }


def numbers_of(readout: Readout) -> dict[str, Any]:
    """What a record holds of a readout whose first row is the band "code"; or why it holds nothing.

    semgrad: by layer of that band, then by token, J the mean over response tokens.
    """
    if not readout.finite():
        return {"unscored": "not_finite"}
    exgrad = {} if readout.exgrad is None else {"exgrad": readout.exgrad}
    return {
        "semgrad": readout.semgrad.tolist(),
        "paragrad": readout.paragrad,
        **exgrad,
        "entropies": readout.entropies.tolist(),
        "log_probs": readout.log_probs.tolist(),
    }


def signals_of(records: Sequence[dict[str, Any]], offsets: Sequence[int], layers: int) -> Signals:
    """The arrays of scored records of a model with so many layers, read at `offsets`, ascending.

    Offsets that some prompt was too short for are left out.
    """
    if any("semgrad" not in r for r in records):  # an endpoint tells of tokens alone
        unknown = np.full(len(records), np.nan)
        return Signals((), {}, unknown, unknown, np.array([float(len(r.get("pieces", ()))) for r in records]))
    columns = min((len(r["semgrad"][0]) for r in records), default=0)
    matrices = np.array([[row[-columns:] for row in r["semgrad"]] for r in records])  # (n, layers of the band, tokens)
    semgrad: dict[Band, Floats] = {}
    for band in get_args(Band):
        if columns and (band == "code" or layers // 2 + 1 < layers):  # a model of two layers has no band "text"
            semgrad[band] = matrices[:, band_start(band, layers) - band_start("code", layers) :].mean(1)
    return Signals(
        offsets=tuple(offsets[-columns:]) if columns else (),
        semgrad=semgrad,
        paragrad=np.array([r["paragrad"] for r in records]),
        entropy=np.array([float(np.mean(r["entropies"])) for r in records]),
        length=np.array([float(len(r["entropies"])) for r in records]),
    )


def log_prob_of(records: Sequence[dict[str, Any]]) -> Floats:
    """Mean log-probability of each record's tokens, nats, (n,); NaN where an endpoint told none."""
    return np.array([float(np.mean(r["log_probs"])) if "log_probs" in r else np.nan for r in records])
