"""Where a rule escalates: a second model answers the same prompt, and its verdict, under the same policy, takes the place of
the first's. Where the second fails, the first's answer is never shown as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.deadlines import check_deadline
from guardrail.errors import CalibratorMismatchError, GuardrailError, PartError, PolicyError
from guardrail.pipeline.answer_pass import AnswerPass
from guardrail.pipeline.conversation import Stopwatch
from guardrail.pipeline.failures import MISTAKES, noted
from guardrail.pipeline.finished import Finished
from guardrail.policy import Policy, check_proof
from guardrail.types import Attempt, Escalation, Spent, Verdict

Judged = tuple[AnswerPass, Sequence[Finished]]
"""What has judged some answers, and what has become of them."""

Ask = Callable[[Sequence[int]], Judged]
"""Lets the second model answer some of a batch's prompts, by their places in it."""


class _Guard(Protocol):
    """What is asked here of a Guard."""

    policy: Policy
    escalate_to: Any

    @property
    def calibrator(self) -> IsotonicCalibrator | None: ...


SecondGuard = TypeVar("SecondGuard", bound=_Guard | None)


def checked_second(
    second: SecondGuard, policy: Policy, calibrator: IsotonicCalibrator | None, name: str | None
) -> SecondGuard:
    """A second guard, if there is any.

    calibrator, name: the first guard's. Raises `PolicyError` for a second that would decide by other rules than `policy`, is
    never asked, would ask a third, or is missing where the policy's proof is about two; `CalibratorMismatchError` for
    calibrators that are not the proof's.
    """
    proven = policy.proof.second if policy.proof else None
    if policy.proof is not None and proven is not None and calibrator is not None:
        is_first = calibrator.digest == policy.proof.calibrator_sha256
        if second is None and is_first:
            raise PolicyError(
                f"policy {policy.name!r} has a proof about two models, of which the second is {proven.model.name}; give it as "
                "escalate_to, or --escalate-to SPEC"
            )
        if second is not None:
            check_proof(policy.proof.model_copy(update={"second": None}), policy.name, calibrator, name)
            used = second.calibrator
            if used is None or used.digest != proven.calibrator_sha256:
                raise CalibratorMismatchError(
                    f"policy {policy.name!r} was tuned with the calibrator {proven.calibrator} for the second model, and "
                    f"{used.source or 'another one' if used else 'none'} is in use; give that one, or make the policy again"
                )
    if second is None:
        return second
    if not policy.escalates:
        raise PolicyError(
            f"policy {policy.name!r} never escalates; leave escalate_to out, or add a rule with `then: escalate`"
        )
    if second.policy.text != policy.text:
        raise PolicyError(
            f"the second guard has the policy {second.policy.name!r}, and the first {policy.name!r}: one policy decides on "
            "both models' answers, so build both with the same"
        )
    if second.escalate_to is not None:
        raise PolicyError(
            "the second guard has an escalate_to of its own, and answers are escalated once; leave it out"
        )
    return second


def acted(finished: Sequence[Finished], one_pass: AnswerPass, ask: Ask | None) -> tuple[list[Finished], list[Verdict]]:
    """The verdicts of a batch, those of the second model included, and what they are of.

    ask: of the second model; not called where no decision is to escalate.
    """
    out = list(finished)
    second = {} if ask is None else _asked([i for i, each in enumerate(out) if _escalates(each)], one_pass, ask)
    verdicts: list[Verdict] = []
    for i, first in enumerate(finished):
        found = second.get(i)
        if isinstance(found, GuardrailError):
            out[i] = _without_second(first, one_pass, found)
        if found is None or isinstance(found, GuardrailError):
            verdicts.append(one_pass.act(out[i]))
            continue
        out[i], verdict = _joined(first, one_pass, *found)
        verdicts.append(verdict)
    return out, verdicts


def spent_tokens(attempts: Sequence[Attempt]) -> tuple[int, int]:
    """Tokens read and written in some attempts; a pass that was decided on twice counts once."""
    passes = {(a.trace.prompt_ids, a.trace.response_ids): a.trace for a in attempts if a.trace is not None}.values()
    return sum(trace.tokens_read for trace in passes), sum(trace.tokens_written for trace in passes)


def _escalates(finished: Finished) -> bool:
    return finished.conversation.attempts[-1].decision.action == "escalate"


def _asked(
    rows: Sequence[int], one_pass: AnswerPass, ask: Ask
) -> Mapping[int, tuple[AnswerPass, Finished] | GuardrailError]:
    """What the second model's answers came to, or why there is none. Where the batch fails, each is asked alone.

    Raises what is wrong with the set-up, and everything where the policy says so.
    """
    if not rows:
        return {}
    try:
        second_pass, finished = ask(rows)
        return {i: (second_pass, each) for i, each in zip(rows, finished, strict=True)}
    except Exception as caught:
        if isinstance(caught, (*MISTAKES, *one_pass.hooks.ends)):
            raise
        check_deadline()
        if len(rows) == 1:
            if one_pass.policy.on_error == "raise":
                raise
            reason = " ".join(f"{type(caught).__name__}: {caught}".split())
            error = PartError(f"the second model failed: {reason}")
            error.__cause__ = caught
            return {rows[0]: error}
    return {i: found for row in rows for i, found in _asked([row], one_pass, ask).items()}


def _without_second(first: Finished, one_pass: AnswerPass, error: GuardrailError) -> Finished:
    """What becomes of the first model's answer where the second gave none: at most what the rules below hedge."""
    why, conversation = noted(error), first.conversation
    last = conversation.attempts[-1]
    if one_pass.policy.on_error == "continue":
        outcome = replace(one_pass, no_escalation=why).decided_again(conversation)
        if isinstance(outcome, Finished) and outcome.conversation.attempts[-1].decision.action != "answer":
            return outcome
        why = f"{why}, and what was to be escalated is not shown as it is"
    assert last.trace is not None  # noqa: S101  (for the type checker: of a pass there is one)
    return one_pass.given_up(conversation, last.trace, last.score, why)


def _joined(
    first: Finished, one_pass: AnswerPass, second_pass: AnswerPass, second: Finished
) -> tuple[Finished, Verdict]:
    """The second model's verdict, with the first's attempts before its own."""
    verdict = second_pass.act(second)
    before, after = first.conversation, second.conversation
    attempts = (*before.attempts, *after.attempts)
    clock = Stopwatch()
    for watch in (before.stopwatch, after.stopwatch):
        clock.stages += watch.stages
        for stage, spent in watch.timing_ms.items():
            clock.timing_ms[stage] = clock.timing_ms.get(stage, 0.0) + spent
    escalation = Escalation(_spent(first, one_pass), _spent(second, second_pass))
    joined = replace(second, conversation=replace(before, attempts=attempts, stopwatch=clock))
    return joined, replace(
        verdict,
        attempts=attempts,
        timing_ms=dict(clock.timing_ms),
        asked_first=before.asked_first or verdict.asked_first,
        escalation=escalation,
    )


def _spent(finished: Finished, one_pass: AnswerPass) -> Spent:
    attempts, watch = finished.conversation.attempts, finished.conversation.stopwatch
    read, written = spent_tokens(attempts)
    return Spent(
        model=one_pass.room.model.name,
        calibrator=one_pass.calibrated.name,
        passes=len(attempts),
        score=attempts[-1].score.number if attempts[-1].score.unscored is None else None,
        confidence=attempts[-1].confidence.p_correct,
        timing_ms=dict(watch.timing_ms),
        read=read,
        written=written,
    )
