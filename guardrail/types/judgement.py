"""Score -> Confidence -> Decision. A `Score` is higher when the model is *less* sure; a `Confidence` when it is *more* sure."""

from __future__ import annotations

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

    All numbers are None exactly when `unscored` holds a reason:

        Score(hybridgrad=2.3e-4, semgrad=2.3e-4, paragrad=1.5e-4, entropy=3.95, nll=7.13, length=4)
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

    @classmethod
    def none(cls, reason: UnscoredReason, detail: str = "", *, length: int = 0) -> Score:
        """An answer without a score, and why."""
        return cls(None, None, None, None, None, length, reason, detail)

    @property
    def value(self) -> float:
        """The number that is calibrated, `hybridgrad`. Raises `UnscoredError` when there is none."""
        if self.hybridgrad is None:
            raise UnscoredError(f"this answer has no score ({self.unscored}: {self.detail}); test score.unscored first")
        return self.hybridgrad

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `unscored` and `detail` appear only when there is no score."""
        out = asdict(self)
        if self.unscored is None:
            del out["unscored"], out["detail"]
        return out


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
