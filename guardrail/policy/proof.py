"""The proof that a policy file carries: which error rate it promises, on which data that was shown, and for which calibrator.

Knows nothing about how a threshold is found (guardrail.calibration.risk). A proof is checked against itself and against the
file's rules whenever the file is read: numbers that do not follow from each other, or rules that show other answers than
those that were counted, are refused, so that a file edited by hand cannot keep a promise that it no longer makes.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from guardrail.errors import CalibratorMismatchError
from guardrail.policy.bounds import Mapping, Probability, wrong
from guardrail.policy.conditions import When

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.policy.schema import AnyRule

_Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Text = Annotated[str, Field(min_length=1)]


class Promise(Mapping):
    """Of the answers with p_correct >= threshold, at most `max_error` are wrong.

    n, errors: such answers among the tuning questions, and wrong ones among them. level: the probability of so few errors
    if the error rate were `bound`, which is why it is below `bound` with probability 1 - level. coverage: share of all
    questions that they are, with its 95 % interval.
    """

    max_error: _Share
    threshold: Probability
    n: Annotated[int, Field(ge=1)]
    errors: _Count
    level: _Share
    bound: _Share
    coverage: Probability
    coverage_low: Probability
    coverage_high: Probability

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.errors >= self.n:
            raise wrong(f"has {self.errors} errors among n {self.n}, which bounds nothing; {_REMEDY}")
        if not math.isclose(binomial_tail(self.errors, self.n, self.bound), self.level, rel_tol=1e-6):
            raise wrong(
                f"has a bound ({self.bound}) that does not follow from {self.errors} errors among n {self.n} at the level "
                f"{self.level}; {_REMEDY}"
            )
        if self.bound > self.max_error:
            raise wrong(f"has a bound ({self.bound}) above max_error ({self.max_error}); {_REMEDY}")
        if not self.coverage_low <= self.coverage <= self.coverage_high:
            raise wrong(f"has a coverage ({self.coverage}) outside its own interval; {_REMEDY}")
        return self


class ProofModel(Mapping):
    """The model that answered, as `guardrail.model.identity` tells models apart."""

    name: _Text
    architecture: _Text
    weights: _Hash
    dtype: _Text
    chat_template: _Hash


class Proof(Mapping):
    """With probability `confidence` over the draw of the tuning questions, every promise holds for new questions like them.

    answered: the promise about what is answered as it is. shown: about what is answered or hedged, taken together.
    questions, data: how many were asked, and the SHA-256 of them and their accepted answers. calibrator, calibrator_sha256:
    its file and `IsotonicCalibrator.digest`. versions: of the packages that matter.
    """

    confidence: _Share
    answered: Promise
    shown: Promise | None = None
    questions: Annotated[int, Field(ge=1)]
    data: _Hash
    calibrator: _Text
    calibrator_sha256: _Hash
    model: ProofModel
    grader: _Text
    created: str
    command: _Text
    versions: dict[str, str]

    @field_validator("created")
    @classmethod
    def _iso_date(cls, value: str) -> str:
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise wrong(f"is {value[:40]!r}, which is no ISO date, such as 2026-01-31") from None
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        promises = [self.answered, *([self.shown] if self.shown else [])]
        if sum(p.level for p in promises) > (1 - self.confidence) * (1 + 1e-9):
            raise wrong(f"has levels that sum to more than 1 - confidence ({1 - self.confidence:g}); {_REMEDY}")
        for promise in promises:
            if not math.isclose(promise.coverage, promise.n / self.questions, rel_tol=1e-9):
                raise wrong(
                    f"has a coverage ({promise.coverage}) that is not n {promise.n} of {self.questions}; {_REMEDY}"
                )
        if self.shown and not (
            self.shown.threshold < self.answered.threshold
            and self.shown.n >= self.answered.n
            and self.shown.errors >= self.answered.errors
        ):
            raise wrong(f"promises about shown answers that do not hold those answered; {_REMEDY}")
        return self

    def in_words(self) -> str:
        """One line: what is promised and on which evidence."""
        promises = [("answered", self.answered), *([("shown", self.shown)] if self.shown else [])]
        parts = [
            f"at most {p.max_error:.1%} of {what} questions wrong (p_correct >= {p.threshold:g}: {p.errors} of {p.n} wrong, "
            f"bound {p.bound:.4f}, coverage {p.coverage:.1%})"
            for what, p in promises
        ]
        return (
            f"{'; '.join(parts)}, with confidence {self.confidence:g}; {self.questions} questions "
            f"{self.data[:12]}…, calibrator {self.calibrator} {self.calibrator_sha256[:12]}…, model {self.model.name}"
        )


_REMEDY = "the proof was edited; make it again with guardrail tune, or remove `proof`"


def binomial_tail(errors: int, n: int, rate: float) -> float:
    """P(at most `errors` among n) at an error rate strictly between 0 and 1, summed term by term.

    Slower than scipy's inverse, which found the bound: so that a bound is not checked with what made it.
    """
    log_right, log_wrong = math.log1p(-rate), math.log(rate)
    whole = math.lgamma(n + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_wrong + (n - k) * log_right)
        for k in range(errors + 1)
    )


def rules_of(answered: float, shown: float | None = None) -> list[dict[str, Any]]:
    """The rules under which exactly the answers that were counted are shown, as a policy file has them.

    answered, shown: thresholds on p_correct; without the second nothing is hedged.
    """
    rules: list[dict[str, Any]] = [
        {
            "name": "unscored",
            "when": {"unscored": True},
            "then": "abstain",
            "because": "how sure the model is could not be measured",
        },
        {"name": "proven", "when": {"confidence": {"at_least": answered}, "in_range": True}, "then": "answer"},
    ]
    if shown is not None:
        rules.append({"name": "unsure", "when": {"confidence": {"at_least": shown}, "in_range": True}, "then": "hedge"})
    rules.append({"name": "rest", "then": "abstain", "because": "answers this unsure are wrong too often"})
    return rules


def first_unproven(proof: Proof, rules: tuple[AnyRule, ...]) -> tuple[int, str] | None:
    """The first rule that is not the one that the proof is about, by its index, and what should stand there; None: all are.

    Names, reasons and wording are free. Even a stricter rule is refused: answering fewer may leave the wrong ones.
    """
    proven = rules_of(proof.answered.threshold, proof.shown.threshold if proof.shown else None)
    for index, wanted in enumerate(proven):
        when = When.model_validate(wanted.get("when", {}))
        if index == len(rules) or (rules[index].for_, rules[index].when, rules[index].then) != (
            "answer",
            when,
            wanted["then"],
        ):
            conditions = f"when: {_flow(wanted['when'])}, " if "when" in wanted else ""
            return index, f"'{conditions}then: {wanted['then']}'"
    return (len(proven), "no further rule") if len(rules) > len(proven) else None


def check_proof(proof: Proof | None, policy: str, calibrator: IsotonicCalibrator | None, name: str | None) -> None:
    """Raise `CalibratorMismatchError` when a policy has a proof and it is about another calibrator than the one in use.

    policy, name: the policy's and the calibrator's, for the message.
    """
    if proof is None:
        return
    here = calibrator.digest if calibrator else None
    if here != proof.calibrator_sha256:
        used = f"{name} ({here[:12]}…) is" if here else "none is"
        raise CalibratorMismatchError(
            f"policy {policy!r} was tuned with the calibrator {proof.calibrator} ({proof.calibrator_sha256[:12]}…), and {used} "
            "in use: its threshold means nothing for another one. Give that calibrator, or make the policy again: "
            "guardrail tune DATA.jsonl --calibrator FILE --max-error "
            f"{proof.answered.max_error:g} -o policy.yaml"
        )


def _flow(value: Any) -> str:
    """A condition as YAML has it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    return "true" if value is True else f"{value}"
