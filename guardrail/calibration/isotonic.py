"""Score -> probability of being right: a decreasing isotonic regression that admits what it does not know.

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
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

from numpy.typing import ArrayLike

from guardrail.calibration.curve_fit import context_fields, cross_validated_predictions, curve_fields
from guardrail.calibration.familiarity import Familiarity
from guardrail.calibration.familiarity_fit import Familiar, fit_familiarity
from guardrail.calibration.labels import label_for
from guardrail.calibration.metrics import Estimate, Floats, calibration_metrics
from guardrail.calibration.points import checked_points, finite
from guardrail.calibration.pooling import Curve
from guardrail.calibration.provenance import Provenance, Unit, check_scorer
from guardrail.calibration.record import (
    Block,
    ContextName,
    ContextRecord,
    Record,
    read_record,
    remedy,
)
from guardrail.calibration.sketch import Sketch, sketch_of
from guardrail.errors import CalibrationError, NotFittedError
from guardrail.files import read_text, write_whole
from guardrail.types import Confidence, Score

T = TypeVar("T")


class IsotonicCalibrator:
    """Turns a `Score` (higher = less sure) into a `Confidence` (higher = more sure), once it was fitted on graded answers.

        calibrator = IsotonicCalibrator().fit(scores, correct, provenance=provenance)
        calibrator.predict(score).p_correct
        calibrator.save("calibrator.json")
        IsotonicCalibrator.load("calibrator.json").predict(score)

    Everything but `fit`, `load`, `from_dict` and `source` raises `NotFittedError` before one of these was called. A score that
    does not rank answers gives one block: every answer then has the base rate as its probability.

    Attributes:
        source: The name it was loaded under, a path or `shipped:NAME`, for messages and records; None where it was fitted
            in memory. It is no part of the file or of `digest`.
    """

    source: str | None

    def __init__(self) -> None:
        self.source = None
        self._record: Record | None = None
        self._curve: Curve | None = None
        self._curves: dict[ContextName, Curve] = {}

    def fit(
        self,
        scores: Sequence[Score | float] | ArrayLike,
        correct: ArrayLike,
        *,
        provenance: Provenance | None = None,
        metrics: Mapping[str, Estimate] | None = None,
        folds: int = 5,
        seed: int = 0,
        unit: Unit = "answer",
        groups: ArrayLike | None = None,
        unscored: int | None = None,
        familiar: Familiar | Familiarity | None = None,
        contexts: Mapping[ContextName, ContextRecord] | None = None,
    ) -> Self:
        """Fit on the scores of graded answers.

        Args:
            scores: Shape (n,), higher = less sure.
            correct: Booleans of shape (n,), True where the answer is right.
            provenance: What the scores come from; `Guard` refuses a calibrator without it.
            metrics: Metrics measured elsewhere, in place of this fit's own. Where the scorer itself was chosen on the same
                answers, only a cross-validation that repeats the choice is honest.
            folds: Of the cross-validation behind the `brier` and `ece` in `metrics`: they are never measured on fitted
                points.
            seed: Of the folds and of the intervals in `metrics`.
            unit: What a score is about.
            groups: Shape (n,), which answer a claim comes from. Its claims then share a fold, and the intervals in
                `metrics` count answers. The curve's own interval takes claims as independent, which is narrower than the
                truth where those of one answer are alike.
            unscored: How many more there were that got no score; only kept, for `guardrail monitor`.
            familiar: What the questions look like to the model, or what another calibrator kept of that; without it no question
                is told to be unlike them.
            contexts: Of another calibrator, whose curves are kept; see `with_context`.

        Raises:
            CalibrationError: For fewer than 30 answers, fewer than 5 right or 5 wrong ones, scores that are unscored, not
                finite or all equal, labels that are not boolean, and arrays of different length.
        """
        s, c = checked_points(scores, correct, f"{unit}s")
        if provenance is not None and (provenance.extractor is not None) != (unit == "claim"):
            raise CalibrationError(
                f"unit {unit!r} with the extractor {provenance.extractor}; a calibrator of claims says what cut them "
                "(Provenance.extractor), one of answers has none"
            )
        if metrics is None:
            out_of_fold = cross_validated_predictions(s, c, folds=folds, seed=seed, groups=groups)
            metrics = calibration_metrics(s, out_of_fold, c, seed=seed, groups=groups)
        record = Record(
            unit=unit,
            **curve_fields(s, c, metrics),
            provenance=provenance,
            sketch=sketch_of(s, unscored=unscored),
            familiarity=fit_familiarity(familiar, s, c, seed=seed) if isinstance(familiar, Familiar) else familiar,
            contexts=dict(contexts) if contexts else None,
        )
        self._take(record.sealed())
        self.source = None
        return self

    def with_context(
        self,
        name: ContextName,
        scores: Sequence[Score | float] | ArrayLike,
        correct: ArrayLike,
        *,
        scorer: str,
        options: Mapping[str, Any],
        metrics: Mapping[str, Estimate],
        source: Mapping[str, Any] | None = None,
        towards: Curve | None = None,
    ) -> Self:
        """This calibrator with a curve for conversations of one kind, fitted on answers that were given in such ones.

        Args:
            name: The kind, such as "evidence".
            scores: As for `fit`, and so correct.
            correct: Whether each answer is right.
            scorer: The name of the scorer that the scores are of.
            options: Its options, JSON-ready.
            metrics: Measured by whoever chose the scorer, out of fold.
            source: What the conversations were made with, JSON-ready.
            towards: A curve on the same scorer that this one is drawn to; see `curve_fit.curve_of_others`.

        Raises:
            CalibrationError: As `fit`.
        """
        record = _fitted(self._record, "with_context")
        s, c = checked_points(scores, correct, f"answers in the context {name!r}")
        fields = curve_fields(s, c, metrics) if towards is None else context_fields(s, c, metrics, towards)
        made = ContextRecord(**fields, scorer=scorer, profile=dict(options), source=dict(source or {}))
        return type(self)()._take(record.sealed(contexts={**(record.contexts or {}), name: made}))

    def _take(self, record: Record) -> Self:
        self._record, self._curve = record, Curve.through(record.blocks)
        self._curves = {name: Curve.through(each.blocks) for name, each in (record.contexts or {}).items()}
        return self

    def predict(
        self, score: Score | float, familiarity: float | None = None, context: ContextName | None = None
    ) -> Confidence:
        """The probability that an answer with this score is right, its 95 % interval and its label.

        Args:
            score: Higher = less sure.
            familiarity: How like the calibration's the question is, a p-value of `familiarity.p_values`; None where nobody
                looked.
            context: Which of `contexts` the answer was given in; the score is of that one's scorer.

        Returns:
            A score outside the calibrated range is moved to the nearest end (a very low one is confident), with
            `in_range=False`. An unscored answer, NaN or infinity gives `Confidence.none` with the reason, never a number.
        """
        curve = _fitted(self._curve, "predict")
        if context is not None and context not in self._curves:
            raise CalibrationError(f"no curve for the context {context!r}, but for {', '.join(self._curves) or 'none'}")
        curve = self._curves[context] if context else curve
        if isinstance(score, Score) and score.unscored is not None:
            return Confidence.none(f"{score.unscored}: {score.detail}" if score.detail else score.unscored)
        if isinstance(score, Score) and context is None:
            check_scorer(self.provenance, score.name)
        value = score.value if isinstance(score, Score) else float(score)
        if not math.isfinite(value):
            return Confidence.none(f"not_finite: the score is {value}")
        p, low, high = curve.at_one(value)
        out = Confidence(p, low, high, label_for(p), in_range=curve.first <= value <= curve.last, context=context)
        known = self.familiarity
        return out if known is None or familiarity is None else known.applied(out, familiarity)

    def probabilities(self, scores: Sequence[Score | float] | ArrayLike) -> Floats:
        """`p_correct` for many scores at once.

        Args:
            scores: Shape (n,), higher = less sure.

        Returns:
            Probabilities of shape (n,).

        Raises:
            CalibrationError: If a score is unscored or not finite.
        """
        out: Floats = _fitted(self._curve, "probabilities").at(finite(scores))[0]
        return out

    @property
    def unit(self) -> Unit:
        """What one probability is about: "answer" or "claim"."""
        return _fitted(self._record, "unit").unit

    @property
    def n(self) -> int:
        """Answers, or claims, that the fit saw."""
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
    def blocks(self) -> tuple[Block, ...]:
        """The fit's blocks, by ascending score: falling p_correct."""
        return _fitted(self._record, "blocks").blocks

    @property
    def sketch(self) -> Sketch | None:
        """The distribution of the fit's scores; None in files that were written before it was kept."""
        return _fitted(self._record, "sketch").sketch

    @property
    def familiarity(self) -> Familiarity | None:
        """What the questions of the fit look like to the model; None in files of earlier versions."""
        return _fitted(self._record, "familiarity").familiarity

    @property
    def contexts(self) -> dict[ContextName, ContextRecord]:
        """The kinds of conversation that have a curve of their own, by name."""
        return dict(_fitted(self._record, "contexts").contexts or {})

    @property
    def digest(self) -> str:
        """SHA-256, hex, of the content: two with the same give the same confidences. `load` refuses a file that has another."""
        return _fitted(self._record, "digest").content_digest()

    @property
    def sealed(self) -> bool:
        """Whether the file holds its digest. Without one, as in files of earlier versions, an edit to its provenance passes."""
        return _fitted(self._record, "sealed").digest is not None

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
        """Write JSON, whole or not at all. Raises `CalibrationError` when it cannot be written."""
        record = _fitted(self._record, "save").model_dump(mode="json")
        text = json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        write_whole(path, text, "the calibrator", CalibrationError)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises `CalibrationError`, with the file's name, for anything else."""
        source = os.fspath(path)
        try:
            text = read_text(path)
        except OSError as e:
            raise CalibrationError(f"{source}: cannot read the calibrator: {e.strerror}. {remedy(source)}") from e
        except UnicodeDecodeError as e:
            raise CalibrationError(f"{source}: not a calibrator: not UTF-8 text. {remedy(source)}") from e
        out = cls._parse(text, source)
        out.source = source
        return out

    def to_dict(self) -> dict[str, Any]:
        """What `save` writes, JSON-ready."""
        return _fitted(self._record, "to_dict").model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "calibrator") -> Self:
        """The inverse of `to_dict`, as strict as `load`; `source` names it in errors."""
        return cls._parse(data, source)

    @classmethod
    def _parse(cls, content: str | Mapping[str, Any], source: str) -> Self:
        return cls()._take(read_record(content, source))


def _fitted(part: T | None, asked: str) -> T:
    if part is None:
        raise NotFittedError(
            f"IsotonicCalibrator.{asked} needs a fit: call fit(scores, correct) or IsotonicCalibrator.load(path) first"
        )
    return part
