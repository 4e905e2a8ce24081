"""Questions with passages in their prompts -> graded answers, with what the pass and the passages tell; resumable.

Each question is asked with the passages that were found for it, and with those that were found for another one: a retriever
is often wrong, and a curve that has only seen it right would believe whatever it brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from guardrail.datasets.questions import QuestionRow, data_hash, question_digest
from guardrail.retrieval import Retriever, find_evidence, with_evidence
from guardrail.runs.answers import Answers, graded
from guardrail.runs.asking import Asking, RunOptions, records_of, run_header
from guardrail.runs.collect import ask
from guardrail.runs.readings import layers_of, offsets_of
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.scoring.stacked.evidence_pass import evidence_numbers
from guardrail.types import Evidence

if TYPE_CHECKING:
    from guardrail.grading import Grader
    from guardrail.model.local import LocalModel
    from guardrail.types import Trace

Whose = Literal["own", "other"]


@dataclass(frozen=True, slots=True)
class Looked:
    """A question with passages. whose: found for it, or for another question."""

    row: QuestionRow
    evidence: tuple[Evidence, ...]
    whose: Whose

    @property
    def key(self) -> str:
        return f"{question_digest(self.row.question)}:{self.whose}"


def looked_up(rows: Sequence[QuestionRow], retriever: Retriever, passages: int, *, seed: int = 0) -> list[Looked]:
    """Each question for which something is found, with that, and with what was found for another of them.

    passages: of each search. Raises `RetrievalError` as `find_evidence`.
    """
    found = [(row, find_evidence(retriever, row.question, passages)) for row in rows]
    found = [(row, evidence) for row, evidence in found if evidence]
    order = np.random.default_rng(seed).permutation(len(found)).tolist()
    out = []
    for at, i in enumerate(order):
        row, own = found[i]
        out.append(Looked(row, own, "own"))
        texts = {passage.text for passage in own}
        later = (found[order[(at + step) % len(order)]][1] for step in range(1, len(order)))
        other = next((e for e in later if not texts & {passage.text for passage in e}), None)
        if other:
            out.append(Looked(row, other, "other"))
    return out


def collect_with_evidence(
    local: LocalModel,
    asked: Sequence[Looked],
    grader: Grader,
    asking: Asking,
    options: RunOptions,
) -> Answers:
    """Ask every question with its passages, and grade. The records have `whose`, `passages`, `without` (log p of the answer's
    tokens in the prompt without the passages) and `perplexity`. The rest is as in `collect`."""
    offsets = offsets_of(local)
    prompts = [with_evidence(asking.messages(one.row.question), one.evidence) for one in asked]

    def work(batch: Sequence[int]) -> list[dict[str, Any]]:
        def more(places: Sequence[int], traces: Sequence[Trace]) -> list[dict[str, Any]]:
            of = [asked[batch[place]] for place in places]
            marked = [
                replace(trace, evidence=one.evidence, asked=asking.messages(one.row.question))
                for one, trace in zip(of, traces, strict=True)
            ]
            numbers = evidence_numbers(local, marked)
            return [{"without": log_probs, "perplexity": perplexity} for log_probs, perplexity in numbers]

        return ask(local, [(asked[i].row.question, prompts[i]) for i in batch], asking, offsets, ScorerPass(), more)

    records = records_of(
        [
            {
                "key": one.key,
                **one.row.record,
                "whose": one.whose,
                "passages": [passage.text for passage in one.evidence],
            }
            for one in asked
        ],
        ["\n".join(str(message["content"]) for message in messages) for messages in prompts],
        work,
        run_header(local, asking, data_hash([one.row for one in asked if one.whose == "own"]), evidence=1),
        options,
        local,
    )
    return graded(records, grader, offsets, layers_of(local))
