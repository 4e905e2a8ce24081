"""A finished run -> graded answers and what the run is about, without the model that answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guardrail.calibration.origin import origin_of, through_of
from guardrail.calibration.provenance import ExtractorIdentity, Provenance, Unit, check_unit, differences
from guardrail.datasets.questions import QuestionRow, check_no_leak, data_hash
from guardrail.errors import CalibratorMismatchError, DataError
from guardrail.model.identity import SAME, ModelIdentity
from guardrail.runs.answers import Answers, graded
from guardrail.runs.asking import KIND, VERSION
from guardrail.runs.run_file import read_run
from guardrail.types import FinishReason, UnscoredReason

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.grading import Grader

_Model = TypeVar("_Model", bound=BaseModel)


class RunAsking(BaseModel):
    """How the questions were put."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    prompt: str
    system: str | None
    max_new_tokens: int


class RunHeader(BaseModel):
    """A run's first line: which model was asked what, and how. model: a `ModelIdentity` without its name. extractor: what took
    answers apart, of a run of claims."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    model: dict[str, str]
    asking: RunAsking
    data: str
    offsets: tuple[int, ...] = Field(min_length=1)
    layers: int = Field(ge=1)
    through: dict[str, str | None] | None = None
    unit: Unit = "answer"
    extractor: ExtractorIdentity | None = None

    def identity(self, name: str) -> ModelIdentity:
        """The model under a name of the caller's, since the file does not hold one."""
        return ModelIdentity.model_validate({**self.model, "name": name})


class _Answer(BaseModel):
    """What a record must hold, whatever a pass measured."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    key: str
    question: str
    accepted: list[str] = Field(min_length=1)
    answer: str
    finish_reason: FinishReason
    unscored: UnscoredReason | None


class Asked(Protocol):
    """A row of the data."""

    @property
    def question(self) -> str: ...


class GradedRun(Protocol):
    """What a run of answers and one of claims have in common; data: the hash of what was asked and what is known of it."""

    @property
    def path(self) -> Path: ...
    @property
    def header(self) -> RunHeader: ...
    @property
    def rows(self) -> Sequence[Asked]: ...
    @property
    def data(self) -> str: ...
    @property
    def grader(self) -> str: ...
    @property
    def complete(self) -> bool: ...


@dataclass(frozen=True, slots=True, eq=False)
class RunAnswers:
    """A run, graded. rows: the questions with their accepted answers. data: the hash of these, as `data_hash` makes it.

    complete: whether they are all the questions that the run was begun for.
    """

    path: Path
    header: RunHeader
    answers: Answers
    rows: tuple[QuestionRow, ...]
    data: str
    grader: str

    @property
    def complete(self) -> bool:
        return self.data == self.header.data


def header_of(path: Path, unit: Unit = "answer") -> RunHeader:
    """What a run file is about. Raises `DataError` as `load_run` does, and for a run of the other unit."""
    return checked_header(read_run(path)[0], path, unit)


def load_run(path: Path, grader: Grader) -> RunAnswers:
    """Read a run file of whole answers and grade it.

        run = load_run(Path("heldout.run.jsonl"), get_grader("alias"))

    Raises `DataError`, with the file and where it can the line, for what is no such file, for one of claims or of another
    version, for a record that is not one, and for a run without an answer.
    """
    first, lines = read_run(path)
    header = checked_header(first, path, "answer")
    for number, record in lines.items():
        checked(_Answer, record, f"{path}:{number}")
    records = [row for row in {record["key"]: record for record in lines.values()}.values() if "left_out" not in row]
    if not records:
        raise DataError(f"{path}: the run has no answers yet; go on with it: --resume")
    try:
        answers = graded(records, grader, header.offsets, header.layers)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the numbers of a record cannot be read ({error!r}); make the run again") from error
    rows = tuple(
        QuestionRow(r["question"], tuple(r["accepted"]), items=tuple(map(tuple, r.get("items", ())))) for r in records
    )
    return RunAnswers(path, header, answers, rows, data_hash(rows), grader.name)


def check_fits(run: GradedRun, calibrator: IsotonicCalibrator, source: str) -> Provenance:
    """What the calibrator was fitted on; raises where it says nothing about the run, or would flatter itself.

    `CalibratorMismatchError`: the answers come from another model than the calibrator's, it is of another unit than the run, or
    it does not say. `DataError`: some of the questions are those that it was fitted on. source: its name, for messages.
    """
    origin = origin_of(calibrator, source)
    check_unit(calibrator.unit, run.header.unit, source, origin.model.name)
    model = run.header.identity(origin.model.name)
    if found := differences(origin, model, origin.scorer, origin.profile, extractor=run.header.extractor):
        raise CalibratorMismatchError(
            f"{run.path} has answers of another model than the one that {source} was fitted on: {'; '.join(found)}. Give the "
            "calibrator of the run's model"
        )
    if run.header.through is None and (chain := through_of(origin)) is not None:
        raise CalibratorMismatchError(
            f"{source} was fitted on what the chain {chain} asks, and {run.path} has plain questions; make a run of the chain: "
            "guardrail evaluate DATA.jsonl --through FILE.py:NAME --run FILE"
        )
    check_no_leak(origin.questions, [row.question for row in run.rows])
    return origin


def check_same_model(run: GradedRun, model: Mapping[str, Any], source: str) -> None:
    """Raise `DataError` where a file is about another model than the run: one page would tell of two. model: the file's."""
    for key in SAME:
        theirs, ours = str(model.get(key, "unknown")), run.header.model.get(key, "unknown")
        if theirs != ours and not (key == "end_ids" and "unknown" in (theirs, ours)):  # not in earlier files
            raise DataError(f"{source} is about another model than {run.path}: {key} {theirs[:16]} against {ours[:16]}")


def checked_header(first: Mapping[str, Any], path: Path, unit: Unit) -> RunHeader:
    """A run's first line. Raises `DataError` where it is no run's of this version and unit."""
    kind, version = first.get("kind"), first.get("version")
    if kind != KIND:
        raise DataError(
            f"{path}: not a run file (its first line has the kind {str(kind)[:40]!r}); make one: "
            "guardrail evaluate DATA.jsonl --run FILE"
        )
    if version != VERSION:
        raise DataError(
            f"{path}: a run file of version {str(version)[:20]}, and only version {VERSION} can be read here; "
            f"make the run again"
        )
    if (found := first.get("unit", "answer")) != unit:
        other = "--unit claim --data DATA.jsonl" if unit == "answer" else "without --unit claim"
        raise DataError(
            f"{path}: a run of {str(found)[:20]}s, and {unit}s are asked for: guardrail report {path} {other}"
        )
    header = checked(RunHeader, first, f"{path}:1")
    checked(ModelIdentity, {**header.model, "name": "run"}, f"{path}:1")
    return header


def checked(model: type[_Model], value: Mapping[str, Any], where: str) -> _Model:
    """Raises `DataError`, which says `where`, for a value that is none of `model`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise DataError(f"{where}: {at}: {first['msg']}; this is not a run file, or it was edited") from error
