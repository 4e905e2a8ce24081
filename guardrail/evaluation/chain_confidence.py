"""What a guard would say of an answer that a chain gave, from the record of it. No model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from guardrail.calibration.contexts import PLAIN, differs
from guardrail.calibration.origin import origin_of, through_of
from guardrail.runs.chain_records import context_in, setting_in

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.types import Confidence


def said_of(calibrator: IsotonicCalibrator, score: float, record: Mapping[str, Any]) -> Confidence:
    """What a guard would say of the answer of a record of `collect_through`."""
    origin = origin_of(calibrator)
    name = context_in(record, origin.prompt, origin.system)
    own = calibrator.contexts.get(name)
    confidence = calibrator.predict(score, record.get("familiarity"), name if own else None)
    if own is not None:
        why = differs(own.source, record["messages"], setting_in(record))
        why += [] if own.source.get("temperature", 0.0) == record["temperature"] else ["another temperature"]
        limit = own.source.get("passages", 0)
        why += ["more passages"] if isinstance(limit, int) and len(record["passages"]) > limit else []
    else:
        through = through_of(origin) is not None
        why = ["its context was not calibrated"] if through or name != PLAIN else []
    if not why:
        return confidence
    return replace(confidence, basis="extrapolated", reason="; ".join(filter(None, [*why, confidence.reason])))
