"""Score -> Confidence -> Decision. A `Score` is higher when the model is *less* sure; a `Confidence` when it is *more* sure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from guardrail.errors import ScoringError, UnscoredError
from guardrail.types.names import Action, Label, UnscoredReason

HYBRIDGRAD = "hybridgrad"
UNLIKE = 0.05
"""A question whose familiarity is this or less is unlike those of the calibration."""
_NUMBERS = ("hybridgrad", "semgrad", "paragrad", "entropy", "nll")


@dataclass(frozen=True, slots=True, init=False)
class Score:
    """How unsure the model is of one answer; higher = more uncertain. Made by a scorer, read by a calibrator.

    `Score(hybridgrad, semgrad, paragrad, entropy, nll, length)` is HybridGrad's; `Score.of` makes that of any scorer, and
    `Score.none` an answer without one:

        Score(hybridgrad=2.3e-4, semgrad=2.3e-4, paragrad=1.5e-4, entropy=3.95, nll=7.13, length=4)
        Score.of("g-nll", 7.13, length=4)
        Score.none("empty_answer", "the model ended its turn at once", length=1)

    Args:
        hybridgrad: Eq. 6 of arXiv 2605.04638, or its form on the quantile scale.
        semgrad: Eq. 4.
        paragrad: Eq. 5.
        entropy: Mean over the response tokens, nats.
        nll: Minus the response's log-likelihood, summed, nats.

    Attributes:
        name: The scorer's name; `scorer` is the same.
        number: The number that is calibrated, in the scorer's own unit; None for an answer without a score.
        length: Response tokens.
        parts: What else the scorer computed, by name. `semgrad`, `paragrad`, `entropy` and `nll` can be read as attributes,
            and are None where they were not computed; so can `hybridgrad`.
        unscored: Why there is no score; None where there is one.
        detail: The same in words.
    """

    name: str
    number: float | None
    length: int
    parts: Mapping[str, float] = field(hash=False)
    unscored: UnscoredReason | None
    detail: str

    def __init__(
        self,
        hybridgrad: float | None = None,
        semgrad: float | None = None,
        paragrad: float | None = None,
        entropy: float | None = None,
        nll: float | None = None,
        length: int = 0,
        unscored: UnscoredReason | None = None,
        detail: str = "",
        name: str = HYBRIDGRAD,
        number: float | None = None,
        *,
        parts: Mapping[str, float] | None = None,
    ) -> None:
        given = {"hybridgrad": hybridgrad, "semgrad": semgrad, "paragrad": paragrad, "entropy": entropy, "nll": nll}
        if name == HYBRIDGRAD and number is None:
            number = given.pop("hybridgrad")
        known = {**(parts or {}), **{key: value for key, value in given.items() if value is not None}}
        values = (name, number, length, MappingProxyType(known), unscored, detail)
        for key, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, key, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy: a mapping proxy has neither."""
        rest = (self.length, self.unscored, self.detail, self.name, self.number, dict(self.parts))
        return _score_again, rest

    @classmethod
    def none(cls, reason: UnscoredReason, detail: str = "", *, length: int = 0, name: str = HYBRIDGRAD) -> Score:
        """An answer without a score, and why."""
        return cls(length=length, unscored=reason, detail=detail, name=name)

    @classmethod
    def of(cls, name: str, number: float, *, length: int, **parts: float) -> Score:
        """The score of the scorer `name`, with what else it computed. NaN and infinity give an unscored one, `not_finite`."""
        if not math.isfinite(number):
            return cls.none("not_finite", f"{name} is {number}", length=length, name=name)
        return cls(length=length, name=name, number=number, parts=parts)

    @property
    def scorer(self) -> str:
        """The name of the scorer."""
        return self.name

    @property
    def value(self) -> float:
        """The number that is calibrated. Raises `UnscoredError` where there is none."""
        if self.number is None:
            raise UnscoredError(f"this answer has no score ({self.unscored}: {self.detail}); test score.unscored first")
        return self.number

    @property
    def hybridgrad(self) -> float | None:
        return self.number if self.name == HYBRIDGRAD else self.parts.get("hybridgrad")

    @property
    def semgrad(self) -> float | None:
        return self.parts.get("semgrad")

    @property
    def paragrad(self) -> float | None:
        return self.parts.get("paragrad")

    @property
    def entropy(self) -> float | None:
        return self.parts.get("entropy")

    @property
    def nll(self) -> float | None:
        return self.parts.get("nll")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `unscored` and `detail` appear only when there is no score, `name` and `number` only for another
        scorer than HybridGrad, whose parts appear only where they were computed."""
        numbers = {key: getattr(self, key) for key in _NUMBERS}
        why = {} if self.unscored is None else {"unscored": self.unscored, "detail": self.detail}
        if self.name == HYBRIDGRAD:
            return {**numbers, "length": self.length, **why}
        known = {key: value for key, value in (numbers | dict(self.parts)).items() if value is not None}
        out = {**known, "length": self.length, **why, "name": self.name}
        return out if self.number is None else {**out, "number": self.number}

    @staticmethod
    def number_in(told: Mapping[str, Any]) -> Any:
        """The number that was calibrated, in what `to_dict` gave; None where there is none."""
        return told.get("number") if "name" in told else told.get(HYBRIDGRAD)


def _score_again(
    length: int, unscored: UnscoredReason | None, detail: str, name: str, number: float | None, parts: dict[str, float]
) -> Score:
    return Score(length=length, unscored=unscored, detail=detail, name=name, number=number, parts=parts)


@dataclass(frozen=True, slots=True)
class Confidence:
    """A calibrated probability that the answer is right; higher = more certain.

    Attributes:
        p_correct: The probability, in [0, 1]; None, with a `reason`, where there is nothing to calibrate.
        low: Lower end of its 95 % interval, from the calibration's counts; None as `p_correct`.
        high: Upper end of it; None as `p_correct`.
        label: The probability in a word, from "very low" to "very high"; None as `p_correct`.
        in_range: Whether the score lay within the calibrated range; if not, it was clipped to the nearest end.
        reason: Why there is no number, or why the basis is "extrapolated"; else empty.
        basis: "calibrated"; "extrapolated" where the prompt was not of the kind that the calibrator was fitted with (evidence
            in it, messages of your own, another system message), or the question is unlike its questions; "none" where there
            is no number.
        familiarity: How like the questions of the calibration this one is, a p-value in (0, 1]: of questions drawn as those
            were, at most a share p gets p or less. None where the calibrator does not know its questions.
        context: The kind of conversation whose curve of its own it comes from, such as "evidence"; None: the common curve.
    """

    p_correct: float | None
    low: float | None
    high: float | None
    label: Label | None
    in_range: bool = True
    reason: str = ""
    basis: Literal["calibrated", "extrapolated", "none"] = "calibrated"
    familiarity: float | None = None
    context: str | None = None

    @property
    def familiar(self) -> bool | None:
        """Whether the question is like those of the calibration; None where that is not known."""
        return None if self.familiarity is None else self.familiarity > UNLIKE

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: its part of a verdict, or of a claim; `context` appears only where there is one."""
        return {
            "confidence": self.p_correct,
            "confidence_interval": None if self.low is None else [self.low, self.high],
            "label": self.label,
            "in_range": self.in_range,
            "basis": self.basis,
            "familiarity": self.familiarity,
            **({} if self.context is None else {"context": self.context}),
        }

    @classmethod
    def none(cls, reason: str) -> Confidence:
        """No probability, and why: an unscored answer, or a guard without a calibrator."""
        return cls(None, None, None, None, False, reason, "none")


def check_computed(score: Score, confidence: Confidence) -> None:
    """Refuse a probability that no score stands behind.

    Raises:
        ScoringError: There is a probability, and it lies outside [0, 1], or the score beside it is unscored or not finite.
            NaN is no probability: policies and pages take it as unknown.
    """
    p = confidence.p_correct
    if p is None or math.isnan(p):
        return
    if not 0.0 <= p <= 1.0:
        raise ScoringError(f"the confidence is {p}; a probability lies in [0, 1], so check the calibrator")
    if score.unscored is not None or score.number is None or not math.isfinite(score.number):
        raise ScoringError(
            f"a confidence of {p} stands beside a score that is {score.unscored or score.number}; a confidence is "
            "computed from a finite score, and without one it is Confidence.none(reason)"
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """A retrieved passage.

    Attributes:
        text: The passage.
        source: Where it comes from, such as a file's name; empty where that is not known.
        similarity: Cosine to the query, in [-1, 1], higher = more alike; None where it is not known.
    """

    text: str
    source: str = ""
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says to do, and why.

    Attributes:
        action: One of `ACTIONS`.
        rule: Name of the rule that said so.
        explanation: A sentence that explains it.
        template: The policy's wording for hedge, abstain and ask_back, which may hold `{answer}`, `{confidence}`, `{label}` and
            `{explanation}`; None is the usual wording.
        prefix: How the next reply has to begin, for retry; empty for all others.
    """

    action: Action
    rule: str
    explanation: str
    template: str | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class NameCounts:
    """How often the names of a question occur in a corpus.

    Attributes:
        counts: Each name with the number of passages that have it.
        apart: The pairs of names that no passage has together.
    """

    counts: tuple[tuple[str, int], ...]
    apart: tuple[tuple[str, str], ...] = ()

    @property
    def rarest(self) -> tuple[str, int] | None:
        """The name in the fewest passages, with how many; None for a question without names."""
        return min(self.counts, key=lambda each: each[1], default=None)

    @property
    def never_together(self) -> bool | None:
        """Whether some two of the names are in no passage together; None with fewer than two names."""
        return bool(self.apart) if len(self.counts) > 1 else None
