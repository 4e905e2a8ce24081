"""The JSON file of `guardrail bench`, read and checked."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from guardrail.errors import DataError
from guardrail.files import read_text

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_Count = Annotated[int, Field(ge=0)]


class EstimateRecord(BaseModel):
    """A number with its 95 % interval, low <= value <= high, and the rows that it comes from."""

    model_config = _STRICT
    value: float
    low: float
    high: float
    n: _Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} lies outside its interval, {self.low} to {self.high}")
        return self


class SecondsRecord(BaseModel):
    """What scoring one answer takes: median and quartiles."""

    model_config = _STRICT
    median: Annotated[float, Field(ge=0)]
    low: Annotated[float, Field(ge=0)]
    high: Annotated[float, Field(ge=0)]


class ScorerFigures(BaseModel):
    """One scorer. difference: its AUROC minus HybridGrad's on the same answers, paired; None for HybridGrad."""

    model_config = _STRICT
    name: Annotated[str, Field(min_length=1)]
    options: dict[str, JsonValue]
    n: _Count
    unscored: _Count
    auroc: EstimateRecord
    aurc: EstimateRecord
    prr: EstimateRecord
    difference: EstimateRecord | None
    seconds: SecondsRecord
    memory_mb: float | None


class ControlRecord(BaseModel):
    """What is told from texts alone. difference: the best scorer's AUROC minus it, paired."""

    model_config = _STRICT
    auroc: EstimateRecord
    difference: EstimateRecord


class ControlsRecord(BaseModel):
    """The best scorer against readers of the texts alone. embedding: what made vectors of them."""

    model_config = _STRICT
    text: ControlRecord
    question: ControlRecord
    embedding: str


class CascadeCurveRecord(BaseModel):
    """Accuracy at each of the cascade's shares, and the areas beyond a random order and beyond asking the second always."""

    model_config = _STRICT
    name: str
    kind: Literal["scorer", "control", "oracle"]
    accuracy: tuple[float, ...]
    over_random: EstimateRecord
    over_always: EstimateRecord


class CascadeRecord(BaseModel):
    """What asking a second model about the least sure answers is worth. costs: of a question, at each of the shares."""

    model_config = _STRICT
    second: str
    n: _Count
    first_alone: EstimateRecord
    second_alone: EstimateRecord
    cost_per_call: Annotated[float, Field(ge=0)]
    cost_of_second: Annotated[float, Field(ge=0)]
    shares: tuple[float, ...]
    costs: tuple[float, ...]
    curves: tuple[CascadeCurveRecord, ...]
    beyond_texts: EstimateRecord | None = None


class BenchData(BaseModel):
    model_config = _STRICT
    name: str
    hash: str
    n: _Count


class BenchRecord(BaseModel):
    """A comparison of scorers on the same answers of one model."""

    model_config = _STRICT
    kind: Literal["guardrail bench"]
    version: Literal[1]
    model: dict[str, str]
    data: BenchData
    grader: str
    asking: dict[str, JsonValue]
    n: _Count
    accuracy: EstimateRecord
    scorers: Annotated[tuple[ScorerFigures, ...], Field(min_length=1)]
    controls: ControlsRecord | None = None
    cascade: CascadeRecord | None = None
    command: str
    created: str
    versions: dict[str, str]


def load_bench(path: str | os.PathLike[str]) -> BenchRecord:
    """What `guardrail bench` wrote. Raises `DataError`, with the file's name, for anything else, an unknown key included."""
    source = os.fspath(path)
    remedy = "make it again: guardrail bench DATA.jsonl -o bench.json"
    try:
        text = read_text(path)
    except OSError as error:
        raise DataError(f"{source}: cannot read it: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not the result of a bench: not UTF-8 text; {remedy}") from error
    try:
        return BenchRecord.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{source}: not the result of a bench: {_first(error)}; {remedy}") from error


def _first(error: ValidationError) -> str:
    one: Any = error.errors()[0]
    where = ".".join(map(str, one["loc"]))
    return f"{where}: {one['msg']}" if where else str(one["msg"])
