"""Does a calibrator fit a model and, if not, what differs, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardrail.calibration.origin import origin_of
from guardrail.calibration.shipped import load_calibrator, shipped_calibrator
from guardrail.claims import SentenceClaims
from guardrail.errors import CalibratorMismatchError
from guardrail.guard import Guard
from guardrail.model.identity import told_apart

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.provenance import Provenance
    from guardrail.model.local import LocalModel


@dataclass(frozen=True, slots=True)
class Fitting:
    """Whether a calibrator fits a model: it does if there are no `differences`.

    calibrator is None if none was given and none is shipped for the model. sealed: whether its file holds its digest.
    """

    model: str
    calibrator: str | None
    unit: str
    differences: tuple[str, ...]
    sealed: bool = True


def fit_of(model: LocalModel, source: str | None = None) -> Fitting:
    """Whether a calibrator fits a loaded model, and what differs if it does not.

    Args:
        model: The model as it would be used: its weights, dtype and chat template count.
        source: The calibrator's file or `shipped:NAME`. Default: the one that is shipped for the model.

    Raises:
        CalibrationError: The calibrator cannot be read or is not known.
    """
    if source is None:
        found = shipped_calibrator(model.identity)
        none = () if found else ("none is shipped for its weights, dtype and chat template",)
        return Fitting(model.name, found[0] if found else None, "answer", none)
    calibrator = load_calibrator(source)
    differences = _of_the_model(origin_of(calibrator, source), model) or _of_the_scorer(calibrator, model)
    return Fitting(model.name, source, calibrator.unit, differences, calibrator.sealed)


def _of_the_model(fitted: Provenance, model: LocalModel) -> tuple[str, ...]:
    """In words. The weights' hash depends on their dtype, so weights of two dtypes are told apart by architecture alone."""
    theirs, ours = fitted.model, model.identity
    found = []
    if theirs.architecture != ours.architecture or (theirs.dtype == ours.dtype and theirs.weights != ours.weights):
        found.append(
            f"the weights are others (fitted on {theirs.name}, {theirs.architecture}, {theirs.weights[:12]}; here "
            f"{ours.name}, {ours.architecture}, {ours.weights[:12]})"
        )
    if theirs.dtype != ours.dtype:
        found.append(f"the dtype is another one (fitted in {theirs.dtype}, here {ours.dtype}; see --dtype)")
    if theirs.chat_template != ours.chat_template:
        found.append(
            f"the chat template is another one (fitted with {theirs.chat_template[:12]}, here {ours.chat_template[:12]}; "
            "see --chat-template)"
        )
    if "end_ids" in told_apart(theirs, ours):
        found.append(f"other tokens end an answer (fitted with the ids {theirs.end_ids}, here {ours.end_ids})")
    return tuple(found)


def _of_the_scorer(calibrator: IsotonicCalibrator, model: LocalModel) -> tuple[str, ...]:
    """A guard makes the scorer from the calibrator, so it says whether it can."""
    try:
        if calibrator.unit == "claim":
            Guard(model=model, policy="observe", claims=SentenceClaims(), claim_calibrator=calibrator)
        else:
            Guard(model=model, policy="observe", calibrator=calibrator)
    except CalibratorMismatchError as error:
        return (f"the scorer is another one ({error})",)
    return ()
