"""What a calibrator was fitted on, for those who cannot do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.errors import CalibratorMismatchError

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.provenance import Provenance


def origin_of(calibrator: IsotonicCalibrator, name: str | None = None) -> Provenance:
    """The provenance of a calibrator. name: what to call it in the message; None is the name it was loaded under.

    Raises `CalibratorMismatchError` where it has none: nothing then says that its numbers mean anything here.
    """
    if calibrator.provenance is None:
        raise CalibratorMismatchError(
            f"{name or calibrator.source or 'this calibrator'} does not say what it was fitted on; make it again with "
            "guardrail calibrate, or fit it with provenance=..."
        )
    return calibrator.provenance


def through_of(origin: Provenance | None) -> str | None:
    """The chain whose conversations a calibrator was fitted on, by name; None where its questions were put into its prompt."""
    chain = origin.source.get("through") if origin else None
    return None if chain is None else str(chain)
