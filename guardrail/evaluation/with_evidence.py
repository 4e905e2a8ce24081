"""Answers that were given with passages: a curve of their own, and what it is worth beside the one without. No files.

Each question is asked with its own passages and with another's. So the curve is fitted where a passage is as often about
something else as not, and the figures say what a wrong one does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.chance import ece_of_chance
from guardrail.calibration.controls import Controls
from guardrail.calibration.metrics import (
    Bools,
    Estimate,
    Floats,
    bootstrap_interval,
    calibration_metrics,
    ece,
    wilson_interval,
)
from guardrail.calibration.stacking import fit_stacked, out_of_fold_stacked, stacked_scores
from guardrail.errors import CalibrationError
from guardrail.runs.scores import for_calibrator, readings_of, scores_of
from guardrail.scoring.registry import CONTENDER, reader_of

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.record import ContextName, ContextRecord
    from guardrail.evaluation.controls import TextReader
    from guardrail.runs.answers import Answers
    from guardrail.runs.asking import Asking

CONTEXT: ContextName = "evidence"
"""The name of the curve among a calibrator's contexts."""


@dataclass(frozen=True, slots=True)
class Passaged:
    """Answers with passages of one kind: the share that is right, the mean p_correct that they were given, and its ECE."""

    accuracy: Estimate
    mean_p: float
    ece: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class WithEvidence:
    """What was found of answers that were given with passages; every interval draws whole questions.

    Attributes:
        questions: Questions for which something was found.
        own: With the passages that were found for the question.
        other: With those that were found for another question.
        without: The same questions without passages.
        metrics: accuracy, auroc, aurc, brier and ece of all answers with passages.
        ece_mixed: ECE of all three kinds together.
        ece_by_chance: The mean ECE, and the range of 95 %, that so many answers would show if their probabilities were true.
        rise: By how much another question's passages raise the mean p_correct above that without any.
        controls: What readers of question, answer and passages alone tell of the answers with passages; None where that was
            not measured.
    """

    questions: int
    own: Passaged
    other: Passaged
    without: Passaged
    metrics: dict[str, Estimate]
    ece_mixed: Estimate
    ece_by_chance: Estimate
    rise: Estimate
    controls: Controls | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        out = asdict(self)
        if self.controls is None:
            del out["controls"]
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Answers of one kind, by question: p_correct and whether it is right."""

    p: Mapping[str, float]
    correct: Mapping[str, bool]
    questions: Sequence[str] = field(default=())

    @classmethod
    def of(cls, answers: Answers, p_correct: Sequence[float], whose: str | None = None) -> Judged:
        """p_correct: of the scored answers, in order. whose: those alone whose passages are such."""
        rows = [
            (answers.records[i]["question"], p, bool(answers.correct[i]))
            for i, p in zip(answers.scored.tolist(), p_correct, strict=True)
            if whose is None or answers.records[i]["whose"] == whose
        ]
        return cls({q: p for q, p, _ in rows}, {q: right for q, _, right in rows}, [q for q, _, _ in rows])

    def columns(self, questions: Sequence[str]) -> tuple[Floats, Bools]:
        """p_correct and correct of these questions, (n,) each."""
        return np.array([self.p[q] for q in questions]), np.array([self.correct[q] for q in questions], dtype=np.bool_)


def fit_with_evidence(
    calibrator: IsotonicCalibrator,
    without: Judged,
    answers: Answers,
    asking: Asking,
    source: Mapping[str, Any],
    *,
    reader: TextReader | None = None,
    seed: int = 0,
) -> tuple[IsotonicCalibrator, WithEvidence]:
    """The calibrator with a curve for answers with passages, and what cross-validation says about it.

    Args:
        calibrator: That of answers without passages.
        without: What it says, out of fold, of the same questions.
        answers: Of `collect_with_evidence`.
        asking: How the questions were put.
        source: What the passages are, JSON-ready; kept in the calibrator.
        reader: Measures the controls, too.
        seed: Of the folds and the bootstrap.

    Raises:
        CalibrationError: For too few answers with passages, or too few right or wrong ones.
    """
    readings, correct = readings_of(answers, asking), answers.correct[answers.scored]
    groups = groups_of(answers)
    if not readings:
        raise CalibrationError("no answer with passages could be scored; does the retriever find anything?")
    p = out_of_fold_stacked(readings, correct, seed=seed, groups=groups)
    model = fit_stacked(readings, correct)
    found = assess_with_evidence(answers, p, without, reader=reader, seed=seed)
    fitted = calibrator.with_context(
        CONTEXT,
        stacked_scores(model, readings),
        correct,
        scorer=CONTENDER,
        options=model.model_dump(mode="json"),
        metrics=found.metrics,
        source=source,
    )
    return fitted, found


def assess_with_evidence(
    answers: Answers, p_correct: Floats, without: Judged, *, reader: TextReader | None = None, seed: int = 0
) -> WithEvidence:
    """p_correct: of the scored answers with passages, (n,). without: the same questions without passages. reader: measures the
    controls, too."""
    correct, groups = answers.correct[answers.scored], groups_of(answers)
    own, other = (Judged.of(answers, p_correct.tolist(), whose) for whose in ("own", "other"))
    everywhere = [q for q in own.questions if q in other.p and q in without.p]
    if not everywhere:
        raise CalibrationError("no question has a score with its own passages, with another's and without; ask more")
    columns = [judged.columns(everywhere) for judged in (own, other, without)]
    p, right = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    questions = np.tile(np.arange(len(everywhere)), 3)
    difference = columns[1][0] - columns[2][0]
    return WithEvidence(
        questions=len(everywhere),
        own=_passaged(*columns[0], seed),
        other=_passaged(*columns[1], seed),
        without=_passaged(*columns[2], seed),
        metrics=calibration_metrics(1 - p_correct, p_correct, correct, seed=seed, groups=groups),
        ece_mixed=bootstrap_interval(ece, p, right, seed=seed, groups=questions),
        ece_by_chance=ece_of_chance(p, seed=seed),
        rise=bootstrap_interval(_mean, difference, seed=seed),
        controls=reader.of_answers(answers, 1 - p_correct, groups, seed=seed) if reader else None,
    )


def measured_with_evidence(
    calibrator: IsotonicCalibrator,
    without: Answers,
    answers: Answers,
    asking: Asking,
    *,
    reader: TextReader | None = None,
) -> WithEvidence:
    """A calibrator's curve for answers with passages, on questions that it has not seen.

    without: the same questions without passages, told apart from the calibration's. reader: measures the controls, too. Raises
    `CalibrationError` for a calibrator without such a curve.
    """
    without = for_calibrator(calibrator, without)
    familiarity = {record["question"]: record.get("familiarity") for record in without.records}
    said = scores_of(calibrator, without).tolist()
    asked = [without.records[i]["question"] for i in without.scored.tolist()]
    plain = [calibrator.predict(s, familiarity[q]).p_correct or 0.0 for s, q in zip(said, asked, strict=True)]
    p = _predicted(calibrator, answers, asking, familiarity)
    return assess_with_evidence(answers, p, Judged.of(without, plain), reader=reader)


def _predicted(
    calibrator: IsotonicCalibrator, answers: Answers, asking: Asking, familiarity: Mapping[str, float | None]
) -> Floats:
    """p_correct of the scored answers with passages, (n,). familiarity: of each question."""
    own = curve_with_evidence(calibrator)
    numbers = reader_of(own.scorer, own.profile).numbers(readings_of(answers, asking))
    questions = [answers.records[i]["question"] for i in answers.scored.tolist()]
    return np.array(
        [
            calibrator.predict(number, familiarity.get(question), CONTEXT).p_correct
            for number, question in zip(numbers.tolist(), questions, strict=True)
        ]
    )


def curve_with_evidence(calibrator: IsotonicCalibrator) -> ContextRecord:
    """The curve for answers with passages. Raises `CalibrationError` where there is none."""
    if CONTEXT not in calibrator.contexts:
        raise CalibrationError(
            f"{calibrator.source or 'the calibrator'} was fitted without passages; fit one with them: "
            "guardrail calibrate DATA.jsonl --retriever DIR -o calibrator.json"
        )
    return calibrator.contexts[CONTEXT]


def groups_of(answers: Answers) -> np.ndarray:
    """Which question each scored answer is to, (n,)."""
    place = {record["question"]: i for i, record in enumerate(answers.records)}
    return np.array([place[answers.records[i]["question"]] for i in answers.scored.tolist()], dtype=np.intp)


def _passaged(p: Floats, correct: Bools, seed: int) -> Passaged:
    right = wilson_interval(int(correct.sum()), len(correct))
    return Passaged(right, float(p.mean()), bootstrap_interval(ece, p, correct, seed=seed))


def _mean(values: Floats) -> float:
    return float(np.mean(values))
