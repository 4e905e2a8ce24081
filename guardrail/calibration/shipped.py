"""The fitted calibrators that come with guardrail. Knows nothing about how they were made (see docs/calibrators.md)."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from guardrail.calibration.isotonic import IsotonicCalibrator

if TYPE_CHECKING:
    from guardrail.calibration.provenance import ModelIdentity, Unit


def shipped_calibrator(model: ModelIdentity, unit: Unit = "answer") -> tuple[str, IsotonicCalibrator] | None:
    """The name and the calibrator of that unit fitted on exactly these weights, dtype and template, or None."""
    for file in resources.files("guardrail.data").joinpath("calibrators").iterdir():
        if file.name.endswith(".json"):
            with resources.as_file(file) as path:
                calibrator = IsotonicCalibrator.load(path)
            fitted_on = calibrator.provenance.model if calibrator.provenance and calibrator.unit == unit else None
            if fitted_on and (fitted_on.weights, fitted_on.dtype, fitted_on.chat_template) == (
                model.weights,
                model.dtype,
                model.chat_template,
            ):
                return f"shipped:{file.name.removesuffix('.json')}", calibrator
    return None
