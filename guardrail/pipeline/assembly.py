"""What a Guard is given -> the parts that it judges with, checked against each other."""

from __future__ import annotations

import os

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.calibration.shipped import load_calibrator, why_none_is_shipped
from guardrail.errors import CalibrationError, PolicyError
from guardrail.model.given_beginning import no_beginning
from guardrail.model.local import LocalModel
from guardrail.pipeline.calibrated import Calibrated, calibrated
from guardrail.pipeline.collecting import collecting
from guardrail.policy import Policy, check_proof
from guardrail.scoring.protocol import Scorer
from guardrail.scoring.registry import default_scorer

CalibratorSource = IsotonicCalibrator | str | os.PathLike[str]
"""A fitted calibrator, its file, or `shipped:NAME`."""


def loaded(source: CalibratorSource | None, name: str | None = None) -> tuple[IsotonicCalibrator | None, str]:
    """The calibrator, and what messages and verdicts call it; none where one is being made.

    Raises `CalibrationError` for one that cannot be read.
    """
    if collecting() is not None:
        return None, name or "given"
    return read(source, name)


def read(source: CalibratorSource | None, name: str | None = None) -> tuple[IsotonicCalibrator | None, str]:
    """As `loaded`, also while another calibrator is being made."""
    fitted = source if source is None or isinstance(source, IsotonicCalibrator) else load_calibrator(source)
    return fitted, name or (fitted.source if fitted else None) or "given"


def answer_calibration(
    model: LocalModel, policy: Policy, scorer: Scorer | None, calibrator: CalibratorSource | None, name: str | None
) -> Calibrated:
    """The scorer and the calibrator of whole answers.

    Raises `CalibrationError` where the policy needs a calibrator and there is none, `CalibratorMismatchError` where the
    policy was tuned with another one, and `PolicyError` where it wants replies begun that the model does not take.
    """
    if policy.retries and (why := no_beginning(model)):
        raise PolicyError(
            f"policy {policy.name!r} has a rule with `then: retry`: {why}; take it out, or use a local model"
        )
    if collecting() is not None:  # it has yet to be made
        return Calibrated(scorer or default_scorer(model), None, None)
    out = calibrated(model, "answer", scorer, *loaded(calibrator, name))
    if out.calibrator is None and policy.needs_confidence:
        raise CalibrationError(
            f"policy {policy.name!r} looks at confidence, and there is no calibrator for {model.name} "
            f"({why_none_is_shipped(model.identity)}); make one: "
            f"guardrail calibrate DATA.jsonl -o calibrator.json --model {model.name} (or use the policy 'observe')"
        )
    check_proof(policy.proof, policy.name, out.calibrator, out.name)
    return out
