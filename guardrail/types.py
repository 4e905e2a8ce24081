"""The values on the arrows: Trace -> Score -> Confidence -> Decision -> Verdict.

Each stage takes the value on its left and returns the one on its right; all are frozen. Knows nothing about how a
value is made. A `Score` is higher when the model is *less* sure; a `Confidence` is higher when it is *more* sure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from guardrail.errors import UnscoredError

if TYPE_CHECKING:
    import torch

Label = Literal["very low", "low", "medium", "high", "very high"]
LABELS: tuple[Label, ...] = get_args(Label)
"""The five confidence labels, least confident first: fixed bins of width 0.2 on the probability of being right."""

Action = Literal["answer", "hedge", "retrieve", "abstain"]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""What a policy can decide.

answer: as is. hedge: with wording that says how sure. retrieve: look for evidence, then answer again. abstain: say that
the model does not know.
"""

FinishReason = Literal["stop", "length", "given", "prompt_too_long"]
FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)
"""Why a response ends where it does.

stop: the model ended its turn. length: the token limit cut it. given: the text existed already. prompt_too_long:
nothing was generated.
"""

UnscoredReason = Literal[
    "empty_answer",
    "no_response_tokens",
    "not_finite",
    "prompt_truncated",
    "prompt_too_long",
    "prompt_too_short",
    "tool_call",
]
UNSCORED_REASONS: tuple[UnscoredReason, ...] = get_args(UnscoredReason)
"""Why an answer has no score.

empty_answer: nothing but white space. no_response_tokens: not even an end token. not_finite: NaN or infinity in a
logit, a gradient or a part of the score. prompt_truncated: the model did not see the whole prompt. prompt_too_long:
prompt and answer exceed the model's context. prompt_too_short: the prompt ends before the semantic token.
tool_call: a turn that calls tools, passed on unscored because its caller asked for that.
"""

Message = Mapping[str, Any]
"""One chat message: `{"role": "user" | "system" | "assistant", "content": str}`, as chat templates take it."""

Tool = Mapping[str, Any]
"""`{"type": "function", "function": {"name": ..., "description": ..., "parameters": JSON schema}}`, as templates take it."""


@dataclass(frozen=True, slots=True, eq=False)
class GenerationState:
    """What generation computed and scoring can use again; every tensor belongs to one answer, without padding.

    ids, weights: prompt and response ids, and the version of the weights, that it belongs to; it is not used for others.
    cache_keys, cache_values: (1, heads, positions, head_dim), every position but the last; of the layers from `band_layer` on.
    band_states: hidden states that enter layer `band_layer`, (positions, D), from position `first` on.
    head_outputs: what the LM head gave for the response positions, before any scaling or capping, (T, V); None where
    keeping it would cost too much memory. linear_outputs: what linear layers from layer `band_layer` on gave, by name,
    (positions, out), from position `first` on; empty where keeping them would.
    """

    ids: tuple[int, ...]
    weights: int
    cache_keys: tuple[torch.Tensor, ...]
    cache_values: tuple[torch.Tensor, ...]
    band_layer: int
    first: int
    band_states: torch.Tensor
    head_outputs: torch.Tensor | None
    linear_outputs: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What the model read and wrote, in exact token ids.

    response_ids holds the end-of-turn token when the model produced it; `text` does not. `state` may be None: scoring
    then computes what it needs from the ids. `generate_ms` is wall time (for a batch: its time divided by its rows).
    stop_string: the response ends before a stop string, not with an end-of-turn token.
    """

    messages: tuple[Message, ...]
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    prompt_truncated: bool = False
    generate_ms: float = 0.0
    state: GenerationState | None = field(default=None, repr=False)
    stop_string: bool = False


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


@dataclass(frozen=True, slots=True)
class Attempt:
    """One pass through the pipeline: a verdict has one, or more when evidence was retrieved in between.

    trace: what was read and written, without the states that scoring used; not part of `to_dict`.
    """

    answer: str
    score: Score
    confidence: Confidence
    decision: Decision
    finish_reason: FinishReason
    evidence: tuple[Evidence, ...] = ()
    trace: Trace | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        return {
            "answer": self.answer,
            "action": self.decision.action,
            "rule": self.decision.rule,
            "explanation": self.decision.explanation,
            "confidence": self.confidence.p_correct,
            "confidence_interval": None if self.confidence.low is None else [self.confidence.low, self.confidence.high],
            "label": self.confidence.label,
            "in_range": self.confidence.in_range,
            "basis": self.confidence.basis,
            "score": self.score.to_dict(),
            "finish_reason": self.finish_reason,
            "evidence": [asdict(e) for e in self.evidence],
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of the flow: what the user is shown, what the model said, and why.

    text: what the user is shown. attempts: every pass, oldest first; the properties below read the last one.
    timing_ms: wall time by stage, summed over the passes.
    """

    text: str
    attempts: tuple[Attempt, ...]
    timing_ms: Mapping[str, float]
    model: str
    calibrator: str | None
    policy: str

    @property
    def answer(self) -> str:
        """What the model said in the last pass, unchanged."""
        return self.attempts[-1].answer

    @property
    def original(self) -> str:
        """What the model said first, before any evidence."""
        return self.attempts[0].answer

    @property
    def action(self) -> Action:
        return self.attempts[-1].decision.action

    @property
    def actions(self) -> tuple[Action, ...]:
        """The action of every pass, e.g. `("retrieve", "answer")`."""
        return tuple(a.decision.action for a in self.attempts)

    @property
    def decision(self) -> Decision:
        return self.attempts[-1].decision

    @property
    def rule(self) -> str:
        return self.decision.rule

    @property
    def explanation(self) -> str:
        return self.decision.explanation

    @property
    def score(self) -> Score:
        return self.attempts[-1].score

    @property
    def confidence(self) -> Confidence:
        return self.attempts[-1].confidence

    @property
    def label(self) -> Label | None:
        return self.confidence.label

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return self.attempts[-1].evidence

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `guardrail ask --json`."""
        return {
            "text": self.text,
            **self.attempts[-1].to_dict(),
            "original": self.original,
            "actions": list(self.actions),
            "attempts": [a.to_dict() for a in self.attempts],
            "timing_ms": {k: round(v, 3) for k, v in self.timing_ms.items()},
            "model": self.model,
            "calibrator": self.calibrator,
            "policy": self.policy,
        }
