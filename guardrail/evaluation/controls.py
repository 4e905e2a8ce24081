"""What every table of a score is read beside: readers of the texts alone, and what the grader's own errors may have done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from guardrail.calibration.controls import Controls, Read, measure_controls, read_texts
from guardrail.calibration.label_errors import LabelErrors, label_errors
from guardrail.errors import CalibrationError, DataError, RetrievalError
from guardrail.evaluation.setting import silent
from guardrail.grading.known_errors import KNOWN
from guardrail.runs.cache import RecordCache
from guardrail.runs.text_vectors import text_vectors

if TYPE_CHECKING:
    from guardrail.calibration.folds import Groups
    from guardrail.calibration.metrics import Bools, Floats
    from guardrail.grading.grade_answers import Grading
    from guardrail.runs.answers import Answers
    from guardrail.runs.claim_answers import ClaimAnswers
    from guardrail.runs.progress import Say

Found = TypeVar("Found", Controls, Read)


@dataclass(frozen=True, slots=True)
class TextReader:
    """Measures the controls of a score. cache: keeps what texts are embedded to. say: is told why there are no controls."""

    cache: RecordCache | None = None
    say: Say = field(default=silent)

    def of_answers(
        self, answers: Answers, uncertainty: Floats, groups: Groups | None = None, *, seed: int = 0
    ) -> Controls | None:
        """Of a score of the scored answers, (n,); their passages are read too, where the records have some."""
        return self._controls(_columns(answers), uncertainty, answers.correct[answers.scored], groups, seed)

    def read(self, answers: Answers, *, seed: int = 0) -> Read | None:
        """What the readers make of each scored answer; None where there are no controls."""
        correct = answers.correct[answers.scored]
        return self._measured(_columns(answers), correct, lambda texts, _: read_texts(texts, correct, seed=seed))

    def of_claims(self, claims: ClaimAnswers, uncertainty: Floats, *, seed: int = 0) -> Controls | None:
        """Of a score of the claims, (n,); each is read with the question that its answer is to."""
        asked = [claims.records[i]["question"] for i in claims.groups.tolist()]
        said = [claim["text"] for claim in claims.claims]
        return self._controls([asked, said], uncertainty, claims.correct, claims.groups, seed)

    def _controls(
        self, columns: Sequence[Sequence[str]], uncertainty: Floats, correct: Bools, groups: Groups | None, seed: int
    ) -> Controls | None:
        return self._measured(
            columns,
            correct,
            lambda texts, name: measure_controls(texts, uncertainty, correct, embedding=name, seed=seed, groups=groups),
        )

    def _measured(
        self, columns: Sequence[Sequence[str]], correct: Bools, measure: Callable[[list[Floats], str], Found]
    ) -> Found | None:
        """None where the embedding is not on this machine, or there are too few right or wrong ones to fit anything."""
        if min(int(correct.sum()), int((~correct).sum())) < 2:
            return None
        try:
            vectors = text_vectors(chain.from_iterable(columns), cache=self.cache)
            return measure([vectors.of(column) for column in columns], vectors.embedding)
        except (RetrievalError, CalibrationError) as error:
            self.say(f"no control of the texts: {error}")
            return None


def _columns(answers: Answers) -> list[list[str]]:
    """The texts of the scored answers: questions, answers, and passages where the records have some."""
    records = [answers.records[i] for i in answers.scored.tolist()]
    columns = [[r["question"] for r in records], [r["answer"] for r in records]]
    if any(r.get("passages") for r in records):
        columns.append(["\n".join(r.get("passages", ())) for r in records])
    return columns


@contextmanager
def text_reader(say: Say = silent) -> Iterator[TextReader]:
    """A reader with the user's cache, or without where that cannot be used: vectors are quick to make again."""
    try:
        cache = RecordCache()
    except DataError:
        yield TextReader(None, say)
        return
    with cache:
        yield TextReader(cache, say)


def grader_errors(grading: Grading | None, p_correct: Floats, correct: Bools) -> LabelErrors | None:
    """How far the grader's own errors may move AUROC and ECE; None where it is not known how it errs.

    p_correct, correct: of the scored answers, (n,).
    """
    rates = KNOWN.get(grading.grader) if grading else None
    if grading is None or rates is None or correct.all() or not correct.any():
        return None
    by_hand = grading.by_hand / len(grading.grades)
    return label_errors(p_correct, correct, rates.false_right, rates.false_wrong, by_hand=by_hand)
