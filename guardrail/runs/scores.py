"""The records of a run -> readings of its answers or claims -> the scores that a calibrator reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from guardrail.calibration.origin import origin_of
from guardrail.calibration.profiles import Signals
from guardrail.errors import CalibrationError, ScoringError
from guardrail.messages import question_of
from guardrail.runs.asking import Asking
from guardrail.runs.states import ANSWER_STATE, state_of
from guardrail.scoring.readers import Reader
from guardrail.scoring.registry import reader_of
from guardrail.scoring.stacked.evidence import EvidenceReading, evidence_reading
from guardrail.scoring.stacked.features import Reading, Tokens
from guardrail.scoring.stacked.words import asked_words, words_of

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.metrics import Floats
    from guardrail.calibration.provenance import Provenance
    from guardrail.runs.answers import Answers
    from guardrail.runs.claim_answers import ClaimAnswers

Graded = TypeVar("Graded", "Answers", "ClaimAnswers")


def scores_of(calibrator: IsotonicCalibrator, answers: Answers) -> Floats:
    """The score of each scored answer, (len(answers.scored),), by the scorer and options that the calibrator was fitted with.

    answers: those that this scorer has a score of, `for_calibrator`. Raises `CalibrationError` where the calibrator does not
    say its scorer, or a score is missing.
    """
    origin = origin_of(calibrator)
    try:
        return _reader(origin).numbers(readings_of(answers, asking_of(origin)))
    except ScoringError as error:
        raise CalibrationError(str(error)) from error


def claim_scores_of(calibrator: IsotonicCalibrator, claims: ClaimAnswers) -> tuple[Floats, Floats]:
    """The score of each claim, and what every claim would have if it took its whole answer's instead, (n,) each.

    The latter ranks only (`Reader.of_answers`). Raises `CalibrationError` as `scores_of`.
    """
    origin = origin_of(calibrator)
    reader, asking = _reader(origin), asking_of(origin)
    readings, whole = claim_readings_of(claims, asking), whole_readings_of(claims, asking)
    try:
        return reader.numbers(readings), reader.of_answers(readings, claims.groups.tolist(), whole)
    except ScoringError as error:
        raise CalibrationError(str(error)) from error


def for_calibrator(calibrator: IsotonicCalibrator, answers: Graded) -> Graded:
    """The answers or claims with those alone as scored that the calibrator's scorer has a score of.

    Raises `CalibrationError` where they were collected without this scorer.
    """
    for name in _reader(origin_of(calibrator)).reads:
        answers = answers.scored_by(name)
    return answers


def readings_of(answers: Answers, asking: Asking) -> list[Reading]:
    """What the pass told of every scored answer."""
    records = [answers.records[i] for i in answers.scored.tolist()]
    asked = [
        asked_words(record["asked"]) if "asked" in record else _asked(record["question"], asking) for record in records
    ]
    readings = [
        _reading(_tokens(record, record), words, answers.signals, i, record)
        for i, (record, words) in enumerate(zip(records, asked, strict=True))
    ]
    return [
        replace(
            reading,
            evidence=_evidence(record, asking) if "without" in record else None,
            state=state_of(record),
            answer_state=state_of(record, ANSWER_STATE),
            thought=np.array(record["thinking_entropies"]) if "thinking_entropies" in record else None,
        )
        for reading, record in zip(readings, records, strict=True)
    ]


def claim_readings_of(claims: ClaimAnswers, asking: Asking) -> list[Reading]:
    """What the pass told of every graded and scored claim, with the answer up to its end."""
    whole, asked = _whole_tokens(claims), _asked_by_answer(claims, asking)
    return [
        _reading(
            whole[group].part(claim["token_start"], claim["token_end"]),
            asked[group],
            claims.signals,
            i,
            claim,
            whole[group].part(0, claim["token_end"]),
        )
        for i, (claim, group) in enumerate(zip(claims.claims, claims.groups.tolist(), strict=True))
    ]


def whole_readings_of(claims: ClaimAnswers, asking: Asking) -> list[Reading]:
    """What the pass told of every claim's whole answer."""
    tokens, asked = _whole_tokens(claims), _asked_by_answer(claims, asking)
    return [
        _reading(tokens[group], asked[group], claims.whole, i, claims.records[group]["whole"])
        for i, group in enumerate(claims.groups.tolist())
    ]


def asking_of(origin: Provenance) -> Asking:
    """How the calibrator's questions were put."""
    return Asking(origin.prompt, origin.system)


def _reader(origin: Provenance) -> Reader:
    try:
        return reader_of(origin.scorer, origin.scorer_options)
    except ScoringError as error:
        raise CalibrationError(f"the calibrator was fitted on another package's score: {error}") from error
    except ValueError as error:
        raise CalibrationError(
            f"the options in the calibrator are none of {origin.scorer!r}: {' '.join(str(error).split())[:200]}"
        ) from error


def _evidence(record: Mapping[str, Any], asking: Asking) -> EvidenceReading:
    text = question_of(asking.messages(record["question"]))
    return evidence_reading(text, record["passages"], record["without"], record["perplexity"])


def _asked(question: str, asking: Asking) -> frozenset[str]:
    return asked_words(question_of(asking.messages(question)))


def _asked_by_answer(claims: ClaimAnswers, asking: Asking) -> dict[int, frozenset[str]]:
    return {i: _asked(claims.records[i]["question"], asking) for i in set(claims.groups.tolist())}


def _whole_tokens(claims: ClaimAnswers) -> dict[int, Tokens]:
    return {i: _tokens(claims.records[i], claims.records[i]["whole"]) for i in set(claims.groups.tolist())}


def _tokens(record: Mapping[str, Any], numbers: Mapping[str, Any]) -> Tokens:
    entropies, log_probs = (np.array(numbers.get(key, ()), dtype=np.float64) for key in ("entropies", "log_probs"))
    if not len(entropies):  # an endpoint does not tell them
        entropies = np.full(len(log_probs), np.nan)
    return Tokens(words_of(record["pieces"]) if "pieces" in record else None, entropies, log_probs)


def _reading(
    tokens: Tokens,
    asked: frozenset[str],
    signals: Signals,
    i: int,
    record: Mapping[str, Any],
    so_far: Tokens | None = None,
) -> Reading:
    code, text = (
        dict(zip(signals.offsets, signals.semgrad[band][i].tolist(), strict=True)) if band in signals.semgrad else {}
        for band in ("code", "text")
    )
    return Reading(tokens, asked, float(signals.paragrad[i]), code, so_far, text, record.get("scores", {}))
