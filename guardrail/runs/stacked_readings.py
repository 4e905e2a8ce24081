"""A run's records -> readings, from which the stacked scorer's features come. Knows nothing about files, models or weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.stacking import stacked_scores
from guardrail.errors import CalibrationError
from guardrail.messages import question_of
from guardrail.runs.asking import Asking
from guardrail.scoring.stacked.features import Reading, Tokens
from guardrail.scoring.stacked.model import StackedModel
from guardrail.scoring.stacked.words import asked_words, words_of

if TYPE_CHECKING:
    from guardrail.calibration.metrics import Floats
    from guardrail.calibration.profiles import Signals
    from guardrail.calibration.provenance import Provenance
    from guardrail.runs.answers import Answers
    from guardrail.runs.collect_claims import ClaimAnswers


def readings_of(answers: Answers, asking: Asking) -> list[Reading]:
    """One of every scored answer. Raises `CalibrationError` for records that do not say which token made which word."""
    records = [answers.records[i] for i in answers.scored.tolist()]
    tokens = [_tokens(record, record) for record in records]
    return [
        _reading(t, _asked(r["question"], asking), answers.signals, i)
        for i, (r, t) in enumerate(zip(records, tokens, strict=True))
    ]


def claim_readings_of(claims: ClaimAnswers, asking: Asking) -> list[Reading]:
    """One of every graded and scored claim, with the answer up to its end; otherwise as `readings_of`."""
    whole = {i: _tokens(claims.records[i], claims.records[i]["whole"]) for i in np.unique(claims.groups).tolist()}
    asked = {i: _asked(claims.records[i]["question"], asking) for i in whole}
    return [
        _reading(
            whole[group].part(claim["token_start"], claim["token_end"]),
            asked[group],
            claims.signals,
            i,
            whole[group].part(0, claim["token_end"]),
        )
        for i, (claim, group) in enumerate(zip(claims.claims, claims.groups.tolist(), strict=True))
    ]


def scores_by(origin: Provenance, readings: Sequence[Reading]) -> Floats:
    """The stacked scores of readings, (n,), by the model in a calibrator's provenance."""
    return stacked_scores(stacked_model_of(origin), readings)


def stacked_model_of(origin: Provenance) -> StackedModel:
    """Raises `CalibrationError` where the provenance holds none."""
    try:
        return StackedModel.model_validate(origin.profile)
    except ValueError as error:
        raise CalibrationError(
            f"the calibrator's profile is no stacked model: {' '.join(str(error).split())[:200]}"
        ) from error


def asking_of(origin: Provenance) -> Asking:
    """How the calibrator's questions were put."""
    return Asking(origin.prompt, origin.system)


def _asked(question: str, asking: Asking) -> frozenset[str]:
    return asked_words(question_of(asking.messages(question)))


def _tokens(record: dict[str, Any], numbers: dict[str, Any]) -> Tokens:
    if "pieces" not in record:
        raise CalibrationError(
            "these answers were collected without their tokens' texts, which the stacked scorer needs; ask again, with "
            "--no-cache and without --resume"
        )
    return Tokens(words_of(record["pieces"]), np.array(numbers["entropies"]), np.array(numbers["log_probs"]))


def _reading(tokens: Tokens, asked: frozenset[str], signals: Signals, i: int, so_far: Tokens | None = None) -> Reading:
    semgrad = dict(zip(signals.offsets, signals.semgrad["code"][i].tolist(), strict=True))
    return Reading(tokens, asked, float(signals.paragrad[i]), semgrad, so_far)
