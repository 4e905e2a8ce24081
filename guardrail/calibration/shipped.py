"""The fitted calibrators that come with guardrail; docs/results/calibrators.md says how they were made."""

from __future__ import annotations

import os
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from guardrail.calibration.isotonic import IsotonicCalibrator
from guardrail.errors import CalibrationError
from guardrail.model.identity import told_apart

if TYPE_CHECKING:
    from guardrail.calibration.provenance import ModelIdentity, Unit


PREFIX = "shipped:"
"""How the names of shipped calibrators begin."""

_BEFORE = {"shipped:smollm2-135m-stacked": "shipped:smollm2-135m"}
"""Names that earlier versions had, and what has the same score today."""


def load_calibrator(source: str | os.PathLike[str]) -> IsotonicCalibrator:
    """The calibrator of a file, or of a name such as `shipped:smollm2-135m`. Raises `CalibrationError` for neither."""
    name = os.fspath(source)
    return shipped_by_name(name) if name.startswith(PREFIX) else IsotonicCalibrator.load(name)


def shipped_by_name(name: str) -> IsotonicCalibrator:
    """The calibrator of a name such as `shipped:smollm2-135m`. Raises `CalibrationError` for a name that is none."""
    name = _BEFORE.get(name, name)
    folder = resources.files("guardrail.data").joinpath("calibrators")
    names = {PREFIX + f.name.removesuffix(".json"): f for f in folder.iterdir() if f.name.endswith(".json")}
    if name not in names:
        raise CalibrationError(f"no calibrator {name!r} is shipped; there are: {', '.join(sorted(names))}")
    return _shipped(name, names[name])


def shipped_calibrator(
    model: ModelIdentity, unit: Unit = "answer", scorer: str | None = None
) -> tuple[str, IsotonicCalibrator] | None:
    """The name and the calibrator of that unit fitted on exactly this model, or None.

    Of several the first by name: the others are for those who ask for them. scorer: the name of the one it was fitted on, where
    that is given.
    """
    files = resources.files("guardrail.data").joinpath("calibrators").iterdir()
    for file in sorted(files, key=lambda f: f.name.removesuffix(".json")):
        if file.name.endswith(".json"):
            name = PREFIX + file.name.removesuffix(".json")
            calibrator = _shipped(name, file)
            origin = calibrator.provenance if calibrator.unit == unit else None
            if origin and scorer in (None, origin.scorer) and not told_apart(origin.model, model):
                return name, calibrator
    return None


def why_none_is_shipped(model: ModelIdentity) -> str:
    """What keeps the shipped calibrators from fitting this model, in words: its weights, its dtype, its chat template
    or its end tokens."""
    files = resources.files("guardrail.data").joinpath("calibrators").iterdir()
    for file in sorted((f for f in files if f.name.endswith(".json")), key=lambda f: f.name):
        name = PREFIX + file.name.removesuffix(".json")
        calibrator = _shipped(name, file)
        ours = calibrator.provenance.model if calibrator.provenance else None
        if ours is None or ours.architecture != model.architecture:
            continue
        if told_apart(ours, model) == ["end_ids"]:
            return (
                f"{name} is for this model with answers that end at the token ids {ours.end_ids}, here {model.end_ids}"
            )
        if ours.weights == model.weights and ours.dtype == model.dtype:
            return f"{name} is for these weights with another chat template (white space and a last newline count)"
        if ours.name == model.name and ours.dtype != model.dtype:
            return f"{name} is for this model in {ours.dtype}, here it is in {model.dtype}; load it with dtype {ours.dtype}"
        if ours.name == model.name:
            return f"{name} is for other weights of that name"
    return "none is shipped for these weights"


def _shipped(name: str, file: Traversable) -> IsotonicCalibrator:
    with resources.as_file(file) as path:
        calibrator = IsotonicCalibrator.load(path)
    calibrator.source = name
    return calibrator
