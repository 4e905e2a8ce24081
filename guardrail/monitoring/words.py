"""What whoever reads the verdict must know, in sentences."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from guardrail.monitoring.conclusion import SHIFT
from guardrail.monitoring.reference import Reference
from guardrail.monitoring.tally import Tally

_SELECTED = 0.01
_COARSE = 0.2


def again(log: str, calibrator: str | None, labels: str | os.PathLike[str] | None) -> str:
    """What to do about drift. calibrator: its file or name; None where it was made in memory."""
    files = [log, "--labels", os.fspath(labels or "LABELS.jsonl"), "-c", calibrator or "OLD.json", "-o", "NEW.json"]
    return f"labels fit the curve again, without the model: {shlex.join(['guardrail', 'recalibrate', *files])}"


def notes(
    reference: Reference,
    tally: Tally,
    labels: int,
    more_scores: int | None,
    more_labels: int | None,
    selected: float | None,
) -> Iterator[str]:
    """Remarks on the data, most important first. labels: those about confidences, not only about what was shown."""
    what = f"{reference.unit}s"
    if more_scores is None or (more_labels is None and len(tally.labelled.correct)):
        yield (
            f"the calibration has {reference.n} {what}, too few to find a drift of {SHIFT:g} however long the log is; "
            "calibrate on more"
        )
    if more_scores:
        yield f"{more_scores} more scored {what} are needed to find a shift of {SHIFT:g} in the scores"
    if more_labels and len(tally.labelled.correct):
        yield f"{more_labels} more labelled {what} are needed to find a difference of {SHIFT:g} to what was said"
    if not len(tally.labelled.correct):
        yield (
            "no labels: whether the confidences still say how often answers are right is not known"
            + (f"; label {more_labels} {what}, drawn at random" if more_labels else "")
        )
    elif labels < len(tally.labelled.correct):
        yield (
            f"{len(tally.labelled.correct) - labels} labels are about answers that were given with evidence or have no score; "
            "they count as risk only"
        )
    if selected is not None and selected <= _SELECTED:
        yield (
            f"the labelled {what} have other scores than the rest (p = {selected:.2g}): the tests of the confidences allow for "
            "that, the error rates of what was shown do not; and where labels come from complaints, neither does"
        )
    if tally.extrapolated and tally.scored:
        yield (
            f"{tally.extrapolated} of {tally.scored} {what} were asked otherwise than in the calibration (extrapolated); "
            "drift may be that alone, see --calibrated-only"
        )
    coarse = float(reference.counts.max()) / reference.n
    if not reference.exact and coarse > _COARSE:
        yield (
            f"this calibrator has no sketch of its scores: up to {coarse:.0%} of them lie in one cell, so that shifts inside "
            "it do not show; guardrail calibrate writes one"
        )
