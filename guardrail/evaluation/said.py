"""What a guard would say of an answer, from the record of it. No model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from guardrail.calibration.contexts import PLAIN, differs, thinking_differs
from guardrail.calibration.origin import origin_of, through_of
from guardrail.runs.chain_records import context_in, setting_in

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.metrics import Floats
    from guardrail.runs.claim_answers import ClaimAnswers
    from guardrail.types import Confidence


def said_of(calibrator: IsotonicCalibrator, score: float, record: Mapping[str, Any]) -> Confidence:
    """What a guard would say of the answer of a record of `collect`, or of `collect_through`."""
    origin = origin_of(calibrator)
    through = through_of(origin) is not None
    thought = bool(record.get("thinking"))
    differ = [] if through else thinking_differs(origin.generation.get("thinking"), thought)
    if "messages" not in record:
        return _because(calibrator.predict(score, record.get("familiarity")), differ)
    name = context_in(record if through else {**record, "thinking": False}, origin.prompt, origin.system)
    own = calibrator.contexts.get(name)
    confidence = calibrator.predict(score, record.get("familiarity"), name if own else None)
    if own is not None:
        why = differs(own.source, record["messages"], setting_in(record))
        why += [] if own.source.get("temperature", 0.0) == record["temperature"] else ["another temperature"]
        limit = own.source.get("passages", 0)
        why += ["more passages"] if isinstance(limit, int) and len(record["passages"]) > limit else []
    else:
        why = ["its context was not calibrated"] if through or name != PLAIN else []
    return _because(confidence, [*why, *differ])


def said_of_claims(calibrator: IsotonicCalibrator, scores: Floats, answers: ClaimAnswers) -> list[Confidence]:
    """What a guard would say of each graded claim. scores: of the claims, (n,), as `claim_scores_of` has them."""
    return [
        said_of(calibrator, score, {**claim, "thinking": answers.records[i].get("thinking")})
        for score, claim, i in zip(scores.tolist(), answers.claims, answers.groups.tolist(), strict=True)
    ]


def _because(confidence: Confidence, why: Sequence[str]) -> Confidence:
    """Extrapolated, for these reasons; as it is, where there are none."""
    if not why or confidence.p_correct is None:
        return confidence
    return replace(confidence, basis="extrapolated", reason="; ".join(filter(None, [*why, confidence.reason])))
