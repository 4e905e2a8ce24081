"""A log of verdicts, computed again: score, confidence and decision of each pass, and every difference from the log.

Without a model only what follows from the logged numbers is computed: the decision from the logged confidence, and with a
calibrator the confidence from the logged score. With a model the lines that hold their text (`VerdictLog(text=True)`) are
scored again. What cannot be computed again is counted with its reason, and is never called equal.

Not covered: the decisions about single claims, and the decoding (a log does not say at which temperature an answer was made,
so whether a confidence is `extrapolated` is not compared).
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.labels import label_for
from guardrail.calibration.shipped import load_calibrator
from guardrail.datasets.questions import numbered_lines
from guardrail.errors import DataError, GuardrailError
from guardrail.guard import Guard
from guardrail.json_text import parse
from guardrail.pipeline.answer_pass import AnswerPass
from guardrail.pipeline.conversation import opened
from guardrail.pipeline.failures import ON_ERROR
from guardrail.pipeline.hooks import NO_HOOKS
from guardrail.pipeline.leftover import NO_NULL, NOTHING_LEFT, UNREAD
from guardrail.pipeline.room import Room
from guardrail.policy import Policy
from guardrail.policy.obstacles import ASKED_AGAIN
from guardrail.types import Confidence, Decision, Evidence, Score
from guardrail.types.judgement import HYBRIDGRAD

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel

TOLERANCE = 1e-3
"""The most by which a score (relative, below 1 absolute) or a confidence (absolute) may differ and still be the same."""

_NO_RULE = (ON_ERROR, NOTHING_LEFT, NO_NULL, UNREAD)
_AFTER = "no second model was asked, or it has answered"
_SCORABLE = ("given", "stop", "length")


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that came out otherwise. attempt: the pass, from 0. field: "score", "confidence", "action" or "rule"."""

    where: str
    id: str | None
    attempt: int
    field: str
    logged: Any
    replayed: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a log. Counts are of passes: a verdict has one, or more where it retrieved.

    torn: lines that are no JSON. not_scored, not_decided: reason -> passes that could not be computed again.
    """

    verdicts: int
    scored: int
    decided: int
    torn: int
    not_scored: Mapping[str, int]
    not_decided: Mapping[str, int]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `guardrail replay --json`."""
        return asdict(self)


def replay(
    log: str | os.PathLike[str],
    *,
    policy: Policy | str | os.PathLike[str] | None = None,
    calibrator: IsotonicCalibrator | str | os.PathLike[str] | None = None,
    load_model: Callable[[], LocalModel] | None = None,
    tolerance: float = TOLERANCE,
) -> Replayed:
    """Compute the verdicts of a log again.

    Args:
        log: Lines as `VerdictLog` writes them; "-" is standard input.
        policy: Decides again. None: the shipped one that a line names.
        calibrator: Gives the confidences again; None: with a model the one that comes with guardrail for it, without one the
            logged confidences are taken.
        load_model: Gives the model that scores lines with text again, and is called for the first of them; None: none is.
        tolerance: As `TOLERANCE`.

    Raises:
        DataError: A line is JSON and no verdict, or names a policy that is not shipped.
        CalibratorMismatchError: The calibrator was fitted on another model.
    """
    chosen = None if policy is None else policy if isinstance(policy, Policy) else Policy.load(policy)
    curve = load_calibrator(calibrator) if isinstance(calibrator, str | os.PathLike) else calibrator
    run = _Replay(chosen, curve, load_model, tolerance)
    for _, raw, where in numbered_lines(os.fspath(log)):
        try:
            line = parse(raw.decode())
        except (json.JSONDecodeError, UnicodeDecodeError):
            run.torn += 1
            continue
        except ValueError as error:
            raise DataError(f"{where}: not JSON that can be used: {error}") from error
        try:
            run.verdict(line, where)
        except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
            raise DataError(
                f"{where}: this is no verdict as VerdictLog writes it ({type(error).__name__}: {error}); give such a log"
            ) from error
    counts = run.counts
    return Replayed(
        counts["verdicts"],
        counts["scored"],
        counts["decided"],
        run.torn,
        dict(run.not_scored),
        dict(run.not_decided),
        tuple(run.differences),
    )


class _Replay:
    def __init__(
        self,
        policy: Policy | None,
        calibrator: IsotonicCalibrator | None,
        load_model: Callable[[], LocalModel] | None,
        tolerance: float,
    ) -> None:
        self.policy, self.calibrator, self.load_model, self.tolerance = policy, calibrator, load_model, tolerance
        self.torn, self.counts = 0, Counter[str]()
        self.not_scored, self.not_decided = Counter[str](), Counter[str]()
        self.differences: list[Difference] = []
        self._guard: Guard | None = None

    def verdict(self, line: Mapping[str, Any], where: str) -> None:
        """One line: each of its passes."""
        policy = self.policy or _named(str(line["policy"]), where)
        attempts = line["attempts"] or [line]
        begun = next((i + 1 for i, logged in enumerate(attempts) if logged["action"] == "escalate"), len(attempts))
        searched = any(attempt["action"] == "retrieve" for attempt in attempts)
        retried, again = any(attempt["action"] == "retry" for attempt in attempts), False
        fired: list[str] = []
        self.counts["verdicts"] += 1
        for i, logged in enumerate(attempts):
            second = i >= begun
            if i == begun and "escalation" in line:  # the second model is asked anew
                fired, again = [], False
            if second:
                self.not_scored["it follows an escalation"] += 1
            score, confidence = (_score(logged["score"]), _confidence(logged)) if second else self._judged(line, logged)

            def differ(field: str, before: Any, now: Any, i: int = i) -> None:
                self.differences.append(Difference(where, line.get("id"), i, field, before, now))

            before = Score.number_in(logged["score"])
            if not _same(before, score.number, self.tolerance * max(1.0, abs(before or 0.0))):
                differ("score", before, score.number)
            if not _same(logged["confidence"], confidence.p_correct, self.tolerance):
                differ("confidence", logged["confidence"], confidence.p_correct)
            claims = _claims(line) if i == len(attempts) - 1 else None
            decide = partial(
                policy.decide,
                confidence,
                score,
                evidence=tuple(Evidence(str(e.get("text", ""))) for e in logged["evidence"]),
                finish_reason=logged["finish_reason"],
                retriever=searched,
                fired=fired,
                claims=claims,
                no_escalation=_AFTER if second or begun == len(attempts) else "",
                no_retry=ASKED_AGAIN if again or not retried else "",
                spread=(logged.get("orders") or {}).get("spread"),
            )
            if why := _undecidable(policy, logged, claims) or _unsampled(policy, logged, decide):
                self.not_decided[why] += 1
            else:
                decision = decide(consistency=(logged.get("consistency") or {}).get("share"))
                self.counts["decided"] += 1
                for field, now in (("action", decision.action), ("rule", decision.rule)):
                    if logged[field] != now:
                        differ(field, logged[field], now)
            again = again or logged["action"] == "retry"
            if logged["action"] == "retrieve":
                fired.append(logged["rule"])

    def _judged(self, line: Mapping[str, Any], logged: Mapping[str, Any]) -> tuple[Score, Confidence]:
        """Score and confidence as they are now; as they are in the log where they cannot be computed again."""
        score, confidence = _score(logged["score"]), _confidence(logged)
        if why := self._unscorable(line, logged):
            self.not_scored[why] += 1
            if self.calibrator is None or score.unscored:
                return score, confidence
            return score, self.calibrator.predict(score, logged.get("familiarity"), logged.get("context"))
        guard = self._loaded()
        messages = tuple(line["messages"])
        conversation = opened(
            messages, None, prompts=guard.calibrated, answers=guard.calibrated, answer=logged["answer"]
        )
        evidence = tuple(Evidence(**e) for e in logged["evidence"])
        conversation = replace(conversation, messages=messages, evidence=evidence)
        trace = guard.model.trace(conversation.prompt, logged["answer"], finish_reason=logged["finish_reason"])
        room = Room(guard.model, guard.usual_length)
        one_pass = AnswerPass(room, guard.calibrated, None, guard.policy, None, NO_HOOKS)
        (score,) = one_pass.score([conversation], [trace])
        self.counts["scored"] += 1
        if guard.calibrator is None:
            return score, confidence
        known = None if score.unscored else guard.calibrated.familiarity(conversation.query, trace)
        return score, guard.calibrated.confidence(score, "", known, one_pass.context_of(conversation, trace))

    def _unscorable(self, line: Mapping[str, Any], logged: Mapping[str, Any]) -> str:
        if "messages" not in line or "answer" not in logged:
            return "the line holds no text"
        if self.load_model is None:
            return "no model was given"
        if logged["finish_reason"] not in _SCORABLE:
            return f"finish_reason is {logged['finish_reason']}"
        if logged.get("prefix"):
            return "the beginning of the reply was given"
        return "the turn calls tools" if logged["score"].get("unscored") == "tool_call" else ""

    def _loaded(self) -> Guard:
        if self._guard is None:
            if self.load_model is None:
                raise GuardrailError("no model was given; give --model")
            self._guard = Guard(model=self.load_model(), policy="observe", calibrator=self.calibrator)
        return self._guard


def _named(name: str, where: str) -> Policy:
    if name not in Policy.shipped():
        raise DataError(f"{where}: policy {name!r:.80} does not come with guardrail; give its file with --policy")
    return Policy.load(name)


def _undecidable(policy: Policy, logged: Mapping[str, Any], claims: Sequence[Confidence] | None) -> str:
    """Why a policy's rules alone do not give this decision; empty where they do."""
    if logged["score"].get("unscored") == "tool_call":
        return "the turn calls tools"
    if logged["rule"] in _NO_RULE:
        return f"no rule decided: {logged['rule']}"
    if policy.looks_at_ambiguity:
        return "whether its question was ambiguous is not in the log"
    if policy.looks_at_names:
        return "how rare the names of its question are is not in the log"
    return "its claims are not in the log" if policy.looks_at_claims and not claims else ""


def _unsampled(policy: Policy, logged: Mapping[str, Any], decide: Callable[..., Decision]) -> str:
    needed = policy.looks_at_consistency and "consistency" not in logged and policy.sampling.undecided(decide)
    return "how many samples agreed is not in the log" if needed else ""


def _score(told: Mapping[str, Any]) -> Score:
    name, number = told.get("name", HYBRIDGRAD), Score.number_in(told)
    if told.get("unscored") or number is None:
        return Score.none(told.get("unscored") or "error", "as in the log", length=told["length"], name=name)
    parts = {k: v for k, v in told.items() if k not in ("name", "number", "length") and isinstance(v, int | float)}
    return Score.of(name, float(number), length=told["length"], **{k: v for k, v in parts.items() if k != name})


def _confidence(told: Mapping[str, Any]) -> Confidence:
    p = told["confidence"]
    if p is None:
        return Confidence.none("as in the log")
    low, high = told["confidence_interval"]
    return Confidence(
        float(p),
        low,
        high,
        told["label"],
        told["in_range"],
        "as in the log",
        told["basis"],
        told.get("familiarity"),
        told.get("context"),
    )


def _claims(line: Mapping[str, Any]) -> list[Confidence] | None:
    """The confidences of the answer's claims, as rules on the whole answer see them: 1 and 0 where evidence settled it."""
    certain, found = {"supported": 1.0, "contradicted": 0.0}, []
    for claim in line.get("claims") or ():
        confidence, p = _confidence(claim), certain.get(claim.get("support"))
        if p is not None:
            confidence = replace(confidence, p_correct=p, low=p, high=p, label=label_for(p))
        found.append(confidence)
    return found or None


def _same(before: Any, now: float | None, within: float) -> bool:
    if before is None or now is None:
        return before is None and now is None
    return math.isfinite(before) and math.isfinite(now) and abs(before - now) <= within
