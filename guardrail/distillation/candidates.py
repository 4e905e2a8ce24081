"""Questions -> a model's own answers, each with how sure it is of it: the first stage, and its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guardrail.datasets.questions import QuestionRow, data_hash, question_digest
from guardrail.errors import DataError
from guardrail.grading.protocol import AnswerRow, Grader
from guardrail.plain_text import says_something
from guardrail.runs.asking import Asking, RunOptions, Work, records_of, run_header
from guardrail.scoring.baselines.clusters import clusters
from guardrail.scoring.baselines.equivalence import Equivalence, compare_all
from guardrail.scoring.baselines.samples import SampleSource, Sampling
from guardrail.types import Trace

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer of the model's own.

    share: of the samples that say the same, or another number in [0, 1] that tells how sure the model is; None where nothing
    does. right: by the grader. thought: what it thought before that answer, token ids with their marks; empty where it did not,
    or nobody kept it.
    """

    question: str
    answer: str
    right: bool
    share: float | None = None
    thought: tuple[int, ...] = ()


def same_by(name: str) -> Equivalence:
    """When two samples say the same: what `equivalence_named` knows, and judge:MODEL, a model as `get_grader` takes it.

    Raises `ScoringError` or `DataError` for another name, before a judge is loaded.
    """
    if name.partition(":")[0] == "judge":
        from guardrail.grading.chat_judge import JudgeGrader  # imports langchain
        from guardrail.grading.judged_equivalence import JudgeEquivalence

        return JudgeEquivalence(JudgeGrader(name.partition(":")[2]))
    from guardrail.scoring.baselines.equivalence_spec import equivalence_named

    return equivalence_named(name)


def sampled(
    local: LocalModel,
    questions: Sequence[QuestionRow],
    asking: Asking,
    sampling: Sampling,
    equivalence: Equivalence,
    options: RunOptions,
    *,
    seed: int = 0,
) -> tuple[dict[str, Any], ...]:
    """Each question's samples, drawn behind one prompt, and which of them say the same. Resumable.

    A record holds `samples`, texts, and `clusters`, the number of each one's cluster; of a model that thinks also `thoughts`,
    token ids.
    """
    source = SampleSource(local, max_new_tokens=asking.max_new_tokens, seed=seed, remembered=1)

    def draw(question: str) -> dict[str, Any]:
        messages = asking.messages(question)
        trace = Trace(messages, tuple(local.encode_prompt(messages)), (), "", "given")
        drawn = source.draw(trace, sampling)
        same = compare_all(equivalence, question, drawn.texts).same
        thoughts = {"thoughts": [list(ids) for ids in drawn.thoughts]} if any(drawn.thoughts) else {}
        return {"samples": list(drawn.texts), "clusters": clusters(same).tolist(), **thoughts}

    about = {"sampling": sampling.to_dict(), "seed": seed, "equivalence": dict(equivalence.options)}
    return _records(
        local, questions, asking, lambda batch: [draw(questions[i].question) for i in batch], options, about
    )


def answered(
    local: LocalModel, questions: Sequence[QuestionRow], asking: Asking, options: RunOptions
) -> tuple[dict[str, Any], ...]:
    """Each question's greedy answer, as the only sample of a record. Resumable; in batches of `options`, as `collect` asks."""

    def answer(batch: list[int]) -> list[dict[str, Any]]:
        asked = [asking.messages(questions[i].question) for i in batch]
        traces = local.generate_batch(asked, max_new_tokens=asking.max_new_tokens)
        return [{"samples": [trace.text], "clusters": [0]} for trace in traces]

    return _records(local, questions, asking, answer, options, {"sampling": "greedy"})


def _records(
    local: LocalModel,
    questions: Sequence[QuestionRow],
    asking: Asking,
    work: Work,
    options: RunOptions,
    about: Mapping[str, Any],
) -> tuple[dict[str, Any], ...]:
    return records_of(
        [{"key": question_digest(q.question), **q.record} for q in questions],
        [q.question for q in questions],
        work,
        run_header(local, asking, data_hash(questions), **about),
        options,
        local,
    )


def candidates_of(records: Sequence[Mapping[str, Any]], grader: Grader, *, seed: int = 0) -> list[Candidate]:
    """One candidate a cluster: a sample drawn at random stands for it, with its thought. Empty answers, and those that the
    grader leaves ungraded, are left out; the shares stay those of all samples."""
    rng = np.random.default_rng(seed)
    rows: list[AnswerRow] = []
    shares: list[float] = []
    thoughts: list[tuple[int, ...]] = []
    for record in records:
        texts, labels = record["samples"], np.asarray(record["clusters"])
        for cluster in range(int(labels.max()) + 1 if len(labels) else 0):
            members = np.flatnonzero(labels == cluster)
            one = int(rng.choice(members))
            if says_something(texts[one]):
                rows.append(AnswerRow.of(record, texts[one]))
                shares.append(len(members) / len(texts))
                thoughts.append(tuple(record["thoughts"][one]) if "thoughts" in record else ())
    grades = grader.grade(rows)
    return [
        Candidate(row.question, row.answer, grade, share, thought)
        for row, grade, share, thought in zip(rows, grades, shares, thoughts, strict=True)
        if grade is not None
    ]


def check_enough(candidates: Sequence[Candidate], *, least: int = 30, of_each: int = 5) -> None:
    """Raise `DataError` where there are too few answers, or too few right or wrong ones, to learn a confidence from."""
    n, right = len(candidates), sum(c.right for c in candidates)
    if n < least or min(right, n - right) < of_each:
        raise DataError(
            f"there are {n} answers, {right} of them right: a confidence is learnt from at least {least}, with {of_each} right "
            f"and {of_each} wrong ones; give more questions, or such as the model knows some of"
        )
