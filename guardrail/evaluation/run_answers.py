"""A run file -> graded answers and what the run is about, without the model that answered. Knows nothing about pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guardrail.calibration.provenance import Provenance, differences
from guardrail.errors import CalibratorMismatchError, DataError
from guardrail.evaluation.collect import Answers
from guardrail.evaluation.datasets import QuestionRow, check_no_leak, data_hash, read_jsonl
from guardrail.evaluation.readings import signals_of
from guardrail.model.identity import ModelIdentity
from guardrail.types import FinishReason, UnscoredReason

if TYPE_CHECKING:
    from guardrail.evaluation.graders import Grader

_Model = TypeVar("_Model", bound=BaseModel)


class _Asking(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    prompt: str
    system: str | None
    max_new_tokens: int


class Header(BaseModel):
    """A run's first line: which model was asked what, and how. model: a `ModelIdentity` without its name."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    model: dict[str, str]
    asking: _Asking
    data: str
    offsets: tuple[int, ...] = Field(min_length=1)


class _Answer(BaseModel):
    """What a record must hold whatever a pass measured; its numbers are read by `signals_of`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    key: str
    question: str
    accepted: list[str] = Field(min_length=1)
    answer: str
    finish_reason: FinishReason
    unscored: UnscoredReason | None


@dataclass(frozen=True, slots=True, eq=False)
class RunAnswers:
    """A run, graded. rows: the questions with their accepted answers. data: the hash of these, as `data_hash` makes it.

    complete: whether they are all the questions that the run was begun for.
    """

    path: Path
    header: Header
    answers: Answers
    rows: tuple[QuestionRow, ...]
    data: str
    grader: str

    @property
    def complete(self) -> bool:
        return self.data == self.header.data


def load_run(path: Path, grader: Grader) -> RunAnswers:
    """Read a run file of whole answers and grade it.

        run = load_run(Path("heldout.run.jsonl"), get_grader("alias"))

    Raises `DataError`, with file and line, for what is no such file, for one of claims, for records that do not hold their
    questions (made before records did), and for a run without an answer.
    """
    lines = read_jsonl(path)
    _, first = next(lines, (0, {}))
    header = _header(first, str(path))
    by_key: dict[str, dict[str, Any]] = {}
    for number, record in lines:
        where = f"{path}:{number}"
        if "question" not in record or "accepted" not in record:
            raise DataError(
                f"{where}: the record does not hold its `question` and `accepted` answers; it was made by an older version: "
                "make the run again"
            )
        _check(_Answer, record, where)
        by_key[record["key"]] = record
    if not by_key:
        raise DataError(f"{path}: the run has no answers yet; go on with it: --resume")
    records = tuple(by_key.values())
    rows = tuple(QuestionRow(r["question"], tuple(r["accepted"])) for r in records)
    correct = np.array(
        [grader(q.question, r["answer"], q.answers) for q, r in zip(rows, records, strict=True)], dtype=np.bool_
    )
    scored = np.array([i for i, r in enumerate(records) if r["unscored"] is None], dtype=np.intp)
    try:
        signals = signals_of([records[i] for i in scored], header.offsets)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the numbers of a record cannot be read ({error!r}); make the run again") from error
    return RunAnswers(path, header, Answers(records, correct, scored, signals), rows, data_hash(rows), grader.name)


def check_fits(run: RunAnswers, origin: Provenance, source: str) -> None:
    """Raise where a calibrator says nothing about a run, or would flatter itself.

    `CalibratorMismatchError`: the answers come from another model than the calibrator's. `DataError`: some of the questions are
    those that it was fitted on. source: the calibrator's name, for messages.
    """
    if found := differences(origin, identity_of(run, origin.model.name), origin.scorer, origin.profile):
        raise CalibratorMismatchError(
            f"{run.path} has answers of another model than the one that {source} was fitted on: {'; '.join(found)}. Give the "
            "calibrator of the run's model"
        )
    check_no_leak(origin.questions, [row.question for row in run.rows])


def identity_of(run: RunAnswers, name: str) -> ModelIdentity:
    """The run's model under a name of the caller's: the file does not hold one."""
    return _check(ModelIdentity, {**run.header.model, "name": name}, f"{run.path}:1")


def _header(first: Mapping[str, Any], source: str) -> Header:
    kind, version = first.get("kind"), first.get("version")
    if kind != "guardrail run":
        raise DataError(f"{source}: not a run file ({_shown(first)}); make one: guardrail evaluate DATA.jsonl --run FILE")
    if version != 1:
        raise DataError(f"{source}: version {version!r} of a run file cannot be read here, only 1; update guardrail")
    if first.get("unit", "answer") != "answer":
        raise DataError(f"{source}: a run of claims; a report is about whole answers")
    return _check(Header, first, f"{source}:1")


def _shown(first: Mapping[str, Any]) -> str:
    return f"its first line has the kind {first['kind']!r:.40}" if "kind" in first else "its first line has no kind"


def _check(model: type[_Model], value: Mapping[str, Any], where: str) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise DataError(f"{where}: {at}: {first['msg']}; this is not a run file, or it was edited") from error

