"""Questions -> graded answers with every number that a pass gives, in batches, resumable.

Knows nothing about profiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.profiles import Signals
from guardrail.evaluation.asking import Asking, Progress, records_of, run_header
from guardrail.evaluation.datasets import QuestionRow, data_hash, question_digest
from guardrail.evaluation.graders.protocol import AnswerRow
from guardrail.evaluation.grading import Grading, grade_answers
from guardrail.evaluation.readings import Sample, log_prob_of, numbers_of, offsets_of, record_of, signals_of
from guardrail.model.recording import Keep
from guardrail.scoring.batching import by_token_budget
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.profile import band_start

if TYPE_CHECKING:
    from pathlib import Path

    from guardrail.evaluation.graders import Grader
    from guardrail.evaluation.hand_labels import HandLabels
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


def collect(
    local: LocalModel,
    questions: Sequence[QuestionRow],
    grader: Grader,
    asking: Asking,
    *,
    run: Path | None = None,
    resume: bool = False,
    batch_size: int = 16,
    progress: Progress | None = None,
    labels: HandLabels | None = None,
    ungraded_is_wrong: bool = False,
) -> Answers:
    """Ask every question once, and grade. `run`: the file that makes it resumable; None keeps everything in memory.

    labels: of people, who win over the grader. ungraded_is_wrong: count what the grader cannot grade as wrong, for bounds that
    must hold; otherwise it is left out.
    """
    offsets = offsets_of(local)
    keys = [question_digest(row.question) for row in questions]
    records = records_of(
        keys,
        [len(q.question) for q in questions],
        lambda batch: _ask(local, [questions[i] for i in batch], [keys[i] for i in batch], asking, offsets),
        run_header(local, asking, data_hash(questions)),
        run=run,
        resume=resume,
        batch_size=batch_size,
        progress=progress,
    )
    rows = [AnswerRow(q.question, r["answer"], q.answers) for q, r in zip(questions, records, strict=True)]
    grading = grade_answers(rows, grader, labels)
    kept = range(len(rows)) if ungraded_is_wrong else grading.graded
    records = tuple(records[i] for i in kept)
    correct = np.array([grading.grades[i] is True for i in kept], dtype=np.bool_)
    scored = np.array([i for i, r in enumerate(records) if r["unscored"] is None], dtype=np.intp)
    return Answers(records, correct, scored, signals_of([records[i] for i in scored], offsets), grading)


def _ask(
    local: LocalModel,
    questions: Sequence[QuestionRow],
    keys: Sequence[str],
    asking: Asking,
    offsets: Sequence[int],
) -> list[dict[str, Any]]:
    layers = len(local.anatomy.layers)
    first = band_start("code", layers)
    scorer = HybridGradScorer(local, semantic_token=-1)
    traces = local.generate_batch(
        [asking.messages(q.question) for q in questions],
        max_new_tokens=asking.max_new_tokens,
        keep=Keep(first, offsets[0]),
    )
    rows = scorer.rows_of(traces)
    records = [record_of(key, trace) for key, trace in zip(keys, traces, strict=True)]
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
            records[scorable[j]].update(numbers_of(readout, layers))
    return records
