"""Score -> Confidence -> Decision. A `Score` is higher when the model is *less* sure; a `Confidence` when it is *more* sure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from guardrail.errors import UnscoredError
from guardrail.types.names import Action, Label, UnscoredReason


@dataclass(frozen=True, slots=True)
class Score:
    """How unsure the model is of one answer; higher = more uncertain. Made by a scorer, read by a calibrator.

    hybridgrad: eq. 6 of arXiv 2605.04638, or its form on the quantile scale. semgrad, paragrad: eq. 4 and 5. entropy:
    mean over the response tokens, nats. nll: minus the response's log-likelihood, summed, nats. length: response
    tokens.

    name: the scorer's. Another scorer than HybridGrad has its number in `number`, and leaves None what it does not compute.

    All numbers are None when `unscored` holds a reason; else `value` is a number:

        Score(hybridgrad=2.3e-4, semgrad=2.3e-4, paragrad=1.5e-4, entropy=3.95, nll=7.13, length=4)
        Score.of("g-nll", 7.13, length=4)
        Score.none("empty_answer", "the model ended its turn at once", length=1)
    """

    hybridgrad: float | None
    semgrad: float | None
    paragrad: float | None
    entropy: float | None
    nll: float | None
    length: int
    unscored: UnscoredReason | None = None
    detail: str = ""
    name: str = "hybridgrad"
    number: float | None = None

    @classmethod
    def none(cls, reason: UnscoredReason, detail: str = "", *, length: int = 0, name: str = "hybridgrad") -> Score:
        """An answer without a score, and why."""
        return cls(None, None, None, None, None, length, reason, detail, name)

    @classmethod
    def of(cls, name: str, number: float, *, length: int) -> Score:
        """The score of another scorer than HybridGrad. NaN and infinity give an unscored one, `not_finite`."""
        if not math.isfinite(number):
            return cls.none("not_finite", f"{name} is {number}", length=length, name=name)
        return cls(None, None, None, None, None, length, name=name, number=number)

    @property
    def value(self) -> float:
        """The number that is calibrated: `hybridgrad`, or another scorer's `number`. Raises `UnscoredError` for none."""
        value = self.hybridgrad if self.name == "hybridgrad" else self.number
        if value is None:
            raise UnscoredError(f"this answer has no score ({self.unscored}: {self.detail}); test score.unscored first")
        return value

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `unscored` and `detail` appear only when there is no score, `name` and `number` only for another
        scorer than HybridGrad, whose parts appear only where they were computed."""
        out = asdict(self)
        if self.unscored is None:
            del out["unscored"], out["detail"]
        if self.name == "hybridgrad":
            del out["name"], out["number"]
            return out
        parts = ("hybridgrad", "semgrad", "paragrad", "entropy", "nll", "number")
        return {key: value for key, value in out.items() if value is not None or key not in parts}


@dataclass(frozen=True, slots=True)
class Confidence:
    """A calibrated probability that the answer is right; higher = more certain.

    p_correct in [0, 1]; low, high: its 95 % interval from the calibration counts; in_range: the score lay within the
    calibrated range (if not, it was clipped to the nearest end). basis: "extrapolated", with a `reason`, when the prompt
    was not of the kind that the calibrator was fitted with (evidence in it, messages of your own, another system message).
    The numbers and the label are None, with a `reason`, when there is nothing to calibrate.
    """

    p_correct: float | None
    low: float | None
    high: float | None
    label: Label | None
    in_range: bool = True
    reason: str = ""
    basis: Literal["calibrated", "extrapolated", "none"] = "calibrated"

    @classmethod
    def none(cls, reason: str) -> Confidence:
        """No probability, and why: an unscored answer, or a guard without a calibrator."""
        return cls(None, None, None, None, False, reason, "none")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A retrieved passage, where it came from, and its cosine similarity to the query (None if unknown)."""

    text: str
    source: str = ""
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says to do, the name of the rule that said so, and a sentence that explains it.

    `template` is the policy's wording for hedge and abstain; it may hold `{answer}`, `{confidence}`, `{label}` and
    `{explanation}`.
    """

    action: Action
    rule: str
    explanation: str
    template: str | None = None
