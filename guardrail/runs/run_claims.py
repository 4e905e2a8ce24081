"""A finished run of claims, and the rows that it asked -> graded claims, without the model that answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from guardrail.datasets.claims import ClaimRow, claim_data_hash, row_digest
from guardrail.errors import DataError
from guardrail.grading.facts import GRADED_BY
from guardrail.runs.claim_answers import ClaimAnswers, graded
from guardrail.runs.run_answers import RunHeader, checked, checked_header
from guardrail.runs.run_file import read_run
from guardrail.types import UnscoredReason


class _Answer(BaseModel):
    """What a record must hold, whatever a pass measured."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    key: str
    question: str
    answer: str
    unscored: UnscoredReason | None
    unaligned: int
    claims: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class RunClaims:
    """A run of claims, graded. rows: those that it asked, in the order of the run. data: their hash, by `claim_data_hash`.

    complete: whether they are all the rows that the run was begun for.
    """

    path: Path
    header: RunHeader
    answers: ClaimAnswers
    rows: tuple[ClaimRow, ...]
    data: str
    grader: str = GRADED_BY

    @property
    def complete(self) -> bool:
        return self.data == self.header.data


def load_claim_run(path: Path, rows: Sequence[ClaimRow]) -> RunClaims:
    """Read a run file of claims and grade it. rows: with the facts and labels, which a run does not hold; others are left out.

        run = load_claim_run(Path("claims.run.jsonl"), load_claim_rows("heldout.jsonl"))

    Raises `DataError`, with the file and where it can the line, for what is no such file, for one of whole answers or of
    another version, for a record that is not one or that no row is about, and for a run without an answer.
    """
    first, lines = read_run(path)
    header = checked_header(first, path, "claim")
    for number, record in lines.items():
        checked(_Answer, record, f"{path}:{number}")
    records = list({record["key"]: record for record in lines.values()}.values())
    if not records:
        raise DataError(f"{path}: the run has no answers yet; go on with it: --resume")
    known = {row_digest(row): row for row in rows}
    if strange := [record["question"] for record in records if record["key"] not in known]:
        raise DataError(
            f"{path}: nothing is known of {len(strange)} of its {len(records)} questions, such as {strange[0][:80]!r}; give "
            "the data that it was made of: --data"
        )
    asked = tuple(known[record["key"]] for record in records)
    try:
        answers = graded(asked, records, header.offsets, header.layers)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the numbers of a record cannot be read ({error!r}); make the run again") from error
    return RunClaims(path, header, answers, asked, claim_data_hash(asked))
