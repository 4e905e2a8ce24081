"""The calibrator's JSON file, its numbers checked against each other."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from scipy.special import betaincinv

from guardrail.calibration.familiarity import Familiarity
from guardrail.calibration.provenance import Provenance, Unit
from guardrail.calibration.sketch import Sketch
from guardrail.errors import CalibrationError
from guardrail.json_text import parse

MIN_POINTS = 30
MIN_OF_EACH = 5
PSEUDO_ANSWERS = 2.0
LARGEST = 1e300  # so that the difference of two scores is finite
_MOST = 10**9  # answers; more would lose digits as floats
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

_LATER = ("sketch", "familiarity", "contexts", "digest")

ContextName = Annotated[str, Field(pattern=r"^[a-z]+(\+[a-z]+)*$")]
"""A kind of conversation that can have a curve of its own; see `contexts.context_of`."""

CONTEXT_PSEUDO_ANSWERS = 10.0
"""By how many answers a block of a context is drawn towards the curve of the others; see `curve_fit.context_fields`."""

_Probability = Annotated[float, Field(gt=0, lt=1)]


class Block(BaseModel):
    """A run of scores that share one estimate: first, median and last score; answers and right ones.

    Estimate and interval.
    """

    model_config = _STRICT
    first: float
    score: float
    last: float
    n: Annotated[int, Field(ge=1, le=_MOST)]
    n_correct: Annotated[int, Field(ge=0, le=_MOST)]
    p_correct: _Probability
    low: _Probability
    high: _Probability


class MetricRecord(BaseModel):
    model_config = _STRICT
    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=1)]


class CurveRecord(BaseModel):
    """A fitted curve. Its numbers are checked against each other, so that a file edited by hand cannot pass for a fit."""

    model_config = _STRICT
    n: Annotated[int, Field(ge=MIN_POINTS, le=_MOST)]
    n_correct: Annotated[int, Field(ge=MIN_OF_EACH, le=_MOST)]
    pseudo_answers: Annotated[float, Field(gt=0)]
    blocks: Annotated[tuple[Block, ...], Field(min_length=1)]
    metrics: dict[str, MetricRecord]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
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
            base, pseudo = self._drawn_to(i)
            if self.pseudo_answers != pseudo:
                raise ValueError(f"pseudo_answers is {self.pseudo_answers}, and every fit takes {pseudo}")
            expected = shrunk(b.n, b.n_correct, base, pseudo)
            if not math.isclose(b.p_correct, expected, rel_tol=1e-9):
                raise ValueError(f"blocks.{i}: p_correct {b.p_correct} does not follow from the counts ({expected})")
        for i, (a, b) in enumerate(zip(self.blocks, self.blocks[1:], strict=False), start=1):
            if a.last >= b.first:
                raise ValueError(f"blocks.{i}: scores must ascend from block to block")
            if a.p_correct < b.p_correct or a.low < b.low or a.high < b.high:
                raise ValueError(f"blocks.{i}: p_correct, low and high must not rise with the score")
        for i, (b, low, high) in enumerate(
            zip(self.blocks, *jeffreys([(b.n, b.n_correct) for b in self.blocks]), strict=True)
        ):
            for name, given, bound in (("low", b.low, min(low, b.p_correct)), ("high", b.high, max(high, b.p_correct))):
                if not math.isclose(given, bound, rel_tol=1e-6):
                    raise ValueError(f"blocks.{i}: {name} {given} does not follow from the counts ({bound})")
        return self

    def _drawn_to(self, block: int) -> tuple[float, float]:
        """What a block's share is drawn towards, and by how many answers."""
        return self.n_correct / self.n, PSEUDO_ANSWERS


class ContextRecord(CurveRecord):
    """A curve for conversations of one kind, with the scorer that it was fitted on.

    profile: the scorer's options. source: what the conversations were made with, in words and numbers. towards: what each block
    is drawn to, where that is the curve of the others and not this one's base rate; see `curve_fit.context_fields`.
    """

    scorer: str
    profile: dict[str, JsonValue]
    source: dict[str, JsonValue] = {}
    towards: tuple[_Probability, ...] | None = None

    @model_validator(mode="after")
    def _drawn_somewhere(self) -> Self:
        if self.towards is not None and len(self.towards) != len(self.blocks):
            raise ValueError(f"{len(self.blocks)} blocks are drawn to {len(self.towards)} probabilities")
        return self

    def _drawn_to(self, block: int) -> tuple[float, float]:
        if self.towards is None:
            return super()._drawn_to(block)
        return self.towards[block] if block < len(self.towards) else 0.0, CONTEXT_PSEUDO_ANSWERS

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a key that older files do not have, so that their digest stays what it was."""
        out: dict[str, Any] = write(self)
        return {key: value for key, value in out.items() if value is not None or key != "towards"}


class Record(CurveRecord):
    """The JSON file.

    What follows from nothing else in the file (prompt, generation, hashes) is checked against `digest`, which `fit` leaves:
    SHA-256, hex, of everything but itself. Files of earlier versions have none. contexts: by name, those that have a curve of
    their own.
    """

    schema_version: Literal[1] = 1
    kind: Literal["isotonic"] = "isotonic"
    unit: Unit = "answer"
    provenance: Provenance | None
    sketch: Sketch | None = None
    familiarity: Familiarity | None = None
    contexts: dict[ContextName, ContextRecord] | None = None
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a key that older files do not have, so that their digest, which proofs hold, stays what it was."""
        out: dict[str, Any] = write(self)
        return {key: value for key, value in out.items() if value is not None or key not in _LATER}

    def content_digest(self) -> str:
        """What `digest` has to be."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def sealed(self, **changes: Any) -> Self:
        """Itself with these changes, and its digest."""
        changed = self.model_copy(update=changes)
        return changed.model_copy(update={"digest": changed.content_digest()})

    @model_validator(mode="after")
    def _says_what_it_is_about(self) -> Self:
        if self.provenance and (self.provenance.extractor is not None) != (self.unit == "claim"):
            raise ValueError(f"unit {self.unit!r} with provenance.extractor {self.provenance.extractor}")
        if self.sketch and (self.sketch.at_or_below[-1], self.sketch.scores[-1]) != (self.n, self.blocks[-1].last):
            raise ValueError("the sketch does not end at n and at the last block's last score")
        return self


def jeffreys(counts: Sequence[tuple[int, int]]) -> tuple[list[float], list[float]]:
    """95 % intervals, Beta(k + 1/2, n - k + 1/2), of blocks of (n, k right); monotone: neither bound rises with the score."""
    n, k = np.array(counts, dtype=np.float64).T
    low = np.maximum.accumulate(betaincinv(k + 0.5, n - k + 0.5, 0.025)[::-1])[::-1]
    high = np.minimum.accumulate(betaincinv(k + 0.5, n - k + 0.5, 0.975))
    return low.tolist(), high.tolist()


def shrunk(n: int, n_correct: int, base: float, pseudo: float) -> float:
    """(k + pseudo * base) / (n + pseudo): a block's share of right answers, drawn towards the base rate."""
    return (n_correct + pseudo * base) / (n + pseudo)


def read_record(content: str | Mapping[str, Any], source: str) -> Record:
    """The record of a calibrator's JSON text or object; `source` names it. Raises `CalibrationError`, one line, for others."""
    try:
        text = content if isinstance(content, str) else json.dumps(dict(content))
        record = Record.model_validate_json(text)
        if (
            "digest" in (read := parse(text)) and read["digest"] is None
        ):  # of two equal keys the last would have counted
            raise ValueError("`digest` is null, which no fit writes; a file of an earlier version has no such key")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise CalibrationError(
            f"{source}: not a calibrator: {f'{where}: ' if where else ''}{what}{more}. {remedy(source)}"
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise CalibrationError(f"{source}: not a calibrator: {error}. {remedy(source)}") from error
    found = record.content_digest()
    if record.digest not in (None, found):
        raise CalibrationError(
            f"{source}: not a calibrator: its content has the digest {found[:12]}… and not {str(record.digest)[:12]}…, so it "
            f"was edited after it was written. {remedy(source)}"
        )
    return record


def remedy(source: str) -> str:
    """What to do about a calibrator that cannot be read."""
    return f"Make it again: guardrail calibrate DATA.jsonl -o {source}"
