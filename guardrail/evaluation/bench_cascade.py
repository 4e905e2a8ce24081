"""A bench's answers and a second model's to the same questions -> what escalating by each score is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from guardrail.evaluation.cascade import Cascade, cascade

if TYPE_CHECKING:
    from guardrail.datasets.questions import QuestionRow
    from guardrail.evaluation.controls import TextReader
    from guardrail.grading import Grader
    from guardrail.model.local import LocalModel
    from guardrail.runs.answers import Answers
    from guardrail.runs.asking import Asking, RunOptions


def answers_of_second(
    second: LocalModel, questions: Sequence[QuestionRow], grader: Grader, asking: Asking, options: RunOptions
) -> Answers:
    """The second model's answers, asked as the first was. options: those of the first; its file stands beside the first's."""
    from guardrail.runs.collect import collect

    own = options.beside("second")
    own = replace(own, resume=own.resume and (own.file is None or own.file.exists()))
    return collect(second, questions, grader, asking, own)


def measure_cascade(
    answers: Answers,
    theirs: Answers,
    names: Sequence[str],
    second: str,
    *,
    reader: TextReader | None = None,
    cost_per_call: float = 0.0,
    cost_of_second: float = 1.0,
    seed: int = 0,
) -> Cascade:
    """About the questions that both models have graded answers to, and of which every scorer has a score.

    answers: of the first model, whose records hold the scores of `names`. second: the name of the other one. reader: of the
    controls. Raises `CalibrationError` where there is no such question.
    """
    right = {record["key"]: bool(correct) for record, correct in zip(theirs.records, theirs.correct, strict=True)}
    chosen = np.array(
        [
            i
            for i, record in enumerate(answers.records)
            if record["key"] in right and all(record["scores"][name] is not None for name in names)
        ],
        dtype=np.intp,
    )
    records = [answers.records[i] for i in chosen]
    read = reader.read(replace(answers, scored=chosen), seed=seed) if reader and records else None
    controls = {"a reader of question and answer": read.text, "a reader of the question": read.question} if read else {}
    return cascade(
        {name: np.array([r["scores"][name] for r in records], dtype=np.float64) for name in names},
        answers.correct[chosen],
        np.array([right[record["key"]] for record in records], dtype=np.bool_),
        name=second,
        controls=controls,
        cost_per_call=cost_per_call,
        cost_of_second=cost_of_second,
        seed=seed,
    )
