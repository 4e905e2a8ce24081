"""Score -> probability of being right: a decreasing isotonic regression that admits what it does not know.

Knows nothing about models, scorers, policies, or where scores and grades come from.

1. Pool adjacent violators (PAVA): the blocks of the decreasing fit, from right/wrong counts; equal scores stay
   together.
2. Shrink: a block of k right among n becomes (k + 2 b) / (n + 2), b the base rate: two pseudo-answers, so 0 and 1
   never occur. Shrinking moves small blocks most and can break the order, so blocks are pooled again until it holds.
3. Interpolate linearly between the blocks' median scores; constant beyond the first and the last (centred isotonic
   regression, Oron and Flournoy 2017; medians for their means, since scores are heavy-tailed). A staircase gives both
   ends of a block one probability and jumps at accidents of the sample: in a simulation (five models, n = 60 to 2000)
   its excess log loss was 1.3 to 2.2 times as large. There two pseudo-answers were the best compromise of 0.5 to 8.
4. Interval: Jeffreys, Beta(k + 1/2, n - k + 1/2), of each block; each bound made monotone (a block is no worse than
   one of less certain answers), then interpolated like the estimate. That the data chose the blocks, Jeffreys
   ignores; in the simulation this 95 % interval held the true probability in 96 to 99 % of cases, a staircase's in 88
   to 94 %.
"""

import json
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy.special import betaincinv

from guardrail.calibration.folds import stratified_folds
from guardrail.calibration.labels import label_for
from guardrail.calibration.metrics import (
    Bools,
    Estimate,
    Floats,
    aurc,
    auroc,
    bootstrap_interval,
    brier,
    ece,
    wilson_interval,
)
from guardrail.calibration.provenance import Provenance
from guardrail.errors import CalibrationError, NotFittedError
from guardrail.types import Confidence, Score

MIN_POINTS = 30
MIN_OF_EACH = 5
PSEUDO_ANSWERS = 2.0
_LARGEST = 1e300  # so that the difference of two scores is finite
_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

T = TypeVar("T")
_Probability = Annotated[float, Field(gt=0, lt=1)]


class _Block(BaseModel):
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


class _Metric(BaseModel):
    model_config = _STRICT
    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=1)]


class _Record(BaseModel):
    """The JSON file.

    Its numbers are checked against each other, so that a file edited by hand cannot pass for a fit.
    """

    model_config = _STRICT
    schema_version: Literal[1] = 1
    kind: Literal["isotonic"] = "isotonic"
    unit: Literal["answer"] = "answer"
    n: Annotated[int, Field(ge=MIN_POINTS)]
    n_correct: Annotated[int, Field(ge=MIN_OF_EACH)]
    pseudo_answers: Annotated[float, Field(gt=0)]
    blocks: Annotated[tuple[_Block, ...], Field(min_length=1)]
    metrics: dict[str, _Metric]
    provenance: Provenance | None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.n - self.n_correct < MIN_OF_EACH:
            raise ValueError(f"n_correct {self.n_correct} leaves fewer than {MIN_OF_EACH} wrong answers of n {self.n}")
        if (sum(b.n for b in self.blocks), sum(b.n_correct for b in self.blocks)) != (self.n, self.n_correct):
            raise ValueError("the blocks' counts do not add up to n and n_correct")
        for i, b in enumerate(self.blocks):
            if b.n_correct > b.n:
                raise ValueError(f"blocks.{i}: n_correct {b.n_correct} exceeds n {b.n}")
            if not -_LARGEST <= b.first <= b.score <= b.last <= _LARGEST:
                raise ValueError(f"blocks.{i}: scores must ascend: first <= score <= last")
            if not b.low <= b.p_correct <= b.high:
                raise ValueError(f"blocks.{i}: p_correct {b.p_correct} lies outside [low, high]")
            expected = _shrunk(b.n, b.n_correct, self.n_correct / self.n, self.pseudo_answers)
            if not math.isclose(b.p_correct, expected, rel_tol=1e-9):
                raise ValueError(f"blocks.{i}: p_correct {b.p_correct} does not follow from the counts ({expected})")
        for i, (a, b) in enumerate(zip(self.blocks, self.blocks[1:], strict=False), start=1):
            if a.last >= b.first:
                raise ValueError(f"blocks.{i}: scores must ascend from block to block")
            if a.p_correct < b.p_correct or a.low < b.low or a.high < b.high:
                raise ValueError(f"blocks.{i}: p_correct, low and high must not rise with the score")
        return self


class _Curve(NamedTuple):
    """A fit, ready to interpolate: the range of its scores; its blocks' median scores, ascending, (blocks,).

    Values (3, blocks).
    """

    first: float
    last: float
    score: Floats
    values: Floats  # rows p_correct, low, high, each non-increasing

    @classmethod
    def through(cls, blocks: Sequence[_Block]) -> Self:
        values = np.array([[b.p_correct, b.low, b.high] for b in blocks]).T
        return cls(blocks[0].first, blocks[-1].last, np.array([b.score for b in blocks]), values)

    def at(self, scores: Floats) -> Floats:
        """The values at `scores` (n,), of shape (3, n).

        Linear between the blocks' median scores, constant outside them.
        """
        if len(self.score) == 1:
            return np.repeat(self.values, len(scores), axis=1)
        x = np.clip(scores, self.score[0], self.score[-1])
        i = np.clip(np.searchsorted(self.score, x, side="right") - 1, 0, len(self.score) - 2)
        t = (x - self.score[i]) / (self.score[i + 1] - self.score[i])
        before, after = self.values[:, i], self.values[:, i + 1]
        # rounding can step past the neighbour; the clip keeps the result non-increasing to the last bit
        return np.clip(before + t * (after - before), after, before)


class IsotonicCalibrator:
    """Fitted on graded answers, turns a `Score` (higher = less sure) into a `Confidence` (higher = more sure).

        calibrator = IsotonicCalibrator().fit(scores, correct, provenance=provenance)
        calibrator.predict(score).p_correct
        calibrator.save("calibrator.json")
        IsotonicCalibrator.load("calibrator.json").predict(score)

    Everything but `fit`, `load` and `from_dict` raises `NotFittedError` before one of these was called. A score that
    does not rank answers gives one block: every answer then has the base rate as its probability.
    """

    def __init__(self) -> None:
        self._record: _Record | None = None
        self._curve: _Curve | None = None

    def fit(
        self,
        scores: Sequence[Score | float] | ArrayLike,
        correct: ArrayLike,
        *,
        provenance: Provenance | None = None,
        folds: int = 5,
        seed: int = 0,
    ) -> Self:
        """Fit on scores, shape (n,), and booleans, shape (n,), True where the answer is right.

        folds, seed: of the cross-validation behind the `brier` and `ece` in `metrics`, which are never measured on
        fitted points. Raises `CalibrationError` for fewer than 30 answers, fewer than 5 right or 5 wrong ones, scores
        that are unscored, not finite or all equal, labels that are not boolean, and arrays of different length.
        """
        s, c = _points(scores, correct)
        right, n = int(c.sum()), len(c)
        if n < MIN_POINTS:
            raise CalibrationError(f"{n} scored answers are too few to calibrate; take at least {MIN_POINTS}")
        if min(right, n - right) < MIN_OF_EACH:
            raise CalibrationError(
                f"{right} of {n} answers are right; a calibrator needs at least {MIN_OF_EACH} right and {MIN_OF_EACH} "
                f"wrong: add {'harder' if right > n // 2 else 'easier'} questions, and check the grader"
            )
        if s.min() == s.max():
            raise CalibrationError(
                f"all {n} scores are {s[0]:g}, which tells right from wrong nowhere; check the scorer"
            )
        out_of_fold = cross_validated_predictions(s, c, folds=folds, seed=seed)
        metrics = {
            "accuracy": wilson_interval(right, n),
            "auroc": bootstrap_interval(auroc, s, c, seed=seed),
            "aurc": bootstrap_interval(aurc, s, c, seed=seed),
            "brier": bootstrap_interval(brier, out_of_fold, c, seed=seed),
            "ece": bootstrap_interval(ece, out_of_fold, c, seed=seed),
        }
        self._record = _Record(
            n=n,
            n_correct=right,
            pseudo_answers=PSEUDO_ANSWERS,
            blocks=_fit_blocks(s, c),
            metrics={k: _Metric(value=e.value, low=e.low, high=e.high, n=e.n) for k, e in metrics.items()},
            provenance=provenance,
        )
        self._curve = _Curve.through(self._record.blocks)
        return self

    def predict(self, score: Score | float) -> Confidence:
        """The probability that an answer with this score is right, its 95 % interval and its label.

        A score outside the calibrated range is moved to the nearest end (a very low one is confident), with
        `in_range=False`. An unscored answer, NaN or infinity gives `Confidence.none` with the reason, never a number.
        """
        curve = _fitted(self._curve, "predict")
        if isinstance(score, Score) and score.unscored is not None:
            return Confidence.none(f"{score.unscored}: {score.detail}" if score.detail else score.unscored)
        value = score.value if isinstance(score, Score) else float(score)
        if not math.isfinite(value):
            return Confidence.none(f"not_finite: the score is {value}")
        p, low, high = curve.at(np.array([value]))[:, 0].tolist()
        return Confidence(p, low, high, label_for(p), in_range=curve.first <= value <= curve.last)

    def probabilities(self, scores: Sequence[Score | float] | ArrayLike) -> Floats:
        """`p_correct` for many scores at once, shape (n,).

        Raises `CalibrationError` when one is unscored or not finite.
        """
        out: Floats = _fitted(self._curve, "probabilities").at(_finite(scores))[0]
        return out

    @property
    def unit(self) -> str:
        """What one probability is about: "answer"."""
        return _fitted(self._record, "unit").unit

    @property
    def n(self) -> int:
        """Answers that the fit saw."""
        return _fitted(self._record, "n").n

    @property
    def base_rate(self) -> float:
        """Share of them that was right."""
        record = _fitted(self._record, "base_rate")
        return record.n_correct / record.n

    @property
    def score_range(self) -> tuple[float, float]:
        """Lowest and highest score of the fit: `predict` clips to it."""
        curve = _fitted(self._curve, "score_range")
        return curve.first, curve.last

    @property
    def metrics(self) -> dict[str, Estimate]:
        """accuracy; auroc and aurc of the score; brier and ece of out-of-fold probabilities. With 95 % intervals."""
        record = _fitted(self._record, "metrics")
        return {k: Estimate(m.value, m.low, m.high, m.n) for k, m in record.metrics.items()}

    @property
    def provenance(self) -> Provenance | None:
        """What it was fitted on; None when `fit` was not told."""
        return _fitted(self._record, "provenance").provenance

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON, whole or not at all: to a temporary file next to `path`, which then takes its place."""
        record = _fitted(self._record, "save").model_dump(mode="json")
        text = json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        target = Path(os.path.realpath(path))  # a link stays a link
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as e:
            raise CalibrationError(f"{os.fspath(path)}: cannot write the calibrator: {e.strerror}") from e
        finally:
            with suppress(OSError):
                temporary.unlink()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises `CalibrationError`, with the file's name, for anything else."""
        source = os.fspath(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as e:
            raise CalibrationError(f"{source}: cannot read the calibrator: {e.strerror}. {_remedy(source)}") from e
        except UnicodeDecodeError as e:
            raise CalibrationError(f"{source}: not a calibrator: not UTF-8 text. {_remedy(source)}") from e
        return cls._parse(text, source)

    def to_dict(self) -> dict[str, Any]:
        """What `save` writes, JSON-ready."""
        return _fitted(self._record, "to_dict").model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "calibrator") -> Self:
        """The inverse of `to_dict`, as strict as `load`; `source` names it in errors."""
        return cls._parse(json.dumps(dict(data)), source)

    @classmethod
    def _parse(cls, text: str, source: str) -> Self:
        try:
            record = _Record.model_validate_json(text)
        except ValidationError as e:
            first = e.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            what = first["msg"].removeprefix("Value error, ")
            more = f" (and {e.error_count() - 1} more)" if e.error_count() > 1 else ""
            raise CalibrationError(
                f"{source}: not a calibrator: {f'{where}: ' if where else ''}{what}{more}. {_remedy(source)}"
            ) from e
        out = cls()
        out._record, out._curve = record, _Curve.through(record.blocks)
        return out


def cross_validated_predictions(
    scores: Sequence[Score | float] | ArrayLike, correct: ArrayLike, *, folds: int = 5, seed: int = 0
) -> Floats:
    """The probability of each answer, from a fit on the other folds; shape (n,). For metrics off the fitted points.

    Folds are drawn at random with right and wrong answers spread evenly. Raises `CalibrationError` as `fit` does for
    bad arrays, and when there are fewer right or wrong answers than folds.
    """
    s, c = _points(scores, correct)
    out = np.empty(len(c))
    for held_out in stratified_folds(c, folds, seed):
        fitted_on = np.ones(len(c), dtype=np.bool_)
        fitted_on[held_out] = False
        out[held_out] = _Curve.through(_fit_blocks(s[fitted_on], c[fitted_on])).at(s[held_out])[0]
    return out


def pool_adjacent_violators(
    n: Sequence[int] | NDArray[np.int_],
    n_correct: Sequence[int] | NDArray[np.int_],
    pseudo: float = 0.0,
    base: float = 0.0,
) -> list[tuple[int, int, int]]:
    """Merge neighbours until (n_correct + pseudo * base) / (n + pseudo) strictly decreases (pseudo = 0: least squares).

    n, n_correct: answers and right ones at each distinct score, ascending, shape (m,). Returns one (stop, n,
    n_correct) a block; `stop` is the index after its last entry.
    """
    blocks: list[tuple[int, int, int]] = []
    for i, (size, right) in enumerate(zip(n, n_correct, strict=True)):
        block = (i + 1, int(size), int(right))
        while blocks and _shrunk(*blocks[-1][1:], base, pseudo) <= _shrunk(*block[1:], base, pseudo):
            _, size_before, right_before = blocks.pop()
            block = (i + 1, block[1] + size_before, block[2] + right_before)
        blocks.append(block)
    return blocks


def _fit_blocks(scores: Floats, correct: Bools) -> tuple[_Block, ...]:
    order = np.argsort(scores, kind="stable")
    s = scores[order].tolist()
    distinct, group, size = np.unique(scores, return_inverse=True, return_counts=True)
    right = np.bincount(group, weights=correct, minlength=len(distinct)).astype(np.int_)
    base = float(correct.mean())
    raw = pool_adjacent_violators(size, right)
    pooled = pool_adjacent_violators([b[1] for b in raw], [b[2] for b in raw], PSEUDO_ANSWERS, base)
    n, k = (np.array([b[column] for b in pooled], dtype=np.float64) for column in (1, 2))
    low = np.maximum.accumulate(betaincinv(k + 0.5, n - k + 0.5, 0.025)[::-1])[::-1]
    high = np.minimum.accumulate(betaincinv(k + 0.5, n - k + 0.5, 0.975))
    blocks, start = [], 0
    for (_, size_, right_), low_, high_ in zip(pooled, low.tolist(), high.tolist(), strict=True):
        stop = start + size_
        blocks.append(
            _Block(
                first=s[start],
                score=s[(start + stop - 1) // 2],
                last=s[stop - 1],
                n=size_,
                n_correct=right_,
                p_correct=_shrunk(size_, right_, base, PSEUDO_ANSWERS),
                low=low_,
                high=high_,
            )
        )
        start = stop
    return tuple(blocks)


def _shrunk(n: int, n_correct: int, base: float, pseudo: float) -> float:
    return (n_correct + pseudo * base) / (n + pseudo)


def _points(scores: Sequence[Score | float] | ArrayLike, correct: ArrayLike) -> tuple[Floats, Bools]:
    s, c = _finite(scores), np.asarray(correct)
    if s.shape != c.shape:
        raise CalibrationError(f"{len(s)} scores but labels of shape {c.shape}; give one label for each score")
    if not len(c):
        raise CalibrationError(f"no answers to calibrate on; take at least {MIN_POINTS}")
    if c.dtype != np.bool_:
        raise CalibrationError(f"labels must be booleans (True = right), not {c.dtype}; convert them, e.g. grades == 1")
    return s, c


def _finite(scores: Sequence[Score | float] | ArrayLike) -> Floats:
    if isinstance(scores, Sequence):
        scores = [(math.nan if s.unscored else s.value) if isinstance(s, Score) else s for s in scores]
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 1:
        raise CalibrationError(f"scores must be a row of numbers, not an array of shape {s.shape}")
    bad = int((~(np.abs(s) <= _LARGEST)).sum())
    if bad:
        raise CalibrationError(f"{bad} of {len(s)} scores are unscored or not finite; leave those answers out")
    return s


def _fitted(part: T | None, asked: str) -> T:
    if part is None:
        raise NotFittedError(
            f"IsotonicCalibrator.{asked} needs a fit: call fit(scores, correct) or IsotonicCalibrator.load(path) first"
        )
    return part


def _remedy(source: str) -> str:
    return f"Make it again: guardrail calibrate DATA.jsonl -o {source}"
