"""Questions -> graded answers with every number that a pass gives, in batches, resumable.

Knows nothing about profiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.profiles import Signals
from guardrail.errors import CalibrationError
from guardrail.evaluation.asking import Asking, Progress, records_of, run_header
from guardrail.evaluation.datasets import QuestionRow, data_hash, question_digest
from guardrail.evaluation.graders.protocol import AnswerRow
from guardrail.evaluation.grading import Grading, grade_answers
from guardrail.evaluation.readings import Sample, log_prob_of, numbers_of, offsets_of, record_of, signals_of
from guardrail.scoring.profile import band_start
from guardrail.scoring.stacked.words import token_pieces

if TYPE_CHECKING:
    from pathlib import Path

    from guardrail.evaluation.cache import RecordCache
    from guardrail.evaluation.graders import Grader
    from guardrail.evaluation.hand_labels import HandLabels
    from guardrail.evaluation.scorer_pass import ScorerPass
    from guardrail.model.local import LocalModel


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Graded answers, in the questions' order. scored: indices of those that have a score; signals: of those alone.

    correct: (n,) booleans over all answers; what is unscored counts too (an empty answer is wrong). Answers that could not be
    graded are not among them; `grading` tells how many there were, and how many a person graded.
    """

    records: tuple[dict[str, Any], ...]
    correct: np.ndarray
    scored: np.ndarray
    signals: Signals
    grading: Grading | None = None

    @property
    def sample(self) -> Sample:
        """The scored ones."""
        log_prob = log_prob_of([self.records[i] for i in self.scored])
        return Sample("answer", self.signals, self.correct[self.scored], log_prob)

    def scored_by(self, scorer: str) -> Answers:
        """With those alone as scored that a scorer has a score of, too; the others' records say why not.

        scorer: the name that the run has it under. Raises `CalibrationError` where the answers were collected without it.
        """
        if without := [r for r in self.records if scorer not in r.get("scores", {})]:
            raise CalibrationError(
                f"{len(without)} of {len(self.records)} answers have nothing of the scorer {scorer!r}; collect them with it"
            )
        records = tuple(
            {**r, "unscored": r.get("unscored_by", {}).get(scorer, "not_finite")}
            if r["unscored"] is None and r["scores"][scorer] is None
            else r
            for r in self.records
        )
        kept = np.array([records[i]["unscored"] is None for i in self.scored], dtype=np.bool_)
        return Answers(records, self.correct, self.scored[kept], self.signals.take(np.flatnonzero(kept)))


def collect(
    local: LocalModel,
    questions: Sequence[QuestionRow],
    grader: Grader,
    asking: Asking,
    *,
    run: Path | None = None,
    resume: bool = False,
    cache: RecordCache | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
    scorers: ScorerPass | None = None,
    labels: HandLabels | None = None,
    ungraded_is_wrong: bool = False,
) -> Answers:
    """Ask every question once, and grade. `run`: the file that makes it resumable; None keeps everything in memory.

    cache: where answers are looked up first, and kept. scorers: what else shall score each answer, beside the pass that every
    record holds. labels, ungraded_is_wrong: see `graded`.
    """
    from guardrail.evaluation.scorer_pass import ScorerPass

    scorers = scorers or ScorerPass()
    offsets = offsets_of(local)
    records = records_of(
        [{"key": question_digest(q.question), "question": q.question, "accepted": list(q.answers)} for q in questions],
        [q.question for q in questions],
        lambda batch: _ask(local, [questions[i].question for i in batch], asking, offsets, scorers),
        run_header(local, asking, data_hash(questions), **scorers.header),
        run=run,
        resume=resume,
        cache=cache,
        batch_size=batch_size,
        progress=progress,
    )
    return graded(
        records, grader, offsets, len(local.anatomy.layers), labels=labels, ungraded_is_wrong=ungraded_is_wrong
    )


def graded(
    records: Sequence[dict[str, Any]],
    grader: Grader,
    offsets: Sequence[int],
    layers: int,
    *,
    labels: HandLabels | None = None,
    ungraded_is_wrong: bool = False,
) -> Answers:
    """Records of a model with so many layers, read at `offsets`, and whether they are right.

    labels: of people, who win over the grader. ungraded_is_wrong: count what the grader cannot grade as wrong, for bounds that
    must hold; otherwise it is left out.
    """
    rows = [AnswerRow(r["question"], r["answer"], tuple(r["accepted"])) for r in records]
    grading = grade_answers(rows, grader, labels)
    kept = list(range(len(rows)) if ungraded_is_wrong else grading.graded)
    records = tuple(records[i] for i in kept)
    correct = np.array([grading.grades[i] is True for i in kept], dtype=np.bool_)
    scored = np.array([i for i, r in enumerate(records) if r["unscored"] is None], dtype=np.intp)
    return Answers(records, correct, scored, signals_of([records[i] for i in scored], offsets, layers), grading)


def _ask(
    local: LocalModel, questions: Sequence[str], asking: Asking, offsets: Sequence[int], scorers: ScorerPass
) -> list[dict[str, Any]]:
    # torch comes with these: a finished run is read without it
    from guardrail.model.recording import Keep
    from guardrail.scoring.batching import by_token_budget
    from guardrail.scoring.hybridgrad import HybridGradScorer

    first = band_start("code", len(local.anatomy.layers))
    scorer = HybridGradScorer(local, semantic_token=-1)
    traces = local.generate_batch(
        [asking.messages(question) for question in questions],
        max_new_tokens=asking.max_new_tokens,
        keep=scorers.keep(Keep(first, offsets[0])),
    )
    rows = scorer.rows_of(traces)
    records = [
        record_of(trace)
        | {"pieces": token_pieces(local.tokenizer, trace.response_ids)}
        | scorers.record(question, trace, local.device)
        for question, trace in zip(questions, traces, strict=True)
    ]
    scorable: list[int] = []
    for i, (row, trace) in enumerate(zip(rows, traces, strict=True)):
        refused = scorer.unscorable(row, trace, [-1])
        if refused is None:
            scorable.append(i)
        else:
            records[i]["unscored"] = refused.unscored
    if not scorable:
        return records
    shortest = min(len(rows[i].prompt_ids) for i in scorable)
    reached = [o for o in offsets if -o <= shortest]
    for group in by_token_budget([rows[i] for i in scorable]):
        readouts = scorer.read([rows[scorable[j]] for j in group], reached, first, exgrad=True)
        for j, readout in zip(group, readouts, strict=True):
            records[scorable[j]].update(numbers_of(readout))
    return records
