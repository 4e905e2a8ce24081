"""The proofs that a policy file carries: which error rate it promises, on which data that was shown, and for which calibrator.

Knows nothing about how a threshold is found (guardrail.calibration.risk). A proof is checked against itself and against the
file's rules whenever the file is read: numbers that do not follow from each other, or rules that show other answers than
those that were counted, are refused, so that a file edited by hand cannot keep a promise that it no longer makes.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Literal, Protocol, Self

from pydantic import Field, field_validator, model_validator

from guardrail.errors import CalibratorMismatchError
from guardrail.policy.bounds import Mapping, Probability, wrong

_Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
_MOST = 1_000_000  # questions: a bound is summed term by term, and a file must not cost minutes to read
_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Text = Annotated[str, Field(min_length=1)]


class Digested(Protocol):
    """What a proof asks of a calibrator: the SHA-256 that tells it from every other one."""

    @property
    def digest(self) -> str: ...


class Promise(Mapping):
    """Of the answers with p_correct >= threshold, at most `max_error` are wrong.

    n, errors: such answers among the tuning questions, and wrong ones among them. level: the probability of so few errors
    if the error rate were `bound`, which is why it is below `bound` with probability 1 - level. coverage: share of all
    questions that they are, with its 95 % interval.
    """

    max_error: _Share
    threshold: Probability
    n: Annotated[int, Field(ge=1, le=_MOST)]
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
    end_ids: _Text | None = None
    engine: _Text | None = None


class ProofOrigin(Mapping):
    """Where a proof comes from.

    questions, data: how many were asked, and the SHA-256 of them and what is known of them. calibrator, calibrator_sha256:
    its file and `IsotonicCalibrator.digest`. familiar: whether only
    questions like those of the calibration count, and are answered. versions: of the packages that matter.
    """

    questions: Annotated[int, Field(ge=1, le=_MOST)]
    data: _Hash
    calibrator: _Text
    calibrator_sha256: _Hash
    familiar: Literal[True] | None = None
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

    @property
    def evidence(self) -> str:
        """On what it was shown, in words."""
        return (
            f"{self.questions} questions {self.data[:12]}…, calibrator {self.calibrator} {self.calibrator_sha256[:12]}…, "
            f"model {self.model.name}"
        )


class SecondProven(Mapping):
    """The second model of a proof about two: what is below the threshold is asked of it, and answered from there on.

    escalated: of the tuning questions, those that the first model did not answer.
    cost_per_call, cost_of_second: of an answer of the first and of the second model, in a unit of the operator's.
    """

    calibrator: _Text
    calibrator_sha256: _Hash
    model: ProofModel
    escalated: _Count
    cost_per_call: _Cost
    cost_of_second: _Cost


class Proof(ProofOrigin):
    """With probability `confidence` over the draw of the tuning questions, every promise holds for new questions like them.

    answered: the promise about what is answered as it is. shown: about what is answered or hedged, taken together. second: the
    model that is asked below the threshold; `answered` is then about what either of the two answers.
    """

    confidence: _Share
    answered: Promise
    shown: Promise | None = None
    second: SecondProven | None = None

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
        if self.second and (
            self.shown or not self.questions - self.answered.n <= self.second.escalated <= self.questions
        ):
            raise wrong(f"escalates {self.second.escalated} of {self.questions} questions, which cannot be; {_REMEDY}")
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
        then = f"; else {self.second.model.name} is asked" if self.second else ""
        return f"{'; '.join(parts)}, with confidence {self.confidence:g}; {self.evidence}{then}"

    @property
    def again(self) -> str:
        """How to make such a policy, with another calibrator."""
        return f"guardrail tune DATA.jsonl --calibrator FILE --max-error {self.answered.max_error:g} -o policy.yaml"


class ClaimsProof(ProofOrigin):
    """At least `all_right` of new answers keep no wrong claim, where claims with p_correct >= threshold are kept.

    confidence: the probability of that over the draw of the tuning answers; None: on average over these and a new answer.
    n, errors: answers with a graded claim, and those that keep a wrong one; `bound` follows from them (see
    guardrail.calibration.claim_risk). claims, kept: graded claims, and those kept; right, right_kept: right ones among them.
    retention_low, retention_high: the 95 % interval of the share of claims kept, over answers.
    """

    all_right: _Share
    confidence: _Share | None = None
    threshold: Probability
    n: Annotated[int, Field(ge=1, le=_MOST)]
    errors: _Count
    bound: _Share
    claims: Annotated[int, Field(ge=1, le=_MOST)]
    kept: Annotated[int, Field(ge=1, le=_MOST)]
    right: _Count
    right_kept: _Count
    retention_low: Probability
    retention_high: Probability

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if not self.errors < self.n <= self.questions:
            raise wrong(f"has {self.errors} errors among n {self.n} of {self.questions} questions; {_CLAIMS_REMEDY}")
        follows = (
            math.isclose(self.bound, (self.errors + 1) / (self.n + 1), rel_tol=1e-9)
            if self.confidence is None
            else math.isclose(binomial_tail(self.errors, self.n, self.bound), 1 - self.confidence, rel_tol=1e-6)
        )
        if not follows:
            raise wrong(
                f"has a bound ({self.bound}) that does not follow from {self.errors} errors among n {self.n} "
                f"{self._how}; {_CLAIMS_REMEDY}"
            )
        if self.bound > 1 - self.all_right + 1e-9:
            raise wrong(f"has a bound ({self.bound}) above 1 - all_right ({1 - self.all_right:g}); {_CLAIMS_REMEDY}")
        wrong_kept, wrong_ones = self.kept - self.right_kept, self.claims - self.right
        if not (self.right_kept <= self.right and 0 <= wrong_kept <= wrong_ones and self.errors <= wrong_kept):
            raise wrong(f"has counts of claims that contradict each other; {_CLAIMS_REMEDY}")
        if not self.retention_low <= self.kept / self.claims <= self.retention_high:
            raise wrong(f"has a share of kept claims outside its own interval; {_CLAIMS_REMEDY}")
        return self

    @property
    def _how(self) -> str:
        return "on average" if self.confidence is None else f"with confidence {self.confidence:g}"

    def in_words(self) -> str:
        """One line: what is promised and on which evidence."""
        return (
            f"at least {self.all_right:.1%} of answers keep no wrong claim {self._how} (p_correct >= {self.threshold:g}: "
            f"{self.errors} of {self.n} keep one, bound {self.bound:.4f}; {self.kept} of {self.claims} claims kept, "
            f"{self.right_kept} of {self.right} right ones); {self.evidence}"
        )

    @property
    def again(self) -> str:
        """How to make such a policy, with another calibrator."""
        return (
            f"guardrail tune DATA.jsonl --unit claim --calibrator FILE --all-right {self.all_right:g} "
            f"{'--marginal ' if self.confidence is None else ''}-o policy.yaml"
        )


_REMEDY = "the proof was edited; make it again with guardrail tune, or remove `proof`"
_CLAIMS_REMEDY = _REMEDY.replace("`proof`", "`claims_proof`")


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


def check_proof(proof: Proof | ClaimsProof | None, policy: str, calibrator: Digested | None, name: str | None) -> None:
    """Raise `CalibratorMismatchError` when a policy has a proof and it is about another calibrator than the one in use.

    policy, name: the policy's and the calibrator's, for the message.
    """
    if proof is None:
        return
    digest = calibrator.digest if calibrator else None
    second = proof.second if isinstance(proof, Proof) else None
    if digest != proof.calibrator_sha256 and (second is None or digest != second.calibrator_sha256):
        used = f"{name} ({digest[:12]}…) is" if digest else "none is"
        raise CalibratorMismatchError(
            f"policy {policy!r} was tuned with the calibrator {proof.calibrator} ({proof.calibrator_sha256[:12]}…), and {used} "
            "in use: its threshold means nothing for another one. Give that calibrator, or make the policy again: "
            f"{proof.again}"
        )
