"""The calibrator's JSON file, its numbers checked against each other. Knows nothing about how they are fitted."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from guardrail.calibration.provenance import Provenance, Unit
from guardrail.calibration.sketch import Sketch

MIN_POINTS = 30
MIN_OF_EACH = 5
LARGEST = 1e300  # so that the difference of two scores is finite
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

_Probability = Annotated[float, Field(gt=0, lt=1)]


class Block(BaseModel):
    """A run of scores that share one estimate: first, median and last score; answers and right ones.

    Estimate and interval.
    """

    model_config = _STRICT
    first: float
    score: float
    last: float
    n: Annotated[int, Field(ge=1)]
    n_correct: Annotated[int, Field(ge=0)]
    p_correct: _Probability
    low: _Probability
    high: _Probability


class MetricRecord(BaseModel):
    model_config = _STRICT
    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=1)]


class Record(BaseModel):
    """The JSON file.

    Its numbers are checked against each other, so that a file edited by hand cannot pass for a fit.
    """

    model_config = _STRICT
    schema_version: Literal[1] = 1
    kind: Literal["isotonic"] = "isotonic"
    unit: Unit = "answer"
    n: Annotated[int, Field(ge=MIN_POINTS)]
    n_correct: Annotated[int, Field(ge=MIN_OF_EACH)]
    pseudo_answers: Annotated[float, Field(gt=0)]
    blocks: Annotated[tuple[Block, ...], Field(min_length=1)]
    metrics: dict[str, MetricRecord]
    provenance: Provenance | None
    sketch: Sketch | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a key that older files do not have, so that their digest, which proofs hold, stays what it was."""
        out: dict[str, Any] = write(self)
        if self.sketch is None:
            del out["sketch"]
        return out

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.provenance and (self.provenance.extractor is not None) != (self.unit == "claim"):
            raise ValueError(f"unit {self.unit!r} with provenance.extractor {self.provenance.extractor}")
        if self.n - self.n_correct < MIN_OF_EACH:
            raise ValueError(f"n_correct {self.n_correct} leaves fewer than {MIN_OF_EACH} wrong answers of n {self.n}")
        if (sum(b.n for b in self.blocks), sum(b.n_correct for b in self.blocks)) != (self.n, self.n_correct):
            raise ValueError("the blocks' counts do not add up to n and n_correct")
        for i, b in enumerate(self.blocks):
            if b.n_correct > b.n:
                raise ValueError(f"blocks.{i}: n_correct {b.n_correct} exceeds n {b.n}")
            if not -LARGEST <= b.first <= b.score <= b.last <= LARGEST:
                raise ValueError(f"blocks.{i}: scores must ascend: first <= score <= last")
            if not b.low <= b.p_correct <= b.high:
                raise ValueError(f"blocks.{i}: p_correct {b.p_correct} lies outside [low, high]")
            expected = shrunk(b.n, b.n_correct, self.n_correct / self.n, self.pseudo_answers)
            if not math.isclose(b.p_correct, expected, rel_tol=1e-9):
                raise ValueError(f"blocks.{i}: p_correct {b.p_correct} does not follow from the counts ({expected})")
        for i, (a, b) in enumerate(zip(self.blocks, self.blocks[1:], strict=False), start=1):
            if a.last >= b.first:
                raise ValueError(f"blocks.{i}: scores must ascend from block to block")
            if a.p_correct < b.p_correct or a.low < b.low or a.high < b.high:
                raise ValueError(f"blocks.{i}: p_correct, low and high must not rise with the score")
        if self.sketch and (self.sketch.at_or_below[-1], self.sketch.scores[-1]) != (self.n, self.blocks[-1].last):
            raise ValueError("the sketch does not end at n and at the last block's last score")
        return self


def shrunk(n: int, n_correct: int, base: float, pseudo: float) -> float:
    """(k + pseudo * base) / (n + pseudo): a block's share of right answers, drawn towards the base rate."""
    return (n_correct + pseudo * base) / (n + pseudo)
