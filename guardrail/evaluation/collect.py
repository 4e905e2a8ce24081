"""Questions -> graded answers with every number that a pass gives, in batches, resumable.

Knows nothing about profiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.calibration.profiles import Signals
from guardrail.errors import DataError
from guardrail.evaluation.asking import KIND, VERSION, Asking, Progress, records_of, run_header
from guardrail.evaluation.datasets import QuestionRow, data_hash, question_digest
from guardrail.evaluation.readings import Sample, log_prob_of, numbers_of, offsets_of, record_of, signals_of
from guardrail.evaluation.runs import read_run
from guardrail.scoring.profile import band_start

if TYPE_CHECKING:
    from pathlib import Path

    from guardrail.evaluation.cache import RecordCache
    from guardrail.evaluation.graders import Grader
    from guardrail.model.local import LocalModel


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Graded answers, in the questions' order. scored: indices of those that have a score; signals: of those alone.

    correct: (n,) booleans over all answers; what is unscored counts too (an empty answer is wrong).
    """

    records: tuple[dict[str, Any], ...]
    correct: np.ndarray
    scored: np.ndarray
    signals: Signals

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
    cache: RecordCache | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Answers:
    """Ask every question once, and grade. `run`: the file that makes it resumable; None keeps everything in memory.

    cache: where answers are looked up first, and kept.
    """
    offsets = offsets_of(local)
    records = records_of(
        [{"key": question_digest(q.question), "question": q.question, "accepted": list(q.answers)} for q in questions],
        [q.question for q in questions],
        lambda batch: _ask(local, [questions[i].question for i in batch], asking, offsets),
        run_header(local, asking, data_hash(questions)),
        run=run,
        resume=resume,
        cache=cache,
        batch_size=batch_size,
        progress=progress,
    )
    return graded(records, grader, offsets, len(local.anatomy.layers))


def graded(records: Sequence[dict[str, Any]], grader: Grader, offsets: Sequence[int], layers: int) -> Answers:
    """Records of a model with so many layers, read at `offsets`, and whether they are right."""
    correct = np.array([grader(r["question"], r["answer"], r["accepted"]) for r in records], dtype=np.bool_)
    scored = np.array([i for i, r in enumerate(records) if r["unscored"] is None], dtype=np.intp)
    return Answers(tuple(records), correct, scored, signals_of([records[i] for i in scored], offsets, layers))


def answers_of_run(path: Path, grader: Grader) -> tuple[dict[str, Any], Answers]:
    """The header of a finished run of whole answers, and its answers, graded. No model is needed.

    Raises `DataError` for anything but such a run file.
    """
    header, records = read_run(path)
    if (header.get("kind"), header.get("version")) != (KIND, VERSION) or "unit" in header:
        raise DataError(
            f"{path} is not a run of whole answers by this version of guardrail calibrate, tune or evaluate"
        )
    return header, graded(records, grader, header["offsets"], header["layers"])


def _ask(local: LocalModel, questions: Sequence[str], asking: Asking, offsets: Sequence[int]) -> list[dict[str, Any]]:
    # torch comes with these: a finished run is read without it
    from guardrail.model.recording import Keep
    from guardrail.scoring.batching import by_token_budget
    from guardrail.scoring.hybridgrad import HybridGradScorer

    first = band_start("code", len(local.anatomy.layers))
    scorer = HybridGradScorer(local, semantic_token=-1)
    traces = local.generate_batch(
        [asking.messages(question) for question in questions],
        max_new_tokens=asking.max_new_tokens,
        keep=Keep(first, offsets[0]),
    )
    rows = scorer.rows_of(traces)
    records = [record_of(trace) for trace in traces]
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
